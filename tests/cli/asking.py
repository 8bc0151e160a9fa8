"""Asking the command line: answers as JSON, refusals as a message with a remedy, never a traceback."""

import json

from kintsugi.cli.main import main

MODEL = ["--model", "small:cnn", "--device", "cpu", "--epochs", 1]


def ask(capsys, *words, code=0):
    """What a verb says as JSON; no traceback, whatever happens."""
    assert main([*map(str, words), "--json"]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return json.loads(said.out)


def refused(capsys, *words, code=2):
    """The message of a refusal: on the error stream for people, as JSON for programs, both with a remedy."""
    record = ask(capsys, *words, code=code)
    assert record["remedy"]
    assert main([*map(str, words)]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert record["remedy"] in said.err
    return f"{record['error']} {record['remedy']}"
