"""One whole report about real images: digits on photographs, a classifier that leans on the photograph, its repair."""

import numpy as np
import pytest

from kintsugi.core.batch import Outputs
from kintsugi.core.findings import Finding, Findings, Summary
from kintsugi.core.randomness import numpy_rng
from kintsugi.data.compose import plant
from kintsugi.data.compose.digits_on_photos import DigitsOnPhotos
from kintsugi.data.source import Problem
from kintsugi.prove.compare import compare
from kintsugi.report.content import Curve, GeneratedPair, Repeat, Report, Rung
from kintsugi.report.pictures import gather, thumbnail


def pixels(data):
    return np.stack([data[i].image for i in range(len(data))]).reshape(len(data), -1) / 255.0


@pytest.fixture(scope="session")
def example():
    return make()


def make():
    from sklearn.neural_network import MLPClassifier

    world = DigitsOnPhotos()
    train, test = world.mixed(800, 0.02, "pool", 0), world.every_group("test", 0)
    groups = test.groups("label", "background")
    mixed = world.mixed(800, 0.5, "pool", 1)
    curves, answers = [], []
    for name, data in (("before", train), ("repaired", mixed)):
        model = MLPClassifier((48,), learning_rate_init=1e-3, batch_size=50, random_state=0)
        x, losses, accuracy = pixels(data), [], []
        for _ in range(12):
            model.partial_fit(x, data.labels, classes=[0, 1])
            p = np.clip(model.predict_proba(x)[np.arange(len(x)), data.labels], 1e-9, 1)
            losses.append(float(-np.log(p).mean()))
            right = model.predict(pixels(test)) == test.labels
            accuracy.append(min(float(right[groups.members(g)].mean()) for g in range(len(groups))))
        curves += [
            Curve("training loss", name, tuple(range(12)), tuple(losses)),
            Curve("worst-group accuracy", name, tuple(range(12)), tuple(accuracy)),
        ]
        answers.append(Outputs(test.ids, model.predict_proba(pixels(test)), held_out=True))
    verdict = compare(*answers, test.labels, groups, cluster=test.column("digit"), rng=numpy_rng(0))
    faulty, wrong = plant.wrong_labels(mixed, 0.06, numpy_rng(0, "wrong"))
    faulty, pairs = plant.near_duplicates(faulty, 9, numpy_rng(0, "copies"))
    believed = model.predict_proba(pixels(faulty))
    doubt = 1 - believed[np.arange(len(faulty)), faulty.labels]
    labels = Findings.of(
        [
            Finding(
                "sample",
                (faulty.ids[i],),
                float(doubt[i]),
                bool(doubt[i] > 0.75),
                "label_error",
                f"relabel:{faulty.classes[int(believed[i].argmax())]}",
                f"labelled {faulty.classes[faulty.labels[i]]}, held-out probability {1 - doubt[i]:.2f}",
                {"probability": float(1 - doubt[i])},
            )
            for i in range(len(faulty))
        ],
        "confident_learning",
        {"folds": 5},
        Summary(0.75, float(wrong.sum()), (35.0, 60.0), ("Outputs come from a small network on pixels.",)),
    )
    close = [float(np.clip(1 - 4 * np.abs(a - b).mean(), 0, 1)) for a, b in copies(faulty, pairs)]
    duplicates = Findings.of(
        [
            Finding("pair", pair, score, True, "near_duplicate", "drop", "the same picture with another exposure", {})
            for pair, score in zip(pairs, close, strict=True)
        ],
        "near_duplicates",
        {},
        Summary(0.5),
    )
    gaps = Findings.of(
        [
            Finding(
                "group",
                (e.group,),
                1 - e.before,
                e.before < 0.7,
                "group_gap",
                "collect",
                f"accuracy {e.before:.1%} before the repair, on {e.count} images",
                {},
            )
            for e in verdict.groups
            if e.p_value is not None
        ],
        "group_gaps",
    )
    found = (labels, duplicates, gaps)
    pictures = gather(faulty, found)
    generated = []
    for i in np.flatnonzero(train.labels != mixed.labels)[:8].tolist():
        pictures[f"made-{i}"], pictures[f"from-{i}"] = thumbnail(mixed[i].image), thumbnail(train[i].image)
        p = answers[1].prob[i]
        generated.append(
            GeneratedPair(
                f"made-{i}", f"from-{i}", mixed.classes[mixed.labels[i]], 0.97, 1 - float(p.max()), float(p.max())
            )
        )
    worst = verdict.groups[0]
    return Report(
        title="Digits on photographs",
        verdict=verdict,
        notes=(
            "800 training images: the class goes with the photograph behind the digit, and 2% of them break that.",
            "Three checks looked at the training images; 48 wrong labels and 9 near duplicates had been planted.",
            "Three repairs were tried on the selection part; the best was proven once on digits no training saw.",
        ),
        rungs=(
            Rung("clean data", 2.4, worst.before + 0.05, note="30 relabelled, 9 dropped"),
            Rung("last-layer retraining", 11.0, 0.5 * (worst.before + worst.after)),
            Rung("config", 214.0, worst.after + 0.02, chosen=True, note="100 guided images"),
            Rung("patient distillation", 60.0, None, note="left out: the budget ended"),
        ),
        findings=found,
        pictures=pictures,
        generated=tuple(generated),
        curves=tuple(curves),
        repeat=Repeat.here(
            "kintsugi demo --seed 0",
            "kintsugi mend demo-data --model student.safetensors --teacher teacher.safetensors --attributes background",
            seeds={"data": 0, "training": 0, "bootstrap": 0},
            data=faulty.fingerprint,
            device="cpu",
        ),
        problems=(
            Problem("a", "train/3/IMG_0042.jpg", "truncated", "image file is truncated (112 bytes not processed)"),
            Problem("b", "train/3/IMG_0043.jpg", "truncated"),
            Problem("c", "train/5/scan.png", "bomb", "24,000 x 24,000 pixels"),
        ),
    )


def copies(data, pairs):
    place = {name: row for row, name in enumerate(data.ids)}
    for pair in pairs:
        yield tuple(data[place[name]].image.astype(float) / 255 for name in pair)
