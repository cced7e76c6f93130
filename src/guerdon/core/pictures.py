"""A picture's file as a tensor."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from guerdon.core.errors import DataError

DRAWN = (".png", ".jpg", ".jpeg", ".bmp", ".webp")  # formats that are read


def read_picture(path: str | Path, *, channels: int = 3, size: tuple[int, int] | None = None) -> Tensor:
    """[channels, H, W] float32 in [-1, 1], as policies of pictures give them.

    Args:
        path: A file of ``DRAWN``.
        channels: 3: red, green and blue; 1: grey.
        size: (H, W); another size is scaled, and what then reaches beyond is cut from both sides alike. None: as it is.

    Raises:
        DataError: in one line, where the file is no such picture, or Pillow is missing.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise DataError(f"{path}: reading picture files needs Pillow: pip install pillow") from None
    import numpy as np

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # a small file that unpacks to gigabytes
            with Image.open(path, formats=("PNG", "JPEG", "BMP", "WEBP")) as file:
                drawn = file.convert("RGB" if channels == 3 else "L")
        if size is not None and (drawn.height, drawn.width) != tuple(size):
            drawn = ImageOps.fit(drawn, (size[1], size[0]))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as e:  # fmt: skip
        raise DataError(f"{path}: not a picture that can be read ({type(e).__name__})") from None
    x = torch.from_numpy(np.array(drawn)).float() / 127.5 - 1
    return x.movedim(-1, 0).contiguous() if channels == 3 else x[None]
