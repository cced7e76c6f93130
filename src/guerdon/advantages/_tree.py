"""Tree: each step against the other ways that were taken from the same place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guerdon.advantages._base import FromReward, on_chosen
from guerdon.core.batch import Batch, returns
from guerdon.core.errors import PlanError, nearest
from guerdon.core.stats import moments


@dataclass(frozen=True)
class Tree(FromReward):
    r"""$A_b = (V_b - \bar V) / (s + \epsilon)$ for every branch $b$, with $V_b$ the mean return of the rows that went along it.

    Rows share a step where their ``node`` is equal (``samplers.Branch``), so a step is credited with all that came of it instead
    of one row's end. Mean and deviation are over branches, each counted once, however many rows went along.

    Args:
        compare: With which branches: the whole ``"layer"``, those of the same step anywhere in the item's tree, or
            ``"siblings"``, those that parted from it where it began.
        std: Whether to divide by the deviation (Bessel's) of the branches compared.
        eps: Added to the deviation.

    Returns:
        [B, T]; 0 where there are not two branches to compare, at steps not chosen and on rows that could not be scored.

    Raises:
        PlanError: for rows without ``node``.

    Example:
        >>> from guerdon.core import Batch, RewardOutput, Rollout
        >>> node = torch.tensor([[1, 3], [1, 4], [2, 5], [2, 6]])  # two branches of two leaves
        >>> rows = Rollout(["a"] * 4, ["b"] * 4, node, node > 0, torch.zeros(4), torch.arange(4), node=node)
        >>> batch = Batch.of(rows, RewardOutput.of(torch.tensor([0.0, 2.0, 4.0, 6.0])))
        >>> Tree(std=False)(batch).tolist()
        [[-2.0, -3.0], [-2.0, -1.0], [2.0, 1.0], [2.0, 3.0]]
        >>> Tree("siblings", std=False)(batch).tolist()
        [[-2.0, -1.0], [-2.0, 1.0], [2.0, -1.0], [2.0, 1.0]]

    Sources: per depth: BranchGRPO (arXiv:2509.06040), Dynamic-TreeRPO (arXiv:2509.23352); values of inner nodes: TreeGRPO
    (arXiv:2512.08153).
    """

    compare: Literal["layer", "siblings"] = "layer"
    std: bool = True
    eps: float = 1e-4

    def __post_init__(self) -> None:
        if self.compare not in (known := ("layer", "siblings")):
            raise PlanError(f"Tree: compare is {self.compare!r}; {nearest(self.compare, known)}")
        if self.eps <= 0:
            raise PlanError(f"Tree: eps must be above 0, got {self.eps}")

    def __call__(self, batch: Batch) -> Tensor:
        rollout = batch.rollout
        if rollout.node is None:
            raise PlanError("Tree: the rows do not say which steps they share (node); draw them with samplers.Branch")
        ok, total = batch.reward.ok.to(rollout.mask.device), returns(batch).detach()
        behind = torch.arange(rollout.steps, device=ok.device) >= rollout.lengths[:, None]
        _, item = rollout.group.unique(return_inverse=True)
        parent, branch, size = item, item, torch.zeros_like(item)
        columns = []
        for t in range(rollout.steps):
            node = torch.stack([item, rollout.node[:, t], behind[:, t].long()], 1)
            _, now, count = node.unique(dim=0, return_inverse=True, return_counts=True)
            if t:  # branches only ever part, so one of the same size is the same branch
                parent = torch.where(count[now] == size, parent, t * len(batch) + branch)
            branch, size = now, count[now]
            value = moments(total, ok, branch)
            inside = ok & ~behind[:, t]
            once = inside & _first(branch, inside)
            m = moments(value.mean, once, parent if self.compare == "siblings" else item)
            gain = value.mean - m.mean
            gain = gain / (m.std + self.eps) if self.std else gain
            columns.append(torch.where(m.count >= 2, gain, 0.0))
        return on_chosen(torch.stack(columns, 1).to(total), batch, ok)


def _first(label: Tensor, keep: Tensor) -> Tensor:
    """[B] bool: the first kept row of each label."""
    row = torch.arange(len(label), device=label.device)
    place = torch.where(keep, row, len(label))
    return torch.full((len(label),), len(label), device=label.device).scatter_reduce(0, label, place, "amin")[label] == row
