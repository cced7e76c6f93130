"""The Vendi score: how many equally different samples a sample is worth."""

from __future__ import annotations

import math
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

_DRAWS = 8  # of equally many real pictures
_ROWS = 2000


@dataclass(frozen=True)
class CosineKernel:
    """Similarity as the cosine of two feature vectors; a vector of zeros is like nothing but itself.

    >>> CosineKernel()(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])).tolist()[0]
    [1.0, 1.0, 0.0, 0.0]
    """

    def __call__(self, features: Tensor) -> Tensor:
        x = torch.nn.functional.normalize(features.double(), dim=1)
        return (x @ x.T).fill_diagonal_(1.0)


@dataclass(frozen=True)
class GaussianKernel:
    r"""Similarity $\exp(-d^2 / 2 w^2)$ of two feature vectors at distance d.

    Args:
        width: w, in the units of the features' distance (for ``Pixels``: root mean square difference of pixels).

    >>> round(float(GaussianKernel(1.0)(torch.tensor([[0.0], [1.0]]))[0, 1]), 4)
    0.6065
    """

    width: float = 0.5

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise PlanError(f"GaussianKernel: width must be above 0, got {self.width!r}")

    def __call__(self, features: Tensor) -> Tensor:
        x = features.double()
        return torch.exp(-torch.cdist(x, x).square() / (2 * self.width**2)).fill_diagonal_(1.0)


@dataclass(frozen=True)
class Vendi:
    """The Vendi score of the samples: 1 where all are alike, their number where all differ completely.

    Opened, it gives ``diversity/vendi``, and with ``data`` also ``diversity/vendi_data``: the mean score of equally many real
    pictures, because the score grows with the number of samples. Cosines of raw pixels are all near 1 where pictures share a
    background; what counts then is the change over a run, or ``GaussianKernel``.

    Args:
        features: A callable [N, C, H, W] -> [N, D], or a spec with ``build()`` that gives one.
        kernel: Similarity [N, D] -> [N, N] with ones on the diagonal.
        q: Order: 1 as in the paper; smaller ones count rare samples for more, larger ones for less.
        data: Real pictures: a path (see ``PictureFile``) or a spec with ``pictures()``; None: no comparison.

    Example:
        >>> from guerdon.core import recorded
        >>> left, right = torch.zeros(2, 1, 4, 4)
        >>> left[..., :2], right[..., 2:] = 1, 1
        >>> Vendi().open()(recorded(["a"] * 4, [left, left, right, right]))["diversity/vendi"]
        2.0

    Source: arXiv:2210.02410; orders other than 1: arXiv:2310.12952.
    """

    features: Any = Pixels()
    kernel: Any = CosineKernel()
    q: float = 1.0
    data: Any = None

    def __post_init__(self) -> None:
        if type(self.q) not in (int, float) or not self.q >= 0:
            raise PlanError(f"Vendi: q must be a number of at least 0, got {self.q!r}")

    def open(self) -> Callable[[Rollout], Figures]:
        """The measure, ready for rollouts.

        Raises:
            DataError: where the data cannot be read.
        """
        embed = built(self.features)
        pictures = None if self.data is None else some(pictures_of(self.data, "Vendi"), _ROWS)
        real = None if pictures is None else embed(pictures)
        known: dict[int, float] = {}

        def of_data(n: int) -> float:
            assert real is not None
            n = min(n, len(real))
            draws = max(1, min(_DRAWS, len(real) // n))
            scores = [vendi_score(self.kernel(real[k * n : (k + 1) * n]), self.q) for k in range(draws)]
            return sum(scores) / len(scores)

        def measure(rollout: Rollout) -> Figures:
            x, _, _ = seen(rollout, embed, "Vendi")
            if not len(x):
                return {}
            figures = {"diversity/vendi": vendi_score(self.kernel(x), self.q)}
            if real is not None and pictures is not None:
                same_size(pictures, x, real, "Vendi")
                if len(x) not in known:
                    known[len(x)] = of_data(len(x))
                figures["diversity/vendi_data"] = known[len(x)]
            return figures

        return measure


def vendi_score(similarity: Tensor, q: float = 1.0) -> float:
    r"""The exponential of the entropy of the eigenvalues of $K / n$.

    $\exp(-\sum_i \lambda_i \log \lambda_i)$; for other orders the Hill number $(\sum_i \lambda_i^q)^{1/(1-q)}$, and
    $1 / \max_i \lambda_i$ for infinite ones.

    Args:
        similarity: [n, n] symmetric, positive semi-definite, ones on the diagonal.
        q: Order.

    Example:
        >>> vendi_score(torch.ones(3, 3)), round(vendi_score(torch.eye(3)), 9)
        (1.0, 3.0)

    Source: arXiv:2210.02410.

    Raises:
        DataError: where the matrix is not square, or has no ones on its diagonal.
    """
    n = len(similarity)
    if similarity.dim() != 2 or similarity.shape[1] != n or not n or float((similarity.diagonal() - 1).abs().max()) > 1e-6:
        raise DataError(f"vendi_score: expected [n, n] similarities with ones on the diagonal, got {tuple(similarity.shape)}")
    values = torch.linalg.eigvalsh(similarity.double() / n).clamp_min(0)
    values = values[values > 1e-12]  # rounding; what is lost there is far below any reading
    values = values / values.sum()
    if math.isinf(q):
        return 1 / float(values.max())
    if abs(q - 1) < 1e-9:
        return math.exp(-float((values * values.log()).sum()))
    return float(values.pow(q).sum()) ** (1 / (1 - q))
