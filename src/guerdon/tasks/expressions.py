"""Arithmetic expressions: a small recursive-descent parser with exact fractions. Sampled text is never handed to ``eval``.

Grammar: ``sum = product (('+'|'-') product)*``, ``product = factor (('*'|'/') factor)*``, ``factor = '-' factor | number |
'(' sum ')'``; spaces are ignored. Chains are kept flat, so that only brackets and minus signs nest, and those are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 256  # characters
MAX_DEPTH = 32  # brackets and minus signs within each other: what keeps the recursion bounded
_DIGITS = "0123456789"  # str.isdigit accepts more than int does


class ExpressionError(ValueError):
    """A text that is not an expression, or has no value; the message says what and where."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Args:
        kind: ``"number"``, ``"sum"`` or ``"product"``.
        number: Of a number.
        parts: (sign, term) of a sum and (exponent, factor) of a product, signs and exponents being 1 or -1.
    """

    kind: str
    number: int = 0
    parts: tuple[tuple[int, Expression], ...] = ()


def parse(text: str) -> Expression:
    """The expression that a text spells.

    Raises:
        ExpressionError: for anything that the grammar does not allow, a number with a leading zero, more than 256
            characters, or more than 32 levels of brackets and signs.

    >>> parse("2*(3").kind
    Traceback (most recent call last):
    ...
    guerdon.tasks.expressions.ExpressionError: ')' expected at character 5 of '2*(3'
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    return _Parser(text).whole()


def evaluate(expression: Expression | str) -> Fraction:
    """The exact value.

    >>> evaluate("8/(3-8/3)"), evaluate("-(2-5)*1/2")
    (Fraction(24, 1), Fraction(3, 2))

    Raises:
        ExpressionError: where the text does not parse, or something is divided by zero.
    """
    if isinstance(expression, str):
        expression = parse(expression)
    if expression.kind == "number":
        return Fraction(expression.number)
    if expression.kind == "sum":
        return sum((sign * evaluate(term) for sign, term in expression.parts), Fraction(0))
    value = Fraction(1)
    for exponent, factor in expression.parts:
        x = evaluate(factor)
        if exponent < 0 and x == 0:
            raise ExpressionError("division by zero")
        value = value * x if exponent > 0 else value / x
    return value


def numbers_in(expression: Expression) -> list[int]:
    """The numbers that the expression uses, as often as it uses them, from left to right.

    >>> numbers_in(parse("3*(7-3)"))
    [3, 7, 3]
    """
    if expression.kind == "number":
        return [expression.number]
    return [n for _, part in expression.parts for n in numbers_in(part)]


def solution_key(expression: Expression | str) -> str:
    """One text for all expressions that differ only in order, grouping and signs: what counts as the same solution.

    Sums and products are flattened and sorted, and minus signs are moved outwards; nothing is multiplied out or cancelled.

    >>> solution_key("3*7+25") == solution_key("25-(-7)*3"), solution_key("10-(4-3)") == solution_key("3+10-4")
    (True, True)
    >>> solution_key("2*(3+4)") == solution_key("2*3+2*4")
    False

    Raises:
        ExpressionError: where the text does not parse.
    """
    sign, key = _canonical(parse(expression) if isinstance(expression, str) else expression)
    return key if sign > 0 else f"-{key}"


def _canonical(e: Expression) -> tuple[int, str]:
    """(sign, key) with the value sign * key."""
    if e.kind == "number":
        return 1, str(e.number)
    if e.kind == "sum":
        terms = sorted(_terms(e, 1))
        lead = terms[0][1]  # the first term is made positive, its sign goes outside
        if len(terms) == 1:
            return lead, terms[0][0]
        return lead, "(" + "".join("+-"[sign != lead] + key for key, sign in terms) + ")"
    sign, factors = _factors(e, 1)
    return sign, "(" + "".join(f"{op}{key}" for op, key in sorted(factors)) + ")"


def _terms(e: Expression, sign: int) -> list[tuple[str, int]]:
    """(key, sign) of the terms of nested sums."""
    if e.kind == "sum":
        return [term for s, part in e.parts for term in _terms(part, sign * s)]
    own, key = _canonical(e)
    return [(key, sign * own)]


def _factors(e: Expression, exponent: int) -> tuple[int, list[tuple[str, str]]]:
    """The common sign, and (operator, key) of the factors of nested products."""
    sign = 1
    while e.kind == "sum" and len(e.parts) == 1:  # a minus sign
        sign, e = sign * e.parts[0][0], e.parts[0][1]
    if e.kind != "product":
        own, key = _canonical(e)
        return sign * own, [("*/"[exponent < 0], key)]
    factors = []
    for k, part in e.parts:
        own, inner = _factors(part, exponent * k)
        sign *= own
        factors += inner
    return sign, factors


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def whole(self) -> Expression:
        e = self.sum()
        if self.peek():
            raise self.error("end of text")
        return e

    def peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def error(self, expected: str) -> ExpressionError:
        return ExpressionError(f"{expected} expected at character {self.at + 1} of {self.text!r}")

    def sum(self) -> Expression:
        return self.chain("sum", self.product, "+-")

    def product(self) -> Expression:
        return self.chain("product", self.factor, "*/")

    def chain(self, kind: str, part: Callable[[], Expression], operators: str) -> Expression:
        parts = [(1, part())]
        while (op := self.peek()) and op in operators:
            self.at += 1
            parts.append((1 if op == operators[0] else -1, part()))
        return parts[0][1] if len(parts) == 1 else Expression(kind, parts=tuple(parts))

    def factor(self) -> Expression:
        c = self.peek()
        if c and c in _DIGITS:
            return self.number()
        if not c or c not in "-(":
            raise self.error("a number, '-' or '('")
        if self.depth == MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels")
        self.depth += 1
        self.at += 1
        if c == "-":
            e = Expression("sum", parts=((-1, self.factor()),))
        else:
            e = self.sum()
            if self.peek() != ")":
                raise self.error("')'")
            self.at += 1
        self.depth -= 1
        return e

    def number(self) -> Expression:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in _DIGITS:
            self.at += 1
        digits = self.text[start : self.at]
        if len(digits) > 1 and digits[0] == "0":
            self.at = start
            raise self.error("a number without leading zeros")
        return Expression("number", number=int(digits))
