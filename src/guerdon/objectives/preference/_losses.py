"""SigmoidLoss, HingeLoss and IPOLoss: how a scaled log-ratio gap becomes a loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid, relu


@dataclass(frozen=True)
class SigmoidLoss:
    r"""$-p \log \sigma(z) - (1 - p) \log \sigma(-z)$: the Bradley-Terry likelihood of a comparison with label $p$.

    >>> import torch
    >>> round(SigmoidLoss()(torch.tensor(0.0), torch.tensor(1.0), 0.1).item(), 4)
    0.6931
    """

    def __call__(self, z: Tensor, label: Tensor, beta: float) -> Tensor:
        return -label * logsigmoid(z) - (1 - label) * logsigmoid(-z)


@dataclass(frozen=True)
class HingeLoss:
    r"""$p\,[1 - z]_+ + (1 - p)\,[1 + z]_+$: nothing to learn once the gap is wide enough.

    Source: SLiC-HF (arXiv:2305.10425), with normalised scores RSO (arXiv:2309.06657).

    >>> import torch
    >>> HingeLoss()(torch.tensor(0.25), torch.tensor(1.0), 0.1).item()
    0.75
    """

    def __call__(self, z: Tensor, label: Tensor, beta: float) -> Tensor:
        return label * relu(1 - z) + (1 - label) * relu(1 + z)


@dataclass(frozen=True)
class IPOLoss:
    r"""$\left(h - \frac{1}{2\beta}\right)^2$ with $h = z / \beta$: a target for the gap instead of a push without end.

    Labels mix the two directions: $p\,(h - \frac{1}{2\beta})^2 + (1 - p)\,(h + \frac{1}{2\beta})^2$.

    Source: IPO (arXiv:2310.12036).

    >>> import torch
    >>> IPOLoss()(torch.tensor(0.5), torch.tensor(1.0), 0.5).item()  # h = 1 is the target 1 / (2 beta)
    0.0
    """

    def __call__(self, z: Tensor, label: Tensor, beta: float) -> Tensor:
        h, target = z / beta, 1 / (2 * beta)
        return label * (h - target).square() + (1 - label) * (h + target).square()


PairLoss = SigmoidLoss | HingeLoss | IPOLoss
