"""Rows: what every batch-like record shares. Slice it, concatenate it, move it; the record decides nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

Index = int | slice | Sequence[int] | Tensor


def row_index(i: Index, n: int) -> Tensor:
    """Any index as an int64 tensor of rows.

    >>> row_index(slice(0, 2), 3).tolist(), row_index(torch.tensor([True, False, True]), 3).tolist()
    ([0, 1], [0, 2])
    """
    if isinstance(i, Tensor):
        return i.nonzero()[:, 0] if i.dtype == torch.bool else i.reshape(-1).long()
    if isinstance(i, slice):
        return torch.arange(n)[i]
    return torch.as_tensor([i] if isinstance(i, int) else list(i), dtype=torch.long)


def take(x: Any, i: Tensor) -> Any:
    """Rows ``i`` of a tensor, a sequence, a mapping of those, or a ``Rows`` record."""
    if x is None:
        return None
    if isinstance(x, Tensor):
        return x[i.to(x.device)]
    if isinstance(x, Rows):
        return x[i]
    if isinstance(x, Mapping):
        return {k: take(v, i) for k, v in x.items()}
    return [x[k] for k in i.tolist()]


def pad_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """``x`` with zeros appended up to ``shape`` in every dimension but the first."""
    missing = [max(0, want - have) for want, have in zip(shape[1:], x.shape[1:], strict=True)]
    if not any(missing):
        return x
    return torch.nn.functional.pad(x, [p for m in reversed(missing) for p in (0, m)])


def cat(xs: Sequence[Any], name: str = "value") -> Any:
    """Rows of several values behind each other; tensors that differ in length are padded with zeros (False) at the end.

    Raises:
        ValueError: where one part has a column that another lacks.
    """
    if all(x is None for x in xs):
        return None
    if any(x is None for x in xs):
        raise ValueError(f"cannot concatenate: {name} is missing in some parts only")
    first = xs[0]
    if isinstance(first, Tensor):
        if len({x.dim() for x in xs}) > 1:
            raise ValueError(f"cannot concatenate: {name} has different numbers of dimensions")
        shape = [max(x.shape[d] for x in xs) for d in range(first.dim())]
        return torch.cat([pad_to(x, shape) for x in xs])
    if isinstance(first, Rows):
        return type(first).cat(xs)
    if isinstance(first, Mapping):
        names = {k for x in xs for k in x}
        for x in xs:
            if missing := names - set(x):
                raise ValueError(f"cannot concatenate: {name} lacks {', '.join(sorted(missing))} in some parts only")
        return {k: cat([x[k] for x in xs], f"{name}[{k!r}]") for k in first}
    return [v for x in xs for v in x]


def to_device(x: Any, device: torch.device | str) -> Any:
    """The same value with its tensors on ``device``."""
    if isinstance(x, Tensor):
        return x.to(device)
    if isinstance(x, Rows):
        return x.to(device)
    if isinstance(x, Mapping):
        return {k: to_device(v, device) for k, v in x.items()}
    return x


@dataclasses.dataclass(frozen=True)
class Rows:
    """Base of records whose fields all have the row as first dimension.

    ``record[i]`` takes rows (int, slice, list, index or bool tensor) and always returns a record; ``cat`` joins records.
    """

    def __len__(self) -> int:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor | Rows) or (isinstance(value, Sequence) and not isinstance(value, tuple)):
                return len(value)
        raise TypeError(f"an empty {type(self).__name__} has no rows")

    def __getitem__(self, i: Index) -> Self:
        index = row_index(i, len(self))
        return type(self)(**{f.name: take(getattr(self, f.name), index) for f in dataclasses.fields(self)})

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        if len(parts) == 1:
            return parts[0]
        if not parts:
            raise ValueError(f"no {cls.__name__} to concatenate")
        return cls(**{f.name: cat([getattr(p, f.name) for p in parts], f.name) for f in dataclasses.fields(cls)})

    def to(self, device: torch.device | str) -> Self:
        return type(self)(**{f.name: to_device(getattr(self, f.name), device) for f in dataclasses.fields(self)})

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)
