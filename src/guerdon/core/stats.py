"""Statistics over rows that several rooms share: moments within groups, and estimates of a KL divergence from log-ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guerdon.core.batch import by_group

Estimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True)
class Moments:
    """What every entry sees of its own group: all fields have the shape of the entries, in float64, without gradients.

    Args:
        count: Entries of the group that count.
        mean: Their mean; 0 where none counts.
        std: Their standard deviation with Bessel's correction; 0 where fewer than two count.
        spread: Their largest minus their smallest; exactly 0 where all are equal.
    """

    count: Tensor
    mean: Tensor
    std: Tensor
    spread: Tensor


@torch.no_grad()
def moments(x: Tensor, keep: Tensor, group: Tensor | None = None) -> Moments:
    """Moments of the kept entries of each group (None: of all entries), seen from every entry.

    Entries that are not kept may hold anything, NaN included: they are replaced before any arithmetic.

    Args:
        x: [...] numbers.
        keep: [...] bool, which of them count.
        group: [...] int64, which belong together.

    Example:
        >>> m = moments(torch.tensor([1.0, 3.0, 7.0]), torch.tensor([True, True, False]), torch.tensor([5, 5, 5]))
        >>> m.mean.tolist(), m.count.tolist(), round(float(m.std[0]), 4)
        ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0], 1.4142)
    """
    if group is None:
        index, n = torch.zeros(x.numel(), dtype=torch.long, device=x.device), 1
    else:
        index, n = by_group(group.to(x.device).reshape(-1))
    kept = keep.to(x.device).reshape(-1)
    value = torch.where(kept, x.detach().reshape(-1).double(), 0.0)
    zero = torch.zeros(n, dtype=torch.double, device=x.device)
    count = zero.index_add(0, index, kept.double())
    mean = zero.index_add(0, index, value) / count.clamp(min=1)
    square = zero.index_add(0, index, torch.where(kept, value - mean[index], 0.0).square())
    high = zero.scatter_reduce(0, index[kept], value[kept], "amax", include_self=False)
    low = zero.scatter_reduce(0, index[kept], value[kept], "amin", include_self=False)
    spread = high - low
    # Equal numbers have no spread, whatever rounding their mean left behind.
    std = torch.where(spread > 0, (square / (count - 1).clamp(min=1)).sqrt(), 0.0)
    mean = torch.where(spread > 0, mean, low)
    return Moments(*(m[index].reshape(x.shape) for m in (count, mean, std, spread)))


def whitened(x: Tensor, keep: Tensor, eps: float = 1e-8, shift: bool = True) -> Tensor:
    """``x`` over the standard deviation of its kept entries, less their mean; 0 elsewhere.

    >>> whitened(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).tolist()
    [-0.7071067690849304, 0.7071067690849304, 0.0]
    """
    m = moments(x, keep)
    scaled = ((x - m.mean.to(x)) if shift else x) / (m.std + eps).to(x)
    return torch.where(keep, scaled, torch.zeros_like(x))


def kl_estimate(log_ratio: Tensor, estimator: Estimator = "k1") -> Tensor:
    r"""Estimates of $\mathrm{KL}(\pi \| \rho)$ at actions drawn from $\pi$, from $\ell = \log \pi - \log \rho$.

    ``"k1"`` $\ell$: unbiased, may be negative; ``"k2"`` $\ell^2 / 2$: its gradient, not its value, is unbiased;
    ``"k3"`` $e^{-\ell} - 1 + \ell$: its value is unbiased and never negative.

    Example:
        >>> [round(float(kl_estimate(torch.tensor(0.5), e)), 4) for e in ("k1", "k2", "k3")]
        [0.5, 0.125, 0.1065]
    """
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio.square()
    return torch.expm1(-log_ratio) + log_ratio


def differing_groups(group: Tensor, value: Tensor, ok: Tensor) -> Tensor:
    """[B] bool: the row's group has at least two ok rows of different value. Groups without such rows teach nothing.

    >>> one, two = torch.tensor([1.0, 2.0, 3.0, 3.0]), torch.tensor([True] * 4)
    >>> differing_groups(torch.tensor([7, 7, 9, 9]), one, two).tolist()
    [True, True, False, False]
    """
    _, index = group.unique(return_inverse=True)
    n = int(index.max()) + 1 if len(index) else 0
    low = value.new_full((n,), torch.inf).scatter_reduce(0, index[ok], value[ok], "amin")
    high = value.new_full((n,), -torch.inf).scatter_reduce(0, index[ok], value[ok], "amax")
    return (high > low)[index]
