"""Answers are counted as the card says, and what the answerer leaves out is neither held for nor against a label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kintsugi.audit.labels.questions import Question, Templates
from kintsugi.audit.labels.vdc import VDC
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.kinds import Answerer
from kintsugi.data.imageset import ImageSet

CLASSES = ["cat", "dog", "polar_bear", "owl", "bee", "ant"]


class Sees:
    """Knows the true class of an image: it is written in its brightness."""

    name = "sees"

    def __init__(self, answer=lambda true, asked: "Yes, it is." if true in asked else "No."):
        self.said, self.asked = answer, 0

    def answer(self, image, questions):
        self.asked += len(questions)
        true = (image.amax((1, 2, 3)) * 255 / 40).round().long()
        return [self.said(CLASSES[k].replace("_", " "), text) for k, text in zip(true, questions, strict=True)]


def pictures(labels, shown=None):
    """Images that show what they are labelled as, or ``shown``."""
    level = np.asarray(labels if shown is None else shown) * 40
    return ImageSet.from_arrays(np.repeat(level, 16).reshape(-1, 4, 4).astype(np.uint8), labels, CLASSES)


def audit(auditor, data):
    return auditor(data, None, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("Yes.", "yes", True),
        ("yes, it does", "yes", True),
        ("NO", "yes", False),
        ("No, there is no loop", "no", True),
        ("not sure", "no", None),  # "no" stands in it
        ("nothing to see", "no", None),
        ("I cannot tell, yes or no", "yes", None),
        ("", "yes", None),
        ("...", "no", None),
        ("A photo of a polar bear on ice", ("polar bear", "bear"), True),
        ("A photo of a polarbear", ("polar bear",), False),
        ("catalogue", ("cat",), False),
    ],
)
def test_the_first_word_counts(answer, expected, right):
    assert Question("?", expected).right(answer) is right


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 11))
def test_no_questions_are_about_other_classes_each_once(count, others, own):
    classes = [f"class {k}" for k in range(count)]
    asked = Templates(others=others)(classes[own % count], classes)
    texts = [question.text for question in asked]
    assert len(set(texts)) == len(texts) == 1 + min(others, count - 1)
    assert [question.expected for question in asked] == ["yes"] + ["no"] * (len(asked) - 1)


def test_wrong_labels_are_found_and_right_ones_cleared():
    shown = np.arange(60) % 6
    labels = shown.copy()
    labels[:6] = (shown[:6] + 1) % 6
    answerer = Sees()
    assert isinstance(answerer, Answerer)
    table = {name: [f"Would you call it a {name.replace('_', ' ')}?"] for name in CLASSES}
    data = pictures(labels, shown)
    auditor = VDC(answerer, Templates(table, others=1))
    found = audit(auditor, data)
    assert {row.ids[0] for row in found.flagged} == set(data.ids[:6])
    assert answerer.asked == 60 * 3
    scores = auditor.consistency(data).score
    # The label itself and its attribute are denied; of another class, the shown one may be the one asked about.
    assert scores[:6].tolist() == [pytest.approx(1 / 3) if s > 0 else 0.0 for s in scores[:6]]
    assert (scores[6:] == 1).all()
    assert "polar bear" in next(row.why for row in found if row.evidence["label"] == "polar_bear")


def test_a_model_that_says_yes_to_everything_clears_nothing_by_it():
    data = pictures(np.arange(12) % 6)
    yes = audit(VDC(Sees(lambda true, asked: "yes"), Templates(others=4)), data)
    assert len(yes.flagged) == 12  # 1 of 5 right
    assert any("says yes to most" in note for note in yes.summary.notes)


def test_missing_answers_are_asked_for_again_and_then_left_out():
    class Forgetful(Sees):
        def answer(self, image, questions):
            return super().answer(image, questions)[: 3 if len(questions) > 1 else 1]

    data = pictures(np.arange(12) % 6)
    assert not audit(VDC(Forgetful()), data).flagged

    class Silent(Sees):
        def answer(self, image, questions):
            return [] if len(questions) == 1 else super().answer(image, questions)[:-1]

    found = audit(VDC(Silent()), data)
    assert not len(found)
    assert any("Cannot tell of 12 samples" in note for note in found.summary.notes)


def test_answers_that_are_neither_are_no_evidence():
    data = pictures(np.arange(6))
    made = VDC(Sees(lambda true, asked: "Yes." if true in asked else "hard to say")).consistency(data)
    assert np.isnan(made.score).all()  # one of five answered
    assert made.answered.tolist() == [1] * 6
    one = VDC(Sees(lambda true, asked: "Yes." if true in asked else "hm"), Templates(others=1)).consistency(data)
    assert (one.score == 1).all()


def test_more_answers_than_questions_are_refused():
    class Chatty(Sees):
        def answer(self, image, questions):
            return [*super().answer(image, questions), "and more"]

    class Numbers(Sees):
        def answer(self, image, questions):
            return [1.0] * len(questions)

    for answerer in (Chatty(), Numbers()):
        with pytest.raises(BadData, match="one text a question"):
            audit(VDC(answerer), pictures([0, 1]))


def test_unlabelled_samples_are_left_out_and_no_answerer_is_no_answer():
    data = pictures([0, 1, -1], [0, 1, 2])
    found = audit(VDC(Sees()), data)
    assert not len(found)
    assert any("1 samples without a label" in note for note in found.summary.notes)
    assert "Cannot tell" in audit(VDC(), data).summary.notes[0]
    with pytest.raises(BadArgument, match="answerer"):
        VDC().consistency(data)


def test_given_questions_must_cover_the_classes():
    given_ = {"cat": [Question("What is it?", ("cat", "kitten"))]}
    said = VDC(Sees(lambda true, asked: f"It shows a {true}."), given_)
    assert said.consistency(pictures([0, 0], [0, 1])).score.tolist() == [1.0, 0.0]
    with pytest.raises(BadArgument, match="'dog'"):
        audit(said, pictures([0, 1]))
    with pytest.raises(BadArgument, match="horse"):
        audit(VDC(Sees(), Templates({"horse": ["Does it neigh?"]})), pictures([0]))
    for wrong in ({"template": "no place"}, {"others": -1}, {"table": {"cat": "Is it?"}}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            Templates(**wrong)


def test_images_of_many_sizes_are_asked_about_as_they_are(tmp_path):
    from PIL import Image

    from kintsugi.data.formats import open_data

    seen = []

    class Looks(Sees):
        def answer(self, image, questions):
            seen.append(tuple(image.shape[1:]))
            return super().answer(image, questions)

    for k, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4 + k, 7, 3), 40 * k, np.uint8)).save(tmp_path / name / "a.png")
    assert not audit(VDC(Looks()), open_data(tmp_path, classes=CLASSES)).flagged
    assert set(seen) == {(3, 4, 7), (3, 5, 7)}
