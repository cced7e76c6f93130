import ast
import itertools
import re
import sys
import time
from collections import defaultdict
from fractions import Fraction

import pytest
from hypothesis import given, strategies

from guerdon.tasks.expressions import MAX_DEPTH, MAX_LENGTH, ExpressionError, evaluate, numbers_in, parse, solution_key

OPERATIONS = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b}


def by_python(text: str) -> Fraction | None:
    """The value by Python's own parser, restricted to our operators; None where there is none."""

    def value(node: ast.AST) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        raise ValueError

    if re.search(r"(?<!\d)0\d", text):  # Python reads 00 as 0; we refuse it like every other leading zero
        return None
    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def ours(text: str) -> Fraction | None:
    try:
        return evaluate(text)
    except ExpressionError:
        return None


def test_every_text_of_up_to_five_characters_has_the_value_that_python_gives() -> None:
    valid = 0
    for length in range(6):
        for letters in itertools.product("03+-*/()", repeat=length):
            text = "".join(letters)
            expected = by_python(text)
            assert ours(text) == expected, text
            valid += expected is not None
    assert valid > 400  # the comparison saw enough real expressions


EXPRESSIONS = strategies.recursive(
    strategies.integers(0, 12).map(str),
    lambda e: strategies.one_of(
        strategies.tuples(e, strategies.sampled_from("+-*/"), e).map("".join),
        strategies.tuples(e, strategies.sampled_from([" + ", "- ", " *", "/"]), e).map("".join),
        e.map("({})".format),
        e.map("-{}".format),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_random_expressions_have_the_value_that_python_gives(text: str) -> None:
    assert ours(text) == by_python(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/(3-8/3)", 24),
        ("1/3+1/6", Fraction(1, 2)),
        ("--3", 3),
        ("2*-3", -6),
        ("-(1-4)", 3),
        ("8-3-2", 3),
        ("12/3/2", 2),
        (" 1 + 2 ", 3),
    ],
)
def test_values_by_hand(text: str, value: Fraction | int) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/0", "division by zero"), ("1/(2-2)", "division by zero"), ("", "expected at character 1"), ("1+", "expected at character 3"),
        ("(1", "'\\)' expected"), ("1)", "end of text"), ("2(3)", "end of text"), ("1 2", "end of text"), ("07", "leading zeros"),
        ("+1", "expected"), ("1//2", "expected"), ("2**3", "expected"), ("1e3", "end of text"), ("__import__", "expected"), ("²", "expected"),
        ("1\n+1", "end of text"),
    ],
)  # fmt: skip
def test_what_is_no_expression_says_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(text)


def test_nesting_is_bounded_and_never_a_recursion_error() -> None:
    fits = "(" * MAX_DEPTH + "7" + ")" * MAX_DEPTH
    assert evaluate(fits) == 7
    assert solution_key(fits) == "7"
    assert evaluate("-" * MAX_DEPTH + "7") == 7
    for text in [
        "(" * (MAX_DEPTH + 1) + "7" + ")" * (MAX_DEPTH + 1),
        "-" * (MAX_DEPTH + 1) + "7",
        "(-" * 60 + "1",
        "(" * MAX_LENGTH,
    ]:
        with pytest.raises(ExpressionError, match="nested deeper"):
            parse(text)
    for text in ["(" * 100_000, "-" * 100_000 + "1", "1+" * 100_000 + "1", "9" * 100_000]:
        with pytest.raises(ExpressionError, match="longer than"):
            parse(text)


def test_the_deepest_allowed_text_needs_few_frames_of_python() -> None:
    deepest = "2*(1+" * (MAX_DEPTH - 1) + "-3" + ")" * (MAX_DEPTH - 1)
    frames, frame = 0, sys._getframe()
    while frame is not None:
        frames, frame = frames + 1, frame.f_back
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(frames + 250)
    try:
        assert evaluate(deepest) is not None
        assert solution_key(deepest)
        assert numbers_in(parse(deepest))
    finally:
        sys.setrecursionlimit(before)


def test_long_chains_and_deep_nesting_take_linear_time() -> None:
    start = time.process_time()
    evaluate("1+" * 127 + "1"), solution_key("1*" * 127 + "1")
    solution_key("2*(1+" * 31 + "1" + ")" * 31), solution_key("-(1-" * 15 + "(2*3)" + ")" * 15)
    assert time.process_time() - start < 1


def test_the_key_ignores_order_grouping_and_signs_only() -> None:
    same = ["3*7+25", "25+7*3", "(7*3)+(25)", "25-(-7)*3", "-(-25-3*7)", "25+-(-(3))*7"]
    assert len({solution_key(t) for t in same}) == 1
    assert solution_key("8/4*2") == solution_key("2*8/4") == solution_key("8/(4/2)") == solution_key("-(-2*8)/4")
    different = ["1-2", "2-1", "2*(3+4)", "2*3+2*4", "8/4", "4/8", "2*3", "2+3", "6", "6*1"]
    assert len({solution_key(t) for t in different}) == len(different)


def test_equal_keys_mean_equal_values_over_all_small_expressions() -> None:
    values = defaultdict(set)
    shapes = [
        "{0}{3}{1}{4}{2}",
        "({0}{3}{1}){4}{2}",
        "{0}{3}({1}{4}{2})",
        "-({0}{3}{1}){4}{2}",
        "{0}{3}-({1}{4}{2})",
        "-{0}{3}-{1}{4}-{2}",
    ]
    for shape in shapes:
        for a, b, c in itertools.product("123", repeat=3):
            for o, p in itertools.product("+-*/", repeat=2):
                text = shape.format(a, b, c, o, p)
                if (value := ours(text)) is not None:
                    values[solution_key(text)].add(value)
    assert all(len(v) == 1 for v in values.values())
    assert len(values) > 400


@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_the_key_does_not_depend_on_how_a_sum_or_product_is_written(a: str, b: str, c: str) -> None:
    assert solution_key(f"({a})+(({b})+({c}))") == solution_key(f"(({c})+({a}))+({b})")
    assert solution_key(f"({a})*(({b})*({c}))") == solution_key(f"(({c})*({a}))*({b})")
    assert solution_key(f"({a})-({b})") == solution_key(f"-(({b})-({a}))") or solution_key(a) == solution_key(b)
