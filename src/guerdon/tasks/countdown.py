"""Countdown: reach a target from a few numbers; many different answers are right, so diversity can be measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from guerdon.core.batch import by_group
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.tasks.answers import check_weights, column, exact, score
from guerdon.tasks.expressions import ExpressionError, evaluate, numbers_in, parse, solution_key
from guerdon.tasks.task import Problem, Task
from guerdon.tasks.warm_start import LMConfig, WarmStart


@dataclass(frozen=True)
class Countdown(Task):
    """``4 8 5 3 -> 25:`` asks for an expression with the value 25, such as ``4*5+8-3``.

    The rule is that of the television game: each given number at most once, ``+ - * /`` and brackets, not all numbers need
    be used. Unlike there, values on the way may be negative or fractions; they are exact. Every puzzle is made from an
    expression that solves it with all its numbers, so every puzzle has a solution; the base model is trained on those.

    Args:
        warm_start: How the base model is trained.
        count: How many numbers are given.
        high: They are drawn uniformly from 1 to this; the same number may be given twice.
        target: Largest target; the smallest is 1.

    Example:
        >>> prompt, info = Countdown().items(1)[0]
        >>> prompt, info["solution"]
        ('1 3 3 2 -> 15:', '(2*3-1)*3')
    """

    name: ClassVar[str] = "countdown"
    title: ClassVar[str] = "Reach a target number from four given ones; many expressions are right."
    version: ClassVar[int] = 1

    warm_start: WarmStart = WarmStart(steps=800)
    count: int = 4
    high: int = 9
    target: int = 30

    def __post_init__(self) -> None:
        if not 2 <= self.count <= 6 or not 1 <= self.high <= 10**4 or not 1 <= self.target <= 10**6:
            raise PlanError(
                "Countdown: count must be in 2..6, high in 1..10000 and target in 1..1000000, "
                f"got {self.count}, {self.high} and {self.target}"
            )

    @classmethod
    def tiny(cls) -> Self:
        recipe = WarmStart(LMConfig(width=32, layers=2, heads=2, hidden=96), corpus=6000, steps=200, lr=5e-3)
        return cls(warm_start=recipe, count=2, high=12, target=36)

    @property
    def numbers(self) -> int:
        return self.count + 3 * (self.count - 1)

    def problem(self, u: Sequence[float]) -> Problem | None:
        given = [1 + int(x * self.high) for x in u[: self.count]]
        target, solution = _combined(given, u[self.count :])
        if target > self.target:
            return None
        key = f"{' '.join(map(str, sorted(given)))} -> {target}"
        prompt = f"{' '.join(map(str, given))} -> {target}:"
        return Problem(prompt, key, {"numbers": tuple(given), "target": target, "solution": solution})

    def corpus_answer(self, problem: Problem, u: Sequence[float]) -> str:
        return problem.info["solution"]

    def reward(self) -> CountdownReward:
        return CountdownReward()

    @property
    def max_tokens(self) -> int:
        return self.count * len(str(self.high)) + (self.count - 1) + 2 * (self.count - 2) + 1


def _combined(given: Sequence[int], u: Sequence[float]) -> tuple[int, str]:
    """All numbers joined two at a time, in random order, by random operators that keep to positive whole values.

    Multiplying and dividing by 1 is left out, as it solves nothing.
    """
    pool = [(n, str(n), 3) for n in given]  # value, text, precedence
    for k in range(0, len(u), 3):
        a, left, left_rank = pool.pop(int(u[k] * len(pool)))
        b, right, right_rank = pool.pop(int(u[k + 1] * len(pool)))
        values = {"+": a + b}
        if a > b:
            values["-"] = a - b
        if a > 1 and b > 1:
            values["*"] = a * b
        if b > 1 and a % b == 0:
            values["/"] = a // b
        op = list(values)[int(u[k + 2] * len(values))]
        rank = 1 if op in "+-" else 2
        left = f"({left})" if left_rank < rank else left
        right = f"({right})" if right_rank < rank or (right_rank == rank and op in "-/") else right
        pool.append((values[op], left + op + right, rank))
    return pool[0][0], pool[0][1]


@dataclass(frozen=True)
class CountdownReward:
    """1 for an expression that reaches the target with the given numbers, 0 otherwise, unless the weights say more.

    Args:
        solved: Weight of reaching ``info["target"]`` exactly with ``info["numbers"]``, each at most once.
        valid: Weight of the output being an expression with a value that uses given numbers only, each at most once.
        close: Weight of 1 / (1 + |value - target|) for valid expressions.

    Example:
        >>> n, mask = torch.arange(3), torch.ones(3, 1, dtype=torch.bool)
        >>> info = {"numbers": [(3, 7, 25)] * 3, "target": [46] * 3}
        >>> rollout = Rollout(["3 7 25 -> 46:"] * 3, ["25+7*3", "25+7*2", "25+7"], torch.zeros(3, 1), mask, n, n, info=info)
        >>> out = CountdownReward()(rollout)
        >>> out.total.tolist(), out.parts["valid"].tolist(), out.parts["close"].tolist()
        ([1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.07])
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    solved: float = 1.0
    valid: float = 0.0
    close: float = 0.0

    def __post_init__(self) -> None:
        check_weights(self)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return score(self, [_parts(*row) for row in _rows(rollout)])


def solutions(rollout: Rollout) -> list[str | None]:
    """[B] which solution each row found, None where it does not solve its puzzle.

    It is the same text for expressions that differ only in order, grouping and signs.
    """
    solved = CountdownReward()(rollout).parts["solved"].tolist()
    return [solution_key(str(o)) if s else None for o, s in zip(rollout.outputs, solved, strict=True)]


def distinct_solutions(rollout: Rollout) -> Tensor:
    """[G] number of different solutions found for each puzzle, groups in the order of ``core.by_group``.

    >>> n, info = torch.arange(3), {"numbers": [(3, 7, 25)] * 3, "target": [46] * 3}
    >>> mask, group = torch.ones(3, 1, dtype=torch.bool), torch.zeros(3, dtype=torch.long)
    >>> distinct_solutions(Rollout(["?"] * 3, ["25+7*3", "3*7+25", "25+7"], torch.zeros(3, 1), mask, group, n, info=info))
    tensor([1])
    """
    group, count = by_group(rollout.group)
    found: list[set[str]] = [set() for _ in range(count)]
    for g, key in zip(group.tolist(), solutions(rollout), strict=True):
        if key is not None:
            found[g].add(key)
    return torch.tensor([len(f) for f in found], dtype=torch.long)


def _rows(rollout: Rollout) -> zip[tuple[object, object, object]]:
    numbers, target = column(rollout, "numbers", "Countdown"), column(rollout, "target", "Countdown")
    return zip(rollout.outputs, numbers, target, strict=True)


def _parts(output: object, numbers: object, target: object) -> dict[str, float] | str:
    """The parts of one row, or why it cannot be scored."""
    if not isinstance(output, str):
        return f"the output is {type(output).__name__}, not text"
    try:
        given, wanted = Counter(exact(n) for n in numbers), exact(target)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return f"the puzzle {numbers!r} -> {target!r} is not made of numbers"
    try:
        expression = parse(output.strip())
        value = evaluate(expression)
    except ExpressionError:
        return {"solved": 0.0, "valid": 0.0, "close": 0.0}
    if Counter(map(exact, numbers_in(expression))) - given:
        return {"solved": 0.0, "valid": 0.0, "close": 0.0}
    return {"solved": float(value == wanted), "valid": 1.0, "close": float(1 / (1 + abs(value - wanted)))}
