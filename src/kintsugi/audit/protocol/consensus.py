"""What several people's labels say together, how sure that is, and how many more votes would make it sure enough.

Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", 1979: the true class of
every sample and the reliability of every rater are estimated together. E step: P(z_i = k) is proportional to q_k times
the product over the votes (r, l) on i of P(l | k, r); M step: q and P(. | k, r) from expected counts. ``accuracy``, the
default, gives a rater one number: right with a_r, else any other class alike; ``confusion`` a table of all classes, for
raters with many votes and few classes. Priors keep rare raters near the others: a_r is Beta around the mean accuracy,
worth ``prior`` votes.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, section 3.1.3, set the number of
votes by a table of confidences for every class; here the posterior takes that place: a sample is settled when its most
probable class reaches the target precision. For the others the votes still needed are the missing log-odds over what a
vote brings on average, a (K - 1) / (1 - a) being its odds for the class against any other (ours; a rough number).

A posterior is as good as the assumption that raters err independently: where an image itself misleads, all err alike,
and the precision reached lies below what is stated: at a target of 95% it is 99% where mistakes go to any class and
93% where they go to look-alikes (`kintsugi prove consensus`). Fewer than three raters cannot be told apart: votes are
then counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, one_of, require
from kintsugi.core.findings import Finding, Findings, Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

CARD = Card(
    name="consensus",
    kind="auditor",
    title="labels that several people's votes contradict, and where more votes are needed",
    paper="Russakovsky et al. ImageNet Large Scale Visual Recognition Challenge. IJCV 2015. arXiv 1409.0575",
    card=106,
    status="proven",
)
CELLS = 100_000_000  # numbers of one table (images and classes, or raters' confusions), at most


@dataclass(frozen=True)
class Consensus:
    """Aggregates votes.

    Args:
        votes: (sample id, rater, class name or index) each; None takes the column ``annotators``, whose lists have one
            label a rater, in the same order, None where there is none.
        raters: ``accuracy`` (one number a rater) or ``confusion`` (a table a rater).
        target: precision from which a sample is settled.
        prior: how many votes the mean rater's reliability counts for.
        rounds: of the alternation, at most.
    """

    votes: Sequence[tuple[str, str, str | int]] | None = None
    raters: Literal["accuracy", "confusion"] = "accuracy"
    target: float = 0.95
    prior: float = 4.0
    rounds: int = 100

    def __post_init__(self) -> None:
        one_of("raters", self.raters, ("accuracy", "confusion"))
        require(0.5 < self.target < 1, "target", self.target, "a precision between 0.5 and 1")
        require(0 < self.prior < np.inf, "prior", self.prior, "a number of votes above 0")
        require(self.rounds >= 1, "rounds", self.rounds, "1 or more")

    def __call__(self, data: ImageSet, outputs: Outputs | None, rng: np.random.Generator) -> Findings:
        """Audit the labels of the samples that were voted on; outputs are not looked at."""
        params = {name: getattr(self, name) for name in ("raters", "target", "prior", "rounds")}
        item, rater, label, names = self._read(data)
        if not len(item):
            note = "Nobody voted on these images: what people's votes say of the labels cannot be told."
            return Findings.of([], CARD.name, params, Summary(None, None, None, (note,)))
        rows, at = np.unique(item, return_inverse=True)
        posterior, ability = aggregate(at, rater, label, len(data.classes), self.raters, self.prior, self.rounds)
        count = np.bincount(at)
        found = list(self._rows(data, rows, posterior, count, ability))
        settled = posterior.max(axis=1) >= self.target
        wrong = sum(row.flagged for row in found)
        notes = [f"{len(names)} raters gave {len(item)} votes on {len(rows)} of {len(data)} images."]
        notes.append(f"{int(settled.sum())} are settled at {self.target:.0%} precision, if raters err independently.")
        if len(names) < 3:
            notes.append("Fewer than three raters cannot be told apart: their votes count alike.")
        else:
            worst = np.argsort(ability, kind="stable")[:3]
            least = ", ".join(f"{names[int(r)]} {ability[r]:.0%}" for r in worst)
            notes.append(f"Raters are right in {np.median(ability):.0%} (median); least: {least}.")
        return Findings.of(found, CARD.name, params, Summary(self.target, float(wrong), None, tuple(notes)))

    def _rows(self, data: ImageSet, rows: Ints, posterior: Floats, count: Ints, ability: Floats) -> Iterator[Finding]:
        best = posterior.argmax(axis=1)
        for i, row in enumerate(rows):
            given, p = int(data.labels[row]), float(min(1.0, posterior[i, best[i]]))
            name, old = data.classes[best[i]], data.classes[given] if given >= 0 else "nothing"
            evidence = {"votes": int(count[i]), "probability": p, "label": old, "consensus": name}
            if p < self.target:
                more = votes_needed(p, self.target, float(ability.mean()), len(data.classes))
                why = f"{count[i]} votes make {name} {p:.0%} sure; about {more} more are needed"
                score = float(np.clip(1 - p, 0, 1))
                yield Finding(
                    "sample", (data.ids[row],), score, False, "votes_needed", "review", why, {**evidence, "more": more}
                )
            elif best[i] != given:
                why = f"labelled {old}, {count[i]} votes say {name} ({p:.0%} sure)"
                what = f"relabel:{best[i]}"
                yield Finding("sample", (data.ids[row],), p, given >= 0, "label_by_votes", what, why, evidence)

    def _read(self, data: ImageSet) -> tuple[Ints, Ints, Ints, list[str]]:
        """Row, rater and class of each vote, and the raters' names."""
        if self.votes is None:
            if "annotators" not in data.columns:
                none = np.zeros(0, dtype=np.int64)
                return none, none, none, []
            triples = [
                (row, str(r), value)
                for row, given in enumerate(data.table.column("annotators").to_pylist())
                for r, value in enumerate(given or [])
                if value is not None and value != -1
            ]
        else:
            place = {name: i for i, name in enumerate(data.ids)}
            strange = next((name for name, _, _ in self.votes if name not in place), None)
            if strange is not None:
                raise BadData(f"A vote is on {strange!r}, which is not in the data.", "Use the votes on this data.")
            triples = [(place[name], str(rater), value) for name, rater, value in self.votes]
        names = {name: i for i, name in enumerate(dict.fromkeys(rater for _, rater, _ in triples))}
        label = np.array([data.class_index(value) for _, _, value in triples], dtype=np.int64)
        if len(label) and not 0 <= label.min() <= label.max() < len(data.classes):
            raise BadData(f"A vote names class {label.max()} of {len(data.classes)}.", "Vote for classes of the data.")
        item = np.array([row for row, _, _ in triples], dtype=np.int64)
        rater = np.array([names[name] for _, name, _ in triples], dtype=np.int64)
        if len({(i, r) for i, r in zip(item.tolist(), rater.tolist(), strict=True)}) != len(item):
            raise BadData("A rater voted twice on one image.", "Keep the later vote.")
        return item, rater, label, list(names)


def aggregate(
    item: Ints,
    rater: Ints,
    label: Ints,
    classes: int,
    raters: Literal["accuracy", "confusion"] = "accuracy",
    prior: float = 4.0,
    rounds: int = 100,
) -> tuple[Floats, Floats]:
    """Probabilities of the true class, float ``[items, classes]``, and each rater's accuracy, float ``[raters]``.

    Args:
        item: of each vote, numbers from 0 without a gap, ``[votes]``.
        rater: of each vote, likewise.
        label: voted for.
        classes: K.
        raters: the model of raters.
        prior: votes that the mean rater's reliability counts for.
        rounds: at most; it ends earlier when no probability moves by more than 1e-6.

    Raises:
        BadData: the table of probabilities, or that of the raters, would be too large.
    """
    n, people = int(item.max()) + 1, int(rater.max()) + 1
    if n * classes > CELLS:
        raise BadData(f"Votes on {n} images in {classes} classes are too many at once.", "Aggregate them in parts.")
    if raters == "confusion" and people * classes**2 > CELLS:
        raise BadData(f"{people} raters' tables of {classes} classes are too large.", "Use raters='accuracy'.")
    counts = np.zeros((n, classes))
    np.add.at(counts, (item, label), 1.0)
    posterior = counts / counts.sum(axis=1, keepdims=True)
    alike = people < 3 or classes < 2
    ability = np.full(people, 0.8)
    for _ in range(rounds):
        agreed = np.bincount(rater, weights=posterior[item, label], minlength=people)
        given = np.bincount(rater, minlength=people)
        mean = float(np.clip(agreed.sum() / given.sum(), 1 / max(classes, 2) + 1e-3, 1 - 1e-3))
        ability = np.full(people, mean) if alike else (agreed + prior * mean) / (given + prior)
        share = (posterior.sum(axis=0) + 1) / (n + classes)
        if raters == "confusion" and not alike:
            log = _log_confusion(posterior, item, rater, label, people, mean, prior)
            evidence = np.zeros((n, classes))
            np.add.at(evidence, item, log[rater, :, label])
        else:
            a = np.clip(ability, 1e-3, 1 - 1e-3)
            bonus = np.log(a * max(classes - 1, 1) / (1 - a))
            evidence = np.zeros((n, classes))
            np.add.at(evidence, (item, label), bonus[rater])
        evidence += np.log(share)
        fresh = np.exp(evidence - evidence.max(axis=1, keepdims=True))
        fresh /= fresh.sum(axis=1, keepdims=True)
        moved, posterior = float(np.abs(fresh - posterior).max()), fresh
        if moved < 1e-6:
            break
    return posterior, ability


def _log_confusion(
    posterior: Floats, item: Ints, rater: Ints, label: Ints, people: int, mean: float, prior: float
) -> Floats:
    """log P(vote | true class, rater), float ``[raters, K, K]``, each row with a prior around the mean rater."""
    k = posterior.shape[1]
    table = np.zeros((people, k, k))
    for c in range(k):  # one column a time: votes times classes squared would not fit
        mine = label == c
        np.add.at(table[:, :, c], rater[mine], posterior[item[mine]])
    table += prior * (np.eye(k) * mean + (1 - np.eye(k)) * (1 - mean) / max(k - 1, 1))
    made: Any = np.log(table / table.sum(axis=2, keepdims=True))
    return made


def votes_needed(probability: float, target: float, accuracy: float, classes: int) -> int:
    """About how many more votes lift a sample's most probable class to the target, at least 1."""
    others = max(classes - 1, 1)
    a = float(np.clip(accuracy, 1 / max(classes, 2) + 1e-3, 1 - 1e-3))
    odds = np.log(a * others / (1 - a))
    gain = (a - (1 - a) / others) * odds  # for the class, less what goes to the runner-up
    missing = np.log(target / (1 - target)) - np.log(probability / (1 - probability))
    return max(1, int(np.ceil(missing / gain)))
