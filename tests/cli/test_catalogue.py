"""`kintsugi methods` and `kintsugi new`."""

import json
import subprocess
import sys

import pytest

from kintsugi.cli.main import VERBS, main, parser_for
from kintsugi.core.card import KINDS
from kintsugi.core.registry import entries


def test_every_method_can_be_loaded_and_shown(capsys):
    for name, entry in entries().items():
        assert entry.load().__module__ == entry.module
        assert main(["methods", name]) == 0
        assert entry.card.title in capsys.readouterr().out


def test_listing_as_json(capsys):
    assert main(["methods", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(entries())


def test_an_unknown_method_is_answered_with_near_names(capsys):
    assert main(["methods", "no_such_method"]) == 2
    error = capsys.readouterr().err
    assert "no_such_method" in error
    assert "Traceback" not in error


def test_listing_imports_no_heavy_library():
    code = (
        "import sys; from kintsugi.cli.main import main; main(['methods']);"
        "print(sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_catalogue_pages_are_written_and_checked(tmp_path, capsys):
    assert main(["methods", "--write", str(tmp_path)]) == 0
    assert main(["methods", "--check", str(tmp_path)]) == 0
    (tmp_path / "README.md").write_text("stale")
    assert main(["methods", "--check", str(tmp_path)]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_new_scaffolds_three_files_that_parse(kind, tmp_path, monkeypatch, capsys):
    (tmp_path / "src/kintsugi/core").mkdir(parents=True)
    (tmp_path / "src/kintsugi/core/card.py").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, "brand_new", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert len(files) == 3
    for name in files:
        text = (tmp_path / name).read_text()
        assert "brand_new" in text
        if name.endswith(".py"):
            compile(text, name, "exec")
    assert main(["new", kind, "brand_new"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        parser_for(verb).parse_args([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"kintsugi {verb}" in text.split("examples:")[1]


def test_the_committed_catalogue_is_true():
    from pathlib import Path

    docs = Path(__file__).parents[2] / "docs" / "methods"
    assert main(["methods", "--check", str(docs)]) == 0
