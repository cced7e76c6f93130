"""RewardOutput: what a reward says, with its parts, its uncertainty, and its failures as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from guerdon.core.rollout import Rollout
from guerdon.core.rows import Rows

Scope = Literal["sample", "group", "batch"]


@dataclass(frozen=True)
class RewardOutput(Rows):
    """Rewards of B trajectories. A row that could not be scored has ``ok=False`` and a reason, never a silent 0.

    Args:
        total: [B] float reward at the end of the trajectory (not the sum of ``step``).
        ok: [B] bool; False rows leave every loss and every statistic.
        reason: [B] why a row is not ok, "" where it is.
        step: [B, T] dense reward where there is one.
        parts: Named components, [B] or [B, T]; always logged.
        std: [B] the reward's own uncertainty.
    """

    total: Tensor
    ok: Tensor
    reason: Sequence[str]
    step: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    std: Tensor | None = None

    @classmethod
    def of(cls, total: Tensor, *, parts: Mapping[str, Tensor] | None = None, step: Tensor | None = None) -> Self:
        """All rows ok, unless a value is NaN or infinite.

        >>> RewardOutput.of(torch.tensor([1.0, float("nan")])).reason
        ['', 'reward is nan']
        """
        ok = torch.ones(len(total), dtype=torch.bool, device=total.device)
        return cls(total, ok, [""] * len(total), step, dict(parts or {})).checked()

    @classmethod
    def failed(cls, reasons: Sequence[str]) -> Self:
        """No row could be scored."""
        n = len(reasons)
        return cls(torch.zeros(n), torch.zeros(n, dtype=torch.bool), list(reasons))

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Rows behind each other. Where some rows have a part, dense rewards or a std and others do not, those others get zeros
        (rows that all failed have none).

        >>> ok = RewardOutput.of(torch.ones(1), parts={"length": torch.tensor([3.0])})
        >>> RewardOutput.cat([ok, RewardOutput.failed(["timed out"])]).parts
        {'length': tensor([3., 0.])}
        """
        known: dict[str, Tensor] = {}
        for p in parts:
            known |= {n: v for n, v in p.parts.items() if n not in known}
        step, std = (next((v for p in parts if (v := getattr(p, n)) is not None), None) for n in ("step", "std"))

        def zeros(p: Self, like: Tensor | None) -> Tensor | None:
            return None if like is None else like.new_zeros(len(p.total), *like.shape[1:])

        filled = [
            p.replace(
                parts={n: p.parts[n] if n in p.parts else zeros(p, v) for n, v in known.items()},
                step=zeros(p, step) if p.step is None else p.step,
                std=zeros(p, std) if p.std is None else p.std,
            )
            for p in parts
        ]
        return super().cat(filled)

    def checked(self) -> Self:
        """Rows with a NaN or infinite number turned into failures, their numbers set to 0 so that they poison nothing."""
        bad = ~torch.isfinite(self.total)
        for dense in (self.step, self.std, *self.parts.values()):
            if dense is not None:
                finite = torch.isfinite(dense)
                bad = bad | ~(finite.flatten(1).all(1) if finite.dim() > 1 else finite)
        bad = bad & self.ok
        dead = bad | ~self.ok

        def clean(x: Tensor | None) -> Tensor | None:
            return None if x is None else torch.where(dead.reshape(-1, *[1] * (x.dim() - 1)), torch.zeros_like(x), x)

        reason = [f"reward is {t}" if b and t != t or b and abs(t) == float("inf") else "a reward part is not finite" if b else r
                  for b, t, r in zip(bad.tolist(), self.total.tolist(), self.reason, strict=True)]  # fmt: skip
        parts = {k: torch.where(dead.reshape(-1, *[1] * (v.dim() - 1)), torch.zeros_like(v), v) for k, v in self.parts.items()}
        total = torch.where(dead, torch.zeros_like(self.total), self.total)
        return type(self)(total, self.ok & ~bad, reason, clean(self.step), parts, clean(self.std))


@runtime_checkable
class Reward(Protocol):
    """Scores trajectories. ``scope`` says which rows must be scored together: one alone, a whole group, or the whole draw."""

    @property
    def scope(self) -> Scope: ...
    @property
    def differentiable(self) -> bool: ...
    def __call__(self, rollout: Rollout) -> RewardOutput: ...
