"""The gradient of a reward by what it scores: through the reward and its transforms, as far as they let it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from guerdon.core import Batch, GuerdonError, PlanError, Reward, RewardOutput, Rollout, returns


def climbed(fresh: Rollout, batch: Batch, run: Any) -> tuple[RewardOutput, Tensor]:
    """The shaped reward of fresh samples, and its gradient by their outputs: [B, *shape], summed over rows.

    The reward sees constants, so its own weights collect no gradient. Running statistics of transforms stay as the draw left
    them.

    Raises:
        PlanError: for a reward or a transform that gives no gradient after all.
    """
    from guerdon.run.live import view_of

    outputs = tensor_of(fresh.outputs).detach().requires_grad_(True)
    nothing = torch.zeros_like(outputs)
    with torch.enable_grad():
        seen = fresh.replace(outputs=outputs)
        raw = scored(run.reward, seen)
        shaped = view_of(Batch.of(seen, raw, batch.progress), run.plan.transforms, list(run.transform_states)).reward
        if not bool(shaped.ok.any()):
            return shaped, nothing
        total = returns(Batch.of(seen, shaped))
        if not total.requires_grad:
            told = "a transform keeps it" if raw.total.requires_grad else f"{type(run.reward).__name__} gives none"
            raise PlanError(f"Pathwise: no gradient arrives from the reward: {told}")
        found: tuple[Tensor | None, ...] = torch.autograd.grad(total[shaped.ok].sum(), [outputs], allow_unused=True)
    return shaped, nothing if found[0] is None else found[0]


def tensor_of(outputs: Any) -> Tensor:
    """Outputs that can be differentiated.

    Raises:
        PlanError: where a policy decodes its states into something else.
    """
    if not isinstance(outputs, Tensor):
        raise PlanError(f"Pathwise: the policy's outputs are a {type(outputs).__name__}, not a tensor to be differentiated")
    return outputs


def scored(reward: Reward, rollout: Rollout) -> RewardOutput:
    """What a reward says, with a graph; rows of a call that raises have failed."""
    try:
        return reward(rollout).checked()
    except GuerdonError:
        raise
    except Exception as e:  # noqa: BLE001  failure is a value, with its reason
        return RewardOutput.failed([f"{type(e).__name__}: {e}"] * len(rollout))
