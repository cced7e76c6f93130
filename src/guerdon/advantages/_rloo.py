"""RLOO: each answer against the mean of the others."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from guerdon.advantages._base import FromReward, counted, on_chosen
from guerdon.core.batch import Batch, returns
from guerdon.core.stats import moments


@dataclass(frozen=True)
class RLOO(FromReward):
    r"""Leave one out: $A_i = R_i - \frac{1}{n-1} \sum_{j \ne i} R_j = \frac{n}{n-1} (R_i - \bar R)$ within each group.

    The baseline of a row does not depend on the row itself, so the gradient stays unbiased. Groups with fewer than two rows
    that count get 0.

    Args:
        trained_only: Baselines from rows that are trained on (weight above 0) instead of all that were scored; others get 0.

    Returns:
        [B, T], 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.testing import example_batch
        >>> RLOO()(example_batch()).shape
        torch.Size([12, 8])

    Source: RLOO (arXiv:2402.14740).
    """

    trained_only: bool = False

    def __call__(self, batch: Batch) -> Tensor:
        rows, total = counted(batch, self.trained_only), returns(batch).detach()
        m = moments(total, rows, batch.rollout.group)
        advantage = (total - m.mean.to(total)) * (m.count / (m.count - 1).clamp(min=1)).to(total)
        return on_chosen(advantage, batch, rows & (m.count >= 2))
