"""GroupNorm: each answer against the other answers to the same question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from guerdon.advantages._base import FromReward, counted, on_chosen
from guerdon.core.batch import Batch, returns
from guerdon.core.errors import PlanError
from guerdon.core.stats import moments


@dataclass(frozen=True)
class GroupNorm(FromReward):
    r"""$A_i = (R_i - \bar R) / (s + \epsilon)$ with the mean of the returns of the row's own group.

    The deviation has Bessel's correction. Groups with fewer than two rows that count, and groups whose returns are all equal,
    get 0. The same number stands at every chosen step of a row.

    Args:
        std: What $s$ is: True: the deviation of the group's returns (GRPO); ``"batch"``: that of all returns of the draw, so that
            rare outcomes of one group are not blown up (Lite PPO); False: there is no division (Dr. GRPO).
        eps: Added to the deviation.
        trained_only: Statistics over rows that are trained on (weight above 0) instead of all that were scored; others get 0.

    Returns:
        [B, T], 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.testing import example_batch
        >>> a = GroupNorm()(example_batch(fail=0.0, holes=False))
        >>> bool(a.amax(1)[:4].sum() + a.amin(1)[:4].sum() < 1e-9)  # the first group's numbers cancel
        True

    Sources: GRPO (arXiv:2402.03300); without the deviation: Understanding R1-Zero-Like Training (arXiv:2503.20783); with that of
    the batch: Tricks or Traps? A Deep Dive into RL for LLM Reasoning (arXiv:2508.08221).
    """

    std: bool | Literal["batch"] = True
    eps: float = 1e-4
    trained_only: bool = False

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise PlanError(f"GroupNorm: eps must be above 0, got {self.eps}")
        if not isinstance(self.std, bool) and self.std != "batch":
            raise PlanError(f"GroupNorm: std must be true, false or 'batch', got {self.std!r}")

    def __call__(self, batch: Batch) -> Tensor:
        rows, total = counted(batch, self.trained_only), returns(batch).detach()
        m = moments(total, rows, batch.rollout.group)
        advantage = total - m.mean.to(total)
        if self.std:
            spread = moments(total, rows).std if self.std == "batch" else m.std
            advantage = advantage / (spread + self.eps).to(total)
        return on_chosen(advantage, batch, rows & (m.count >= 2))
