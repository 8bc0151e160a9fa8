"""A card says of a method what its committed evidence says, and evidence is of methods that there are."""

import json
from pathlib import Path

import pytest

from kintsugi.core.registry import entries

FOLDER = Path(__file__).parents[2] / "benchmarks" / "evidence"
CARDS = {name: entry.card for name, entry in entries().items()}


@pytest.mark.parametrize("name", sorted(name for name, card in CARDS.items() if "proven" in card.status))
def test_what_a_card_claims_is_committed(name):
    evidence = json.loads((FOLDER / f"{name}.json").read_text())
    assert (evidence["name"], evidence["verdict"]) == (name, CARDS[name].status)
    assert f"kintsugi prove {name}" in evidence["facts"]["command"]
    assert "/" not in evidence["facts"]["command"]


def test_every_further_setting_that_was_run_is_on_the_card():
    said = {f"{name}-{setting}": verdict for name, card in CARDS.items() for setting, verdict in card.settings}
    found = {file.stem: json.loads(file.read_text()) for file in FOLDER.glob("*-*.json")}
    assert said == {name: evidence["verdict"] for name, evidence in found.items()}
    assert all("/" not in evidence["facts"]["command"] for evidence in found.values())


def test_evidence_is_of_methods_that_have_something_to_prove():
    for file in FOLDER.glob("*.json"):
        assert CARDS[file.stem.partition("-")[0]].status != "baseline"


def test_baselines_are_no_more_than_that():
    assert {name for name, card in CARDS.items() if card.status == "baseline"} == {"erm", "shuffled"}
