"""Arithmetic: sums like ``47+85=``, and a base model that has learned them from a careless teacher."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, Self

from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.tasks.answers import check_weights, column, exact, score
from guerdon.tasks.expressions import ExpressionError, evaluate
from guerdon.tasks.task import Problem, Task
from guerdon.tasks.warm_start import LMConfig, WarmStart

_NUMBER = 5 / 6  # share of slips that are still numbers


@dataclass(frozen=True)
class Arithmetic(Task):
    """``47+85=`` asks for ``132``: one right answer for every prompt.

    The corpus that the base model is trained on is wrong in a given fraction of its answers (a forgotten carry, a wrong
    digit, or an answer that is no number). The model so learns to be right about as often, while what it would need to be
    right always is in its weights: reinforcement has room, and something to start from.

    Args:
        warm_start: How the base model is trained.
        high: Operands are drawn uniformly from 0 to this.
        ops: Operators to draw from, of ``+-*``.
        operands: How many numbers; products come before sums.
        style: ``"direct"`` answers at once; ``"steps"`` replaces one operation at a time by its value, so that ``1+2+3=``
            asks for ``3+3=6``. The answer is what stands behind the last ``=``.
        wrong: Fraction of the corpus answered wrong.

    Example:
        >>> Arithmetic(operands=3, style="steps").items(1)
        [('17+93+0=', {'answer': '110', 'solution': '110+0=110'})]
    """

    name: ClassVar[str] = "arithmetic"
    title: ClassVar[str] = "Sums of two numbers below 100, by a language model whose teacher was careless."
    version: ClassVar[int] = 1

    high: int = 99
    ops: str = "+"
    operands: int = 2
    style: Literal["direct", "steps"] = "direct"
    wrong: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.high <= 10**6 or not 2 <= self.operands <= 8:
            raise PlanError(f"Arithmetic: high must be in 1..1000000 and operands in 2..8, got {self.high} and {self.operands}")
        if not self.ops or set(self.ops) - set("+-*"):
            raise PlanError(f"Arithmetic.ops must be some of '+-*', got {self.ops!r}")
        if self.style not in ("direct", "steps"):
            raise PlanError(f"Arithmetic.style must be 'direct' or 'steps', got {self.style!r}")
        if not 0 <= self.wrong < 1:
            raise PlanError(f"Arithmetic.wrong must be in [0, 1), got {self.wrong}")

    @classmethod
    def tiny(cls) -> Self:
        recipe = WarmStart(LMConfig(width=32, layers=2, heads=2, hidden=96), corpus=6000, steps=300, lr=8e-3)
        return cls(warm_start=recipe, high=14, wrong=0.4)

    @property
    def numbers(self) -> int:
        return 2 * self.operands - 1

    def problem(self, u: Sequence[float]) -> Problem:
        values = [int(x * (self.high + 1)) for x in u[: self.operands]]
        ops = [self.ops[int(x * len(self.ops))] for x in u[self.operands :]]
        steps = reductions(values, ops)
        # Sums with their operands in another order are the same problem; other chains are taken as they stand.
        key = "+".join(map(str, sorted(values))) if set(ops) == {"+"} else steps[0]
        key = "*".join(map(str, sorted(values))) if set(ops) == {"*"} else key
        solution = "=".join(steps[1:]) if self.style == "steps" else steps[-1]
        return Problem(f"{steps[0]}=", key, {"answer": steps[-1], "solution": solution})

    def corpus_answer(self, problem: Problem, u: Sequence[float]) -> str:
        if u[0] >= self.wrong:
            return problem.info["solution"]
        if self.style == "direct":
            return slipped(problem.info["answer"], u[2:])
        values, ops = re.findall(r"\d+", problem.prompt), re.findall(r"[-+*]", problem.prompt)
        at = int(u[1] * len(ops))  # the operation that goes wrong; those behind it follow from its value
        return "=".join(reductions([int(v) for v in values], ops, at, u[2:])[1:])

    def reward(self) -> ArithmeticReward:
        return ArithmeticReward()

    @property
    def max_tokens(self) -> int:
        largest = self.high**self.operands if "*" in self.ops else self.high * self.operands
        value = len(str(largest)) + 2  # a sign and a slip
        steps = self.operands - 1 if self.style == "steps" else 1
        return steps * (value + 1) + (steps - 1) * steps * (len(str(self.high)) + 1) // 2 + steps


def reductions(values: Sequence[int], ops: Sequence[str], slip: int = -1, u: Sequence[float] = ()) -> list[str]:
    """The expression and what is left of it after each operation, products first, then from the left.

    Args:
        values: Operands, one more than ``ops``.
        ops: Operators between them.
        slip: Which operation gets a wrong value, from 0; -1: none.
        u: Three uniform numbers for ``slipped``.

    >>> reductions([1, 2, 3], ["+", "*"])
    ['1+2*3', '1+6', '7']
    >>> reductions([1, 2, 3], ["+", "*"], slip=0, u=(0.0, 0.0, 0.0))
    ['1+2*3', '1+7', '8']
    """
    values, ops = list(values), list(ops)
    texts = []
    for step in range(len(ops)):
        texts.append(str(values[0]) + "".join(f"{o}{v}" for o, v in zip(ops, values[1:], strict=True)))
        k = ops.index("*") if "*" in ops else 0
        a, b = values[k], values[k + 1]
        value = str(a + b if ops[k] == "+" else a - b if ops[k] == "-" else a * b)
        if step == slip:
            if len(ops) == 1:
                return [*texts, slipped(value, u)]
            value = slipped(value, (u[0] * _NUMBER, *u[1:]))  # later steps need a number
        values[k : k + 2] = [int(value)]
        del ops[k]
    return [*texts, str(values[0])]


def slipped(answer: str, u: Sequence[float]) -> str:
    """A wrong answer near the right one: half of them off by a power of ten, a third with one wrong digit, the rest no number.

    >>> slipped("132", (0.1, 0.5, 0.9)), slipped("132", (0.6, 0.5, 0.9)), slipped("132", (0.9, 0.5, 0.9))
    ('122', '192', '132+')
    """
    digits = answer.lstrip("-")
    place = int(u[1] * len(digits))  # from the left
    if u[0] < 1 / 2:
        return str(int(answer) + (1 if u[2] < 1 / 2 else -1) * 10 ** (len(digits) - 1 - place))
    if u[0] < _NUMBER:
        others = [d for d in "0123456789" if d != digits[place] and not (d == "0" and place == 0 and len(answer) > 1)]
        return answer[: -len(digits)] + digits[:place] + others[int(u[2] * len(others))] + digits[place + 1 :]
    return f"{answer}+"


@dataclass(frozen=True)
class ArithmeticReward:
    """1 for the exact answer, 0 otherwise, unless the weights say more; every part is logged.

    The answer is what stands behind the last ``=`` of the output (all of it where there is none).

    Args:
        correct: Weight of the answer being the text of ``info["answer"]``.
        digits: Weight of the partial credit: characters of a well-formed answer that are right, counted from its end, over
            the length of the longer text.
        well_formed: Weight of the output being expressions joined by ``=``, the last one a number.
        steps: Weight of the fraction of those expressions that have the right value.

    Example:
        >>> import torch
        >>> mask, n = torch.ones(3, 1, dtype=torch.bool), torch.arange(3)
        >>> rollout = Rollout(["47+85="] * 3, ["132", "122", "1+"], torch.zeros(3, 1), mask, n, n, info={"answer": ["132"] * 3})
        >>> out = ArithmeticReward()(rollout)
        >>> out.total.tolist(), out.parts["digits"].tolist(), out.parts["well_formed"].tolist()
        ([1.0, 0.0, 0.0], [1.0, 0.67, 0.0], [1.0, 1.0, 0.0])
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    correct: float = 1.0
    digits: float = 0.0
    well_formed: float = 0.0
    steps: float = 0.0

    def __post_init__(self) -> None:
        check_weights(self)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        answers = column(rollout, "answer", "Arithmetic")
        return score(self, [_parts(o, a) for o, a in zip(rollout.outputs, answers, strict=True)])


def _parts(output: object, answer: object) -> dict[str, float] | str:
    """The parts of one row, or why it cannot be scored."""
    if not isinstance(output, str):
        return f"the output is {type(output).__name__}, not text"
    try:
        truth = exact(answer)
    except ValueError:
        return f"the known answer {answer!r} is not a number"
    known = str(truth)
    pieces = output.strip().split("=")
    values: list[Fraction | None] = []
    for piece in pieces:
        try:
            values.append(evaluate(piece))
        except ExpressionError:
            values.append(None)
    said = pieces[-1]
    number = said.removeprefix("-")
    formed = None not in values and number.isascii() and number.isdigit()
    same = sum(a == b for a, b in zip(reversed(said), reversed(known), strict=False)) if formed else 0
    return {
        "correct": float(said == known),
        "digits": same / max(len(said), len(known)),
        "well_formed": float(formed),
        "steps": sum(v == truth for v in values) / len(pieces),
    }
