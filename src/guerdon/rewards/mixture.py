"""Mixture: several rewards as one weighted sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guerdon.core import PlanError, Reward, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.lift import as_reward


@dataclass(frozen=True)
class Mixture:
    """The weighted sum of named rewards: total = sum_k w_k r_k, dense rewards likewise.

    Every reward's own total is logged as the part of its name, unweighted, and its parts as ``name/part``. A row that one
    reward could not score has no sum, so it fails, with that reward's name in the reason. The standard deviation is
    sqrt(sum_k (w_k s_k)^2), as of independent errors.

    Args:
        parts: name -> (reward, weight), or a reward alone for weight 1. A weight of 0 only logs. A plan may name learned rewards
            here, as ``{use: rewards.RewardModel.from_pretrained, ...}``; a run makes them before it scores.

    Example:
        >>> from guerdon.rewards import Keywords, Length, recorded
        >>> mixed = Mixture({"short": (Length(high=2), 0.5), "polite": (Keywords(("please",)), 1.0)})
        >>> out = mixed(recorded(["q"], ["yes please"]))
        >>> out.total.tolist(), sorted(out.parts)
        ([1.5], ['polite', 'polite/found', 'short', 'short/length'])
    """

    parts: Mapping[str, Any]

    def __post_init__(self) -> None:
        parts: Any = self.parts
        if not isinstance(parts, Mapping) or not parts:
            raise PlanError("Mixture: parts must be a mapping of names to (reward, weight)")
        made = {}
        for name, part in parts.items():
            reward, weight = part if isinstance(part, list | tuple) and len(part) == 2 else (part, 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                raise PlanError(f"Mixture: the weight of {name!r} must be a number, got {weight!r}")
            if not isinstance(name, str) or "/" in name:
                raise PlanError(f"Mixture: a name is a text without '/', got {name!r}")
            made[name] = (as_reward(reward), float(weight))
        object.__setattr__(self, "parts", made)

    @property
    def members(self) -> dict[str, Reward]:
        """name -> reward; who scores them one by one puts them together with ``combine``."""
        return {name: reward for name, (reward, _) in self.parts.items()}

    @property
    def scope(self) -> Scope:
        scopes = {r.scope for r in self.members.values()}
        return "batch" if "batch" in scopes else "group" if "group" in scopes else "sample"

    @property
    def differentiable(self) -> bool:
        return all(r.differentiable for r in self.members.values())

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return self.combine({name: reward(rollout) for name, reward in self.members.items()})

    def combine(self, outputs: Mapping[str, RewardOutput]) -> RewardOutput:
        """The mixture of what the members said of the same rows."""
        weights = {name: weight for name, (_, weight) in self.parts.items()}
        first = next(iter(outputs.values()))
        ok, reason = first.ok, [""] * len(first.reason)
        parts: dict[str, Tensor] = {}
        for name, out in outputs.items():
            ok = ok & out.ok
            named = [f"{name}: {why}" if why else "" for why in out.reason]
            reason = ["; ".join(filter(None, both)) for both in zip(reason, named, strict=True)]
            parts |= {name: out.total, **{f"{name}/{n}": v for n, v in out.parts.items()}}
        total = sum((weights[n] * o.total for n, o in outputs.items()), start=first.total.new_zeros(()))
        steps = [weights[n] * o.step for n, o in outputs.items() if o.step is not None]
        errors = [(weights[n] * o.std).square() for n, o in outputs.items() if o.std is not None]
        step = sum(steps[1:], start=steps[0]) if steps else None
        std = sum(errors[1:], start=errors[0]).sqrt() if errors else None
        return RewardOutput(total, ok, reason, step, parts, std).checked()
