"""UnitTests: a Python program that passes its tests. The tests stand outside the program's process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core import DataError, PlanError
from guerdon.rewards.sandbox import Examined, Limits, Sandbox, shared_sandbox
from guerdon.rewards.verifiers.code_blocks import extract, in_front
from guerdon.rewards.verifiers.exams import Exam, Exams, exams_of, helpers
from guerdon.rewards.verifiers.verifier import Checked, Verifier


@dataclass(frozen=True)
class UnitTests(Verifier):
    r"""The share of its tests that a Python program passes; the program runs in the sandbox, the tests in a process of their own.

    A row's tests are one of:

    - a list of texts, as in MBPP (``["assert f(1) == 2", ...]``): each is one test;
    - a text that defines ``check(candidate)``, as in HumanEval: one test, called with the entry point;
    - a text that defines functions ``test_...`` without arguments, as for pytest: each function is one test;
    - any other text, such as some asserts: one test.

    Names that a test uses without defining them are the program's functions. Several tests are first run one behind the other in
    one process. Only where that fails (and ``partial`` asks for the share) each runs again in a fresh process, so that a crash or
    an exit costs one test.

    The program is what ``code_blocks.extract`` finds in the output, behind the imports and helper functions of the prompt. With
    ``completes`` it is the prompt with the whole output behind it, fences and all, as for models that continue a text. Helpers of
    the prompt that a test calls (HumanEval/32, 38, 50) are the prompt's own, even where the program redefines them. What the
    program does to an argument stays with the program: a test sees what is returned.

    Parts: ``passed`` (all tests), ``share``, ``loads`` (the program compiles, and its top level runs), ``timeout`` (the share of
    tests that ran out of time). Tests that cannot be read, check nothing, hand the program what is no plain data, or import what
    is not installed make a row not ok.

    Args:
        test: Column with the tests.
        entry_point: Column with the name of the function under test; "" where the tests name it themselves.
        prompt: Column with trusted Python that comes before the program, as in HumanEval; "context" is the row's context.
        setup: Column with code that comes before every test, a text or a list of them (MBPP's ``test_imports``).
        completes: Whether the output continues ``prompt``, else it holds a whole program.
        partial: Whether ``total`` is the share of tests passed, else 1 only where all pass.
        timeouts: Tests of one program that may run out of time before the rest count as failed.
        limits: What one run may use. The list run in one process and each test alone have as much.

    Raises:
        PlanError: where ``completes`` is set without ``prompt``, or ``timeouts`` is below 1.
        RewardError: where the rollout lacks a column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> tests = ["assert double(2) == 4", "assert double(3) == 6"]
        >>> outputs = ["def double(x):\n    return 2 * x", "```python\ndef double(x):\n    return x * x\n```"]
        >>> out = UnitTests()(recorded(["Write double(x)."] * 2, outputs, {"test": [tests] * 2}))
        >>> out.total.tolist(), out.parts["passed"].tolist()
        ([1.0, 0.5], [1.0, 0.0])

    Reference:
        Chen et al., Evaluating Large Language Models Trained on Code, arXiv:2107.03374 (HumanEval);
        Austin et al., Program Synthesis with Large Language Models, arXiv:2108.07732 (MBPP).
    """

    test: str = "test"
    entry_point: str = ""
    prompt: str = ""
    setup: str = ""
    completes: bool = False
    partial: bool = True
    timeouts: int = 3
    limits: Limits = Limits()
    side_by_side: ClassVar[int] = max(1, min(8, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        if self.completes and not self.prompt:
            raise PlanError("UnitTests: completes needs prompt, the column with the code that the output continues")
        if self.timeouts < 1:
            raise PlanError(f"UnitTests: timeouts must be at least 1, got {self.timeouts}")

    def columns(self) -> Mapping[str, str]:
        named = {"test": self.test, "entry_point": self.entry_point, "prompt": self.prompt, "setup": self.setup}
        return {argument: column for argument, column in named.items() if column}

    def check(self, output: str, *, test: Any, entry_point: Any = "", prompt: Any = "", setup: Any = "") -> Checked:  # type: ignore[override]
        name = _text(entry_point, "entry_point").strip()
        if name and not name.isidentifier():
            raise DataError(f"entry_point must be a Python name, got {name!r}")
        exams = exams_of(_texts(test, "test"), isinstance(test, str), name, "\n".join(_texts(setup or "", "setup")))
        before = _text(prompt, "prompt")
        given = helpers(before, name)
        program = before + output if self.completes else in_front(given, extract(output, defines=name))
        return _Candidate(self, shared_sandbox(), program, given).verdict(exams)


@dataclass
class _Candidate:
    """The exams of one program."""

    verifier: UnitTests
    box: Sandbox
    program: str
    given: str

    def verdict(self, exams: Exams) -> Checked:
        if exams.whole is not None:
            seen = self.exam(exams.whole)
            if seen.passed:
                return _checked(1.0, 1.0, 1.0, 0.0, "", True)
            loads, late = seen.loads, seen.ended.cause == "time"
            if len(exams.each) == 1 or not loads or not self.verifier.partial:
                return _checked(0.0, 0.0, float(loads), float(late), seen.note or seen.ended.reason, not late)
        passed = late_ones = 0
        note, loads = "", True
        for k, one in enumerate(exams.each):
            seen = self.exam(one)
            passed += seen.passed
            late_ones += seen.ended.cause == "time"
            if not seen.passed:
                note = note or f"test {k + 1} of {len(exams.each)}: {seen.note or seen.ended.reason}"
                if k == 0 and exams.whole is None:
                    loads = seen.loads
                if not loads or late_ones >= self.verifier.timeouts or not self.verifier.partial:
                    break
        share = passed / len(exams.each)
        total = share if self.verifier.partial else float(share == 1)
        return _checked(total, share, float(loads), late_ones / len(exams.each), note, not late_ones)

    def exam(self, one: Exam) -> Examined:
        seen = self.box.exam(self.program, one.code, given=self.given, call=one.call, limits=self.verifier.limits)
        if seen.ended.cause == "sandbox":
            raise RuntimeError(seen.ended.reason or seen.note)
        return seen


def _checked(total: float, share: float, loads: float, timeout: float, note: str, lasting: bool) -> Checked:
    parts = {"passed": float(share == 1), "share": share, "loads": loads, "timeout": timeout}
    return Checked(total, parts, note=note, lasting=lasting)


def _text(value: Any, name: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise DataError(f"{name} must be a text, got {type(value).__name__}")


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise DataError(f"{name} must be a text or a list of texts, got {type(value).__name__}")
