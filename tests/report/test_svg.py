"""Drawings put values where they belong, and every one is well formed and titled."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.report import svg

SHARES = st.floats(0, 1)


def parsed(drawing):
    return ElementTree.fromstring(drawing)


def at(value):
    return float(value.rstrip("%"))


@given(SHARES, SHARES)
@settings(max_examples=30, deadline=None)
def test_dumbbell_stands_on_its_scale(before, after):
    made = parsed(svg.dumbbell(before, after, before_interval=(0.0, before), after_interval=(after, 1.0)))
    dots = {c.get("class").split()[1]: at(c.get("cx")) for c in made.iter("circle")}
    assert dots["before"] == pytest.approx(3 + 94 * before, abs=0.01)
    assert dots["after"] == pytest.approx(3 + 94 * after, abs=0.01)
    assert made.find("title").text == made.get("aria-label")


def test_change_has_zero_in_the_middle_and_colours_only_what_is_clear():
    made = parsed(svg.change(0.1, (0.05, 0.2), 0.2))
    assert [at(line.get("x1")) for line in made.iter("line") if line.get("class") == "zero"] == [50.0]
    (span,) = (line for line in made.iter("line") if line.get("class") == "span up")
    assert (at(span.get("x1")), at(span.get("x2"))) == (pytest.approx(61.75), pytest.approx(97.0))
    assert 'class="span flat"' in svg.change(0.1, (-0.05, 0.2), 0.2)
    assert 'class="span down"' in svg.change(-0.1, (-0.2, -0.05), 0.2)


def test_histogram_counts_every_score_and_marks_those_past_the_threshold():
    scores = np.linspace(0, 1, 200)
    made = parsed(svg.histogram(scores, 0.75, bins=20))
    kinds = [rect.get("class") for rect in made.iter("rect")]
    assert (kinds.count("column"), kinds.count("column past")) == (15, 5)
    parsed(svg.histogram([], None))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=60, deadline=None)
def test_ticks_are_round_and_inside(low, width):
    marks = svg.ticks(low, low + width)
    assert 1 <= len(marks) <= 6
    slack = 1e-6 * (abs(low) + width)
    assert all(low - slack <= mark <= low + width + slack for mark in marks)


def test_curves_keep_spikes_and_break_at_gaps():
    value = [0.5] * 5000
    value[1234] = 9.0
    made = svg.lines("loss", [("a", range(5000), value)])
    path = next(parsed(made).iter("path")).get("d")
    heights = [float(y) for y in re.findall(r"[ML]\S+ (\S+?)(?=[ML]|$)", path)]
    assert len(heights) <= 400
    assert min(heights) < 20 < 100 < max(heights), "the spike at the top, the rest at the bottom"
    broken = next(parsed(svg.lines("l", [("a", [0, 1, 2, 3, 4], [1.0, 2.0, None, 2.0, 1.0])])).iter("path")).get("d")
    assert broken.count("M") == 2
    assert "nothing was recorded" in svg.lines("l", [("a", [0], [None])])
    parsed(svg.lines("one point", [("a", [3], [0.0])]))


def test_every_drawing_is_well_formed():
    for made in (svg.bar(2.0, 'a "title" <b>'), svg.seam(), svg.mark(), svg.scale([(0, "<0"), (1, ">1")])):
        parsed(made)
    assert svg.legend(["one"]) == ""
    assert len(list(parsed(svg.legend(["a", "<b>"])).iter("li"))) == 2
    for kind in ("before", "after", "span"):
        parsed(svg.key(kind))
