"""Gaussian anomaly detection: one normal law for the pooled features of each stage of a trained net; no training.

Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
Detection", ICPR 2021, arXiv 2005.14140. For each level l the features are averaged over the image to z_l; their mean
mu_l and covariance S_l are estimated on normal images, S_l shrunk towards a multiple of the identity (Ledoit and Wolf
2004), without which it is singular as soon as there are fewer images than features. Equation 1: the distance is
d_l = sqrt((z_l - mu_l)^T S_l^-1 (z_l - mu_l)); an image's score is the mean of d_l over the levels.

Subspaces (section IV.C): with v the share of variance, PCA keeps the components up to the first at which the cumulative
share exceeds v; NPCA keeps the rest, beginning one component earlier, as the published code does. What is normal varies
along the leading components, so it is the others that tell anomalies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadCheckpoint, BadData, require
from kintsugi.core.files import write_with
from kintsugi.core.progress import task
from kintsugi.models.frozen import frozen
from kintsugi.models.layers import features_at, stages
from kintsugi.models.predict import as_images, batches

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="gaussian_ad",
    kind="detector",
    title="Mahalanobis distance to normal images, over the stages of a trained net",
    paper="Rippel, Mertens and Merhof, Modeling the Distribution of Normal Data in Pre-Trained Deep Features for "
    "Anomaly Detection, ICPR 2021, arXiv 2005.14140",
    card=83,
    code="ORippler/gaussian-ad-mvtec",
    status="proven",
)


class GaussianAD:
    """Fits normal laws to the features of normal images and measures how far others lie.

    Args:
        backbone: a trained net, images ``[B, C, H, W]`` in 0..1 in; a classifier's own net serves to find images it
            was not made for. It is asked in eval mode and left as it was.
        levels: names of its layers; None takes every stage (:func:`kintsugi.models.layers.stages`).
        subspace: None, or ``("pca", v)`` or ``("npca", v)`` with v the share of variance, between 0 and 1.
        size: (height, width) images are decoded to; None takes what the backbone's preprocessing scales to.
        sample: most images to fit on, drawn at random; None takes all. Their features are held in memory.
        batch_size: images at a time while fitting.

    Raises:
        BadArgument: a value is not allowed.
    """

    def __init__(
        self,
        backbone: nn.Module,
        levels: Sequence[str] | None = None,
        subspace: tuple[str, float] | None = None,
        *,
        size: tuple[int, int] | None = None,
        sample: int | None = 50_000,
        batch_size: int = 64,
    ) -> None:
        require(isinstance(backbone, nn.Module), "backbone", type(backbone).__name__, "a torch module")
        require(levels is None or len(levels) > 0, "levels", levels, "names of layers, or None for every stage")
        if subspace is not None:
            ok = len(subspace) == 2 and subspace[0] in ("pca", "npca")
            require(ok and 0.0 < float(subspace[1]) < 1.0, "subspace", subspace, "('pca', v) or ('npca', v), 0 < v < 1")
            subspace = (subspace[0], float(subspace[1]))
        require(sample is None or sample >= 2, "sample", sample, "a whole number from 2, or None")
        require(batch_size >= 1, "batch_size", batch_size, "a whole number from 1")
        self.backbone, self.subspace, self.size = backbone, subspace, size
        self.sample, self.batch_size = sample, batch_size
        self.levels = tuple(levels) if levels is not None else stages(backbone)
        # By level: mean [D], and the map [k, D] after which the Euclidean length is the Mahalanobis distance.
        self._laws: list[tuple[torch.Tensor, torch.Tensor]] = []

    def fit(self, data: ImageSet, rng: np.random.Generator) -> GaussianAD:
        """Estimate the laws on normal images, which should not be those the backbone was trained on.

        Args:
            data: normal images; labels are not looked at.
            rng: which images, where there are more than ``sample``.

        Raises:
            BadData: fewer than two images could be read, or a feature is not finite.
        """
        if self.sample is not None and len(data) > self.sample:
            data = data.select(np.sort(rng.permutation(len(data))[: self.sample]))
        parts: list[list[torch.Tensor]] = [[] for _ in self.levels]
        with task("gaussian_ad", len(data)) as tracker:
            stream = batches(data, self.backbone, self.batch_size, self.size)
            for rows, pixels in stream:
                for part, z in zip(parts, self._features(as_images(pixels, self._device)), strict=True):
                    part.append(z.float().cpu())
                tracker.advance(len(rows))
        count = sum(map(len, parts[0]))
        if count < 2:
            raise BadData(f"{count} of {len(data)} images could be read:", "a covariance needs two at least.")
        self._laws = [self._law(name, torch.cat(part).double()) for name, part in zip(self.levels, parts, strict=True)]
        return self

    def score(self, image: torch.Tensor) -> torch.Tensor:
        """Mean distance over the levels, float32 ``[B]``; higher is more anomalous."""
        return self.distances(image).mean(1)

    def distances(self, image: torch.Tensor) -> torch.Tensor:
        """Distance at each level, float32 ``[B, L]``, of images float ``[B, C, H, W]`` in 0..1.

        Raises:
            BadArgument: :meth:`fit` (or :meth:`load`) was not called.
            BadData: a feature is not finite.
        """
        self._ready()
        apart = [
            ((z.double().cpu() - mean) @ white.T).norm(dim=1)
            for z, (mean, white) in zip(self._features(image.to(self._device)), self._laws, strict=True)
        ]
        return torch.stack(apart, 1).float().to(image.device)

    def threshold(self, fpr: float) -> dict[str, float]:
        """Distance at each level that a normal image exceeds with probability ``fpr``: sqrt(chi2_k^-1(1 - fpr)).

        It holds for one level and never for the mean over levels, whose law is not chi-square; and only as far as the
        features are normal and the covariance is known. Real features have heavier tails, and new images lie farther
        than those fitted on, so that more normal images exceed it than ``fpr`` says; shrinkage, which widens the narrow
        directions, pulls the other way. Where normal images can be spared, take a quantile of their scores instead.

        Args:
            fpr: between 0 and 1.
        """
        from scipy.stats import chi2

        require(0.0 < fpr < 1.0, "fpr", fpr, "a number between 0 and 1")
        self._ready()
        laws = zip(self.levels, self._laws, strict=True)
        return {name: float(np.sqrt(chi2.ppf(1.0 - fpr, len(white)))) for name, (_, white) in laws}

    # ----------------------------------------------------------------------------------------------- on disk

    def save(self, path: Path | str) -> None:
        """Write the laws as safetensors; the backbone is not in it."""
        from safetensors.torch import save_file

        self._ready()
        tensors = {f"mean.{n}": mean for n, (mean, _) in enumerate(self._laws)}
        tensors |= {f"white.{n}": white.contiguous() for n, (_, white) in enumerate(self._laws)}
        facts = {"method": CARD.name, "levels": json.dumps(self.levels), "subspace": json.dumps(self.subspace)}
        write_with(path, lambda part: save_file(tensors, part, facts))

    def load(self, path: Path | str) -> GaussianAD:
        """Read laws that :meth:`save` wrote with the same backbone, levels and subspace.

        Raises:
            BadCheckpoint: the file is missing, is no safetensors file, or was written with other settings.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError) as error:
            raise BadCheckpoint(f"{path} cannot be read ({error}).", "Name a file written by save.") from error
        wanted = {"method": CARD.name, "levels": json.dumps(self.levels), "subspace": json.dumps(self.subspace)}
        differ = [name for name, value in wanted.items() if facts.get(name) != value]
        if differ:
            raise BadCheckpoint(
                f"{path} has {differ[0]} {facts.get(differ[0])} instead of {wanted[differ[0]]}.",
                "Make the detector with the settings it was saved with.",
            )
        self._laws = [(tensors[f"mean.{n}"], tensors[f"white.{n}"]) for n in range(len(self.levels))]
        return self

    # ------------------------------------------------------------------------------------------------- inside

    @property
    def _device(self) -> torch.device:
        first = next(self.backbone.parameters(), None)
        return first.device if first is not None else torch.device("cpu")

    def _ready(self) -> None:
        if not self._laws:
            raise BadArgument("This detector knows no normal images yet.", "Call fit or load first.")

    def _features(self, image: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad(), frozen(self.backbone):
            found = features_at(self.backbone, image, self.levels)
        for name, z in zip(self.levels, found, strict=True):
            if not z.isfinite().all():
                raise BadData(f"The features at {name!r} are not finite.", "Look for NaN in the net's weights.")
        return found

    def _law(self, name: str, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = z.mean(0)
        basis = torch.eye(z.shape[1], dtype=z.dtype)
        if self.subspace is not None:
            basis = _components(z - mean, *self.subspace)
        covariance = ledoit_wolf((z - mean) @ basis.T)
        if not covariance.diagonal().sum() > 0:
            raise BadData(f"The features at {name!r} are the same for all images.", "Leave this level out.")
        # S = L L^T, so that |L^-1 (z - mu)| is the Mahalanobis distance.
        factor = torch.linalg.cholesky(covariance)
        return mean, torch.linalg.solve_triangular(factor, basis, upper=False)


def ledoit_wolf(z: torch.Tensor) -> torch.Tensor:
    """The shrunk covariance of Ledoit and Wolf 2004 (equations 13 to 15), float64 ``[D, D]``.

    (1 - r) S + r m I, with S the covariance, m = tr S / D, and r = min(b, d) / d, where d = |S - m I|^2 says how far S
    is from the target and b = sum_i |z_i z_i^T - S|^2 / N^2 how uncertain it is.

    Args:
        z: float64 ``[N, D]``, centred.
    """
    count, size = z.shape
    covariance = z.T @ z / count
    m = covariance.diagonal().mean()
    target = m * torch.eye(size, dtype=z.dtype)
    d = (covariance - target).square().sum()
    # sum_i |z_i z_i^T|^2 = sum_i |z_i|^4, so that no [N, D, D] array is ever made.
    b = (z.square().sum(1).square().mean() - covariance.square().sum()) / count
    share = (b.clamp_min(0.0).minimum(d) / d) if d > 0 else torch.zeros((), dtype=z.dtype)
    return (1.0 - share) * covariance + share * target


def _components(z: torch.Tensor, which: str, variance: float) -> torch.Tensor:
    """Rows: the leading principal components up to a share of variance, or those beyond it; ``[k, D]``."""
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    values, vectors = values.flip(0).clamp_min(0.0), vectors.flip(1)
    beyond: Any = (values.cumsum(0) / values.sum().clamp_min(torch.finfo(z.dtype).tiny) > variance).nonzero()
    last = int(beyond[0]) if len(beyond) else len(values) - 1
    kept = vectors[:, : last + 1] if which == "pca" else vectors[:, max(0, last - 1) :]
    return kept.T.contiguous()
