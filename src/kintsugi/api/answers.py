"""What the checks of an audit look at: readable samples, features of them, and answers that no label was seen for."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.api.grouping import held_out_given, held_out_outputs
from kintsugi.core.batch import Outputs
from kintsugi.core.errors import BadArgument, BadData, MissingDependency

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.api.case import Case
    from kintsugi.data.imageset import ImageSet

ENOUGH = 500  # images from which an encoder can learn from them alone


class Answers:
    """The readable samples with features and held-out outputs of them; each is asked for once, on first need, by
    however many threads.

    Args:
        case: whose models may be asked.
        data: what is audited.
        encoder: whose features serve; None chooses.

    Attributes:
        data: the samples that can be read, once something was asked for.
        encoder: what gave the features, once something was asked for.
        copies: pairs of rows that show one picture, int64 ``[P, 2]``: heads never learn from one and answer for the
            other. To be set before outputs are asked for.
        notes: where features and outputs come from, or why there are no outputs.
    """

    def __init__(self, case: Case, data: ImageSet, encoder: Any) -> None:
        self.case, self.data, self.encoder = case, data, encoder
        self._chosen_by_user = encoder is not None
        self.copies: NDArray[np.int64] = np.zeros((0, 2), dtype=np.int64)
        self.notes: list[str] = []
        self._features: NDArray[np.float32] | None = None
        self._outputs: Outputs | Exception | None = None
        self._asked = False
        self._looks: tuple[Outputs, tuple[int, ...]] | None = None
        self._lock = threading.RLock()

    @property
    def given_held_out(self) -> bool:
        """Whether predictions were given that answer for the samples, so that no heads are trained."""
        return held_out_given(self.case)

    def prepare(self, *, features: bool, looks: bool) -> None:
        """Embed the images ahead of checks that run at the same time: it takes longest, and all cores at once.

        What fails here fails again where it is asked for, and is told there.
        """
        with contextlib.suppress(BadArgument, BadData, MissingDependency):
            if features:
                self.given(labels=False)
            if looks:
                self.looks()

    def given(self, *, labels: bool) -> tuple[ImageSet, Outputs | None]:
        """What a check looks at.

        Args:
            labels: whether it lives on answers. Where those could not be had it fails and the others do without; where
                there is nothing to answer, the outputs are None.
        """
        with self._lock:
            if self._features is None:
                self._embed()
            assert self._features is not None
            if not labels:
                even = np.full((len(self.data), len(self.data.classes)), 1 / max(1, len(self.data.classes)), np.float32)
                return self.data, Outputs(self.data.ids, even, self._features, None, "features alone")
            if not self._asked:
                self._asked = True
                try:
                    self._outputs = self._held_out(self._features)
                except (BadArgument, BadData, MissingDependency) as error:
                    self._outputs = error
        if isinstance(self._outputs, Exception):
            raise self._outputs
        return self.data, self._outputs

    def looks(self) -> tuple[Outputs, tuple[int, ...]]:
        """Four looks at each sample, as features, and how many columns each has.

        They are by the encoder that was named, else by the teacher or the model, whose middle layers tell kinds of
        images apart whatever it was trained on, else by what gives the features.
        """
        with self._lock:
            if self._looks is None:
                self._looks = self._looked()
            return self._looks

    def _looked(self) -> tuple[Outputs, tuple[int, ...]]:
        from kintsugi.models.cache import embed
        from kintsugi.models.encoder import ModelEncoder
        from kintsugi.models.layered import LayeredEncoder

        data, even = self.given(labels=False)
        assert even is not None
        nets = [model for model in (self.case.teacher, self.case.model) if _gives_features(model)]
        encoder: Any = LayeredEncoder(self.encoder if self._chosen_by_user or not nets else ModelEncoder(nets[0]))
        features = embed(encoder, data, cache=self.case.run.path("cache"), device=self.case.device)
        if encoder.widths is None:  # everything was in the cache
            embed(encoder, data.select(np.arange(1)), device=self.case.device)
        assert encoder.widths is not None
        self.notes.append(f"What does not belong was looked for by {encoder.name}.")
        return Outputs(data.ids, even.prob, features, None, "features alone"), encoder.widths

    def _embed(self) -> None:
        from kintsugi.models.cache import embed

        if self.encoder is None:
            self.encoder = self._chosen()
        features = embed(self.encoder, self.data, cache=self.case.run.path("cache"), device=self.case.device)
        readable = np.isfinite(features).all(axis=1)
        self.data, self._features = self.data.select(np.flatnonzero(readable)), features[readable]
        self.notes.append(f"Features come from {self.encoder.name}.")

    def _chosen(self) -> Any:
        """The teacher, an encoder that learns from these images, or, of few images, the model or their pixels."""
        from kintsugi.models.encoder import ModelEncoder, PixelEncoder

        if _gives_features(self.case.teacher):
            return ModelEncoder(self.case.teacher)
        if len(self.data) >= ENOUGH:
            from kintsugi.training.self_supervised import train_encoder

            return train_encoder(
                self.data, rng=self.case.seed, run=self.case.run.sub("encoder"), device=self.case.device
            )
        return ModelEncoder(self.case.model) if _gives_features(self.case.model) else PixelEncoder()

    def _held_out(self, features: NDArray[np.float32]) -> Outputs | None:
        """The black box's own outputs where it never saw the samples, else those of cross-validated heads."""
        data = self.data
        counts = np.bincount(data.labels[data.labels >= 0], minlength=len(data.classes))
        if np.count_nonzero(counts) < 2:
            which = (
                f"every label is {data.classes[int(counts.argmax())]!r}" if counts.any() else "no sample has a label"
            )
            self.notes.append(f"Labels were not checked, since {which}: there is nothing to mistake them for.")
            return None
        made, source = held_out_outputs(self.case, data, features, self.copies)
        known = np.flatnonzero(data.labels >= 0)
        share = (made.predicted == data.labels)[known].mean()
        self.notes.append(f"Label checks use {source}; they agree with {share:.0%} of {len(known)} labels.")
        return made


def _gives_features(model: Any) -> bool:
    return callable(getattr(model, "features", None))
