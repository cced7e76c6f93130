"""What all contract checks share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import Batch, PolicyOutput, RewardOutput, Rollout


class ContractError(AssertionError):
    """A contract is broken; the message says which one, by whom, and by how much."""


def demand(condition: object, message: str) -> None:
    if not bool(condition):
        raise ContractError(message)


def demand_close(a: Tensor, b: Tensor, message: str, relative: float = 1e-6) -> None:
    demand(a.shape == b.shape, f"{message}: shapes {tuple(a.shape)} and {tuple(b.shape)}")
    scale = float(torch.maximum(a.detach().abs().max(), b.detach().abs().max())) if a.numel() else 0.0
    gap = float((a - b).detach().abs().max()) if a.numel() else 0.0
    demand(gap <= relative * max(scale, 1e-12), f"{message}: they differ by {gap:.3g} at a scale of {scale:.3g}")


def shuffled(n: int, seed: int = 0) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def with_failures(batch: Batch, fraction: float = 0.3, garbage: float = float("nan")) -> Batch:
    """The batch with every third row or so failed and its numbers replaced by garbage."""
    dead = torch.zeros(len(batch), dtype=torch.bool)
    dead[shuffled(len(batch), 7)[: max(1, round(fraction * len(batch)))]] = True

    def spoil(r: RewardOutput) -> RewardOutput:
        total = torch.where(dead, torch.full_like(r.total, garbage), r.total)
        step = None if r.step is None else torch.where(dead[:, None], torch.full_like(r.step, garbage), r.step)
        reason = ["planted failure" if d else t for d, t in zip(dead.tolist(), r.reason, strict=True)]
        parts = {
            k: torch.where(dead.reshape(-1, *[1] * (v.dim() - 1)), torch.full_like(v, garbage), v) for k, v in r.parts.items()
        }
        return r.replace(total=total, step=step, ok=r.ok & ~dead, reason=reason, parts=parts)

    return batch.replace(raw=spoil(batch.raw), reward=spoil(batch.reward))


def padded(batch: Batch, extra: int = 3) -> Batch:
    """The same batch with steps of padding appended to every field that has steps."""

    def more(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        return torch.cat([x, torch.zeros(x.shape[0], extra, *x.shape[2:], dtype=x.dtype)], 1)

    r = batch.rollout
    rollout = r.replace(
        actions=more(r.actions), mask=more(r.mask), logp=more(r.logp), states=more(r.states), node=more(r.node),
        trace={k: more(v) for k, v in r.trace.items()},
    )  # fmt: skip

    def reward(o: RewardOutput) -> RewardOutput:
        return o.replace(step=more(o.step), parts={k: more(v) if v.dim() > 1 else v for k, v in o.parts.items()})

    refs = {k: PolicyOutput(more(v.logp), more(v.entropy), more(v.hidden), more(v.value)) for k, v in batch.refs.items()}
    return batch.replace(
        rollout=rollout, raw=reward(batch.raw), reward=reward(batch.reward), refs=refs,
        advantage={k: more(v) for k, v in batch.advantage.items()}, values={k: more(v) for k, v in batch.values.items()},
    )  # fmt: skip


class TableNetwork(nn.Module):
    """A network with one free log-prob, entropy and value per row and step, looked up by row identity."""

    def __init__(self, rollout: Rollout, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shape = (len(rollout), rollout.steps + 1, 3)
        self.table = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.double))
        self.row = {int(u): k for k, u in enumerate(rollout.uid)}

    def forward(self, rollout: Rollout, *, want: Any = ()) -> PolicyOutput:
        rows = self.table[[self.row[int(u)] for u in rollout.uid]]
        rows = rows[:, : rollout.steps + 1]
        if rows.shape[1] < rollout.steps + 1:
            rows = torch.cat([rows, rows.new_zeros(len(rows), rollout.steps + 1 - rows.shape[1], 3)], 1)
        zero = rows.new_zeros(())
        behaviour = rollout.logp if rollout.logp is not None else zero
        logp = torch.where(rollout.mask, behaviour + 0.2 * rows[:, :-1, 0], zero)
        entropy = torch.where(rollout.mask, rows[:, :-1, 1].exp(), zero)
        return PolicyOutput(logp, entropy, rows[:, :-1], rows[..., 2])
