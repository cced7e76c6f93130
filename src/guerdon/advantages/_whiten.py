"""Whiten: any advantage with zero mean and unit deviation over the steps of the batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from guerdon.advantages._base import counted, on_chosen
from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Advantage, Need
from guerdon.core.stats import whitened


@dataclass(frozen=True)
class Whiten:
    r"""$(A - \bar A) / (s + \epsilon)$ with mean and deviation over all chosen steps of rows that could be scored.

    The deviation has Bessel's correction. Equal advantages, and fewer than two steps, become 0.

    Args:
        inner: The advantage to whiten.
        eps: Added to the deviation.
        shift: Subtract the mean as well.
        trained_only: Statistics over rows that are trained on (weight above 0) instead of all that were scored; others get 0.

    Returns:
        [B, T], 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.advantages import GAE
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch()
        >>> chosen = batch.rollout.mask & batch.reward.ok[:, None]
        >>> round(float(Whiten(GAE())(batch)[chosen].std()), 6)
        1.0

    Source, for language models: Fine-Tuning Language Models from Human Preferences (arXiv:1909.08593).
    """

    inner: Advantage
    eps: float = 1e-8
    shift: bool = True
    trained_only: bool = False

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise PlanError(f"Whiten: eps must be above 0, got {self.eps}")

    @property
    def needs(self) -> frozenset[Need]:
        return self.inner.needs

    @property
    def critic(self) -> str:
        return getattr(self.inner, "critic", "critic")

    def __call__(self, batch: Batch) -> Tensor:
        advantage, rows = self.inner(batch), counted(batch, self.trained_only)
        keep = batch.rollout.mask & rows[:, None].to(batch.rollout.mask.device)
        return on_chosen(whitened(advantage, keep, self.eps, self.shift), batch, rows)
