"""Delta: process rewards as differences that telescope."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from guerdon.core.batch import Batch
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Stateless, changed
from guerdon.transforms._segments import process_of


@dataclass(frozen=True)
class Delta(Stateless):
    r"""The score of every reasoning step minus that of the next one.

    With scores $r_1 \dots r_K$ of a trajectory: $r_k - r_{k+1}$ for $k < K - 1$, $r_{K-1}$ for $k = K - 1$, and 0 for the last
    step, which the success judges. What is still to come, undiscounted, is then $r_k$ from step $k$ on, however many steps
    follow: more steps earn nothing. It takes an advantage that honours dense rewards (``GAE``, ``Returns``); to one that sums
    up whole trajectories only $r_1$ remains. Numbers where no step ends stay as they are; put ``TokenKL`` behind this.

    Args:
        ends: The part that is not 0 where a step ends, as ``rewards.ProcessReward`` records it. A score of 0 is a score.

    Raises:
        PlanError: for a reward without dense part or without the part ``ends``.

    Example:
        >>> from guerdon.core import Rollout
        >>> three = Rollout(["q"], ["a=b=c"], torch.zeros(1, 5), torch.ones(1, 5).bool(), torch.zeros(1), torch.zeros(1))
        >>> scores, ends = torch.tensor([[0.0, 0.5, 0.0, 0.25, 1.0]]), torch.tensor([[0.0, 1, 0, 1, 1]])
        >>> batch = Batch.of(three, RewardOutput.of(torch.ones(1), step=scores, parts={"end": ends}))
        >>> Delta().apply(None, batch)[1].step.tolist()
        [[0.0, 0.25, 0.0, 0.25, 0.0]]

    Source: On Designing Effective RL Reward at Training Time for LLM Reasoning (arXiv:2410.15115).
    """

    ends: str = "end"

    def reward(self, batch: Batch) -> RewardOutput:
        reward, step, end = process_of(batch, self.ends, "Delta")
        # Every row's ends side by side in front, so that the next step is the next column.
        order = (~end).long().argsort(dim=1, stable=True)
        place, count = torch.arange(step.shape[1], device=step.device), end.sum(1, keepdim=True)
        score = torch.where(place < count - 1, step.gather(1, order), 0.0)
        following = torch.cat([score[:, 1:], torch.zeros_like(score[:, :1])], 1)
        found = torch.zeros_like(step).scatter(1, order, score - following)
        return changed(reward, step=torch.where(end, found, step))
