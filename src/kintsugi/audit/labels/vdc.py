"""Finds wrong labels and poisoned images by asking a vision-language model what the label would have it say.

Zhu, Zhang, Wu, Du, Zhao and Wu, "VDC: Versatile Data Cleanser for Detecting Dirty Samples via Visual-Linguistic
Inconsistency", ICLR 2024, arXiv:2309.16211. Questions are made of a label once a class; the model answers them about
the image; with right and answered counted over a sample's questions,

    s = right / answered,       dirty where s < threshold (0.5)                                                    (1)

A model that learned from these very labels would have learned the poison too: a loss is low on a backdoored image, an
answer to "does it have a closed loop?" is not.

Deviations. Questions come from a template and from a table a person writes, or are given, instead of from a language
model; those with words as answer are right when a word stands in it, where the paper lets a language model judge. The
released code (version 2) expects "yes" of every question and finds it anywhere in the answer; here "no" questions are
mixed in and the first word alone counts. Answers that are missing or neither yes nor no are left out of (1), and a
sample with fewer than half of its questions answered is neither cleared nor accused. The paper's figures were not
verified. What the answers come from must be free of poison itself.

The threshold of 0.5 is for questions that no two classes share. Where classes share attributes an image passes it with
a wrong label (`kintsugi prove vdc`: of digits with a trigger half pass, and the attack stays); on trusted samples one
sees which threshold clears nine in ten of them, and that one finds all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.labels.questions import NO, YES, Question, QuestionSource, Templates
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.progress import task
from kintsugi.models.predict import as_images

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.core.kinds import Answerer
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="vdc",
    kind="auditor",
    title="Wrong labels and poisoned images, from answers that do not fit the label",
    paper="Zhu et al., VDC: Versatile Data Cleanser, ICLR 2024, arXiv:2309.16211",
    card=100,
    code="https://github.com/zihao-ai/vdc",
    needs=("answers to questions",),
    status="proven",
)

FEWEST = 0.5  # share of a sample's questions that must have been answered


@dataclass(frozen=True)
class Consistency:
    """How well answers fit the labels.

    Attributes:
        score: s of (1), float64 ``[N]``; NaN where too few questions were answered, or none was asked.
        asked: questions, int64 ``[N]``.
        answered: of them answered, int64 ``[N]``.
        honest: share right of the answered questions by the answer expected, ``yes``, ``no`` and ``words``.
        wrong: texts of the questions answered wrongly, by row.
    """

    score: NDArray[np.float64]
    asked: NDArray[np.int64]
    answered: NDArray[np.int64]
    honest: Mapping[str, float]
    wrong: Mapping[int, tuple[str, ...]]


class VDC:
    """Finds dirty samples.

    Args:
        answerer: a vision-language model, or heads that answer.
        questions: the questions of each class, or what makes them of a class name; None is
            :class:`~kintsugi.audit.labels.questions.Templates`.
        threshold: consistency below which a sample is dirty.
        batch_size: questions asked at a time.

    A finding is a dirty sample; its score is 1 - s.
    """

    def __init__(
        self,
        answerer: Answerer | None = None,
        questions: QuestionSource | Mapping[str, Sequence[Question]] | None = None,
        *,
        threshold: float = 0.5,
        batch_size: int = 32,
    ) -> None:
        require(0 < threshold <= 1, "threshold", threshold, "a share above 0")
        require(batch_size >= 1, "batch_size", batch_size, "at least 1 question")
        self.answerer, self.threshold, self.batch_size = answerer, threshold, batch_size
        self.questions: Any = Templates() if questions is None else questions

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Ask about every labelled image.

        Raises:
            BadArgument: a class has no questions.
            BadData: the answerer gives more answers than it was asked for, or answers that are no text.
        """
        params = {"threshold": self.threshold, "batch_size": self.batch_size}
        if self.answerer is None:
            note = "Cannot tell: nobody answers questions about the images. Give an answerer."
            return Findings.of([], CARD.name, params, Summary(notes=(note,)))
        made = self.consistency(data)
        found = []
        for row in np.flatnonzero(made.score < self.threshold):
            wrong, name = made.wrong[int(row)], data.classes[data.labels[row]]
            why = f"labelled {name}; {len(wrong)} of {made.answered[row]} answers do not fit, such as to {wrong[0]!r}"
            evidence = {"label": name, "asked": int(made.asked[row]), "answered": int(made.answered[row])}
            score = float(1 - made.score[row])
            found.append(Finding("sample", (data.ids[row],), score, True, "inconsistent", "review", why, evidence))
        said = ", ".join(f"{kind} {share:.0%}" for kind, share in made.honest.items())
        notes = [f"Answers by {self.answerer.name}; right, by the answer expected: {said or 'nothing was answered'}."]
        if made.honest.get(NO, 1.0) < 0.5 < made.honest.get(YES, 0.0):
            notes.append("It says yes to most questions whatever is asked: its answers tell little.")
        if silent := int(((made.asked > 0) & np.isnan(made.score)).sum()):
            notes.append(f"Cannot tell of {silent} samples: fewer than half of their questions were answered.")
        if without := int((made.asked == 0).sum()):
            notes.append(f"{without} samples without a label, or that could not be read, were left out.")
        notes.append("Cannot tell how many are dirty until some have been looked at: the threshold is a rule.")
        return Findings.of(found, CARD.name, params, Summary(1 - self.threshold, None, None, tuple(notes)))

    def consistency(self, data: ImageSet) -> Consistency:
        """Ask the questions of its label about every image.

        Raises:
            BadArgument: as when called.
            BadData: likewise.
        """
        require(self.answerer is not None, "answerer", None, "what answers the questions")
        rows = np.flatnonzero(data.labels >= 0)
        sheet = {int(k): self._questions(int(k), data.classes) for k in np.unique(data.labels[rows])}
        asked, answered, right = (np.zeros(len(data), dtype=np.int64) for _ in range(3))
        tally: dict[str, list[int]] = {}  # right and answered, by the answer expected
        wrong: dict[int, tuple[str, ...]] = {}
        most = max((len(each) for each in sheet.values()), default=1)
        # Images of one size are asked about together; others one at a time, each as large as it is.
        many = max(1, self.batch_size // most) if getattr(data.source, "gather", None) is not None else 1
        order: Any = [rows[start : start + many] for start in range(0, len(rows), many)]
        with task("ask", len(rows)) as tracker:
            for seen, pixels in data.stream(order=order):
                pairs = [(place, q) for place, row in enumerate(seen) for q in sheet[int(data.labels[row])]]
                image = as_images(pixels, "cpu")
                for (place, question), answer in zip(pairs, self._asked(image, pairs), strict=True):
                    row, fits = int(seen[place]), question.right(answer)
                    asked[row] += 1
                    if fits is None:
                        continue
                    answered[row] += 1
                    right[row] += fits
                    kind = question.expected if question.expected in (YES, NO) else "words"
                    counts = tally.setdefault(str(kind), [0, 0])
                    counts[0] += fits
                    counts[1] += 1
                    if not fits:
                        wrong[row] = (*wrong.get(row, ()), question.text)
                tracker.advance(len(seen))
        enough = (answered > 0) & (answered >= FEWEST * asked)
        score = np.where(enough, right / np.maximum(answered, 1), np.nan)
        return Consistency(score, asked, answered, {k: tally[k][0] / tally[k][1] for k in sorted(tally)}, wrong)

    def _questions(self, k: int, classes: tuple[str, ...]) -> Sequence[Question]:
        name = classes[k]
        asked = self.questions.get(name, ()) if isinstance(self.questions, Mapping) else self.questions(name, classes)
        if not asked:
            raise BadArgument(f"questions has none for the class {name!r}:", "give at least one for each class.")
        return list(asked)

    def _asked(self, image: torch.Tensor, pairs: Sequence[tuple[int, Question]]) -> Iterator[str]:
        for start in range(0, len(pairs), self.batch_size):
            part = pairs[start : start + self.batch_size]
            answers = self._answers(image[[place for place, _ in part]], [question.text for _, question in part])
            if len(answers) < len(part):  # nobody can say which are missing: ask one by one
                answers = []
                for place, question in part:
                    one = self._answers(image[[place]], [question.text])
                    answers.append(one[0] if one else "")
            yield from answers

    def _answers(self, image: torch.Tensor, texts: list[str]) -> list[str]:
        assert self.answerer is not None
        answers = list(self.answerer.answer(image, texts))
        if len(answers) > len(texts) or not all(isinstance(answer, str) for answer in answers):
            raise BadData(
                f"{self.answerer.name} gives {len(answers)} answers to {len(texts)} questions, the first "
                f"{answers[0]!r}:",
                "an answerer returns one text a question.",
            )
        return answers
