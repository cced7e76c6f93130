import gzip
import json
from dataclasses import replace

import pytest

from guerdon.core import DataError, PlanError, RewardError
from guerdon.rewards import recorded
from guerdon.rewards.sandbox import Limits
from guerdon.rewards.verifiers.exams import exams_of, helpers
from guerdon.rewards.verifiers.unit_tests import UnitTests

SHORT = Limits(cpu=2, wall=4)
HURRY = Limits(cpu=1, wall=1)  # for programs that hang
PROMPT = '''import math
from typing import List

def norm(xs: List[float]) -> float:
    """Length of a vector."""
    return math.sqrt(sum(x * x for x in xs))


def unit(xs: List[float]) -> List[float]:
    """The vector of length 1 in the same direction."""
'''
BODY = "    n = norm(xs)\n    return [x / n for x in xs]\n"
CHECK = "def check(candidate):\n    for v in ([3.0, 4.0], [1.0, 0.0]):\n        assert abs(norm(candidate(v)) - 1) < 1e-9\n"


def verdict(output, test, verifier=None, **columns):
    verifier = verifier or UnitTests(limits=SHORT)
    named = {c: [v] for c, v in {"test": test, **columns}.items()}
    (found,) = verifier.verdicts(recorded(["q"], [output], named))
    return found


HUMAN = UnitTests(entry_point="entry_point", prompt="prompt", completes=True, limits=SHORT)
WHOLE = replace(HUMAN, completes=False)


def human(output, verifier=HUMAN, test=CHECK):
    return verdict(output, test, verifier, entry_point="unit", prompt=PROMPT)


def test_a_completion_of_the_prompt():
    found = human(BODY)
    assert (found.total, found.note, found.parts) == (1.0, "", {"passed": 1.0, "share": 1.0, "loads": 1.0, "timeout": 0.0})
    found = human("    return xs\n")
    assert (found.total, found.parts["loads"], found.reason) == (0.0, 1.0, "")
    assert found.note


def test_a_whole_program_gets_the_imports_and_helpers_of_the_prompt():
    program = f"Here:\n```python\ndef unit(xs: List[float]) -> List[float]:\n{BODY}```\nTry `unit([1, 2])`."
    assert human(program, WHOLE).total == 1.0
    assert human(program, HUMAN).total == 0.0  # asked to complete, it is no program
    assert (
        human(
            "```python\nfrom __future__ import annotations\ndef unit(xs: List[float]):\n    n = norm(xs)\n    return [x / n for x in xs]\n```",
            WHOLE,
        ).total
        == 1.0
    )


def test_a_helper_of_the_prompt_is_trusted_where_the_program_redefines_it():
    cheat = "    return xs\n\ndef norm(xs):\n    return 1.0\n"
    assert human(cheat).total == 0.0


def test_partial_credit_is_the_share_of_a_list():
    tests = ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9", "assert f(-1) == 1"]
    found = verdict("def f(x):\n    return x ** 2 if x > 0 else 0\n", tests)
    assert (found.total, found.parts["passed"], found.parts["share"]) == (0.75, 0.0, 0.75)
    assert found.note.startswith("test 4 of 4")
    strict = verdict("def f(x):\n    return x ** 2 if x > 0 else 0\n", tests, UnitTests(partial=False, limits=SHORT))
    assert (strict.total, strict.parts["passed"]) == (0.0, 0.0)
    assert verdict("def f(x):\n    return x ** 2\n", tests, UnitTests(partial=False, limits=SHORT)).total == 1.0


def test_a_crash_or_an_exit_costs_one_test():
    program = "import os, sys\ndef f(x):\n    if x == 1: os._exit(0)\n    if x == 2: sys.exit()\n    return x\n"
    found = verdict(program, ["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3", "assert f(4) == 4"])
    assert found.total == 0.5


def test_names_of_the_program_can_be_used_with_setup():
    tests = ["assert isclose(area(1), pi)", "assert area(0) == 0"]
    verifier = UnitTests(setup="test_imports", limits=SHORT)
    program = "def area(r):\n    return 3.141592653589793 * r * r\n"
    assert verdict(program, tests, verifier, test_imports=["from math import isclose, pi"]).total == 1.0
    assert verdict(program, tests, verifier, test_imports="from math import isclose, pi").total == 1.0


def test_functions_as_pytest_has_them_are_one_test_each():
    text = "def test_one():\n    assert f(1) == 1\n\ndef test_two():\n    assert f(2) == 3\n"
    assert verdict("def f(x):\n    return x", text).total == 0.5
    assert verdict("def f(x):\n    return 2 * x - 1", text).total == 1.0


def test_programs_that_do_not_load():
    for program in (
        "def f(:\n",
        "1 / 0\ndef f(x): return x\n",
        "x = '\0'\ndef f(x): return x\n",
        "raise SystemExit(0)\ndef f(x): return x",
    ):
        found = verdict(program, ["assert f(1) == 1", "assert f(2) == 2"])
        assert (found.total, found.parts["loads"], found.reason) == (0.0, 0.0, ""), program
        assert found.note
    for program in ("def g(x): return x", ""):
        found = verdict(program, "assert f(1) == 1")
        assert (found.total, found.parts["loads"], found.reason) == (0.0, 1.0, "")


def test_no_program_makes_a_row_not_ok():
    deep = "def f(n):\n    x = []\n    for _ in range(400): x = [x]\n    return x\n"
    for program in (
        "x = '\ud800'\n",
        "\0",
        "def f(x): return 10**5000",
        deep,
        "def f(x): return object()",
        "def f(x): raise BaseException('\ud800')",
    ):
        found = verdict(program, ["assert f(1) == 1", "assert f(2) == 2"])
        assert (found.total, found.reason) == (0.0, ""), program


def test_programs_that_hang_are_wrong_and_not_remembered():
    found = verdict("while True:\n    pass\n", "assert f(1) == 1", UnitTests(limits=HURRY))
    assert (found.total, found.parts["loads"], found.parts["timeout"], found.reason, found.lasting) == (0.0, 0.0, 1.0, "", False)
    slow = "def f(x):\n    while x == 2:\n        pass\n    return x\n"
    found = verdict(slow, ["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3"], UnitTests(limits=HURRY))
    assert (found.total, found.parts["timeout"], found.parts["loads"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3), 1.0)


def test_after_some_timeouts_the_rest_counts_as_failed():
    slow = "def f(x):\n    while x < 3:\n        pass\n    return x\n"
    found = verdict(slow, [f"assert f({k}) == {k}" for k in range(5)], UnitTests(timeouts=1, limits=HURRY))
    assert (found.total, found.parts["timeout"]) == (0.0, 0.2)


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("assert f(1) ==", "test is not Python"),
        (["assert f(1) == 1", "assert f(2 == 2"], "test 2 of 2 is not Python"),
        ([], "the list of tests is empty"),
        ("x = 1", "test checks nothing"),
        ("", "test checks nothing"),
        ("import math", "test checks nothing"),
        ("def check(candidate):\n    assert candidate(1) == 1", "there is no entry_point"),
        ("import no_such_package\nassert f(1) == 1", "imports no_such_package, which is not installed"),
        (
            "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        self.assertEqual(f(1), 1)\nif __name__ == '__main__':\n    unittest.main()",
            "unittest",
        ),
        ("if __name__ == '__main__':\n    assert f(1) == 1", "checks nothing"),
        (7, "test must be a text or a list of texts, got int"),
        (["assert f(1) == 1", 2], "test must be a text or a list of texts"),
        ("assert f(object()) == 1", "object"),
    ],
)
def test_a_broken_test_is_no_wrong_program(test, reason):
    found = verdict("def f(x):\n    return x\n", test)
    assert reason in found.reason
    assert "\n" not in found.reason


def test_an_output_that_is_no_text_and_a_column_that_is_missing():
    rollout = recorded(["q"], [3], {"test": ["assert True"]})
    assert UnitTests()(rollout).reason == ["expected a text, got int"]
    with pytest.raises(RewardError, match=r"UnitTests: the rollout has no column 'tests'; did you mean 'test'"):
        UnitTests(test="tests")(rollout)


def test_settings_are_checked():
    with pytest.raises(PlanError, match="completes needs prompt"):
        UnitTests(completes=True)
    with pytest.raises(PlanError, match="timeouts"):
        UnitTests(timeouts=0)
    assert "entry_point must be a Python name" in verdict(BODY, CHECK, HUMAN, entry_point="unit(", prompt=PROMPT).reason
    assert verdict(BODY, CHECK, HUMAN, entry_point="unit ", prompt=PROMPT).total == 1.0


def test_what_a_prompt_offers():
    assert helpers(PROMPT, "unit").count("def ") == 1
    assert helpers(PROMPT, "norm") == "import math\nfrom typing import List"  # unit is a stub, norm is asked for
    assert helpers("def f(x):\n", "f") == "" == helpers("class A:\n    def f(self):\n", "A")
    with pytest.raises(DataError, match="prompt is not Python"):
        helpers("Write a function that adds.", "f")


def test_exams_of_a_check_that_calls_itself():
    exams = exams_of(("def check(candidate):\n    assert candidate(1) == 1\ncheck(f)",), True, "f")
    assert (exams.whole.call, len(exams.each)) == ("", 1)
    assert exams_of((CHECK,), True, "unit").whole.call == "unit"
    two = exams_of((CHECK, CHECK), False, "unit")
    assert (two.whole, len(two.each)) == (None, 2)  # two functions check cannot stand in one text


def test_several_outputs_at_once_keep_their_order():
    tests = ["assert f(1) == 1", "assert f(2) == 2"]
    outputs = [f"def f(x):\n    return {v}\n" for v in ("x", "1", "2", "0", "x", "'1'")]
    out = UnitTests(limits=SHORT)(recorded(["q"] * 6, outputs, {"test": [tests] * 6}))
    assert out.total.tolist() == [1.0, 0.5, 0.5, 0.0, 1.0, 0.0]
    assert out.ok.all()


def read(path):
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def test_some_references_of_humaneval_and_mbpp(shared_data):
    problems = read(shared_data / "verifiable" / "humaneval.jsonl.gz")
    some = [problems[k] for k in (0, 32, 33, 38, 50, 53, 100)]
    columns = {c: [p[c] for p in some] for c in ("prompt", "test", "entry_point")}
    right = HUMAN(recorded(columns["prompt"], [p["canonical_solution"] for p in some], columns))
    assert right.total.tolist() == [1.0] * len(some)
    wrong = HUMAN(recorded(columns["prompt"], ["    return None\n"] * len(some), columns))
    assert wrong.total.tolist() == [0.0] * len(some) and wrong.ok.all()
    problems = read(shared_data / "verifiable" / "mbpp_sanitized.jsonl.gz")
    slow = "MbppEval/123"  # right, but takes some 3 s
    some = [*problems[:8], *(p for p in problems if not p["reference_passes"] and p["task_id"] != slow)]
    columns = {c: [p[c] for p in some] for c in ("prompt", "test", "entry_point")}
    found = HUMAN(recorded(columns["prompt"], [p["canonical_solution"] for p in some], columns))
    assert [bool(t) for t in found.total.tolist()] == [p["reference_passes"] for p in some]
