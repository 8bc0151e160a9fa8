"""Nothing in the content can become markup, and numbers read as a person says them."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.report.markup import Markup, amount, duration, escaped, joined, percent, points, tag


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_stays_text(inside, attribute):
    reader = Reader()
    reader.feed(tag("p", inside, title=attribute))
    reader.close()
    assert reader.tags == ["p"]
    assert len(reader.attributes) == 1
    visible = "".join(c for c in inside if c.isprintable())
    if visible == inside:
        assert "".join(reader.texts) == inside
    if attribute.isprintable():
        assert reader.attributes == [("title", attribute)]


def test_invisible_characters_are_shown():
    assert escaped("a\x00b\u202egnp.exe") == "a\\u0000b\\u202egnp.exe"
    assert escaped("\udcff") == "\\udcff"
    escaped("\udcff").encode("utf-8")


def test_elements():
    assert tag("br") == "<br>"
    assert tag("a", "x", href="#y", class_="k", aria_label="z", hidden=True, id=None, open=False) == (
        '<a href="#y" class="k" aria-label="z" hidden>x</a>'
    )
    assert tag("p", [tag("b", 1), None, ("<", Markup("<i>"))]) == "<p><b>1</b>&lt;<i></p>"
    assert joined("a", [["b"]]) == "ab"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (percent(0.6666), "66.7%"),
        (points(-0.012), "−1.2"),
        (points(0.5), "+50.0"),
        (duration(3.21), "3.2 s"),
        (duration(75), "75 s"),
        (duration(125), "2 min 05 s"),
        (duration(7300), "2 h 02 min"),
        (amount(1, "group"), "1 group"),
        (amount(1234, "image or row", "images and rows"), "1,234 images and rows"),
    ],
)
def test_numbers_as_text(made, expected):
    assert made == expected
