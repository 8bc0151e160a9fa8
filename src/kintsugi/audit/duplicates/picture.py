"""What two pictures have in common once they lie on each other: small pictures, their bands and edges, their alignment.

A small picture is 32 x 32 x 3. Two things are compared. *Bands* (fine minus coarse) are blind to exposure and slow
shading, and weigh fine structure, in which only copies agree, above the coarse one, in which all photographs of a kind
agree; a copy that was shifted, cropped or scaled is laid back on its original by Gauss-Newton steps on shift and scale
(Lucas and Kanade, 1981), and what remains is the normalised correlation of the overlap. *Edges* are histograms of eight
gradient directions in cells of 4 x 4 pixels, each cell by the energy around it (Dalal and Triggs, 2005), so that
contrast and colour may differ; the best of 25 shifts by up to 3 pixels counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 32
FINE, COARSE = 0.7, 4.0  # standard deviations of the blurs that bound the band, in pixels of the small picture
CELL, DIRECTIONS = 4, 8
FAINT, STEEP = 0.02, 0.6  # energy below which edges fade (grey values in 0..1), and share at which a direction is cut
SHIFTS = (-3, -1, 0, 1, 3)  # pixels by which one picture's edges are moved over the other's
FLOOR = 3 * SIDE**2 * (0.4 / 255) ** 2  # energy of rounding to whole grey values: blank pictures correlate with nothing


def bands(small: NDArray[np.uint8], coarse: float = 0.3) -> torch.Tensor:
    """Small pictures uint8 ``[N, 32, 32, 3]`` to bands float ``[N, 3, 32, 32]``; ``coarse`` weighs what is below."""
    image = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255
    fine, slow = _blurred(image, FINE), _blurred(image, COARSE)
    return (fine - slow) + coarse * (slow - fine.mean((2, 3), keepdim=True))


def descriptor(small: NDArray[np.uint8], *, flip: bool = False, chunk: int = 2048) -> NDArray[np.float32]:
    """Unit vectors float32 ``[N, 704]`` that propose neighbours: edges, and with half their weight bands in cells."""
    made = np.empty((len(small), DIRECTIONS * (SIDE // CELL) ** 2 + 3 * 8 * 8), dtype=np.float32)
    for top in range(0, len(small), chunk):
        part = small[top : top + chunk, :, ::-1].copy() if flip else small[top : top + chunk]
        cells = functional.avg_pool2d(bands(part, coarse=1.0), SIDE // 8).flatten(1)
        edge = edges(directions(part)).flatten(1)
        edge = edge - edge.mean(1, keepdim=True)
        both = [_unit(edge, FAINT) * (2 / 3) ** 0.5, _unit(cells, 1e-3) * (1 / 3) ** 0.5]
        made[top : top + chunk] = torch.cat(both, 1).numpy()
    return made


def directions(small: NDArray[np.uint8], pad: int = 0) -> torch.Tensor:
    """Gradient of grey values by direction, float ``[N, 8, 32 + 2 pad, 32 + 2 pad]``, borders repeated."""
    grey = torch.from_numpy(small).float().mean(3)[:, None] / 255
    wide = functional.pad(grey, (pad + 1,) * 4, mode="replicate")
    dx = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2])[:, 0]
    dy = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1])[:, 0]
    angle = torch.atan2(dy, dx) * (DIRECTIONS / (2 * np.pi))
    apart = (angle[:, None] - torch.arange(DIRECTIONS)[:, None, None]) % DIRECTIONS
    share = (1 - torch.minimum(apart, DIRECTIONS - apart)).clamp_min(0)
    return share * (dx**2 + dy**2).sqrt()[:, None]


def edges(direction: torch.Tensor) -> torch.Tensor:
    """Histograms in cells ``[N, 8, 8, 8]`` of gradients by direction ``[N, 8, 32, 32]``, by the energy around."""
    cell = functional.avg_pool2d(direction, CELL)
    energy = functional.avg_pool2d(cell.pow(2).sum(1, keepdim=True), 3, 1, 1, count_include_pad=False).sqrt()
    return (cell / (energy + FAINT)).clamp_max(STEEP)


def edges_agree(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> torch.Tensor:
    """Correlation ``[N]`` of the edges of small pictures, at the best shift of ``b``."""
    reach = max(SHIFTS)
    still, moving = edges(directions(a)).flatten(1), directions(b, reach)
    still = _unit(still - still.mean(1, keepdim=True), FAINT)
    best = torch.full((len(a),), -1.0)
    for down in SHIFTS:
        for right in SHIFTS:
            at = (slice(None), slice(None), slice(reach + down, reach + down + SIDE))
            moved = edges(moving[(*at, slice(reach + right, reach + right + SIDE))]).flatten(1)
            best = torch.maximum(best, (still * _unit(moved - moved.mean(1, keepdim=True), FAINT)).sum(1))
    return best


def agreement(a: torch.Tensor, b: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How well ``b`` can be laid on ``a``.

    Args:
        a: bands ``[N, 3, S, S]``.
        b: likewise.
        steps: Gauss-Newton steps.

    Returns:
        Correlation ``[N]`` in -1..1 and the change that reached it ``[N, 3]``: shift right and down as shares of
        half a side, and the logarithm of the scale.
    """
    side = a.shape[-1]
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    change = torch.zeros(len(a), 3)
    best, kept = _correlation(a, b, torch.ones(len(a), side, side)), change.clone()
    moved, inside = b, torch.ones(len(a), side, side)
    for _ in range(steps):
        here = inside[:, None]
        gain = ((a * moved * here).sum((1, 2, 3)) / ((moved * moved * here).sum((1, 2, 3)) + 1e-6)).clamp(0.3, 3)
        rest = (a / gain[:, None, None, None] - moved) * here
        dx, dy = _slopes(moved)
        slope = (torch.stack([dx, dy, dx * x + dy * y], 1) * here[:, None]).flatten(2)
        square = slope @ slope.transpose(1, 2) + 1e-2 * torch.eye(3)
        step = torch.linalg.solve(square, slope @ rest.flatten(1)[:, :, None])[..., 0].clamp(-0.15, 0.15)
        change = torch.cat([(change + step)[:, :2].clamp(-0.35, 0.35), (change + step)[:, 2:].clamp(-0.4, 0.4)], 1)
        moved, inside = _moved(b, change)
        found = torch.where(inside.mean((1, 2)) > 0.5, _correlation(a, moved, inside), best)
        kept = torch.where((found > best)[:, None], change, kept)
        best = torch.maximum(found, best)
    return best, kept


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
    kind = torch.from_numpy(rng.integers(4, size=n))
    scale, shift = torch.ones(n), torch.zeros(n, 2)
    drawn = torch.from_numpy(rng.uniform(-1, 1, (n, 3))).float()
    shift[kind == 2] = 0.12 * drawn[kind == 2, :2]
    scale[kind == 3] = 0.9 + 0.05 * drawn[kind == 3, 2]
    shift[kind == 3] = (1 - scale[kind == 3])[:, None] * drawn[kind == 3, :2]
    image = torch.where((kind == 1)[:, None, None, None], image.flip(3), image)
    moved = _moved(image, torch.cat([shift, scale.log()[:, None]], 1))[0].permute(0, 2, 3, 1).numpy()
    made = moved * (1 + rng.uniform(-0.1, 0.1, (n, 1, 1, 1))) + 255 * 0.02 * rng.standard_normal(moved.shape)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8), (kind == 1).numpy()


def _unit(rows: torch.Tensor, least: float) -> torch.Tensor:
    """Rows at length 1; those shorter than ``least`` say nothing and stay short."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(least)


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    reach, channels = int(np.ceil(2.5 * sigma)), image.shape[1]
    kernel = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    image = functional.pad(image, (reach,) * 4, mode="replicate")
    image = functional.conv2d(image, kernel, groups=channels)
    return functional.conv2d(image, kernel.transpose(2, 3), groups=channels)


def _slopes(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences, per half side (the unit of shifts)."""
    wide, high = (
        functional.pad(image, (1, 1, 0, 0), mode="replicate"),
        functional.pad(image, (0, 0, 1, 1), mode="replicate"),
    )
    unit = image.shape[-1] / 4
    return (wide[..., 2:] - wide[..., :-2]) * unit, (high[:, :, 2:] - high[:, :, :-2]) * unit


def _moved(image: torch.Tensor, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The image shifted and scaled, and where it had pixels to show ``[N, S, S]``."""
    map_ = torch.zeros(len(image), 2, 3)
    map_[:, 0, 0] = map_[:, 1, 1] = change[:, 2].exp()
    map_[:, :, 2] = change[:, :2]
    grid = functional.affine_grid(map_, list(image.shape), align_corners=False)
    moved = functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved, (grid.abs() <= 1).all(-1).float()


def _correlation(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    inside = inside[:, None]
    length = ((a * a * inside).sum((1, 2, 3)) * (b * b * inside).sum((1, 2, 3))).sqrt()
    return (a * b * inside).sum((1, 2, 3)) / (length + FLOOR * (a.shape[-1] / SIDE) ** 2)
