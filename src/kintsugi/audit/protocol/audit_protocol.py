"""How people look at a data set, and what may be concluded: a sampling plan, votes, agreement, and honest rates.

Luccioni and Rolnick, "Bugs in the Data: How ImageNet Misrepresents Biodiversity", AAAI 2023: experts look at every
image of a class, flag classes (ill-defined, overlapping, no kind of its own, outdated name) and images (wrong label,
several types, humans, too blurry, artificial, collage), and report rates by class. Our plan looks at fewer: some images
of every class drawn by lot (the uniform stratum), and a queue in order of suspicion, the given label's improbability
unless scores are passed. Rates come from the uniform stratum alone; the queue's share of wrong labels is shown beside
them, as what must not be quoted.

An image counts as what more reviewers say than anything else, and as open where two verdicts are level. Class rates
have Wilson's interval; the whole rate weighs classes by their size, and its interval shrinks where most was looked at
(`metrics/strata.py`). Mistakes of the majority are not taken out: with three reviewers right in 95% they move a rate of
12% by half a point. `consensus` weighs reviewers. Origins of images are an attribute like any other: `group_gaps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.protocol.estimates import accuracies, agreement_note, class_weighted
from kintsugi.audit.protocol.votes import (
    CLASS_FLAGS,
    IMAGE_FLAGS,
    VERDICTS,
    Vote,
    check_votes,
    majority,
    verdict_table,
)
from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.ops.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="audit_protocol",
    kind="auditor",
    title="a plan for reviewers, and rates, agreement and corrected accuracy from their votes",
    paper="Luccioni and Rolnick, Bugs in the Data: How ImageNet Misrepresents Biodiversity, AAAI 2023",
    card=14,
    status="proven",
)


@dataclass(frozen=True)
class AuditProtocol:
    """Plan a review, or conclude from one.

    Args:
        votes: what reviewers said; None or none gives the plan.
        scores: suspicion of samples by id, 0..1, for the queue; None takes outputs, else nothing is queued.
        per_class: images of every class drawn by lot.
        queue: images looked at because they are suspicious, at most.
        threshold: error rate above which a class is flagged, once its interval is.
        class_flags: flags of classes by class name, of ``ill_defined``, ``overlapping``, ``not_a_kind`` and
            ``outdated_name``.
        overlapping: sets of class names that are merged, in labels and answers alike, for the second accuracy.
    """

    votes: Sequence[Vote] | None = None
    scores: Mapping[str, float] | None = None
    per_class: int = 20
    queue: int = 200
    threshold: float = 0.1
    class_flags: Mapping[str, Sequence[str]] | None = None
    overlapping: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        require(self.per_class >= 1, "per_class", self.per_class, "1 or more")
        require(self.queue >= 0, "queue", self.queue, "0 or more")
        require(0 < self.threshold < 1, "threshold", self.threshold, "a share between 0 and 1")
        for flags in (self.class_flags or {}).values():
            for flag in flags:
                one_of("class_flags", flag, CLASS_FLAGS)
        check_votes(self.votes or ())

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit labelled samples; outputs, if given, must be those of the data."""
        if outputs is not None:
            require(list(outputs.id) == data.ids, "outputs", len(outputs.id), "outputs of this data, row for row")
        named = [name for part in self.overlapping for name in part] + list(self.class_flags or {})
        unknown = next((name for name in named if name not in data.classes), None)
        if unknown is not None:
            raise BadArgument(f"There is no class {unknown!r}:", "name classes of the data.")
        rows = [*self._class_rows(), *(self._plan(data, outputs, rng) if not self.votes else ())]
        if not self.votes:
            notes = (
                "Nobody reviewed these images: the share of wrong labels cannot be told. The findings are a plan.",
            )
            return Findings.of(rows, CARD.name, self._params(), Summary(None, None, None, notes))
        made, summary = self._conclude(data, outputs, self.votes)
        return Findings.of([*rows, *made], CARD.name, self._params(), summary)

    def _params(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("per_class", "queue", "threshold")}

    def _class_rows(self) -> Iterator[Finding]:
        for name, flags in (self.class_flags or {}).items():
            for flag in dict.fromkeys(flags):
                why = f"the class {name} was called {flag.replace('_', ' ')}"
                yield Finding("class", (name,), 1.0, True, f"class_{flag}", "review", why)

    # ------------------------------------------------------------------------------------------------ the plan

    def _plan(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Iterator[Finding]:
        chosen = self._by_lot(data.labels, rng)
        score = self._suspicion(data, outputs)
        for row in np.flatnonzero(chosen):
            why = f"drawn by lot among those labelled {data.classes[data.labels[row]]}"
            yield Finding(
                "sample", (data.ids[row],), 0.0, False, "review_uniform", "review", why, {"stratum": "uniform"}
            )
        rest = np.flatnonzero(~chosen & (data.labels >= 0) & (score > 0))
        for row in rest[np.argsort(-score[rest], kind="stable")][: self.queue]:
            why = f"suspicion {score[row]:.2f} of the label {data.classes[data.labels[row]]}"
            yield Finding(
                "sample",
                (data.ids[row],),
                float(score[row]),
                False,
                "review_queue",
                "review",
                why,
                {"stratum": "queue"},
            )

    def _by_lot(self, label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """``per_class`` samples of every class, bool ``[N]``."""
        order = rng.permutation(len(label))
        order = order[np.argsort(label[order], kind="stable")]
        start = np.searchsorted(label[order], label[order])  # where each one's class begins
        chosen = np.zeros(len(label), dtype=bool)
        chosen[order] = np.arange(len(label)) - start < self.per_class
        return chosen & (label >= 0)

    def _suspicion(self, data: ImageSet, outputs: Outputs | None) -> NDArray[np.float64]:
        if self.scores is not None:
            given = np.array([self.scores.get(name, 0.0) for name in data.ids], dtype=np.float64)
            require(bool(((given >= 0) & (given <= 1)).all()), "scores", "a score", "numbers from 0 to 1")
            return given
        if outputs is None or not len(data):
            return np.zeros(len(data))
        known = np.maximum(data.labels, 0)
        return np.clip(np.where(data.labels >= 0, 1 - outputs.prob[np.arange(len(data)), known], 0.0), 0.0, 1.0)

    # ------------------------------------------------------------------------------------------- the conclusion

    def _conclude(
        self, data: ImageSet, outputs: Outputs | None, votes: Sequence[Vote]
    ) -> tuple[list[Finding], Summary]:
        place = {name: i for i, name in enumerate(data.ids)}
        strange = next((vote.id for vote in votes if vote.id not in place), None)
        if strange is not None:
            raise BadData(f"A vote is on {strange!r}, which is not in the data.", "Use the votes on this data.")
        ids, table = verdict_table(votes)
        row = np.array([place[name] for name in ids], dtype=np.int64)
        said = majority(table, len(VERDICTS))
        stratum = {vote.id: vote.stratum for vote in votes}
        lot = np.array([stratum[name] == "uniform" for name in ids])
        judged = (
            lot & ((said == 0) | (said == 1)) & (data.labels[row] >= 0)
        )  # unidentifiable is neither right nor wrong
        found = list(self._images(data, votes, ids, row, said))
        found += self._classes(data, row[judged], said[judged] == 1)
        found += self._flag_rates(votes, ids, lot)
        notes = [
            agreement_note(table),
            f"{int((said < 0).sum())} of {len(ids)} images are open, two verdicts being level.",
        ]
        if lot.any():
            vague = float((said[lot] == 2).mean())
            notes.append(f"{vague:.1%} of the images drawn by lot are unidentifiable, which is not counted as wrong.")
        queued = ~lot & (said >= 0)
        if queued.any():
            share = float((said[queued] == 1).mean())
            notes.append(
                f"Of the queue {share:.1%} are wrong: they were chosen for looking so, and say nothing of a rate."
            )
        if not judged.any():
            notes.append("No image drawn by lot was judged: the share of wrong labels cannot be told.")
            return found, Summary(None, None, None, tuple(notes))
        label = data.labels[row[judged]]
        rate, (low, high), covered = class_weighted(data, label, said[judged] == 1)
        if covered < 1:
            notes.append(f"Classes holding {1 - covered:.1%} of the images were not reviewed and are not in the rate.")
        if outputs is not None:
            right_rows = row[judged & (said == 0)]
            found += accuracies(data, outputs, row[judged], right_rows, self.overlapping)
        total = int((data.labels >= 0).sum()) * covered
        return found, Summary(self.threshold, rate * total, (low * total, high * total), tuple(notes))

    def _images(
        self, data: ImageSet, votes: Sequence[Vote], ids: list[str], row: NDArray[np.int64], said: NDArray[np.int64]
    ) -> Iterator[Finding]:
        named: dict[str, list[str]] = {}
        for vote in votes:
            if vote.verdict == "incorrect" and vote.label in data.classes:
                named.setdefault(vote.id, []).append(vote.label)
        for name, i, verdict in zip(ids, row, said, strict=True):
            if verdict == 1:
                labels = np.array([data.classes.index(one) for one in named.get(name, [])], dtype=np.int64)
                other = int(majority(labels[None], len(data.classes))[0]) if len(labels) else -1
                what = f"relabel:{other}" if other >= 0 else "drop"
                old = data.classes[data.labels[i]] if data.labels[i] >= 0 else "nothing"
                yield Finding("sample", (name,), 1.0, True, "reviewed_wrong", what, f"labelled {old}, reviewers say no")
            elif verdict == 2:
                yield Finding("sample", (name,), 0.5, False, "reviewed_vague", "review", "reviewers cannot identify it")

    def _classes(self, data: ImageSet, row: NDArray[np.int64], wrong: NDArray[np.bool_]) -> Iterator[Finding]:
        label = data.labels[row]
        for k in np.unique(label):
            n, bad = int((label == k).sum()), int(wrong[label == k].sum())
            low, high = (float(end) for end in wilson(bad, n))
            why = f"{data.classes[k]}: {bad} of {n} drawn by lot are wrong ({low:.0%} to {high:.0%})"
            yield Finding(
                "class",
                (data.classes[k],),
                bad / n,
                low > self.threshold,
                "class_error_rate",
                "review",
                why,
                {"count": n, "rate": bad / n, "low": low, "high": high},
            )

    def _flag_rates(self, votes: Sequence[Vote], ids: list[str], lot: NDArray[np.bool_]) -> Iterator[Finding]:
        """Shares of images that more than half of their reviewers flag, from the uniform stratum."""
        chosen = {name for name, by_lot in zip(ids, lot, strict=True) if by_lot}
        people = dict.fromkeys(chosen, 0)
        marks: dict[tuple[str, str], int] = {}
        for vote in votes:
            if vote.id in chosen:
                people[vote.id] += 1
                for flag in vote.flags:
                    marks[vote.id, flag] = marks.get((vote.id, flag), 0) + 1
        for flag in IMAGE_FLAGS:
            held = sum(2 * marks.get((name, flag), 0) > count for name, count in people.items())
            if held:
                low, high = (float(end) for end in wilson(held, len(chosen)))
                why = f"{flag.replace('_', ' ')}: {held} of {len(chosen)} drawn by lot ({low:.1%} to {high:.1%})"
                yield Finding(
                    "dataset", (flag,), held / len(chosen), False, "image_flag", "review", why, {"count": held}
                )
