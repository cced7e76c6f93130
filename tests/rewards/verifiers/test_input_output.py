import json

import pytest

from guerdon.core import PlanError
from guerdon.rewards import recorded
from guerdon.rewards.sandbox import Limits
from guerdon.rewards.verifiers.comparing import same_text, same_value, same_word
from guerdon.rewards.verifiers.input_output import InputOutput

SHORT = Limits(cpu=2, wall=4)
HURRY = Limits(cpu=1, wall=1)  # for programs that hang


def verdict(program, inputs, outputs, fn_name=None, **settings):
    settings = {"limits": SHORT, **settings}
    columns = {"inputs": [inputs], "outputs": [outputs]}
    if fn_name is not None:
        columns["fn_name"], settings["fn_name"] = [fn_name], "fn_name"
    (found,) = InputOutput(**settings).verdicts(recorded(["q"], [program], columns))
    return found


ADD = "a, b = map(int, input().split())\nprint(a + b)\n"


def test_the_share_of_pairs():
    found = verdict(ADD, ["1 2\n", "3 4", "5 5\n"], ["3\n", "7", "11"])
    assert (found.total, found.parts) == (pytest.approx(2 / 3), {"passed": 0.0, "share": pytest.approx(2 / 3), "timeout": 0.0})
    assert found.note == "pair 3 of 3: expected '11', got '10'"
    assert verdict(ADD, ["1 2", "3 4"], ["3", "7"]).parts["passed"] == 1.0
    assert verdict(f"So:\n```python\n{ADD}```", ["1 2", "3 4"], ["3", "8"], partial=False).total == 0.0
    assert verdict(ADD, [["1 2"], ["3 4"]], [["3"], ["7"]]).total == 1.0  # lists of lines


def test_stop_early_leaves_the_rest_out():
    program = "x = input()\nprint(0 if x == '1' else x)"
    assert verdict(program, ["0", "1", "2", "3"], ["0", "1", "2", "3"]).total == 0.75
    assert verdict(program, ["0", "1", "2", "3"], ["0", "1", "2", "3"], stop_early=True).total == 0.25


def test_a_program_must_end_well():
    for end in ("raise SystemExit(1)", "1 / 0", "import os; os.abort()", "import os; os._exit(3)"):
        assert verdict(f"print(input(), flush=True)\n{end}", ["1"], ["1"]).total == 0.0, end
    assert verdict("print(input())\nraise SystemExit(0)", ["1"], ["1"]).total == 1.0
    assert verdict("def main():\n    print(input())\nif __name__ == '__main__':\n    main()", ["1"], ["1"]).total == 1.0


def test_each_pair_has_a_process_of_its_own():
    program = "import os\nprint(os.path.exists('seen'))\nopen('seen', 'w').close()"
    assert verdict(program, ["", "", ""], ["False", "False", "False"]).total == 1.0


def test_the_expected_output_is_not_where_the_program_could_find_it():
    program = """import gc
wanted = "the ans" + "wer"
seen = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]
texts = [x for o in seen for x in (o.values() if isinstance(o, dict) else o) if isinstance(x, str)]
print(next((t for t in texts if t.endswith(wanted) and t != wanted), "nowhere"))
"""
    assert (
        verdict(program, ["the input"], ["zq17 is the answer"]).note
        == "pair 1 of 1: expected 'zq17 is the answer', got 'nowhere'"
    )


def test_time():
    program = "x = int(input())\nwhile x:\n    pass\nprint(x)"
    found = verdict(program, ["0", "1", "0", "1", "0"], ["0"] * 5, timeouts=2, limits=HURRY)
    assert (found.total, found.parts["timeout"], found.lasting) == (0.4, 0.4, False)


def test_output_beyond_the_limit_is_possible_where_it_is_expected():
    many = "\n".join(str(k) for k in range(20_000))
    limits = Limits(cpu=2, wall=4, output=10_000)
    assert verdict("for k in range(20_000):\n    print(k)", [""], [many], limits=limits).total == 1.0
    assert verdict("for k in range(20_000):\n    print(k)", [""], ["1"], limits=limits).total == 0.0


def test_functions():
    inputs, outputs = [[[1, 2], 3], [[], 1], [[5], -5]], [6, 1, 0]
    assert verdict("def f(xs, y):\n    return sum(xs) + y", inputs, outputs, "f").total == 1.0
    found = verdict("def f(xs, y):\n    return xs[0] + y", inputs, outputs, "f")
    assert found.total == pytest.approx(1 / 3)
    assert found.note == "pair 1 of 3: expected 6, got 4"
    assert verdict("def g(xs, y):\n    return sum(xs) + y", inputs, outputs, "f").total == 0.0
    assert verdict("def f(xs, y)\n    return sum(xs) + y", inputs, outputs, "f").total == 0.0


def test_methods_of_a_solution_are_called_on_a_fresh_one():
    program = "class Solution:\n    def __init__(self):\n        self.n = 0\n    def f(self, x):\n        self.n += x\n        return self.n\n"
    assert verdict(program, [[1], [2], [3]], [1, 2, 3], "f").total == 1.0
    both = program + "def f(x):\n    return -x\n"
    assert verdict(both, [[1], [2]], [-1, -2], "f").total == 1.0  # a function goes before a method


def test_a_call_that_kills_the_process_costs_its_own_pair():
    program = "import os\ndef f(x):\n    if x == 1: os._exit(0)\n    if x == 2: raise ValueError('two')\n    return x\n"
    found = verdict(program, [[0], [1], [2], [3]], [0, 1, 2, 3], "f")
    assert found.total == 0.5
    program = "def f(x):\n    while x == 1: pass\n    return x\n"
    found = verdict(program, [[0], [1], [2], [3]], [0, 1, 2, 3], "f", limits=HURRY)
    assert (found.total, found.parts["timeout"], found.lasting) == (0.75, 0.25, False)
    assert verdict(program, [[1], [0]], [1, 0], "f", timeouts=1, limits=HURRY).total == 0.0


def test_calls_that_share_a_time_limit_are_tried_again_alone():
    program = (
        "import time\ndef f(x):\n    end = time.process_time() + 0.5\n    while time.process_time() < end: pass\n    return x\n"
    )
    assert verdict(program, [[0], [1], [2]], [0, 1, 2], "f", limits=Limits(cpu=0.9, wall=6)).total == 1.0


def test_arguments_and_values_as_json_lines():
    assert verdict("def f(xs, s):\n    return s * len(xs)", ['[1, 2]\n"ab"', '[]\n"x"'], ['"abab"', '""'], "f").total == 1.0
    assert "expected a JSON value" in verdict("def f(x): return x", ["one"], ["1"], "f").reason


def test_wrapped_values():
    program = "def f(x):\n    return x + 1"
    assert verdict(program, [[1], [2]], [[2], 3], "f").total == 0.5
    assert verdict(program, [[1], [2]], [[2], 3], "f", wrapped=True).total == 1.0
    assert verdict("def f(x):\n    return [x + 1]", [[1]], [[2]], "f", wrapped=True).total == 1.0


def test_rows_with_and_without_a_function():
    columns = {"inputs": [["1 2"], [[1, 2]]], "outputs": [["3"], [3]], "fn_name": [None, "add"]}
    out = InputOutput(fn_name="fn_name", limits=SHORT)(recorded(["q"] * 2, [ADD, "def add(a, b): return a + b"], columns))
    assert out.total.tolist() == [1.0, 1.0]


def test_a_preamble_stands_in_front():
    program = "class Solution:\n    def f(self, xs: List[int]) -> int:\n        return gcd(*xs)"
    assert verdict(program, [[[4, 6]]], [2], "f").total == 0.0
    assert verdict(program, [[[4, 6]]], [2], "f", preamble="from typing import List\nfrom math import gcd").total == 1.0


def test_a_value_that_lies_about_its_equality():
    program = "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(x):\n    return Any(7)"
    assert verdict(program, [[1], [2]], [1, 2], "f").total == 0.0


@pytest.mark.parametrize(
    ("inputs", "outputs", "fn_name", "reason"),
    [
        (["1"], [], None, "got 1 inputs and 0 outputs"),
        ([], [], None, "got 0 inputs and 0 outputs"),
        ("1", ["1"], None, "inputs must be a list, got str"),
        ([1], ["1"], None, "an input must be a text or a list of lines"),
        (["1"], [1], None, "an output must be a text or a list of lines"),
        ([1], [1], "f", "an input must be a list of arguments"),
        ([[1]], [1], "f g", "fn_name must be a Python name"),
        ([[1]], [1], 3, "fn_name must be a Python name"),
    ],
)
def test_pairs_that_cannot_be_read(inputs, outputs, fn_name, reason):
    assert reason in verdict(ADD, inputs, outputs, fn_name).reason


def test_settings_are_checked():
    with pytest.raises(PlanError, match="tolerance"):
        InputOutput(tolerance=-1)
    with pytest.raises(PlanError, match="tolerance"):
        InputOutput(tolerance=float("nan"))
    with pytest.raises(PlanError, match="timeouts"):
        InputOutput(timeouts=0)


@pytest.mark.parametrize(
    ("got", "wanted", "tolerance", "same"),
    [
        ("1\n", "1", 0, True),
        ("1 \t\r\n\n\n", "1\n", 0, True),
        (" 1", "1", 0, False),
        ("\n1", "1", 0, False),
        ("1\n\n2", "1\n2", 0, False),
        ("a  b", "a b", 0, False),
        ("a  b", "a b", 1e-6, True),
        ("YES", "Yes", 1e-6, False),
        ("0.333333", "0.3333333333", 0, False),
        ("0.333333", "0.3333333333", 1e-6, True),
        ("0.33333", "0.3333333333", 1e-6, False),
        ("1000000.5", "1000000.0", 1e-6, True),  # relative
        ("1000002", "1000000.0", 1e-6, False),
        ("1e3", "1000.0", 1e-6, True),
        ("nan", "1.0", 1e-6, False),
        ("inf", "1e999", 1e-6, False),
        ("1.0 2", "1.0", 1e-6, False),
        ("1_0", "10.0", 1e-6, False),
        ("10.0", "10", 1e-6, True),
        ("10.0000001", "10", 1e-6, False),
        ("-0", "0", 1e-6, True),
        ("9007199254740992.0", "9007199254740993", 1e-6, False),
        ("", "", 0, True),
        ("", "0", 1e-6, False),
    ],
)
def test_printed_text(got, wanted, tolerance, same):
    assert same_text(got, wanted, tolerance) is same


@pytest.mark.parametrize(
    ("got", "wanted", "tolerance", "same"),
    [
        (1, 1.0, 0, True),
        (True, 1, 0, True),
        ("1", 1, 0, False),
        (None, 0, 0, False),
        (None, None, 0, True),
        ((1, [2, (3,)]), [1, [2, [3]]], 0, True),
        ([1, 2], [1, 2, 3], 0, False),
        ("ab", ["a", "b"], 0, False),
        ({1: 2, "a": [3]}, {"1": 2, "a": [3]}, 0, True),
        ({1: 2, "1": 3}, {"1": 2}, 0, False),
        ({"a": 1}, {"b": 1}, 0, False),
        ([], {}, 0, False),
        ({1, 2}, [1, 2], 0, False),
        (0.1 + 0.2, 0.3, 0, False),
        (0.1 + 0.2, 0.3, 1e-9, True),
        (float("nan"), 0.5, 1.0, False),
        (float("inf"), 0.5, 1.0, False),
        (10**400, 0.5, 1.0, False),
        (1000000001, 1000000000, 1e-6, False),
        (1.0000001, 1, 1e-6, False),
        (b"a", "a", 0, False),
    ],
)
def test_values(got, wanted, tolerance, same):
    assert same_value(got, wanted, tolerance) is same


def test_a_value_nested_deeper_than_recursion_goes():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert same_value(deep, deep)


@pytest.mark.parametrize(
    "value",
    [
        "10**5000",
        "{10**5000: 1}",
        "[10**5000]",
        "deep(400)",
        "deep(100_000)",
        "'\\ud800'",
        "object()",
        "iter([])",
        "float('nan')",
    ],
)
def test_no_value_makes_a_row_not_ok(value):
    program = f"def deep(n):\n    x = []\n    for _ in range(n): x = [x]\n    return x\ndef f(x):\n    return {value}"
    for wanted in ([1, [2]], [{"a": 1}, 0.5]):
        found = verdict(program, [[1], [2]], wanted, "f", tolerance=1e-6)
        assert (found.total, found.reason) == (0.0, ""), found.reason


def test_no_text_makes_a_row_not_ok():
    for program in (
        "x = '\ud800'\nprint(1",
        "\0",
        "print('\ud800')",
        "import sys; sys.stdout.buffer.write(b'\\xff')",
        "```python\n",
        "",
    ):
        found = verdict(program, ["1"], ["1"])
        assert (found.total, found.reason) == (0.0, ""), program


def test_long_words_are_texts():
    assert same_word("1" * 100, "1" * 100, 1e-6)
    assert not same_word("0" + "1" * 100, "1" * 100, 1e-6)


@pytest.mark.parametrize("as_text", [False, True])
def test_pairs_in_one_column(as_text):
    apps = {"fn_name": "sumEvens", "inputs": [[[1, 2, 4]], [[3]]], "outputs": [[6], [0]]}
    contests = {"input": ["1 2", "2 2"], "output": ["3", "4"]}
    listed = [{"input": "1 2", "output": "3", "type": "stdin_stdout"}, {"input": "2 2", "output": "5", "fn_name": None}]
    live = [{"input": "[1, 2, 4]", "output": "6", "fn_name": "sumEvens"}]
    column = [json.dumps(c) if as_text else c for c in (apps, contests, listed, live)]
    evens = "def sumEvens(xs):\n    return sum(x for x in xs if x % 2 == 0)"
    verifier = InputOutput(pairs="input_output", wrapped=True, limits=SHORT)
    out = verifier(recorded(["q"] * 4, [evens, ADD, ADD, evens], {"input_output": column}))
    assert out.ok.all(), out.reason
    assert out.total.tolist() == [1.0, 1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ("{", "expected a JSON value"),
        (7, "pairs must have inputs and outputs"),
        ({"inputs": ["1"]}, "outputs must be a list, got NoneType"),
        ([{"input": "1"}], "pairs must have inputs and outputs"),
        ([], "got 0 inputs and 0 outputs"),
        ([{"input": [1], "output": 1, "fn_name": "f"}, {"input": "1", "output": "1"}], "pairs of one row must call one function"),
    ],
)
def test_pairs_in_one_column_that_cannot_be_read(pairs, reason):
    (found,) = InputOutput(pairs="pairs").verdicts(recorded(["q"], [ADD], {"pairs": [pairs]}))
    assert reason in found.reason


def test_pairs_or_fn_name():
    with pytest.raises(PlanError, match="give one of the two"):
        InputOutput(pairs="pairs", fn_name="fn_name")
