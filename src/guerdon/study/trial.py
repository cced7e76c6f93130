"""Trial: one arm at one seed, and what came of it."""

from __future__ import annotations

import functools
import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.core.errors import PlanError, nearest
from guerdon.study.budget import Budget
from guerdon.study.study import Study


@dataclass(frozen=True)
class Task:
    """What is to be run.

    Args:
        arm: Name of the arm; "" for the study's ``prepare``.
        seed: Of everything in it.
        setting: What is being tuned, by name.
    """

    arm: str
    seed: int
    setting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """What came of a task.

    Args:
        task: What was run.
        ok: Whether it ended with numbers.
        metrics: Numbers, by name.
        traces: Sequences of numbers, by name.
        reason: Why it failed.
        seconds: Wall-clock time it took.
    """

    task: Task
    ok: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    traces: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0


def perform(study: Study, task: Task, budget: Budget) -> Trial:
    """Runs a task here and now. Whatever goes wrong in the arm is a failed trial with its reason.

    >>> from guerdon.study import Expect
    >>> arms = {"a": lambda seed, budget: {"x": 1.0}, "b": lambda seed, budget: {"x": 1 / 0}}
    >>> study = Study(arms, "x", [Expect("a", "higher", "b", by=1.0)], seeds=3)
    >>> [perform(study, Task(name, 1000), Budget("tiny")).reason for name in arms]
    ['', 'ZeroDivisionError: division by zero']
    """
    begin = time.monotonic()
    try:
        if not task.arm:
            if study.prepare is not None:
                study.prepare(budget)
            return Trial(task, True, seconds=time.monotonic() - begin)
        found = study.arms_at(budget)[task.arm](task.seed, budget, **task.setting)
        metrics, traces = _sorted(found, task.arm)
        for name in study.needs(task.arm):
            if name not in metrics:
                raise PlanError(f"arm {task.arm!r} measured no {name!r}; {nearest(name, metrics)}")
    except Exception as e:  # noqa: BLE001 (an arm is any code; its failure is a value)
        function = study.arms_at(budget).get(task.arm, study.prepare)
        return Trial(task, False, reason=_reason(e, function), seconds=time.monotonic() - begin)
    return Trial(task, True, metrics, traces, seconds=time.monotonic() - begin)


def _reason(error: Exception, function: Any) -> str:
    """What went wrong, and in which line of the file that holds the arm."""
    while isinstance(function, functools.partial):
        function = function.func
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f" ({Path(file).name}, line {lines[-1]})" if lines and file.endswith(".py") else ""
    return f"{type(error).__name__}: {error}".strip() + where


def _sorted(found: object, arm: str) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics and traces of what an arm returned."""
    if not isinstance(found, Mapping):
        raise PlanError(f"arm {arm!r} returned {type(found).__name__}; a mapping from names to numbers was expected")
    metrics: dict[str, float] = {}
    traces: dict[str, list[float]] = {}
    for name, value in found.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            traces[name] = [_number(v, arm, name) for v in value]
            continue
        metrics[name] = _number(value, arm, name)
        if not math.isfinite(metrics[name]):
            raise PlanError(f"arm {arm!r}: {name} is {metrics[name]}")
    return metrics, traces


def _number(value: Any, arm: str, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several numbers
        raise PlanError(f"arm {arm!r}: {name} is {type(value).__name__}; a number or a list of numbers was expected") from None
