"""Batch: what travels along the loop. Every arrow after the reward reads it and returns its own part; nobody mutates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from guerdon.core.policy import PolicyOutput
from guerdon.core.reward import RewardOutput
from guerdon.core.rollout import Rollout, last_step
from guerdon.core.rows import Index, Rows, row_index, to_device


@dataclass(frozen=True)
class Pairs(Rows):
    """P comparisons between rows of one batch.

    Args:
        win: [P] int64 row preferred.
        lose: [P] int64 row it is preferred to.
        label: [P] probability in [0, 1] that ``win`` is better (1: certain, 0.5: a tie).
        margin: [P] by how much, in reward units; None where unknown.
        weight: [P] >= 0; None: all 1.
        annotator: [P] int64 who said so; None where unknown.
    """

    win: Tensor
    lose: Tensor
    label: Tensor = field(default=None)  # type: ignore[assignment]
    margin: Tensor | None = None
    weight: Tensor = field(default=None)  # type: ignore[assignment]
    annotator: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("label", "weight"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.ones(len(self.win), device=self.win.device))


@dataclass(frozen=True)
class Batch:
    """One draw on its way from reward to update.

    Args:
        rollout: B trajectories.
        raw: As the Reward returned it.
        reward: After the Transforms.
        advantage: name -> [B, T]; "main" is what objectives read unless told otherwise.
        values: critic name -> [B, T+1].
        refs: reference name -> its PolicyOutput, computed once per draw.
        weight: [B] >= 0; 0: drawn and scored, not trained on.
        pairs: Comparisons between rows, for objectives that learn from them.
        progress: 0..1 of the run, for schedules.
    """

    rollout: Rollout
    raw: RewardOutput
    reward: RewardOutput
    advantage: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)
    refs: Mapping[str, PolicyOutput] = field(default_factory=dict)
    weight: Tensor = field(default=None)  # type: ignore[assignment]
    pairs: Pairs | None = None
    progress: float = 0.0

    def __post_init__(self) -> None:
        if self.weight is None:
            object.__setattr__(self, "weight", torch.ones(len(self.rollout), device=self.rollout.mask.device))

    @classmethod
    def of(cls, rollout: Rollout, reward: RewardOutput | None = None, progress: float = 0.0) -> Self:
        """A fresh batch; without a reward every row is ok with reward 0 (demonstrations, given pairs)."""
        if reward is None:
            reward = RewardOutput.of(torch.zeros(len(rollout)))
        return cls(rollout, reward, reward, progress=progress)

    def __len__(self) -> int:
        return len(self.rollout)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**vars(self), **changes})

    def __getitem__(self, i: Index) -> Self:
        """Some rows; pairs whose two rows are both among them come along, re-indexed."""
        index = row_index(i, len(self))
        part = {n: {k: v[index.to(v.device) if isinstance(v, Tensor) else index] for k, v in getattr(self, n).items()}
                for n in ("advantage", "values", "refs")}  # fmt: skip
        return type(self)(
            self.rollout[index], self.raw[index], self.reward[index], **part,
            weight=self.weight[index.to(self.weight.device)], pairs=self._pairs_within(index), progress=self.progress,
        )  # fmt: skip

    def _pairs_within(self, index: Tensor) -> Pairs | None:
        if self.pairs is None:
            return None
        place = torch.full((len(self),), -1, dtype=torch.long)
        place[index.cpu()] = torch.arange(len(index))
        win, lose = place[self.pairs.win.cpu()], place[self.pairs.lose.cpu()]
        inside = self.pairs[(win >= 0) & (lose >= 0)]
        keep = (win >= 0) & (lose >= 0)
        device = self.pairs.win.device
        return inside.replace(win=win[keep].to(device), lose=lose[keep].to(device))

    def to(self, device: torch.device | str) -> Self:
        return type(self)(**{k: to_device(v, device) for k, v in vars(self).items()})

    def trim(self) -> Self:
        """Without the steps behind the last chosen step of every row, in every field."""
        rollout = self.rollout.trim()
        keep, full = rollout.steps, self.rollout.steps
        if keep == full:
            return self

        def cut(x: Tensor | None, extra: int = 0) -> Tensor | None:
            return None if x is None else x[:, : keep + extra]

        def cut_reward(r: RewardOutput) -> RewardOutput:
            parts = {k: v[:, :keep] if v.dim() > 1 and v.shape[1] == full else v for k, v in r.parts.items()}
            return r.replace(step=cut(r.step), parts=parts)

        refs = {
            k: PolicyOutput(cut(v.logp), cut(v.entropy), cut(v.hidden), cut(v.value, 1), cut(v.value_raw, 1))
            for k, v in self.refs.items()
        }
        return self.replace(
            rollout=rollout, raw=cut_reward(self.raw), reward=cut_reward(self.reward), refs=refs,
            advantage={k: v[:, :keep] for k, v in self.advantage.items()},
            values={k: v[:, : keep + 1] for k, v in self.values.items()},
        )  # fmt: skip

    @property
    def live(self) -> Tensor:
        """[B] bool: scored without failure and weighted above 0."""
        return self.reward.ok.to(self.weight.device) & (self.weight > 0)


def rewards(batch: Batch) -> Tensor:
    """[B, T] reward of every step: the dense one, with ``total`` added at the last chosen step; 0 elsewhere.

    >>> mask = torch.tensor([[False, True, True, False]])
    >>> r = Rollout(["q"], ["a"], torch.zeros(1, 4), mask, torch.zeros(1), torch.zeros(1))
    >>> rewards(Batch.of(r, RewardOutput.of(torch.tensor([2.0]), step=torch.ones(1, 4)))).tolist()
    [[0.0, 1.0, 3.0, 0.0]]
    """
    mask, total = batch.rollout.mask, batch.reward.total
    dense = torch.zeros(mask.shape, dtype=total.dtype, device=total.device)
    if batch.reward.step is not None:
        dense = torch.where(mask, batch.reward.step.to(total.dtype), dense)
    last = last_step(mask)
    row = (last >= 0).nonzero()[:, 0]
    return dense.index_put((row, last[row]), total[row], accumulate=True)


def returns(batch: Batch) -> Tensor:
    """[B] undiscounted return of every trajectory: dense rewards over its chosen steps plus ``total``."""
    return rewards(batch).sum(1) if batch.reward.step is not None else batch.reward.total


def by_group(group: Tensor) -> tuple[Tensor, int]:
    """([B] group number 0..G-1 in order of first appearance by value, G)."""
    _, inverse = group.unique(return_inverse=True)
    return inverse, int(inverse.max()) + 1 if len(inverse) else 0
