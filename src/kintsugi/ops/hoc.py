"""How labels are confused, from how the labels of nearest neighbours agree: no model, no true label.

Zhu, Song and Liu, "Clusterability as an Alternative to Anchor Points When Learning with Noisy Labels", ICML 2021 (HOC).
If a sample and its two nearest neighbours are of one true class and their labels err independently, then with the prior
p and T[k, i] = P(given i | true k) the agreement of one, two and three labels is (equations 4 to 6)

    P(i) = sum_k p_k T[k, i],   P(i, j) = sum_k p_k T[k, i] T[k, j],   P(i, j, l) = sum_k p_k T[k, i] T[k, j] T[k, l].

p and the rows of T are softmaxes; the sum of the three norms of the differences to the measured shares is made small by
Adam, step size 0.1, 501 steps, from 5 I - 1. Classes may be exchanged in the solution; starting near the identity
picks the one in which most labels are right. The best step counts. Three labels need K^3 numbers: see ``MOST``.

Ours: all samples are counted once, where the authors average 50 draws; p starts even, not by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadData, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 200  # classes: 8 million triples of labels


def agreement(
    label: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of labels, of pairs and of triples, ``[K]``, ``[K, K]``, ``[K, K, K]``.

    Args:
        label: of each sample, int ``[N]``.
        first: label of its nearest neighbour.
        second: label of the second nearest.
        classes: K.
    """
    require(classes <= MOST, "classes", classes, f"at most {MOST}")
    if not len(label):
        raise BadData("There is no sample:", "agreement needs some.")
    triple = np.bincount((label * classes + first) * classes + second, minlength=classes**3).reshape((classes,) * 3)
    shares = triple / len(label)
    pair = shares.sum(axis=2)
    return pair.sum(axis=1), pair, shares


def transition(
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    three: NDArray[np.float64],
    *,
    steps: int = 501,
    lr: float = 0.1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """T ``[K, K]`` by true and given class, and the prior p ``[K]``, from shares that :func:`agreement` gives."""
    import torch

    require(steps >= 1, "steps", steps, "1 or more")
    require(lr > 0, "lr", lr, "a number above 0")
    size = len(one)
    wanted = [torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in (one, two, three)]
    rows = (5 * torch.eye(size) - 1).requires_grad_()
    prior = torch.zeros(size, requires_grad=True)
    optimizer = torch.optim.Adam([rows, prior], lr=lr)
    best: tuple[float, Any, Any] = (float("inf"), None, None)
    for _ in range(steps):
        t, p = rows.softmax(dim=1), prior.softmax(dim=0)
        pair = torch.einsum("k,ki,kj->ij", p, t, t)
        weighted = (p[:, None, None] * t[:, :, None] * t[:, None, :]).reshape(size, -1)
        made = (p @ t, pair, (weighted.T @ t).reshape(size, size, size))
        loss = torch.stack([(a - b).norm() for a, b in zip(wanted, made, strict=True)]).sum()
        if float(loss.detach()) < best[0]:
            best = float(loss.detach()), t.detach().clone(), p.detach().clone()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best[1].double().numpy(), best[2].double().numpy()
