"""A PNG file of three channels, written with the standard library alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    r"""The file of a picture [H, W, 3]: no loss, every line told by its difference to the one above.

    >>> png_of(np.zeros((2, 3, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'

    Source: Portable Network Graphics, W3C recommendation, third edition, sections 5 and 9.
    """
    height, width, _ = pixels.shape
    lines = pixels.reshape(height, width * 3)
    above = np.concatenate([np.zeros((1, width * 3), np.uint8), lines[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), lines - above], 1)  # 2: the filter "up", modulo 256
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, true colour
    chunks = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
