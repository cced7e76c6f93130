"""The Frechet distance between samples and real data, beside what real data themselves would get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.audit.pictures._base import Figures, same_size, seen, some
from guerdon.audit.pictures._data import pictures_of
from guerdon.audit.pictures._features import Pixels, built
from guerdon.core import Rollout
from guerdon.core.errors import DataError, PlanError

_DRAWS = 8


@dataclass(frozen=True)
class FrechetDistance:
    """Distance of two normal distributions, fitted to the features of samples and of real data.

    Opened, it gives ``off_data/frechet``, and ``off_data/frechet_data``: the mean distance of equally many real pictures to the
    rest of them. The estimate is far too large for few samples (about in proportion to 1 / N, and by an amount that depends on
    the policy), so only the two together say anything: with the few hundred samples of an evaluation, a policy as good as the
    data gets ``frechet_data``, not 0. Keep ``features`` few; above the number of samples they are refused.

    Args:
        data: Real pictures: a path (see ``PictureFile``) or a spec with ``pictures()``.
        features: A callable [N, C, H, W] -> [N, D], or a spec with ``build()`` that gives one.
        rows: Real pictures that are used, at most.

    Example:
        >>> from guerdon.core import recorded
        >>> real = torch.linspace(-1, 1, 40)[:, None]
        >>> figures = FrechetDistance(real).open()(recorded(["x"] * 40, real + 3))
        >>> round(figures["off_data/frechet"], 6)                            # the means are 3 apart, the spreads equal
        9.0

    Source: arXiv:1706.08500; its bias: arXiv:1911.07023.
    """

    data: Any
    features: Any = Pixels(side=4, cut=False)
    rows: int = 2000

    def __post_init__(self) -> None:
        if type(self.rows) is not int or self.rows < 2:
            raise PlanError(f"FrechetDistance: rows must be a whole number of at least 2, got {self.rows!r}")

    def open(self) -> Callable[[Rollout], Figures]:
        """The measure, ready for rollouts.

        Raises:
            DataError: where the data cannot be read.
        """
        embed = built(self.features)
        pictures = some(pictures_of(self.data, "FrechetDistance"), self.rows)
        real = embed(pictures)
        known: dict[int, float] = {}

        def of_data(n: int) -> float:
            """Draws of n real rows against the rest; NaN where too few are left."""
            draws = min(_DRAWS, len(real) // n)
            found = [frechet_distance(real[k * n : (k + 1) * n], torch.cat([real[: k * n], real[(k + 1) * n :]]))
                     for k in range(draws) if len(real) - n > real.shape[1]]  # fmt: skip
            return sum(found) / len(found) if found else float("nan")

        def measure(rollout: Rollout) -> Figures:
            x, _, _ = seen(rollout, embed, "FrechetDistance")
            same_size(pictures, x, real, "FrechetDistance")
            if len(x) <= x.shape[1]:
                raise DataError(f"FrechetDistance: {len(x)} samples for {x.shape[1]} features; draw more, or use fewer features")
            if len(x) not in known:
                known[len(x)] = of_data(len(x))
            return {"off_data/frechet": frechet_distance(x, real), "off_data/frechet_data": known[len(x)]}

        return measure


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""Squared Frechet (Wasserstein-2) distance of normal distributions with the means and covariances of two sets of rows.

    $\lVert \mu_a - \mu_b \rVert^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2})$

    Args:
        a: [N, D], N at least 2.
        b: [M, D].

    Example:
        >>> a = torch.tensor([[-1.0], [1.0]])                                # variance 2 (n - 1)
        >>> round(frechet_distance(a, 2 * a), 6)                             # (sqrt 8 - sqrt 2)^2
        2.0

    Source: arXiv:1706.08500, equation 6.
    """
    a, b = a.double(), b.double()
    if min(len(a), len(b)) < 2:
        return float("nan")
    cov_a, cov_b = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)
