"""InputOutput: a Python program that gives the expected output for each input. The expected outputs never leave this process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from guerdon.core import PlanError
from guerdon.rewards.sandbox import Ended, Limits, Raised, Sandbox, shared_sandbox
from guerdon.rewards.verifiers.code_blocks import extract, in_front
from guerdon.rewards.verifiers.comparing import same_text, same_value
from guerdon.rewards.verifiers.pairs import Pairs, arguments, checked, expected, lines, pairs_in, short
from guerdon.rewards.verifiers.verifier import Checked, Verifier


@dataclass(frozen=True)
class InputOutput(Verifier):
    r"""The share of input/output pairs that a Python program gets right, as in programming contests (APPS, TACO, CodeContests).

    Without a function name, each input is the standard input of a fresh process, and the expected output is what it should print:
    a text, or a list of lines. White space at line ends and empty lines at the end do not count; everything else does, unless
    ``tolerance`` is set. A program that ends with an error has failed the pair, whatever it printed.

    With a function name, each input is a list of arguments for that function of the program, or a text with one JSON value per
    line, and the expected output is its value. Where the program has no such function but a class ``Solution``, the method of a
    fresh ``Solution()`` is called. All calls go to one process; after one that kills it, a new process takes the rest. Tuples
    equal lists, as JSON has no tuples, and keys of mappings are compared as texts.

    The program is what ``code_blocks.extract`` finds in the output. Parts: ``passed`` (all pairs), ``share``, ``timeout`` (the
    share of pairs that ran out of time). Pairs that cannot be read make a row not ok.

    Args:
        inputs: Column with the list of inputs.
        outputs: Column with the list of expected outputs.
        fn_name: Column with the name of the function, empty in rows that use standard input; "": all rows do.
        pairs: Column that holds all three in one instead: a mapping with ``inputs``, ``outputs`` and perhaps ``fn_name``, a list
            of mappings with ``input`` and ``output``, or JSON text of either (APPS' ``input_output``).
        partial: Whether ``total`` is the share of pairs, else 1 only where all are right.
        stop_early: Whether to stop at the first pair that fails; those behind it count as failed.
        tolerance: 0: printed text must agree. Above 0, the words of each line are compared, numbers as numbers: where an expected
            one has a point or an exponent, a difference of ``tolerance``, absolute or relative, does not count; integers must be
            equal. Floats in values of functions are compared so too. Contests usually have 1e-6.
        wrapped: Whether expected values of functions may stand in a list of one (``[3]`` then accepts 3 as well), as many do in
            APPS and TACO.
        preamble: Python in front of each program, such as the imports that a task promises.
        timeouts: Pairs of one program that may run out of time, or calls that may kill it, before the rest count as failed.
        limits: What one run may use; for functions, one run is all calls.

    Raises:
        PlanError: for a negative tolerance, ``timeouts`` below 1, or both ``pairs`` and ``fn_name``.
        RewardError: where the rollout lacks a column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> outputs = ["print(sum(map(int, input().split())))", "a, b = input().split()\nprint(int(a) * int(b))"]
        >>> task = {"inputs": [["1 2\n", "2 2\n"]] * 2, "outputs": [["3\n", "4\n"]] * 2}
        >>> out = InputOutput()(recorded(["Add two numbers."] * 2, outputs, task))
        >>> out.total.tolist(), out.parts["passed"].tolist()
        ([1.0, 0.5], [1.0, 0.0])

    Reference:
        Hendrycks et al., Measuring Coding Challenge Competence With APPS, arXiv:2105.09938.
    """

    inputs: str = "inputs"
    outputs: str = "outputs"
    fn_name: str = ""
    pairs: str = ""
    partial: bool = True
    stop_early: bool = False
    tolerance: float = 0.0
    wrapped: bool = False
    preamble: str = ""
    timeouts: int = 3
    limits: Limits = Limits()
    side_by_side: ClassVar[int] = max(1, min(8, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise PlanError(f"InputOutput: tolerance must be 0 or more, got {self.tolerance}")
        if self.pairs and self.fn_name:
            raise PlanError("InputOutput: pairs holds fn_name as well; give one of the two")
        if self.timeouts < 1:
            raise PlanError(f"InputOutput: timeouts must be at least 1, got {self.timeouts}")

    def columns(self) -> Mapping[str, str]:
        if self.pairs:
            return {"pairs": self.pairs}
        named = {"inputs": self.inputs, "outputs": self.outputs, "fn_name": self.fn_name}
        return {argument: column for argument, column in named.items() if column}

    def check(self, output: str, **task: Any) -> Checked:
        read = pairs_in(task["pairs"]) if self.pairs else checked(task["inputs"], task["outputs"], task.get("fn_name"))
        program = in_front(self.preamble, extract(output, defines=read.function))
        judge = self._calls if read.function else self._scripts
        return self._checked(judge(shared_sandbox(), program, read), len(read.inputs))

    def _scripts(self, box: Sandbox, program: str, read: Pairs) -> list[_Pair]:
        found: list[_Pair] = []
        inputs, outputs = [lines(i, "input") for i in read.inputs], [lines(o, "output") for o in read.outputs]
        for given, wanted in zip(inputs, outputs, strict=True):
            room = max(self.limits.output, 2 * len(wanted.encode("utf8", "replace")) + 4096)
            ended = _known(box.script(program, stdin=given, limits=replace(self.limits, output=room)))
            if not ended.ok:
                found.append(_Pair(False, ended.reason or ended.cause, ended.cause == "time"))
            elif same_text(ended.stdout, wanted, self.tolerance):
                found.append(_Pair(True))
            else:
                found.append(_Pair(False, f"expected {short(wanted)}, got {short(ended.stdout)}"))
            if self._enough(found):
                break
        return found

    def _calls(self, box: Sandbox, program: str, read: Pairs) -> list[_Pair]:
        source, found = f"{program}\n\n{_ENTRY}", list[_Pair]()
        wanted = [expected(o, i) for i, o in zip(read.inputs, read.outputs, strict=True)]
        calls: list[tuple[str, list[Any], dict[str, Any]]] = [
            ("_guerdon_entry", [read.function, arguments(i)], {}) for i in read.inputs
        ]
        while len(found) < len(calls) and not self._enough(found):
            called = box.calls(source, calls[len(found) :], limits=self.limits)
            _known(called.ended)
            before = len(found)
            for answer in called.answers:
                found.append(self._judged(answer, wanted[len(found)]))
                if self._enough(found):
                    return found
            if len(found) == len(calls):
                break
            late = called.ended.cause == "time"
            if not (late and len(found) > before):  # a call that had little time left begins the next process
                found.append(_Pair(False, called.ended.reason or "the program ended before it answered", late, True))
        return found

    def _judged(self, answer: Any, wanted: Any) -> _Pair:
        if isinstance(answer, Raised):
            return _Pair(False, f"{answer.kind}: {answer.message}" if answer.message else answer.kind)
        ways = [wanted, *wanted] if self.wrapped and isinstance(wanted, list) and len(wanted) == 1 else [wanted]
        if any(same_value(answer.value, w, self.tolerance) for w in ways):
            return _Pair(True)
        return _Pair(False, f"expected {short(wanted)}, got {short(answer.value)}")

    def _enough(self, found: Sequence[_Pair]) -> bool:
        ends = sum(p.late or p.died for p in found)
        return ends >= self.timeouts or bool(found and self.stop_early and not found[-1].right)

    def _checked(self, found: Sequence[_Pair], n: int) -> Checked:
        share, late = sum(p.right for p in found) / n, sum(p.late for p in found)
        wrong = next((k for k, p in enumerate(found) if not p.right), None)
        note = "" if wrong is None else f"pair {wrong + 1} of {n}: {found[wrong].note}"
        parts = {"passed": float(share == 1), "share": share, "timeout": late / n}
        return Checked(share if self.partial else float(share == 1), parts, note=note, lasting=not late)


@dataclass(frozen=True)
class _Pair:
    right: bool
    note: str = ""
    late: bool = False
    died: bool = False


_ENTRY = """def _guerdon_entry(name, arguments):
    if name not in globals() and "Solution" in globals():
        return getattr(Solution(), name)(*arguments)
    return globals()[name](*arguments)
"""


def _known(ended: Ended) -> Ended:
    if ended.cause == "sandbox":
        raise RuntimeError(ended.reason or "the sandbox failed")
    return ended
