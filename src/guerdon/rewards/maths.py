"""Maths: a final answer that equals the known one."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardError, RewardOutput, Rollout, nearest
from guerdon.core.reward import Scope
from guerdon.rewards.child import Target, score_texts
from guerdon.rewards.lift import plain

_TARGET = Target(str(Path(__file__).with_name("maths_worker.py")), "judge", prepare="prepare", memory=2 << 30)


@dataclass(frozen=True)
class Maths:
    r"""1 where the output's final answer equals the data's answer as mathematics (math-verify), else 0.

    An answer in ``\boxed{}`` goes before any other; without one the last expression counts. The part ``parsed`` is 0 where the
    output has no answer that can be read (reward 0). Where the *data's* answer cannot be read, or comparing takes longer than
    ``timeout`` or fails, the row is not ok: nobody knows whether the output was right. Parsing and comparing run in processes
    that are killed when their time is up, because nothing inside a process stops ``10^{10^{10}}``.

    Args:
        answer: Column with the known answers: expressions, or solutions with ``\boxed{}`` or ``####`` before the answer.
        timeout: Seconds per row.

    Raises:
        PlanError: where the package ``math-verify`` is missing.
        RewardError: where the rollout has no such column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> rollout = recorded(["q"] * 3, [r"so \boxed{\frac{2}{4}}", "It is 0.75.", "no idea"], {"answer": ["1/2"] * 3})
        >>> out = Maths()(rollout)
        >>> out.total.tolist(), out.parts["parsed"].tolist()
        ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0])
    """

    answer: str = "answer"
    timeout: float = 5.0
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False
    bounded: ClassVar[bool] = True  # keeps its own time

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise PlanError(f"Maths: timeout must be above 0 s, got {self.timeout}")
        if importlib.util.find_spec("math_verify") is None:
            raise PlanError("Maths needs the package math-verify: pip install 'guerdon[text]'")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        if self.answer not in rollout.info:
            raise RewardError(f"Maths: the rollout has no column {self.answer!r}; {nearest(self.answer, rollout.info)}")
        golds = [{"gold": _text(plain(g))} for g in rollout.info[self.answer]]
        return score_texts(_TARGET, rollout.outputs, golds, self.timeout)


def _text(gold: Any) -> str:
    return "" if gold is None else str(gold)
