"""Maths: a final answer that equals the known one."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guerdon.core import PlanError
from guerdon.rewards.child import Target
from guerdon.rewards.verifiers.processes import check_in_processes
from guerdon.rewards.verifiers.verifier import Checked, Verifier

_TARGET = Target(str(Path(__file__).with_name("maths_worker.py")), "judge", prepare="prepare", memory=2 << 30)


@dataclass(frozen=True)
class Maths(Verifier):
    r"""1 where the output's final answer equals the data's answer as mathematics (math-verify), else 0.

    An answer in ``\boxed{}`` goes before any other, then one behind ``####``, then an output that is one formula; in other texts
    the last expression counts, which is a guess: ask for a box. The part ``parsed`` is 0 where the output has no answer that can
    be read (reward 0). Where the *data's* answer cannot be read, or comparing takes longer than ``timeout`` or fails, the row is
    not ok: nobody knows whether the output was right. Parsing and comparing run in processes that are killed when their time is
    up, because nothing inside a process stops ``10^{10^{10}}``.

    Written differently is the same: ``0.5``, ``\frac12``, ``½`` and ``50\%``; ``\sqrt8`` and ``2\sqrt2``; ``3\frac12`` and
    ``3 1/2``; ``0.\overline{3}`` and ``1/3``; ``90^\circ`` and ``\frac{\pi}{2}``; ``[1,2)`` and ``1 \le x < 2``; sets in any
    order; ``5`` and ``5 m/s``; ``B`` and ``(B) 7``. Decimals agree to six places, so ``0.33`` is not ``1/3``. Known limits: ``3``
    and ``3\%`` count as equal, and so do variables in upper and lower case; ``100,200`` is the number 100200 and the pair.

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

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise PlanError(f"Maths: timeout must be above 0 s, got {self.timeout}")
        if importlib.util.find_spec("math_verify") is None:
            raise PlanError("Maths needs the package math-verify: pip install 'guerdon[text]'")

    def columns(self) -> Mapping[str, str]:
        return {"gold": self.answer}

    def check(self, output: str, **task: Any) -> Checked:
        return self.checks([output], [task])[0]

    def checks(self, outputs: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> list[Checked]:
        golds = [{"gold": "" if task["gold"] is None else str(task["gold"])} for task in tasks]
        found = check_in_processes(_TARGET, outputs, golds, self.timeout)
        return [replace(c, note=_note(c, g["gold"])) for c, g in zip(found, golds, strict=True)]


def _note(checked: Checked, gold: str) -> str:
    if checked.reason or checked.total:
        return ""
    return f"expected {gold[-80:].strip()}" if checked.parts["parsed"] else "no answer that can be read"
