"""Last-layer retraining: a model that leans on a shortcut knows the right features too, so only that must change.

Kirichenko, Izmailov, Wilson, "Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations" (DFR), ICLR
2023 (arXiv 2204.02937), section 4 and appendix B: features of the frozen model on held-out data, standardised; logistic
regression with an L1 penalty on a random group-balanced subset; the penalty chosen by worst-group accuracy on half of
the data; the weights averaged over several draws of the subset. Without group labels the draws are class-balanced.

Deviations: with more than two classes the regression is multinomial, not one-against-rest, so that the new logits mean
probabilities. The halves for choosing the penalty are cut within each group, so that none is empty; a group of one
sample is fitted and has no say in the choice. Where the smallest group has fewer than ``least`` samples, cutting every
group to its size would throw nearly all data away: the others keep ``least``, the small one is used whole, and weights
make every group count the same.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.progress import track
from kintsugi.training.feed import Feed
from kintsugi.training.grouping import group_index, known_labels
from kintsugi.training.hooks import evaluating

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.data.imageset import ImageSet

CARD = Card(
    name="last_layer",
    kind="posthoc",
    title="a new last layer, fitted on group-balanced held-out data",
    paper="Kirichenko, Izmailov, Wilson, Last Layer Re-Training is Sufficient, ICLR 2023, arXiv 2204.02937",
    card=0,
    code="PolinaKirichenko/deep_feature_reweighting",
    status="proven",
)

# Inverse penalties tried by the authors, strongest last.
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
ITERATIONS = 2000


class _Fit(NamedTuple):
    """One regression: ``[K, D]``, ``[K]``, and the solver's iterations."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    iterations: int


class LastLayer:
    """Refit ``model.head()`` on ``data``, which the model must not have been trained on.

    Args:
        penalty: ``l1`` or ``l2``.
        strength: inverse weight of the penalty (scikit-learn's C), above 0; None tries the authors' seven values.
        draws: balanced subsets to average over.
        least: samples below which no group is cut, smaller ones being weighted up; 1 cuts to the smallest (the paper).
        balance: ``group`` (column ``group``), ``class``, or ``auto``: groups where the data has them.
        size: (height, width) to decode to; None takes what the model's preprocessing scales to.
        batch_size: images at once.

    Raises:
        BadArgument: a value is not allowed.
    """

    def __init__(
        self,
        penalty: str = "l1",
        strength: float | None = None,
        draws: int = 20,
        least: int = 10,
        balance: str = "auto",
        size: tuple[int, int] | None = None,
        batch_size: int = 256,
    ) -> None:
        one_of("penalty", penalty, ("l1", "l2"))
        one_of("balance", balance, ("auto", "group", "class"))
        require(strength is None or strength > 0.0, "strength", strength, "a number above 0, or None")
        require(draws >= 1, "draws", draws, "a whole number from 1")
        require(isinstance(least, int) and least >= 1, "least", least, "a whole number from 1")
        require(batch_size >= 1, "batch_size", batch_size, "a whole number from 1")
        self.penalty, self.strength, self.draws, self.balance = penalty, strength, draws, balance
        self.least, self.size, self.batch_size = least, size, batch_size

    def __call__(self, model: Any, data: ImageSet, rng: np.random.Generator) -> Any:
        """A copy of the model with a new head; the given one is untouched.

        Raises:
            BadArgument: the model has no linear last layer.
            BadData: a class or the group labels are missing, or no group has two samples to choose the penalty on.
        """
        group = group_index(data)
        if self.balance == "group" and group is None:
            raise BadData("last_layer has no group labels.", "Add a column 'group', or use balance='class'.")
        if group is None or self.balance == "class":
            group = known_labels(data, "last_layer")
        copy = model.copy()
        head = copy.head()
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise BadArgument(
                f"The model's last layer is {head}.", "Give a model that ends in a linear layer with bias."
            )
        features, rows = self._features(copy, data)
        label, group = data.labels[rows], group[rows]
        known = (group >= 0) & (label >= 0)
        features, label, group = features[known], label[known], group[known]
        missing = [name for number, name in enumerate(data.classes) if not (label == number).any()]
        if missing or len(data.classes) < 2 or len(data.classes) != head.out_features:
            raise BadData(
                f"To refit a layer of {head.out_features} classes the data has {len(data.classes)}, without samples: "
                f"{', '.join(missing) or 'none'}.",
                "Give labelled samples of every class of the model.",
            )
        weight, bias, stopped = self._fit(features, label, group, rng)
        if notes := [*self._small(group), *stopped]:
            copy.notes = (*getattr(copy, "notes", ()), *notes)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(bias))
        return copy

    def _small(self, group: NDArray[np.int64]) -> list[str]:
        """A sentence on groups too small to be cut, if there are any."""
        counts = np.unique_counts(group).counts
        small = counts[counts < self.least]
        if not len(small):
            return []
        note = f"{len(small)} of {len(counts)} groups have fewer than {self.least} samples: used whole, weighted up"
        single = int((small == 1).sum())
        return [f"{note}; {single} of one sample had no say in the choice of the penalty" if single else note]

    def _features(self, model: Any, data: ImageSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Features ``[N, D]`` of the images that can be read, and their rows."""
        device = model.head().weight.device
        made, rows = [], []
        with evaluating(model):
            for batch in Feed(data, size=self.size, model=model, device=device).walk(self.batch_size):
                made.append(model.features(batch.image).double().cpu().numpy())
                rows.append(batch.index.cpu().numpy())
        if not made:
            raise BadData("last_layer has no image to work on.", "Check the split, and the data's problems.")
        return np.concatenate(made), np.concatenate(rows)

    def _fit(self, features: Any, label: Any, group: Any, rng: np.random.Generator) -> tuple[Any, Any, list[str]]:
        """Weights ``[K, D]`` and bias ``[K]`` for raw features (the standardisation is folded in), and notes."""
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale[scale < 1e-12] = 1.0
        scaled = (features - mean) / scale
        strength = self.strength if self.strength is not None else self._choose(scaled, label, group, rng)
        fits = [
            self._regress(scaled, label, *balanced(group, self.least, rng), strength, rng)
            for _ in track(range(self.draws), "last layer")
        ]
        weight = np.mean([fit.weight for fit in fits], axis=0) / scale
        bias = np.mean([fit.bias for fit in fits], axis=0) - weight @ mean
        stopped = sum(fit.iterations >= ITERATIONS for fit in fits)
        note = f"{stopped} of {self.draws} regressions were stopped after {ITERATIONS} iterations"
        return weight, bias, [note] if stopped else []

    def _choose(self, scaled: Any, label: Any, group: Any, rng: np.random.Generator) -> float:
        """The strength whose fit on half of the data has the best worst-group accuracy on the other half."""
        members = [rng.permutation(np.flatnonzero(group == number)) for number in np.unique(group)]
        if max(len(each) for each in members) < 2:
            raise BadData("No group has two samples, too few to choose the penalty on.", "Give strength=NUMBER.")
        first = np.concatenate([each[: (len(each) + 1) // 2] for each in members])
        second = [each[(len(each) + 1) // 2 :] for each in members if len(each) > 1]
        rows, share = balanced(group[first], self.least, rng)

        def worst(strength: float) -> float:
            fit = self._regress(scaled, label, first[rows], share, strength, rng)
            return min(
                float(((scaled[rows] @ fit.weight.T + fit.bias).argmax(axis=1) == label[rows]).mean())
                for rows in second
            )

        return max(track(STRENGTHS, "penalty"), key=worst)

    def _regress(
        self, scaled: Any, label: Any, rows: Any, share: Any, strength: float, rng: np.random.Generator
    ) -> _Fit:
        """Weighted logistic regression on some rows: weights ``[K, D]`` and bias ``[K]`` of its decision function."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        binary = label.max() == 1
        solver = "liblinear" if binary else "saga" if self.penalty == "l1" else "lbfgs"
        seed = int(rng.integers(2**31))
        common = {"C": strength, "solver": solver, "max_iter": ITERATIONS, "random_state": seed}
        if LogisticRegression().get_params()["penalty"] == "deprecated":  # scikit-learn 1.8 and later
            net = LogisticRegression(l1_ratio=1.0 if self.penalty == "l1" else 0.0, **common)
        else:
            net = LogisticRegression(penalty=self.penalty, **common)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a note says it
            net.fit(scaled[rows], label[rows], sample_weight=share)
        weight, bias = net.coef_, net.intercept_
        if binary:  # sigmoid(d) is the softmax of (-d/2, d/2)
            weight, bias = np.concatenate([-weight, weight]) / 2.0, np.array([-bias[0], bias[0]]) / 2.0
        return _Fit(weight, bias, int(np.max(net.n_iter_)))


def balanced(
    group: NDArray[np.int64], least: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of a random subset, and weights with which every group counts as much.

    Every group is cut to the size of the smallest, but not below ``least``; the weights are 1 where that suffices.
    """
    members = [np.flatnonzero(group == number) for number in np.unique(group)]
    size = max(min(len(each) for each in members), least)
    kept = [rng.choice(each, min(size, len(each)), replace=False) for each in members]
    return np.concatenate(kept), np.concatenate([np.full(len(each), size / len(each)) for each in kept])
