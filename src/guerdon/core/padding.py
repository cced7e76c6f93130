"""Padding and packing: sequences of different lengths as one rectangle with little waste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def pad(rows: Sequence[Tensor], value: float = 0, side: Literal["left", "right"] = "right") -> tuple[Tensor, Tensor]:
    """Rows [t_i, ...] as one tensor [B, max t, ...] and the [B, max t] bool mask of what is real.

    >>> pad([torch.tensor([1, 2]), torch.tensor([3])], side="left")[0].tolist()
    [[1, 2], [0, 3]]
    """
    longest = max((len(r) for r in rows), default=0)
    out = torch.full((len(rows), longest, *rows[0].shape[1:]), value, dtype=rows[0].dtype, device=rows[0].device)
    real = torch.zeros(len(rows), longest, dtype=torch.bool, device=rows[0].device)
    for k, r in enumerate(rows):
        where = slice(longest - len(r), longest) if side == "left" else slice(0, len(r))
        out[k, where] = r
        real[k, where] = True
    return out, real


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows grouped into bins of at most ``capacity`` steps, first-fit decreasing; a longer row gets a bin of its own.

    >>> pack([5, 3, 4, 2], capacity=7)
    [[0, 3], [2, 1]]
    """
    bins: list[tuple[int, list[int]]] = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        for b, (used, rows) in enumerate(bins):
            if used + lengths[k] <= capacity:
                rows.append(k)
                bins[b] = (used + lengths[k], rows)
                break
        else:
            bins.append((lengths[k], [k]))
    return [rows for _, rows in bins]
