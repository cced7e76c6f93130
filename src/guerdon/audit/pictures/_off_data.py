"""How far samples are from real data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guerdon.audit.pictures._base import Figures, same_size, seen, some
from guerdon.audit.pictures._data import pictures_of
from guerdon.audit.pictures._features import Pixels, built
from guerdon.core import Rollout
from guerdon.core.errors import DataError, PlanError

INSIDE = 0.99  # of left-out real pictures


@dataclass(frozen=True)
class OffDataDistance:
    r"""How far samples are from real data, in units of how far real data are from each other.

    A picture's distance is that to its ``k``-th nearest real one in a feature space. What is usual is found by leaving each
    real picture out and looking for it among the others. Opened, it gives

    - ``off_data/ratio``: mean distance of the samples, divided by the mean distance of left-out real pictures. 1: as near as
      real ones; far below 1: copies of them;
    - ``off_data/outside``: share of samples farther off than 99 % of left-out real pictures are, so that of further real
      pictures 1 % lie outside. Samples with a number that is not finite lie outside and have no distance.

    It says whether samples still lie where real pictures lie, not whether they cover them (see ``Vendi``), nor whether they
    are what a caption asks for.

    Args:
        data: Real pictures: a path (see ``PictureFile``) or a spec with ``pictures()``.
        features: A callable [N, C, H, W] -> [N, D], or a spec with ``build()`` that gives one.
        k: Which neighbour.
        rows: Real pictures that are used, at most.

    Example:
        >>> from guerdon.core import recorded
        >>> line = torch.linspace(-1, 1, 201)[:, None]                       # points 0.01 apart are their own features
        >>> figures = OffDataDistance(line, k=1).open()(recorded(["x"] * 2, torch.tensor([[0.005], [1.5]])))
        >>> round(figures["off_data/ratio"], 2), figures["off_data/outside"]  # (0.5 + 50) / 2; one of two
        (25.25, 0.5)

    Source: arXiv:2204.06507 (the distance to the k-th neighbour as a detector).
    """

    data: Any
    features: Any = Pixels(cut=False)
    k: int = 5
    rows: int = 2000

    def __post_init__(self) -> None:
        for name in ("k", "rows"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise PlanError(f"OffDataDistance: {name} must be a whole number of at least 1, got {value!r}")

    def open(self) -> Callable[[Rollout], Figures]:
        """The measure, ready for rollouts.

        Raises:
            DataError: where the data cannot be read, is too little, or is all copies.
        """
        embed = built(self.features)
        pictures = some(pictures_of(self.data, "OffDataDistance"), self.rows)
        near = Neighbours.of(embed(pictures), self.k)

        def measure(rollout: Rollout) -> Figures:
            x, _, rows = seen(rollout, embed, "OffDataDistance")
            if not rows:
                return {}
            same_size(pictures, x, near.real, "OffDataDistance")
            distance = near.distance(x)
            figures = {"off_data/outside": (float((distance > near.limit).sum()) + rows - len(x)) / rows}
            return figures | ({"off_data/ratio": float(distance.mean()) / near.usual} if len(x) else {})

        return measure


class Neighbours(NamedTuple):
    """Real data, and how far apart they are.

    Attributes:
        real: [N, D] features.
        k: Which neighbour.
        usual: Mean distance of a left-out real row to its k-th neighbour among the others.
        limit: What 99 % of them do not exceed.
    """

    real: Tensor
    k: int
    usual: float
    limit: float

    @classmethod
    def of(cls, real: Tensor, k: int) -> Neighbours:
        """The calibration, from features [N, D] of real data.

        ``limit`` is the smallest distance of a left-out row that 99 % of N + 1 are not above, so that of further rows from the
        same source 1 % are expected outside.

        Raises:
            DataError: for too few rows, or copies.
        """
        n = len(real)
        rank = math.ceil((n + 1) * INSIDE)
        if n <= k or rank > n:
            raise DataError(f"OffDataDistance: {n} real pictures; it takes at least {max(k + 1, 99)}")
        left_out = torch.cdist(real, real).fill_diagonal_(math.inf).kthvalue(k, 1).values
        usual = float(left_out.mean())
        if not usual > 0:
            raise DataError("OffDataDistance: the real pictures are copies of a few, at distance 0 from each other")
        return cls(real, k, usual, float(left_out.sort().values[rank - 1]))

    def distance(self, features: Tensor) -> Tensor:
        """[M] distance of other rows to their k-th neighbour among the real ones."""
        if not len(features):
            return features.new_zeros(0)
        return torch.cdist(features, self.real).kthvalue(self.k, 1).values
