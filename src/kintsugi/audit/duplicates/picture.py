"""What two pictures have in common once they lie on each other: small pictures, their bands and edges, their alignment.

A small picture is 32 x 32 x 3. Two things are compared. *Bands* (fine minus coarse) are blind to exposure and slow
shading, and weigh fine structure, in which only copies agree, above the coarse one, in which all photographs of a kind
agree; a copy that was shifted, cropped or scaled is laid back on its original by Gauss-Newton steps on shift and scale
(Lucas and Kanade, 1981) of what is grey, until a step gains nothing, and what remains is the normalised correlation of
the overlap in colour. *Edges* are histograms of eight gradient directions in cells of 4 x 4 pixels, each cell by the
energy around it (Dalal and Triggs, 2005), so that contrast and colour may differ; the best of 25 shifts by up to 3
pixels counts. Blurs, cells and moves are products with small matrices: rows and columns go apart from each other.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from kintsugi.core.side_by_side import on_all_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 32
FINE, COARSE = 0.7, 4.0  # standard deviations of the blurs that bound the band, in pixels of the small picture
CELL, DIRECTIONS = 4, 8
CELLS = SIDE // CELL  # a side
FAINT, STEEP = 0.02, 0.6  # energy below which edges fade (grey values in 0..1), and share at which a direction is cut
EDGES = (2 / 3) ** 0.5  # length of the edges in a descriptor of length 1
SHIFTS = (-3, -1, 0, 1, 3)  # pixels by which one picture's edges are moved over the other's
GAIN = 2e-3  # correlation that a step must gain for another to follow
FLOOR = 3 * SIDE**2 * (0.4 / 255) ** 2  # energy of rounding to whole grey values: blank pictures correlate with nothing


def bands(small: NDArray[np.uint8], coarse: float = 0.3) -> torch.Tensor:
    """Small pictures uint8 ``[N, 32, 32, 3]`` to bands float ``[N, 3, 32, 32]``; ``coarse`` weighs what is below."""
    image = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255
    fine, slow = (blur @ image @ blur.T for blur in (_blur(FINE), _blur(COARSE)))
    return (fine - slow) + coarse * (slow - fine.mean((2, 3), keepdim=True))


def descriptor(small: NDArray[np.uint8], *, chunk: int = 128) -> NDArray[np.float32]:
    """Unit vectors float32 ``[N, 704]`` that propose neighbours: edges, and with half their weight colours in cells.

    Each is eleven maps of 8 x 8 cells: eight directions, three colours (blurred, less their mean).
    """
    made = np.empty((len(small), (DIRECTIONS + 3) * CELLS**2), dtype=np.float32)
    blur = _blur(FINE)
    cells, mean = _cells((0,)) @ blur, blur.mean(0)

    def describe(top: int) -> None:
        part = small[top : top + chunk]
        image = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255
        colour = (cells @ image @ cells.T).flatten(2) - (image @ mean @ mean)[:, :, None]
        edge = _normalised(_cells((0,)) @ directions(part) @ _cells((0,)).T).flatten(1)
        edge = edge - edge.mean(1, keepdim=True)
        both = [_unit(edge, FAINT) * EDGES, _unit(colour.flatten(1), 1e-3) * (1 - EDGES**2) ** 0.5]
        made[top : top + chunk] = torch.cat(both, 1).numpy()

    deque(on_all_cores(describe, range(0, len(small), chunk)), maxlen=0)
    return made


def mirrored(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Descriptors ``[N, 704]`` of the mirrored pictures, which hold the same numbers at other places."""
    at = (DIRECTIONS // 2 - np.arange(DIRECTIONS)) % DIRECTIONS  # a gradient to the right is one to the left
    maps = vectors.reshape(-1, DIRECTIONS + 3, CELLS, CELLS)[:, [*at, *range(DIRECTIONS, DIRECTIONS + 3)], :, ::-1]
    return maps.reshape(vectors.shape)


def halves(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What of descriptors ``[N, 704]`` stays and what turns round as the pictures are mirrored, ``[N, 352]`` each."""
    left, right = (
        each.reshape(-1, CELLS)[:, : CELLS // 2].reshape(len(vectors), -1) for each in (vectors, mirrored(vectors))
    )
    return (left + right) * np.float32(0.5**0.5), (left - right) * np.float32(0.5**0.5)


def directions(small: NDArray[np.uint8], pad: int = 0) -> torch.Tensor:
    """Gradient of grey values by direction, float ``[N, 8, 32 + 2 pad, 32 + 2 pad]``, borders repeated.

    Each counts for the two directions that it lies between, by how near it is to them.
    """
    grey = (torch.from_numpy(small).float() @ torch.full((3,), 1 / (3 * 255)))[:, None]
    wide = functional.pad(grey, (pad + 1,) * 4, mode="replicate")[:, 0]
    dx, dy = wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2], wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]
    angle = torch.atan2(dy, dx).mul_(DIRECTIONS / (2 * np.pi)).add_(DIRECTIONS / 2).clamp_min_(0)  # 0 is to the left
    below = angle.floor()
    steep = dx.mul_(dx).add_(dy.mul_(dy)).sqrt_()
    share, first = angle.sub_(below).mul_(steep), below.long()[:, None]
    made = torch.zeros(len(small), DIRECTIONS + 2, *steep.shape[1:])  # the last two are the first two again
    made.scatter_(1, first, steep.sub_(share)[:, None]).scatter_(1, first + 1, share[:, None])
    made[:, :2] += made[:, DIRECTIONS:]
    return made[:, :DIRECTIONS]


def edges_agree(described: NDArray[np.float32], b: NDArray[np.uint8]) -> torch.Tensor:
    """Correlation ``[N]`` of the edges of pictures, as their descriptors ``[N, 704]`` hold them, with those of small
    pictures ``b``, at the best shift of these.
    """
    ways, size = len(SHIFTS), DIRECTIONS * CELLS**2
    still = torch.from_numpy(described[:, :size]) / EDGES
    moved = (_cells(SHIFTS) @ directions(b, max(SHIFTS)) @ _cells(SHIFTS).T).view(
        -1, DIRECTIONS, ways, CELLS, ways, CELLS
    )
    moved = _normalised(moved.permute(0, 2, 4, 1, 3, 5).reshape(-1, DIRECTIONS, CELLS, CELLS)).view(-1, ways**2, size)
    length = ((moved * moved).sum(2) - size * moved.mean(2) ** 2).clamp_min(0).sqrt().clamp_min(FAINT)
    return ((moved @ still[:, :, None])[..., 0] / length).amax(1)  # still has mean 0, so that moved need not


def agreement(a: torch.Tensor, b: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How well ``b`` can be laid on ``a``: aligned by what is grey, compared in colour.

    Args:
        a: bands ``[N, 3, S, S]``.
        b: likewise.
        steps: Gauss-Newton steps.

    Returns:
        Correlation ``[N]`` in -1..1 and the change that reached it ``[N, 3]``: shift right and down as shares of
        half a side, and the logarithm of the scale.
    """
    one, other = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    line, rows = _line(a.shape[-1]), torch.arange(len(a))
    change, kept = torch.zeros(len(a), 3), torch.zeros(len(a), 3)
    moved, inside = other, torch.ones_like(other)
    best = _correlation(one, moved, inside, FLOOR / 9)  # noise of the mean of three channels
    for number in range(steps):
        here = moved * inside
        gain = ((one * here).sum((1, 2, 3)) / ((moved * here).sum((1, 2, 3)) + 1e-6)).clamp(0.3, 3)
        rest = (one / gain[:, None, None, None] - moved) * inside
        dx, dy = _slopes(moved)
        slope = (torch.cat([dx, dy, dx * line + dy * line[:, None]], 1) * inside).flatten(2)
        square = slope @ slope.transpose(1, 2) + 3e-3 * torch.eye(3)
        step = torch.linalg.solve(square, slope @ rest.flatten(1)[:, :, None])[..., 0].clamp(-0.15, 0.15)
        change = torch.cat([(change + step)[:, :2].clamp(-0.35, 0.35), (change + step)[:, 2:].clamp(-0.4, 0.4)], 1)
        moved, inside = _laid(other, change)
        found = torch.where(inside.mean((1, 2, 3)) > 0.5, _correlation(one, moved, inside, FLOOR / 9), -1.0)
        before = best[rows]
        better = found > before
        kept[rows[better]], best[rows[better]] = change[better], found[better]
        going = found > before + GAIN if number else torch.ones_like(better)
        if not going.any():
            break
        rows, one, other, change, moved, inside = (each[going] for each in (rows, one, other, change, moved, inside))
    still, found = _correlation(a, b, torch.ones_like(b[:, :1])), _correlation(a, *_laid(b, kept))
    return torch.maximum(found, still), torch.where((found > still)[:, None], kept, 0.0)


def changed(small: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Copies as people make them, of images uint8 ``[N, H, W, 3]``, to calibrate on.

    Each copy's exposure changes by up to 10%, with noise of 2% of the range; a quarter is also mirrored, a quarter
    shifted by up to 6% of the side, a quarter cropped to 85..95% and scaled back.

    Returns:
        The copies, and which of them are mirrored.
    """
    n = len(small)
    if not n:
        return small, np.zeros(0, dtype=bool)
    image = torch.from_numpy(small).permute(0, 3, 1, 2).float()
    kinds, draws, exposure, noise = np.empty(n, int), np.empty((n, 3)), np.empty((n, 1, 1, 1)), np.empty(small.shape)
    for i in range(n):  # image by image, so that nothing depends on how many are changed at a time
        kinds[i], draws[i], exposure[i] = rng.integers(4), rng.uniform(-1, 1, 3), rng.uniform(-0.1, 0.1)
        rng.standard_normal(out=noise[i])
    kind, drawn = torch.from_numpy(kinds), torch.from_numpy(draws).float()
    scale, shift = torch.ones(n), torch.zeros(n, 2)
    shift[kind == 2] = 0.12 * drawn[kind == 2, :2]
    scale[kind == 3] = 0.9 + 0.05 * drawn[kind == 3, 2]
    shift[kind == 3] = (1 - scale[kind == 3])[:, None] * drawn[kind == 3, :2]
    image = torch.where((kind == 1)[:, None, None, None], image.flip(3), image)
    moved = _moved(image, torch.cat([shift, scale.log()[:, None]], 1)).permute(0, 2, 3, 1).numpy()
    made = moved * (1 + exposure) + 255 * 0.02 * noise
    return np.clip(np.rint(made), 0, 255).astype(np.uint8), (kind == 1).numpy()


def _unit(rows: torch.Tensor, least: float) -> torch.Tensor:
    """Rows at length 1; those shorter than ``least`` say nothing and stay short."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(least)


@cache
def _blur(sigma: float) -> torch.Tensor:
    """Matrix ``[32, 32]`` that blurs a line of pixels, the border repeated."""
    reach = int(np.ceil(2.5 * sigma))
    offset = torch.arange(-reach, reach + 1)
    weight = torch.exp(-(offset.float() ** 2) / (2 * sigma**2))
    at = (torch.arange(SIDE)[:, None] + offset).clamp(0, SIDE - 1)
    return torch.zeros(SIDE, SIDE).scatter_add_(1, at, (weight / weight.sum()).expand(SIDE, -1))


@cache
def _cells(shifts: tuple[int, ...]) -> torch.Tensor:
    """Matrix ``[8 x shifts, 32 + 2 widest shift]`` of the means of cells, at each shift."""
    pad = max(shifts)
    made = torch.zeros(len(shifts), CELLS, SIDE + 2 * pad)
    for at, shift in enumerate(shifts):
        for cell in range(CELLS):
            made[at, cell, pad + shift + CELL * cell :][:CELL] = 1 / CELL
    return made.flatten(0, 1)


def _normalised(cell: torch.Tensor) -> torch.Tensor:
    """Histograms in cells ``[N, 8, 8, 8]`` by the energy around."""
    energy = functional.avg_pool2d(cell.pow(2).sum(1, keepdim=True), 3, 1, 1, count_include_pad=False).sqrt_()
    return (cell / (energy + FAINT)).clamp_max_(STEEP)


def _line(side: int) -> torch.Tensor:
    """Middles of pixels, -1..1."""
    return (torch.arange(side) + 0.5) * 2 / side - 1


def _slopes(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences of ``[N, 1, S, S]``, per half side (the unit of shifts)."""
    wide = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    unit = image.shape[-1] / 4
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) * unit, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) * unit


def _laid(image: torch.Tensor, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Square images ``[N, C, S, S]`` shifted and scaled, and where they had pixels to show ``[N, 1, S, S]``.

    Rows and columns move apart from each other, so that two products with matrices of bilinear weights do it.
    """
    side, line = image.shape[-1], _line(image.shape[-1])
    at = change[:, :2, None] + change[:, 2, None, None].exp() * line  # [N, 2, S]: right, down
    pixel = ((at + 1) * (side / 2) - 0.5).clamp(0, side - 1)
    weight = (1 - (pixel[..., None] - torch.arange(side)).abs_()).clamp_min_(0)[:, :, None]
    inside = (at.abs() <= 1).float()
    moved = weight[:, 1] @ image @ weight[:, 0].transpose(2, 3)
    return moved, (inside[:, 1, :, None] * inside[:, 0, None])[:, None]


def _moved(image: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Images of any shape ``[N, C, H, W]`` shifted and scaled, the border repeated."""
    map_ = torch.zeros(len(image), 2, 3)
    map_[:, 0, 0] = map_[:, 1, 1] = change[:, 2].exp()
    map_[:, :, 2] = change[:, :2]
    grid = functional.affine_grid(map_, list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _correlation(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor, floor: float = FLOOR) -> torch.Tensor:
    """Of ``[N, ..., S, S]``, where they are inside."""
    over = tuple(range(1, a.ndim))
    ours, theirs = a * inside, b * inside
    length = ((ours * a).sum(over) * (theirs * b).sum(over)).sqrt()
    return (ours * b).sum(over) / (length + floor * (a.shape[-1] / SIDE) ** 2)
