"""Figures of rows that are episodes of a world, or pieces of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from guerdon.core import Batch, RewardOutput, Rollout, returns
from guerdon.core.world import Slot


def is_control(rollout: Rollout) -> bool:
    """Whether the rows were acted in a world: they have states, and say which of them end an episode and with what return."""
    return rollout.states is not None and isinstance(rollout.info.get("return"), Tensor)


def of_slots(rollout: Rollout) -> bool:
    """Whether the rows are fragments of persistent environments; those of one slot are no answers to one question."""
    return len(rollout) > 0 and isinstance(rollout.contexts[0], Slot)


def only_dense(reward: RewardOutput) -> bool:
    """Whether all that a reward says lies in its steps."""
    return reward.step is not None and not bool(reward.total[reward.ok].any())


def with_returns(rollout: Rollout, reward: RewardOutput) -> RewardOutput:
    """The reward with every row's whole return as its total, so that means and the best checkpoint are about the return."""
    if reward.step is None or not is_control(rollout):
        return reward
    return reward.replace(total=returns(Batch.of(rollout, reward)), step=None)


def episode_metrics(rollout: Rollout) -> dict[str, float]:
    """Return and length of the episodes that ended in these rows: mean, spread, quartiles, count, and how they ended.

    Only rows that end an episode count, with the return of the whole episode. Where none ended there is a count of 0, and no
    mean: an episode that goes on has no return yet.
    """
    gain = rollout.info["return"].double()
    ended = torch.isfinite(gain)
    out = {"episode/count": float(ended.sum())}
    failed = [bool(f) for f in rollout.info.get("failed", ())]
    if any(failed):
        out["episode/failed"] = float(sum(failed))
    if not bool(ended.any()):
        return out
    gain = gain[ended]
    low, middle, high = torch.quantile(gain, torch.tensor([0.25, 0.5, 0.75], dtype=torch.double)).tolist()
    out |= {"episode/return": float(gain.mean()), "episode/return_std": float(gain.std(unbiased=False)),
            "episode/return_q25": low, "episode/return_median": middle, "episode/return_q75": high}  # fmt: skip
    if isinstance(length := rollout.info.get("length"), Tensor):
        out["episode/length"] = float(length[ended].double().mean())
    out["episode/terminated"] = float(rollout.terminal[ended].double().mean())
    return out


def environment_steps(rollout: Rollout) -> float:
    """Steps taken in the world for these rows; recorded ones were taken long ago."""
    fresh = torch.tensor([b.engine != "recorded" for b in rollout.behaviour])[rollout.actor.cpu()]
    return float(rollout.mask.cpu()[fresh].sum())


def steps_before(history: Sequence[Mapping[str, float]]) -> float:
    """Environment steps of all earlier draws, by the last one that counted them.

    >>> steps_before([{"env/steps": 8.0}, {}]), steps_before([])
    (8.0, 0.0)
    """
    return next((h["env/steps"] for h in reversed(history) if h.get("env/steps") is not None), 0.0)
