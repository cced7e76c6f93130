r"""How far stated probabilities of binary events are to be believed: reliability, its errors, and one temperature to mend them.

Everything is computed in float64 without gradients from [P] probabilities and [P] labels in [0, 1] (0.5: a tie). A label
between 0 and 1 counts as the share of times the event happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon.core.errors import DataError

_WIDEST = 1e6  # a temperature beyond which all probabilities are 1/2 to the eye


@dataclass(frozen=True)
class Reliability:
    """Stated against observed frequency, by bin; bins without entries are kept, with count 0.

    Args:
        edges: [bins + 1] borders of the bins; a bin holds its upper border, the first one its lower border too.
        count: [bins] entries.
        predicted: [bins] mean stated probability; 0 where there are no entries.
        observed: [bins] mean label; 0 where there are no entries.
    """

    edges: Tensor
    count: Tensor
    predicted: Tensor
    observed: Tensor

    @property
    def error(self) -> float:
        r"""$\sum_b \frac{n_b}{n} |\bar p_b - \bar y_b|$, the expected calibration error over these bins; nan without entries."""
        n = self.count.sum()
        return float((self.count / n * (self.predicted - self.observed).abs()).sum()) if n > 0 else float("nan")


def reliability(probability: Any, label: Any, bins: int = 10, *, adaptive: bool = False) -> Reliability:
    """Entries sorted into bins by their stated probability.

    Args:
        probability: [P] stated probabilities.
        label: [P] what happened, in [0, 1].
        bins: How many.
        adaptive: Bins of (nearly) equal count in place of equal width. Equal probabilities share a bin, so bins may be fewer.

    Raises:
        DataError: for other shapes or values.

    Source: reliability diagrams and the expected calibration error, arXiv:1706.04599; adaptive bins, arXiv:1904.01685.

    Example:
        >>> r = reliability([0.1, 0.3, 0.9, 0.7], [0, 1, 1, 1], bins=2)
        >>> r.count.tolist(), r.predicted.tolist(), r.observed.tolist(), round(r.error, 6)
        ([2.0, 2.0], [0.2, 0.8], [0.5, 1.0], 0.25)
    """
    p, y = _checked(probability, label)
    if bins < 1:
        raise DataError(f"reliability needs at least one bin, got {bins}")
    if adaptive and len(p):
        inner = torch.quantile(p, torch.linspace(0, 1, bins + 1, dtype=p.dtype)[1:-1], interpolation="lower").unique()
        inner = inner[(inner > 0) & (inner < p.max())]
        edges = torch.cat([p.new_zeros(1), inner, p.new_ones(1)])
    else:
        edges = torch.linspace(0, 1, bins + 1, dtype=p.dtype)
    place = torch.bucketize(p, edges[1:-1])  # lower border excluded, upper one included
    zero = p.new_zeros(len(edges) - 1)
    count = zero.index_add(0, place, torch.ones_like(p))
    mean = [zero.index_add(0, place, v) / count.clamp(min=1) for v in (p, y)]
    return Reliability(edges, count, mean[0], mean[1])


def ece(probability: Any, label: Any, bins: int = 10, *, adaptive: bool = False) -> float:
    """The expected calibration error: mean distance of stated from observed frequency, weighted by the entries of each bin.

    With few entries it is above 0 even for a perfect forecaster. Of pairs, give both orders or ``confidence`` first: the error
    of P(first is better) depends on which one is called first.

    >>> round(ece([0.8] * 10, [1] * 6 + [0] * 4), 6)
    0.2
    """
    return reliability(probability, label, bins, adaptive=adaptive).error


def confidence(probability: Any, label: Any) -> tuple[Tensor, Tensor]:
    """The same forecasts as probabilities in [0.5, 1] of the likelier side, with labels to match.

    >>> [v.tolist() for v in confidence([0.25, 0.75], [0.0, 0.0])]
    [[0.75, 0.75], [1.0, 0.0]]
    """
    p, y = _checked(probability, label)
    return torch.where(p < 0.5, 1 - p, p), torch.where(p < 0.5, 1 - y, y)


def brier(probability: Any, label: Any) -> float:
    """The mean squared distance of forecast and label; 0.25 for "always 1/2" on labels of 0 and 1. nan without entries.

    >>> round(brier([0.8, 0.4], [1, 0]), 6)
    0.1
    """
    p, y = _checked(probability, label)
    return float((p - y).square().mean())


def log_loss(delta: Any, label: Any, temperature: float = 1.0) -> float:
    r"""Mean of $-y \log \sigma(\delta/T) - (1-y) \log \sigma(-\delta/T)$ in nats; $\log 2$ for $\delta = 0$. nan without entries.

    Args:
        delta: [P] log-odds, such as differences of rewards: exact where probabilities would round to 0 or 1.
        label: [P] in [0, 1].
        temperature: $T > 0$.

    >>> round(log_loss([0.0, 2.0], [1, 1]), 6)
    0.410038
    """
    d, y = _checked(delta, label, odds=True)
    d = d / temperature
    return float(-(y * logsigmoid(d) + (1 - y) * logsigmoid(-d)).mean())


def fit_temperature(delta: Any, label: Any) -> float:
    r"""The temperature $T$ that minimises ``log_loss(delta, label, T)``.

    In $\beta = 1/T$ the loss is convex with the derivative $\overline{\delta (\sigma(\beta \delta) - y)}$, whose root is found
    by bisection to the last bits. The order of rewards stays as it is.

    Args:
        delta: [P] differences of rewards, on pairs that neither chose the weights nor the model.
        label: [P] in [0, 1], P(first is better).

    Returns:
        Between 1e-6 (pairs that are all told apart would sharpen without end) and 1e6 (differences that say nothing, or the
        opposite of the truth). Without any difference there is nothing to fit: 1.

    Source: temperature scaling, arXiv:1706.04599.

    Example:
        >>> from math import log
        >>> round(fit_temperature([1.0] * 10, [1] * 8 + [0] * 2), 9) == round(1 / log(4), 9)
        True
    """
    d, y = _checked(delta, label, odds=True)
    scale = float(d.abs().max()) if len(d) else 0.0
    if scale == 0:
        return 1.0

    def slope(beta: float) -> float:
        return float((d / scale * (torch.sigmoid(beta * d) - y)).mean())

    low, high = 1 / _WIDEST, _WIDEST
    if slope(low) >= 0:
        return _WIDEST
    if slope(high) <= 0:
        return 1 / _WIDEST
    while True:  # halving in the logarithm: both ends are six orders away from 1
        middle = (low * high) ** 0.5
        if not low < middle < high:
            return 1 / middle
        if slope(middle) < 0:
            low = middle
        else:
            high = middle


def _checked(x: Any, label: Any, odds: bool = False) -> tuple[Tensor, Tensor]:
    name = "delta" if odds else "probability"
    v, y = (_numbers(values) for values in (x, label))
    if v.shape != y.shape or v.dim() != 1:
        raise DataError(f"{name} and label must be rows of one length, got shapes {tuple(v.shape)} and {tuple(y.shape)}")
    if not bool(torch.isfinite(v).all()) or not odds and not bool(((v >= 0) & (v <= 1)).all()):
        raise DataError(f"{name} must hold {'finite numbers' if odds else 'numbers in [0, 1]'}")
    if not bool(((y >= 0) & (y <= 1)).all()):
        raise DataError("label must hold numbers in [0, 1]")
    return v, y


def _numbers(values: Sequence[float] | Tensor | Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.double).detach().cpu()
