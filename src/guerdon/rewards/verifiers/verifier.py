"""What every verifier is: a reward that checks each output against its task, alone, and says what it could not check."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from guerdon import __version__
from guerdon.core import RewardError, RewardOutput, Rollout, nearest
from guerdon.core.reward import Scope
from guerdon.rewards.journal import identity
from guerdon.rewards.lift import plain
from guerdon.rewards.rows import assemble
from guerdon.rewards.worker import reason_of

REMEMBERED = 100_000  # verdicts kept by one process


@dataclass(frozen=True)
class Checked:
    """The verdict on one output.

    Args:
        total: The reward, in [0, 1] for guerdon's own verifiers.
        parts: Named numbers beside it.
        reason: Why the output could not be checked; "" where it was. The row is then ``ok=False``, and ``total`` says nothing.
        note: What is wrong with an output that was checked, for people: "timed out after 3 s", "call 4: expected 5".
        lasting: Whether the same output gets the same verdict again, so that it may be remembered. A time-out is not.
    """

    total: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    note: str = ""
    lasting: bool = True


class Verifier:
    """Base of the verifiers; each is a frozen dataclass with ``columns`` and ``check`` (or ``checks``, for many at once).

    An output that is wrong gets a low total. An output that *could not be checked* (unreadable tests, a sandbox that does not
    start) is ``ok=False`` with the reason, never a 0. Verdicts are remembered by the hash of verifier, output and task.

    Example:
        >>> from guerdon.rewards import recorded
        >>> @dataclass(frozen=True)
        ... class Equal(Verifier):
        ...     answer: str = "answer"
        ...     def columns(self):
        ...         return {"answer": self.answer}
        ...     def check(self, output, *, answer):
        ...         return Checked(float(output == answer))
        >>> Equal()(recorded(["q"] * 2, ["4", "5"], {"answer": ["4", "4"]})).total.tolist()
        [1.0, 0.0]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False
    bounded: ClassVar[bool] = True  # keeps its own time
    remembers: ClassVar[bool] = True
    side_by_side: ClassVar[int] = 1  # outputs checked at the same time by ``checks``

    def columns(self) -> Mapping[str, str]:
        """Argument of ``check`` -> column of the rollout that holds it; a column named "context" is the row's context."""
        return {}

    def check(self, output: str, **task: Any) -> Checked:
        """The verdict on one output; an exception makes the row ``ok=False`` with its first line as the reason."""
        raise NotImplementedError

    def checks(self, outputs: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> list[Checked]:
        """The verdicts on several outputs."""

        def one(output: str, task: Mapping[str, Any]) -> Checked:
            try:
                return self.check(output, **task)
            except Exception as e:  # noqa: BLE001  failure is a value, with its reason
                return Checked(reason=reason_of(e))

        if self.side_by_side <= 1 or len(outputs) <= 1:
            return [one(o, t) for o, t in zip(outputs, tasks, strict=True)]
        with ThreadPoolExecutor(min(self.side_by_side, len(outputs))) as threads:
            return list(threads.map(one, outputs, tasks))

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return assemble([[c.total, dict(c.parts), c.reason] for c in self.verdicts(rollout)])

    def verdicts(self, rollout: Rollout) -> list[Checked]:
        """What ``__call__`` says, with the notes for people.

        Raises:
            RewardError: where the rollout lacks a column.
        """
        named = self._columns(rollout)
        tasks = [{a: plain(v[k]) for a, v in named.items()} for k in range(len(rollout))]
        found: dict[int, Checked] = {}
        todo: OrderedDict[str, list[int]] = OrderedDict()  # equal rows are checked once
        who = identity(self)
        for k, output in enumerate(rollout.outputs):
            if not isinstance(output, str):
                found[k] = Checked(reason=f"expected a text, got {type(output).__name__}")
            else:
                todo.setdefault(content(who, output, tasks[k]), []).append(k)
        if self.remembers:
            for key in list(todo):
                if known := _memory.get(key):
                    found |= dict.fromkeys(todo.pop(key), known)
        first = [rows[0] for rows in todo.values()]
        texts: list[Any] = [rollout.outputs[k] for k in first]
        fresh = self.checks(texts, [tasks[k] for k in first]) if first else []
        for (key, rows), checked in zip(todo.items(), fresh, strict=True):
            found |= dict.fromkeys(rows, checked)
            if self.remembers and checked.lasting and not checked.reason:
                _memory.put(key, checked)
        return [found[k] for k in range(len(rollout))]

    def _columns(self, rollout: Rollout) -> dict[str, Sequence[Any]]:
        named = {}
        for argument, column in self.columns().items():
            if column == "context":
                named[argument] = rollout.contexts
            elif column in rollout.info:
                named[argument] = rollout.info[column]
            else:
                name, hint = type(self).__name__, nearest(column, rollout.info)
                raise RewardError(f"{name}: the rollout has no column {column!r}; {hint}")
        return named


class Memory:
    """The latest verdicts by content hash; shared by all threads of the process."""

    def __init__(self, size: int = REMEMBERED):
        self.size, self.hits = size, 0
        self._known: OrderedDict[str, Checked] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Checked | None:
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                self.hits += 1
            return found

    def put(self, key: str, checked: Checked) -> None:
        with self._lock:
            self._known[key] = replace(checked, parts=dict(checked.parts))
            self._known.move_to_end(key)
            while len(self._known) > self.size:
                self._known.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


def content(who: str, output: str, task: Mapping[str, Any]) -> str:
    """Hash of all that a verdict depends on.

    >>> content("a", "x", {"n": 1}) == content("a", "x", {"n": 1.5})
    False
    """
    text = json.dumps([__version__, who, output, task], sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode("utf8"), digest_size=16).hexdigest()


_memory = Memory()
