"""What the verifiers of the text worlds share: reading a column of the rollout, and weighing parts into a reward."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from guerdon.core.errors import PlanError, RewardError, nearest
from guerdon.core.reward import RewardOutput
from guerdon.core.rollout import Rollout


def check_weights(reward: Any) -> None:
    """Raises PlanError unless every field of the reward is a finite number."""
    for f in dataclasses.fields(reward):
        value = getattr(reward, f.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise PlanError(f"{type(reward).__name__}.{f.name} must be a finite number, got {value!r}")


def column(rollout: Rollout, name: str, task: str) -> Sequence[Any]:
    """A column of ``rollout.info`` as a list.

    Raises:
        RewardError: where it is missing, so that no row can be scored.
    """
    if name not in rollout.info:
        raise RewardError(f"the reward needs the column {name!r} in info, which the prompts of tasks.{task} bring; "
                          f"{nearest(name, rollout.info)}")  # fmt: skip
    values = rollout.info[name]
    return values.tolist() if isinstance(values, torch.Tensor) else values


def exact(value: object) -> Fraction:
    """A number, or a text that spells one, without rounding.

    >>> exact(" 132"), exact(2.0), exact("1/3")
    (Fraction(132, 1), Fraction(2, 1), Fraction(1, 3))

    Raises:
        ValueError: for anything else.
    """
    try:
        return Fraction(str(value))
    except ZeroDivisionError:
        raise ValueError(f"{value!r} divides by zero") from None


def score(reward: Any, rows: Sequence[dict[str, float] | str]) -> RewardOutput:
    """Parts of every row weighed by the reward's fields of the same names; a row that is a text failed for that reason."""
    names = [f.name for f in dataclasses.fields(reward)]
    parts = {n: torch.tensor([0.0 if isinstance(r, str) else r[n] for r in rows], dtype=torch.float32) for n in names}
    total = sum((getattr(reward, n) * parts[n] for n in names), torch.zeros(len(rows)))
    reason = [r if isinstance(r, str) else "" for r in rows]
    return RewardOutput(total, torch.tensor([not r for r in reason], dtype=torch.bool), reason, parts=parts)
