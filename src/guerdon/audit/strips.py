"""Pictures of an episode side by side in one small PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np

from guerdon.audit.replay import Picture

SIDE = 160  # pixels of a frame's longer side, at most
COLOURS = 128
LARGEST = 36_000  # bytes of a strip: six of them, as text, are less than 300 KB


def strip(pictures: Sequence[Picture], *, side: int = SIDE, largest: int = LARGEST) -> tuple[bytes, int, int]:
    r"""(PNG, width, height of one frame): all pictures in a row, made smaller until they fit.

    Args:
        pictures: [H, W, 3] uint8, all of one size; at least one.
        side: Pixels of a frame's longer side, at most; larger pictures are scaled down, smaller ones stay as they are.
        largest: Bytes, at most (where a frame of 32 pixels can be made so small).

    Example:
        >>> png, width, height = strip([np.zeros((200, 300, 3), np.uint8)] * 8)
        >>> png[:4], width, height, len(png) < 2000
        (b'\x89PNG', 160, 107, True)
    """
    from PIL import Image

    scale, smallest = 1.0, min(32, side) / side
    while True:
        width, height = _fitted(pictures[0].shape[1], pictures[0].shape[0], round(side * scale))
        row = Image.new("RGB", (width * len(pictures), height))
        for k, picture in enumerate(pictures):
            frame = Image.fromarray(np.ascontiguousarray(picture))
            fitted = frame if frame.size == (width, height) else frame.resize((width, height), Image.Resampling.LANCZOS)
            row.paste(fitted, (k * width, 0))
        out = io.BytesIO()
        row.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        png = out.getvalue()
        if len(png) <= largest or scale <= smallest:
            return png, width, height
        scale = max(smallest, 0.9 * scale * math.sqrt(largest / len(png)))  # bytes go with the area


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size within a square of ``side``, never larger than it is."""
    factor = min(1.0, side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))
