"""Words to parameters."""

from typing import Literal

import pytest

from kintsugi.api.configure import from_words, parse
from kintsugi.core.errors import BadArgument


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("yes", bool, True),
        ("off", bool, False),
        ("none", int | None, None),
        ("4", int | None, 4),
        ("auto", Literal["auto"] | float, "auto"),
        ("0.5", Literal["auto"] | float, 0.5),
        ("1, 2", tuple[int, ...], (1, 2)),
        ("3", int | str, 3),
        ("x", int | str, "x"),
    ],
)
def test_text_is_read_as_the_parameters_type(text, hint, value):
    assert parse("p", text, hint) == value


@pytest.mark.parametrize(
    ("text", "hint"), [("x", int), ("x", float), ("x", bool), ("x", Literal["a"]), ("x", int | None)]
)
def test_other_text_is_refused_by_name(text, hint):
    with pytest.raises(BadArgument, match="gamma"):
        parse("gamma", text, hint)


def test_words():
    assert from_words(["--gamma", "2", "--form=log", "--restart", "--lr-latent", "0.1"]) == {
        "gamma": "2",
        "form": "log",
        "restart": "true",
        "lr_latent": "0.1",
    }
    with pytest.raises(BadArgument, match="'stray'"):
        from_words(["stray"])
