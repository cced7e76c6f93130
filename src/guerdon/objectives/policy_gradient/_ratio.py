"""TokenRatio and SequenceRatio: how much likelier the new policy makes what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class TokenRatio:
    r"""One ratio per step: $r_t = \pi_\theta(a_t \mid s_t) / \pi_{\mathrm{old}}(a_t \mid s_t)$.

    Source: PPO (arXiv:1707.06347).

    Example:
        >>> import torch
        >>> TokenRatio()(torch.tensor([[0.25, 0.0]]), torch.tensor([[True, False]])).tolist()
        [[0.25, 0.0]]
    """

    def __call__(self, log_ratio: Tensor, mask: Tensor) -> Tensor:
        """[B, T] log of the ratio at every step, given log-ratios that are 0 outside ``mask``."""
        return log_ratio


@dataclass(frozen=True)
class SequenceRatio:
    r"""One ratio per trajectory, the geometric mean over its $n$ steps: $s = \exp\left(\frac{1}{n} \sum_t \log r_t\right)$.

    It stands at every step of the row; reduced with ``over="sample"`` the loss is the paper's mean over trajectories.

    Args:
        per_step: GSPO-token: the same value, but step t carries the gradient of its own log-prob only,
            $s_t = \mathrm{sg}[s] \cdot \pi_t / \mathrm{sg}[\pi_t]$, so that advantages may differ between steps.

    Source: GSPO (arXiv:2507.18071).

    Example:
        >>> import torch
        >>> log_ratio = torch.tensor([[0.1, 0.0, 0.3]])
        >>> SequenceRatio()(log_ratio, torch.tensor([[True, False, True]]))[0].tolist()
        [0.2, 0.2, 0.2]
    """

    whole_rows: ClassVar[bool] = True

    per_step: bool = False

    def __call__(self, log_ratio: Tensor, mask: Tensor) -> Tensor:
        """[B, T] log of the ratio at every step, given log-ratios that are 0 outside ``mask``."""
        steps = mask.sum(1, keepdim=True).clamp(min=1).to(log_ratio)
        mean = log_ratio.sum(1, keepdim=True) / steps
        if self.per_step:
            return mean.detach() + log_ratio - log_ratio.detach()
        return mean.expand_as(log_ratio)


Ratio = TokenRatio | SequenceRatio
