"""`Case`: data, a classifier, and what is done about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.api.parts import Parts, divide
from kintsugi.core.devices import pick
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.run import Run
from kintsugi.data.groups import Groups
from kintsugi.data.imageset import ImageSet

if TYPE_CHECKING:
    from kintsugi.api.audit import Audit
    from kintsugi.api.discover import Discovery
    from kintsugi.api.mend import Mended
    from kintsugi.api.repair import Repaired
    from kintsugi.api.stress import Stress
    from kintsugi.core.batch import Outputs
    from kintsugi.core.verdict import Verdict
    from kintsugi.data.source import Problem


def load(
    data: Any,
    model: Any = None,
    *,
    teacher: Any = None,
    generator: Any = None,
    attributes: Sequence[str] = (),
    cluster: str | None = None,
    names: Sequence[str] | None = None,
    classes: Any = None,
    weights: str | Path | None = None,
    size: tuple[int, int] | None = None,
    held_out: bool | None = None,
    out: str | Path = "kintsugi-out",
    device: str = "auto",
    seed: int = 0,
    **columns: Any,
) -> Case:
    """Open data and models and put them together.

    Args:
        data: an :class:`ImageSet`, a folder, a table, a tar shard, ``hf:NAME``...; see ``kintsugi.data.open``.
        model: a module, ``timm:NAME``, ``torchvision:NAME``, an ``.onnx`` file, a predictions file, a run folder...;
            see ``kintsugi.models.open``. None: only the data is audited.
        teacher: a robust model to learn from, named in the same ways.
        generator: a trained image generator (a run folder or ``sd:NAME``), for repairs that make images.
        attributes: columns that split each class into groups.
        cluster: column naming what samples share (patient, source image): splits and intervals respect it.
        names: the data's class names in the order of its labels, where it does not carry them.
        classes: names of the model's outputs in order, or a mapping from the data's classes to the model's, or a file
            of either; names and WordNet ids are matched without it.
        weights: the model's weights file, where its name alone does not say.
        size: (height, width) that images are brought to for models that state none; needed where images differ in size.
        held_out: whether the model never saw these samples; None when nobody knows.
        out: folder of the runs.
        device: ``auto``, ``cpu``, ``cuda``...
        seed: every random stream is derived from it.
        columns: names of the table's columns: ``label=``, ``split=``, ``id=``, ``path=``, ``mask=``..., and ``root=``,
            the folder its paths start from.

    Raises:
        KintsugiError: something cannot be read; the message says what to do.
    """
    from kintsugi.data.formats import open_data

    kept = (*attributes, cluster) if attributes and cluster else attributes  # none named keeps every column
    columns = {"attributes": tuple(kept), "classes": names, **columns}
    given = {name: value for name, value in columns.items() if value is not None and value != ()}
    opened = data if isinstance(data, ImageSet) else open_data(data, **given)
    where = pick(device)

    def model_of(spec: Any, own: Any = None, file: str | Path | None = None) -> Any:
        return _opened(spec, opened, own, file, size, str(where))

    return Case(
        opened,
        model_of(model, classes, weights),
        teacher=model_of(teacher),
        generator=generator,
        attributes=attributes,
        cluster=cluster,
        held_out=held_out,
        out=out,
        device=str(where),
        seed=seed,
        opened=(data, given) if isinstance(data, str | Path) else None,
    )


def _opened(
    spec: Any,
    data: ImageSet,
    classes: Any = None,
    weights: str | Path | None = None,
    size: tuple[int, int] | None = None,
    device: str = "cpu",
) -> Any:
    """A model that answers in the classes of the data; None stays None."""
    from kintsugi.models.open import open_model

    if spec is None:
        return None
    return open_model(spec, data_classes=data.classes, classes=classes, weights=weights, size=size, device=device)


class Case:
    """Data, a classifier, and the verbs. Made by :func:`load`.

    Attributes:
        data: the image set.
        model: the classifier, or None.
        teacher: a robust model to learn from, or None.
        generator: an image generator, or None.
        attributes: columns that split each class into groups.
        run: folder of everything the verbs write.
        opened: where the data was read from and how, None where it was given in memory.
        notes: what had to be assumed, and what looks wrong; a reader must see them.
    """

    def __init__(
        self,
        data: ImageSet,
        model: Any = None,
        *,
        teacher: Any = None,
        generator: Any = None,
        attributes: Sequence[str] = (),
        cluster: str | None = None,
        held_out: bool | None = None,
        out: str | Path = "kintsugi-out",
        device: str = "cpu",
        seed: int = 0,
        opened: tuple[str | Path, Mapping[str, Any]] | None = None,
    ) -> None:
        for name in (*attributes, *([cluster] if cluster else [])):
            data.column(name)
        self.data, self.model, self.teacher, self._generator = data, model, teacher, generator
        self.attributes, self.cluster, self.held_out = tuple(attributes), cluster, held_out
        self.run, self.device, self.seed, self.opened = Run(out), device, seed, opened
        self.notes: list[str] = [f"{name}: {note}" for name, each in (("model", model), ("teacher", teacher))
                                 for note in getattr(each, "notes", ())]  # fmt: skip

    def __repr__(self) -> str:
        return f"Case({self.data!r}, model={type(self.model).__name__}, out={str(self.run.dir)!r})"

    @cached_property
    def parts(self) -> Parts:
        """Train, select and hold-out parts."""
        return divide(self.data, seed=self.seed, cluster=self.cluster)

    @cached_property
    def generator(self) -> Any:
        """The generator, opened on first use."""
        if not isinstance(self._generator, str | Path):
            return self._generator
        from kintsugi.generate.open import open_generator

        return open_generator(self._generator, classes=self.data.classes, device=self.device)

    def groups(self, data: ImageSet) -> Groups:
        """Class by attributes where attributes are known, else the classes.

        Raises:
            BadData: no sample has a label and a value of every attribute.
        """
        groups = data.groups("label", *self.attributes)
        if not len(groups):
            raise BadData(
                f"None of the {len(data)} samples has a label and {', '.join(self.attributes)}.",
                "Name other attributes.",
            )
        return groups if self.attributes else replace(groups, source="classes")

    @property
    def remarks(self) -> list[Problem]:
        """What is odd about the data and cost nothing: mislabelled extensions, empty classes, unknown labels."""
        return [*(problem for problem in self.data.problems if problem.kept), *self.data.notes]

    def need_classes(self) -> None:
        """Refuse to repair where there is nothing to tell apart.

        Raises:
            BadData: fewer than two classes have labelled samples.
        """
        present = np.unique(self.data.labels[self.data.labels >= 0])
        if len(present) < 2:
            which = (
                f"every labelled sample is {self.data.classes[int(present[0])]!r}"
                if len(present)
                else "none has a label"
            )
            raise BadData(
                f"There is nothing to tell apart: {which}.", "Give labelled samples of two classes; audit takes these."
            )

    def need_model(self, for_: str) -> Any:
        """The model, or a clear answer that there is none, or why this one does not do.

        Args:
            for_: ``answers`` to images nobody has asked about, ``features`` of samples, or ``training``.
        """
        if self.model is None:
            raise BadArgument(
                "No model was given.", "Name one with --model, such as timm:resnet18 or a predictions file."
            )
        missing = {
            "answers": "" if callable(self.model) else "it answers for no changed image",
            "features": "" if _has_features(self.model) else "it gives no features to find groups by",
            "training": "" if hasattr(self.model, "parameters") else "it cannot be repaired",
        }[for_]
        if missing:
            kind = "an exported graph" if callable(self.model) else "a file of predictions"
            raise BadArgument(
                f"The model is a black box ({kind}): {missing}.",
                "Give one with weights, such as timm:NAME with --weights FILE; audit and compare do without.",
            )
        return self.model

    def ask(self, model: Any, data: ImageSet, *, features: bool = False) -> tuple[ImageSet, Outputs]:
        """What a model says of the labelled samples that can be read: those samples, and the outputs in their order."""
        from kintsugi.models.predict import chance_warning, predict

        labelled = data.where(data.labels >= 0)
        outputs = predict(model, labelled, device=self.device, features=features, held_out=self.held_out)
        if len(outputs.id) != len(labelled):
            place = {name: row for row, name in enumerate(labelled.ids)}
            labelled = labelled.select([place[name] for name in outputs.id])
        warning = chance_warning(outputs, labelled.labels, data.classes) if model is self.model else None
        if warning is not None and warning not in self.notes:
            self.notes.append(warning)
        return labelled, outputs

    def audit(self, **options: Any) -> Audit:
        """What is wrong with the data: broken files, duplicates, label errors, groups that miss or differ."""
        from kintsugi.api.audit import audit

        return audit(self, **options)

    def stress(self, **options: Any) -> Stress:
        """Where the model breaks when images change: corruptions, attacks, planted cues."""
        from kintsugi.api.stress import stress

        return stress(self, **options)

    def discover(self, **options: Any) -> Discovery:
        """On what the model leans: groups inferred from its features, without group labels."""
        from kintsugi.api.discover import discover

        return discover(self, **options)

    def repair(self, with_: str, **options: Any) -> Repaired:
        """Repair the model by one method of the house, named as in ``kintsugi methods``."""
        from kintsugi.api.repair import repair

        return repair(self, with_, **options)

    def open(self, spec: Any, **options: Any) -> Any:
        """Another model for this data, named as in :func:`load`; ``classes``, ``weights`` and ``size`` as there."""
        return _opened(spec, self.data, device=self.device, **options)

    def compare(self, before: Any, after: Any, **options: Any) -> Verdict:
        """Paired tests per group on the hold-out part, of two models or files of predictions."""
        from kintsugi.api.compare import compare_models

        return compare_models(self, before, after, **options)

    def mend(self, **options: Any) -> Mended:
        """The whole loop: audit, stress, discover, try repairs from the cheapest, prove the best once."""
        from kintsugi.api.mend import mend

        return mend(self, **options)

    def report(self, run: Run | str | None = None) -> Path:
        """Write ``report.html`` of a run again from what the run recorded.

        Args:
            run: ``audit`` or ``compare`` for theirs, or any run; None for that of `mend`.
        """
        from kintsugi.report.content import Report

        where = self.run.sub(run) if isinstance(run, str) else run or self.run
        return Report.load(where).save(where)

    def config(self, verb: str, **options: Any) -> Mapping[str, Any]:
        """What identifies a run of a verb: another one in the same folder is refused."""
        return {
            "verb": verb,
            "data": self.data.fingerprint,
            "samples": len(self.data),
            "classes": list(self.data.classes),
            "attributes": list(self.attributes),
            "seed": self.seed,
            **options,
        }


def _has_features(model: Any) -> bool:
    """A model's method, or the vectors in a file of predictions; an exported graph has neither."""
    return getattr(model, "features", None) is not None
