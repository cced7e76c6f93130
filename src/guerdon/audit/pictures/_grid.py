"""Samples side by side in one PNG: pictures in rows of six, videos as rows of their frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from guerdon.audit.pictures._png import png_of

ACROSS = 6  # cells of a line; a video's frames stay together
FRAMES = 12  # of a video, evenly spaced, at most
SMALLEST, SIDE = 64, 128  # pixels of a cell's longer side; small pictures are shown larger, by whole factors
GAP = 2
LARGEST = 150_000  # bytes of a file: three of them, as text, are 600 KB


class Grid(NamedTuple):
    """A drawn grid.

    Attributes:
        png: The file.
        width: Of a cell, in pixels.
        height: Of a cell.
        columns: Cells of a line.
        span: Cells of a sample: its source (for edits), then its frames.
        gap: Pixels between cells.
        sharp: Cells are so small that they are better shown with hard edges.
    """

    png: bytes
    width: int
    height: int
    columns: int
    span: int
    gap: int
    sharp: bool


def grid(samples: Sequence[Sequence[Tensor]], *, largest: int = LARGEST) -> Grid:
    r"""All samples in order, each as a run of cells of one size.

    Args:
        samples: The cells of each, [C, H, W] in [-1, 1] (what lies beyond is cut; not finite: grey), equally many for all.
        largest: Bytes, at most, where cells of eight pixels can be made so small.

    Example:
        >>> g = grid([[torch.zeros(3, 16, 16)]] * 8)
        >>> g.png[:4], g.columns, g.width                            # two lines of six, each picture four times as large
        (b'\x89PNG', 6, 64)
    """
    height, width = samples[0][-1].shape[-2:]
    span = len(samples[0])
    columns = span * max(1, ACROSS // span) if len(samples) * span > ACROSS else span * len(samples)
    factor = math.ceil(SMALLEST / max(height, width)) if max(height, width) < SMALLEST else 1
    scale = min(float(factor), SIDE / max(height, width) if factor == 1 else math.inf)
    while True:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        png = png_of(_drawn([c for s in samples for c in s], size, columns))
        if len(png) <= largest or max(size) <= 8:
            return Grid(png, size[1], size[0], columns, span, GAP, max(height, width) < SMALLEST)
        scale *= max(0.4, 0.95 * math.sqrt(largest / len(png)))  # bytes go with the area


def _drawn(cells: Sequence[Tensor], size: tuple[int, int], columns: int) -> np.ndarray:
    """[H, W, 3] uint8: cells of ``size`` in lines of ``columns``, white between them."""
    (height, width), lines = size, math.ceil(len(cells) / columns)
    out = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for k, cell in enumerate(cells):
        y, x = (k // columns) * (height + GAP), (k % columns) * (width + GAP)
        out[y : y + height, x : x + width] = bytes_of(cell, size)
    return out


def bytes_of(picture: Tensor, size: tuple[int, int] | None = None) -> np.ndarray:
    """[H, W, 3] uint8 of a picture [C, H, W] in [-1, 1], enlarged without, shrunk with smoothing.

    >>> bytes_of(torch.tensor([-1.0, 0.0, 1.0, 7.0]).reshape(1, 2, 2))[..., 0].tolist()
    [[0, 128], [255, 255]]
    """
    x = picture.detach().float().expand(3, -1, -1)
    x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0).clamp(-1, 1)
    if size is not None and tuple(x.shape[-2:]) != size:
        if size[0] >= x.shape[-2]:
            x = torch.nn.functional.interpolate(x[None], size, mode="nearest-exact")[0]
        else:
            x = torch.nn.functional.interpolate(x[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return ((x + 1) * 127.5).round().clamp(0, 255).byte().movedim(0, -1).contiguous().numpy()


def frames_shown(frames: Tensor, most: int = FRAMES) -> list[Tensor]:
    """At most so many frames, evenly spaced, the first and the last among them.

    >>> len(frames_shown(torch.zeros(30, 3, 8, 8)))
    12
    """
    if len(frames) <= most:
        return list(frames)
    return [frames[round(k * (len(frames) - 1) / (most - 1))] for k in range(most)]
