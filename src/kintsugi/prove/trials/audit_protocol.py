"""Evidence for `audit_protocol`: rates from the uniform stratum are honest, and those from a queue are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.audit.protocol.audit_protocol import AuditProtocol
from kintsugi.audit.protocol.votes import Vote
from kintsugi.core.errors import one_of
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.imageset import ImageSet
from kintsugi.prove.population import covers
from kintsugi.prove.seeded import Measured, Seeded
from kintsugi.prove.small import digits
from kintsugi.prove.trial import Claim
from kintsugi.training.crossval import cross_val_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.findings import Findings
    from kintsugi.core.run import Run

ROW = "12% wrong, most of it in one class"
OWN, QUEUE, ALL, ASKED = "audit_protocol", "rate of the queue", "rate of all that was reviewed", "as the card asks"
SURE, REVIEWERS, RUNS = 0.95, 3, 50
NEAR = "minus error of the rate"


def trial(setting: str = "") -> Seeded:
    """The one setting there is."""
    one_of("setting", setting, ("",))
    return Seeded(
        OWN,
        "audit_protocol: distance of the rate from the true one, share of runs whose 95% interval holds it and that "
        "rank the worst class first, and how far the queue's rate lies above",
        (
            Claim(ROW, NEAR, OWN, (ASKED,)),
            Claim(ROW, NEAR, OWN, (QUEUE, ALL), margin=0.03),
            Claim(ROW, "coverage", OWN, (ASKED,)),
            Claim(ROW, "worst class first", OWN, (ASKED,)),
            Claim(ROW, "above the truth", QUEUE, (ASKED,)),
        ),
        _measure,
        "scikit-learn's handwritten digits with planted wrong labels: of a class nine labels in ten, of two others one "
        f"in eight, 12% in all; {REVIEWERS} simulated reviewers an image, right in {SURE:.0%}; 20 images a class by "
        f"lot and a queue of 200 by 5-fold logistic heads on pixels; {RUNS} runs a seed; everything as the card has "
        "it, save that it does not say how many reviewers look at an image",
        settings={"asked": "off by 0.03, 90% coverage, first in 95% of runs, 0.1 above"},
    )


def _measure(seed: int, run: Run) -> Measured:
    rng = numpy_rng(seed, "audit_protocol")
    data, wrong, worst = _planted(seed, rng)
    flat = np.concatenate([image for _, image in data.stream(len(data))])[..., 0].reshape(len(data), -1) / 255.0
    outputs = cross_val_outputs(flat, data.labels, data.ids, len(data.classes), rng=rng)
    truth, held = float(wrong.mean()), []
    for _ in range(RUNS):
        votes = _reviewed(AuditProtocol()(data, outputs, rng), dict(zip(data.ids, wrong, strict=True)), rng)
        found = AuditProtocol(votes)(data, None, rng)
        count, interval = found.summary.count, found.summary.interval
        assert count is not None
        assert interval is not None
        low, high = (end / len(data) for end in interval)
        queue, every = _naive([v for v in votes if v.stratum == "queue"]), _naive(votes)
        first = next(row.ids[0] for row in found if row.check == "class_error_rate") == data.classes[worst]
        held.append((count / len(data), queue, every, covers((low, high), truth), first))
    own, queue, every, inside, first = np.array(held, dtype=float).T
    yield (
        ROW,
        OWN,
        {NEAR: -float(np.abs(own - truth).mean()), "coverage": float(inside.mean()), "worst class first": first.mean()},
    )
    for arm, rate in ((QUEUE, queue), (ALL, every)):
        yield ROW, arm, {NEAR: -float(np.abs(rate - truth).mean()), "above the truth": float((rate - truth).mean())}
    yield ROW, ASKED, {NEAR: -0.03, "coverage": 0.9, "worst class first": 0.95, "above the truth": 0.1}


def _planted(seed: int, rng: np.random.Generator) -> tuple[ImageSet, NDArray[np.bool_], int]:
    """Digits with wrong labels, which are wrong, and the class whose labels mostly are."""
    data = ImageSet.concat(list(digits(seed)))
    worst, *others = rng.permutation(10)[:3].tolist()
    true = data.labels
    data = data.select(
        np.sort(np.concatenate([np.flatnonzero(true != worst), rng.permutation(np.flatnonzero(true == worst))[:16]]))
    )
    label, wrong = data.labels.copy(), np.zeros(len(data), dtype=bool)
    for k, count in ((worst, 144), (others[0], 26), (others[1], 26)):
        free = np.flatnonzero(~wrong & ~np.isin(label, [worst, *others]))
        taken = rng.permutation(free)[:count]
        label[taken], wrong[taken] = k, True
    return data.relabel(label), wrong, worst


def _reviewed(plan: Findings, wrong: dict[str, Any], rng: np.random.Generator) -> list[Vote]:
    """What simulated reviewers say of the planned images."""
    votes = []
    for row in plan:
        for reviewer in range(REVIEWERS):
            says = bool(wrong[row.ids[0]]) == (rng.random() < SURE)
            verdict = "incorrect" if says else "correct"
            votes.append(Vote(row.ids[0], f"reviewer {reviewer}", verdict, stratum=str(row.evidence["stratum"])))
    return votes


def _naive(votes: list[Vote]) -> float:
    """Share of images that most of their reviewers call wrong."""
    said: dict[str, int] = {}
    for vote in votes:
        said[vote.id] = said.get(vote.id, 0) + (vote.verdict == "incorrect")
    return float(np.mean([2 * count > REVIEWERS for count in said.values()]))
