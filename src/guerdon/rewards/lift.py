"""Plain functions as rewards: ``f(output, **info) -> float`` for a row, or ``f(completions, ...) -> list`` as TRL has them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from guerdon.core import PlanError, Reward, RewardError, RewardOutput, Rollout, nearest
from guerdon.core.reward import Scope
from guerdon.rewards.lanes import CHUNK, Inline, Lane, Patience, run_calls, run_side_by_side
from guerdon.rewards.rows import assemble
from guerdon.rewards.worker import Call, is_async

LISTS = ("completions", "prompts", "completion_ids")  # a parameter of one of these names: the function takes lists
OUTPUT = ("output", "completion")
CONTEXT = ("prompt", "context")
_ASYNC_AT_ONCE = 64  # async calls that run side by side


def as_reward(obj: Any) -> Reward:
    """Whatever scores as a Reward.

    Args:
        obj: A Reward; ``"file.py:name"``; a function of one row, ``f(output, answer, ...) -> float``, whose further parameters
            are filled by name from the rollout's ``info`` columns, and ``prompt`` or ``context``; or a function of lists as
            TRL has them, ``f(completions, prompts, answer, **kwargs) -> list``. A row's value may be a number, a bool, a
            tensor of one element, a dict of named parts (their sum, or its "total", is the reward) or None (not scored).
            Functions may be async. A function of lists whose rewards compare rows says so: ``f.scope = "group"`` has it
            called once per group, ``f.scope = "batch"`` once per draw; without it rows may be split in any way.

    Raises:
        RewardError: for anything else.

    Example:
        >>> from guerdon.rewards import recorded
        >>> def close(output, answer):
        ...     return -abs(float(output) - answer)
        >>> out = as_reward(close)(recorded(["1 + 1 ="] * 2, ["2.5", "two"], {"answer": [2, 2]}))
        >>> out.total.tolist(), out.reason
        ([-0.5, 0.0], ['', "ValueError: could not convert string to float: 'two'"])
    """
    if isinstance(obj, str):
        from guerdon.rewards.load import load_reward

        return load_reward(obj)
    if isinstance(obj, type):
        raise RewardError(f"{obj.__name__} is a class; give an instance of it, such as {obj.__name__}()")
    if isinstance(obj, Reward):
        return obj
    if not callable(obj):
        raise RewardError(f"a {type(obj).__name__} is not a reward; expected a function, a Reward or 'file.py:name'")
    return Function(origin_of(obj), obj, getattr(obj, "scope", "sample"))


def origin_of(function: Any) -> str:
    """Where a function was defined, as ``module:qualname``."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or type(function).__module__}:{name}"


@dataclass(frozen=True)
class Function:
    """A lifted function; made by ``as_reward`` and ``load_reward``.

    Args:
        origin: Where it came from: ``file.py:name`` as the user wrote it, or ``module:qualname``.
        fn: The function itself.
        scope: Which rows it must see together; ``"group"`` and ``"batch"`` are for functions of lists.
        file: Absolute path of the file, where ``origin`` names one; such a function can be run in a process of its own.
    """

    origin: str
    fn: Callable[..., Any] = field(repr=False, compare=False)
    scope: Scope = "sample"
    file: str = ""
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.scope not in ("sample", "group", "batch"):
            raise PlanError(f"{self.origin}: scope must be 'sample', 'group' or 'batch', got {self.scope!r}")
        if self.scope != "sample" and not self.takes_lists:
            raise PlanError(f"{self.origin} scores one row at a time, so its scope is 'sample'; got {self.scope!r}")
        if not self.takes_lists:
            self._output_name()

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Of the function."""
        try:
            return inspect.signature(self.fn).parameters
        except (TypeError, ValueError):
            raise RewardError(f"{self.origin}: its parameters cannot be seen; wrap it in a function of your own") from None

    @property
    def takes_lists(self) -> bool:
        """Whether it is called once for many rows."""
        return any(name in self.parameters for name in LISTS)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        """Scores in the caller's own thread, without a time limit; ``Scorer`` adds both."""
        return self.run(len(rollout), self.calls(rollout), Inline(self.fn))

    def run(
        self, rows: int, calls: tuple[list[list[int]], list[Call]], lane: Lane, limit: float | None = None, lanes: int = 1
    ) -> RewardOutput:
        """Scores through a lane (the caller, a thread, or a process), with ``limit`` seconds per call."""
        index, todo = calls
        slack = 1.0 if is_async(self.fn) else 0.0
        options: dict[str, Any] = {"slack": slack, "split": self.scope == "sample", "patience": Patience()}
        if self.takes_lists:
            found = run_calls(lane, todo, limit, **options)
        else:
            found = run_side_by_side(lane, todo, limit, lanes, chunk=_ASYNC_AT_ONCE if slack else CHUNK, **options)
        verdicts: list[Any] = [None] * rows
        for which, values in zip(index, found, strict=True):
            for k, value in zip(which, values, strict=True):
                verdicts[k] = value
        return assemble(verdicts)

    def calls(self, rollout: Rollout) -> tuple[list[list[int]], list[Call]]:
        """Which rows each call is about, and its arguments.

        Raises:
            RewardError: where the function asks for a column that the rollout does not have.
        """
        if not len(rollout):
            return [], []
        if not self.takes_lists:
            names, output = self._columns(rollout), self._output_name()
            rows = [{n: plain(column[k]) for n, column in names.items()} for k in range(len(rollout))]
            if output is None:
                return [[k] for k in range(len(rollout))], [([rollout.outputs[k]], r, None) for k, r in enumerate(rows)]
            return [[k] for k in range(len(rollout))], [([], {output: rollout.outputs[k], **r}, None) for k, r in enumerate(rows)]
        index = [list(range(len(rollout)))]
        if self.scope == "group":
            index = [(rollout.group == g).nonzero()[:, 0].tolist() for g in dict.fromkeys(rollout.group.tolist())]
        columns = self._columns(rollout)
        return index, [([], {n: [plain(c[k]) for k in rows] for n, c in columns.items()}, len(rows)) for rows in index]

    def _output_name(self) -> str | None:
        """Name of the parameter that takes the output; None where it is given by position."""
        known = self.parameters
        for name in OUTPUT:
            if name in known and known[name].kind is not inspect.Parameter.POSITIONAL_ONLY:
                return name
        first = next(iter(known.values()), None)
        if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
            raise RewardError(f"{self.origin} takes no output: expected a first parameter such as 'output'")
        return None

    def _columns(self, rollout: Rollout) -> dict[str, Any]:
        """name -> column, for every parameter that is filled by name."""
        known = list(self.parameters.values())
        if self.takes_lists:
            offered, reserved = _lists(rollout), {"log_extra", "log_metric"}
        else:
            offered, reserved = dict.fromkeys(CONTEXT, rollout.contexts), {self._output_name() or known[0].name}
        info = {n: c for n, c in rollout.info.items() if n not in offered or not self.takes_lists}
        found: dict[str, Any] = {}
        for p in known:
            if p.name in reserved or p.kind is p.VAR_POSITIONAL:
                continue
            if p.kind is p.VAR_KEYWORD:
                extra = {**info, **(offered if self.takes_lists else {})}
                found |= {n: c for n, c in extra.items() if n not in found and n not in reserved}
            elif p.name in info:
                found[p.name] = info[p.name]
            elif p.name in offered:
                found[p.name] = offered[p.name]
            elif p.default is p.empty:
                names = [*info, *offered]
                columns = ", ".join(sorted(info)) or "none"
                raise RewardError(
                    f"{self.origin} asks for {p.name!r}, and there is no such column; {nearest(p.name, names)} "
                    f"(columns: {columns}; besides: {', '.join(offered)})"
                )
        return {n: found[n]() if callable(found[n]) else found[n] for n in found}


def _lists(rollout: Rollout) -> dict[str, Any]:
    """What TRL offers to reward functions besides the data's columns; a column that is not asked for is not made."""

    def completions() -> list[Any]:
        pairs = zip(rollout.contexts, rollout.outputs, strict=True)
        return [[{"role": "assistant", "content": o}] if is_conversation(c) else o for c, o in pairs]

    def completion_ids() -> list[list[int]]:
        return [a[m].tolist() for a, m in zip(rollout.actions, rollout.mask, strict=True)]

    return {"completions": completions, "prompts": lambda: list(rollout.contexts), "completion_ids": completion_ids}


def is_conversation(context: Any) -> bool:
    """Whether a context is a list of messages."""
    return isinstance(context, list | tuple) and bool(context) and isinstance(context[0], Mapping) and "role" in context[0]


def plain(value: Any) -> Any:
    """A number out of a tensor or array without dimensions; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def sendable(calls: Sequence[Call]) -> bool:
    """Whether calls are plain data, the same on the other side of a pipe."""
    return all(_is_plain(call[0]) and _is_plain(call[1]) for call in calls)


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return True
    if kind is list:
        return all(map(_is_plain, value))
    return kind is dict and all(type(k) is str and _is_plain(v) for k, v in value.items())
