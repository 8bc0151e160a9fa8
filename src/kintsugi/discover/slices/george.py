"""Hidden groups inside each class, by clustering what the model sees: samples it treats alike lie together.

Sohoni et al., No Subclass Left Behind: Fine-Grained Robustness in Coarse-Grained Classification Problems (GEORGE),
2020, arXiv 2011.12945, section 4.1: features of the trained model are reduced in dimension and clustered class by
class, the number of clusters chosen by silhouette. The authors reduce by UMAP to two components, or by principal
components; we take the latter, which depend on nothing random. Overclustering (splitting clusters of low silhouette
further), an option of theirs, is left out. The silhouette of k-means is well above 0 on a single Gaussian too, so a
class is split only where it beats that of a Gaussian with the same variances; the paper, told which classes hide
groups, need not ask. Groups that the model treats alike leave little trace in its features: those of a small net that
tells digits 0-4 from 5-9 hold less of the single digits than the pixels do. What the groups are good for, robust
training on them, is `group_dro`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kintsugi.core.card import Card
from kintsugi.core.errors import BadData, require
from kintsugi.core.progress import track
from kintsugi.core.randomness import draw_seed
from kintsugi.data.groups import Groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.batch import Outputs
    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="george",
    kind="discoverer",
    title="groups inside each class, by clustering the model's features",
    paper="Sohoni et al., No Subclass Left Behind (GEORGE, 2020), arXiv 2011.12945",
    card=0,
    code="HazyResearch/hidden-stratification",
    status="proven",
)


@dataclass(frozen=True)
class George:
    """Infer groups without group labels.

    Args:
        components: principal components kept, at most.
        most_clusters: largest number of clusters tried in a class.
        smallest: samples a cluster must have; below it the number of clusters is not taken.
        margin: how far the mean silhouette must lie above that of a Gaussian with the same variances (0..1); below
            it a class counts as one group.
        sample: samples a class on which the silhouette is measured, since it is quadratic.
    """

    components: int = 8
    most_clusters: int = 5
    smallest: int = 5
    margin: float = 0.05
    sample: int = 2000

    def __post_init__(self) -> None:
        require(self.components >= 1, "components", self.components, "1 or more")
        require(self.most_clusters >= 2, "most_clusters", self.most_clusters, "2 or more")
        require(self.smallest >= 1, "smallest", self.smallest, "1 or more")
        require(0 <= self.margin <= 1, "margin", self.margin, "a number from 0 to 1")
        require(self.sample >= 10, "sample", self.sample, "10 or more")

    def __call__(self, data: ImageSet, outputs: Outputs, rng: np.random.Generator) -> Groups:
        """Groups ``class=..., cluster=...``; samples without a label have none.

        Args:
            data: labelled samples.
            outputs: of the model on them, row for row, with features.
            rng: for starts of the clustering and samples of the silhouette.

        Raises:
            BadData: the outputs have no features.
        """
        require(list(outputs.id) == data.ids, "outputs", len(outputs.id), "outputs of this data, row for row")
        if outputs.features is None:
            raise BadData("The outputs have no features to cluster.", "Ask the model with features=True.")
        index = np.full(len(data), -1, dtype=np.int64)
        names: list[str] = []
        for k in track(range(len(data.classes)), "cluster classes"):
            rows = np.flatnonzero(data.labels == k)
            if not len(rows):
                continue
            cluster = self._clusters(outputs.features[rows].astype(np.float64), rng)
            index[rows] = cluster + len(names)
            names += [f"class={data.classes[k]}, cluster={c}" for c in range(int(cluster.max()) + 1)]
        return Groups(index, tuple(names), CARD.name)

    def _clusters(self, features: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Cluster of each row, the largest first; all 0 where no split is clear."""
        from sklearn.decomposition import PCA

        one = np.zeros(len(features), dtype=np.int64)
        most = min(self.most_clusters, len(features) // max(2, self.smallest))
        if most < 2 or np.ptp(features, axis=0).max() == 0:
            return one
        kept = min(self.components, features.shape[1], len(features) - 1)
        reduced = PCA(kept, svd_solver="full").fit_transform(features)
        blob = rng.normal(size=reduced.shape) * reduced.std(axis=0)
        best, best_score = one, -1.0
        for count in range(2, most + 1):
            cluster, score = self._split(reduced, count, rng)
            # The blob's silhouette falls with the number of clusters: it may refuse a number, not choose one.
            clear = score - self._split(blob, count, rng)[1] > self.margin
            if clear and score > best_score and np.bincount(cluster).min() >= self.smallest:
                best, best_score = cluster, score
        order = np.argsort(-np.bincount(best), kind="stable")
        return np.argsort(order)[best].astype(np.int64)

    def _split(self, x: NDArray[np.float64], count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], float]:
        """k-means, and the mean silhouette over a sample."""
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score

        cluster = KMeans(count, n_init=5, random_state=draw_seed(rng) % 2**32).fit_predict(x)
        shown = rng.permutation(len(x))[: self.sample]
        found = len(np.unique(cluster[shown]))
        return cluster, -1.0 if found in (1, len(shown)) else float(silhouette_score(x[shown], cluster[shown]))
