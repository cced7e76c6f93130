"""What the measures of pictures share: features of an evaluation's outputs, and which of them answer the same context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from guerdon.audit.pictures._look import stacked
from guerdon.core import Rollout, Streams
from guerdon.core.errors import DataError

Figures = Mapping[str, float]


class Measure(Protocol):
    """A figure of evaluated outputs, as a plan names it: real data is read and features are built when it is opened."""

    def open(self) -> Callable[[Rollout], Figures]: ...


class Seen(NamedTuple):
    """Outputs as features.

    Attributes:
        features: [M, D] of the rows whose every number is finite.
        group: [M] int64, equal for rows that answer the same context.
        rows: N, all of them.
    """

    features: Tensor
    group: Tensor
    rows: int


def seen(rollout: Rollout, features: Callable[[Tensor], Tensor], name: str) -> Seen:
    """Features of a rollout's outputs; rows that are not finite are left out."""
    x = stacked(rollout.outputs, name)
    finite = torch.isfinite(x.flatten(1)).all(1) if x.numel() else torch.zeros(len(x), dtype=torch.bool)
    return Seen(features(x[finite]), captions(rollout.contexts)[finite], len(x))


def captions(contexts: Sequence[Any]) -> Tensor:
    """[N] int64, equal for equal contexts.

    >>> captions(["a red circle", 3, "a red circle"]).tolist()
    [0, 1, 0]
    """
    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(repr(c), len(known)) for c in contexts], dtype=torch.long)


def same_size(pictures: Tensor, features: Tensor, real: Tensor, name: str) -> None:
    """Refuse features that cannot be compared.

    Raises:
        DataError: where samples and data differ in the number of features, which means another size or number of channels.
    """
    if features.shape[1] != real.shape[1] and len(features):
        raise DataError(
            f"{name}: samples have {features.shape[1]} features and the data {real.shape[1]}; "
            f"the data is [N, {', '.join(map(str, pictures.shape[1:]))}]; give both the same size and channels"
        )


def some(pictures: Tensor, most: int) -> Tensor:
    """At most so many rows, always the same random ones, in an order that owes nothing to the file's."""
    order = Streams(0)("real pictures").permutation(len(pictures))
    return pictures[order[:most]]
