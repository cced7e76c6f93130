"""The contract of a reward: one verdict per row, failures as values, no row in another's way."""

from __future__ import annotations

import torch

from guerdon.core import Reward, RewardOutput, Rollout
from guerdon.testing._base import demand, demand_close, shuffled


def check_reward(reward: Reward, rollout: Rollout) -> RewardOutput:
    """Score a rollout in several ways that must agree; returns the rewards.

    Checked: shapes, finite numbers where ok, a reason exactly where not ok, the same answer twice, and, for a reward of scope
    ``"sample"``, the same answer in another order and alone.

    Raises:
        ContractError: saying what is broken.
    """
    name = getattr(reward, "name", type(reward).__name__)
    demand(getattr(reward, "scope", None) in ("sample", "group", "batch"), f"{name}: scope must be 'sample', 'group' or 'batch'")
    demand(isinstance(getattr(reward, "differentiable", None), bool), f"{name}: differentiable must be True or False")
    out = reward(rollout)
    _check_shape(name, out, rollout)
    again = reward(rollout)
    demand(torch.equal(out.total, again.total) and torch.equal(out.ok, again.ok), f"{name}: scoring the same rows twice differs")
    if reward.scope == "sample" and len(rollout):
        order = shuffled(len(rollout))
        other = reward(rollout[order])
        demand_close(out.total[order], other.total, f"{name}: a row's reward depends on the order of rows")
        alone = RewardOutput.cat([reward(rollout[k]).replace(parts={}) for k in range(len(rollout))])
        demand_close(out.total, alone.total, f"{name}: a row's reward depends on the other rows, so its scope is not 'sample'")
        demand(torch.equal(out.ok, alone.ok), f"{name}: a row's failure depends on the other rows")
    return out


def _check_shape(name: str, out: RewardOutput, rollout: Rollout) -> None:
    rows = len(rollout)
    demand(out.total.shape == (rows,), f"{name}: total has shape {tuple(out.total.shape)}, expected ({rows},)")
    demand(out.ok.shape == (rows,) and out.ok.dtype == torch.bool, f"{name}: ok must be a bool tensor of {rows} rows")
    demand(len(out.reason) == rows, f"{name}: {len(out.reason)} reasons for {rows} rows")
    dense = {"total": out.total, "step": out.step, "std": out.std, **{f"part {k!r}": v for k, v in out.parts.items()}}
    for field, value in dense.items():
        if value is None:
            continue
        demand(value.shape[0] == rows, f"{name}: {field} has {value.shape[0]} rows, expected {rows}")
        demand(bool(torch.isfinite(value[out.ok]).all()), f"{name}: {field} is NaN or infinite on a row that is ok")
    for k, (ok, reason) in enumerate(zip(out.ok.tolist(), out.reason, strict=True)):
        demand(ok != bool(reason), f"{name}: row {k} is {'ok with a reason' if ok else 'not ok without a reason'}")
