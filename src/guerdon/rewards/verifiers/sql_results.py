"""When two results are the same: rows in any order or in one, columns in any order, numbers within a tolerance."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from guerdon.core import RewardError

Cell = tuple[str, Any]  # (kind, value): two cells are the same where these are
LEAST = 1e-12  # difference below which two numbers are the same whatever the tolerance: sums around zero
COLUMNS = 64  # results with more columns are compared in their own column order only
WORK = 20_000_000  # cells looked at in search of a column order


class Table(NamedTuple):
    """A result of a query.

    Attributes:
        columns: Names.
        rows: Cells as the runner gives them: None, integers, floats, texts, and ``{"blob" | "text" | "real": text}``.
    """

    columns: list[str]
    rows: list[list[Any]]


class Compared(NamedTuple):
    """How alike two results are.

    Attributes:
        equal: Whether they are the same.
        f1: F1 of the found rows against the gold ones, as multisets.
        note: What differs; "" where nothing does.
    """

    equal: bool
    f1: float
    note: str = ""


def read_table(value: Any) -> Table:
    """What a runner answered, after its shape was found right.

    Raises:
        ValueError: for anything that the runner does not answer.
    """
    if (
        not isinstance(value, Mapping)
        or not isinstance(value.get("columns"), list | tuple)
        or not isinstance(value.get("rows"), list | tuple)
    ):
        raise ValueError("the answer is no table")
    columns = [str(c) for c in value["columns"]]
    rows = [list(r) if isinstance(r, list | tuple) else [] for r in value["rows"]]
    if not columns or any(len(r) != len(columns) or not all(map(_is_cell, r)) for r in rows):
        raise ValueError("the answer is no table")
    return Table(columns, rows)


def _is_cell(value: Any) -> bool:
    if isinstance(value, Mapping):
        return len(value) == 1 and next(iter(value)) in ("blob", "text", "real") and isinstance(next(iter(value.values())), str)
    return value is None or (isinstance(value, int | float | str) and not isinstance(value, bool) and value == value)


def compare(gold: Table, found: Table, *, in_order: bool, names: bool, permute: bool, tolerance: float) -> Compared:
    """Compares two results.

    Args:
        gold: The right one.
        found: The one to judge.
        in_order: Whether the order of the rows counts.
        names: Whether the names of the columns count (apart from capitals).
        permute: Whether columns may stand in another order.
        tolerance: Relative difference up to which a number that is not an integer equals another.

    Raises:
        RewardError: where no column order was found in ``WORK`` steps.
    """
    if len(gold.columns) != len(found.columns):
        return Compared(False, 0.0, f"{len(found.columns)} columns, expected {len(gold.columns)}")
    numbers = Numbers([v for row in gold.rows for v in row], tolerance)
    want, have = ([[numbers.cell(v) for v in row] for row in t.rows] for t in (gold, found))
    f1 = _f1(want, have, permute)
    if len(want) != len(have):
        return Compared(False, f1, f"{len(have)} rows, expected {len(want)}")
    labels = [[n.lower() for n in t.columns] if names else [""] * len(t.columns) for t in (gold, found)]
    if labels[0] == labels[1] and (want == have or (not in_order and _bag(want) == _bag(have))):
        return Compared(True, 1.0)
    if permute and 1 < len(gold.columns) <= COLUMNS and _same_columns(want, have, labels, in_order):
        return Compared(True, 1.0)
    if names and sorted(labels[0]) != sorted(labels[1]):
        return Compared(False, f1, f"columns {found.columns}, expected {gold.columns}")
    return Compared(False, f1, "other rows" if f1 < 1 else "rows in another order" if in_order else "cells in other places")


class Numbers:
    """Which numbers count as one: those of the gold result, put into classes; a found number falls in the class of the nearest.

    A found number can so never link two gold numbers that are further apart than the tolerance. Integers equal integers exactly.

    >>> numbers = Numbers([0.3, 7], 1e-9)
    >>> numbers.cell(0.1 + 0.2) == numbers.cell(0.3), numbers.cell(7.0) == numbers.cell(7), numbers.cell("7") == numbers.cell(7)
    (True, True, False)
    """

    def __init__(self, cells: Sequence[Any], tolerance: float):
        self.tolerance = tolerance
        real: dict[float, bool] = {}
        for value in map(_number, cells):
            if value is not None:
                real[value] = real.get(value, False) or isinstance(value, float)
        self.values = sorted(real)
        self.reals = [v for v in self.values if real[v]]
        self.classes: dict[float, int] = {}
        for k, value in enumerate(self.values):
            last = self.values[k - 1]
            same = k > 0 and (real[value] or real[last]) and self.close(value, last)
            self.classes[value] = self.classes[last] if same else k

    def close(self, a: float, b: float) -> bool:
        return math.isclose(a, b, rel_tol=self.tolerance, abs_tol=LEAST if self.tolerance else 0.0)

    def cell(self, value: Any) -> Cell:
        """A cell in a form that equals that of every cell that counts as the same."""
        if value is None:
            return ("null", 0)
        number = _number(value)
        if number is not None:
            return self._of(number)
        if isinstance(value, str):
            return ("text", value)
        return (f"coded {next(iter(value))}", str(next(iter(value.values()))))

    def _of(self, number: int | float) -> Cell:
        if number in self.classes:
            return ("number", self.classes[number])
        pool = self.values if isinstance(number, float) else self.reals
        place = bisect_left(pool, number)
        near = [v for v in pool[max(0, place - 1) : place + 1] if self.close(v, number)]
        return ("number", self.classes[min(near, key=lambda v: abs(v - number))]) if near else ("other number", number)


def _number(value: Any) -> int | float | None:
    if isinstance(value, Mapping) and "real" in value:
        return float("-inf") if str(value["real"]).startswith("-") else float("inf")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _bag(rows: Sequence[Sequence[Cell]]) -> Counter[tuple[Cell, ...]]:
    return Counter(map(tuple, rows))


def _f1(want: Sequence[Sequence[Cell]], have: Sequence[Sequence[Cell]], permute: bool) -> float:
    """2 x shared rows / all rows; where columns may be permuted, a row is the bag of its cells."""
    if not want and not have:
        return 1.0
    a, b = (_bag([sorted(r) for r in rows] if permute else rows) for rows in (want, have))
    return 2 * (a & b).total() / (len(want) + len(have))


def _same_columns(
    want: Sequence[Sequence[Cell]], have: Sequence[Sequence[Cell]], labels: list[list[str]], in_order: bool
) -> bool:
    """Whether some order of the found columns gives the gold rows."""
    gold, found = (
        [(label, tuple(r[k] for r in rows)) for k, label in enumerate(names)]
        for rows, names in zip((want, have), labels, strict=True)
    )
    if in_order:
        return Counter(gold) == Counter(found)
    prints = [[(label, frozenset(Counter(cells).items())) for label, cells in side] for side in (gold, found)]
    if Counter(prints[0]) != Counter(prints[1]):
        return False
    left = [WORK]

    def extend(todo: list[int], free: list[int], rows: tuple[list[int], list[int]]) -> bool:
        """Whether the gold columns ``todo`` go with the found columns ``free``; rows of one number agree so far."""
        if not todo:
            return True
        tried = set()
        for c in free:
            if prints[1][c] != prints[0][todo[0]] or found[c] in tried:
                continue
            tried.add(found[c])
            left[0] -= len(want)
            if left[0] < 0:
                raise RewardError("SQL: too many ways to order the columns of the result; set permute to False")
            seen: dict[tuple[int, Cell], int] = {}
            a, b = (
                [seen.setdefault(pair, len(seen)) for pair in zip(ids, cells, strict=True)]
                for ids, cells in zip(rows, (gold[todo[0]][1], found[c][1]), strict=True)
            )
            if Counter(a) == Counter(b) and extend(todo[1:], [f for f in free if f != c], (a, b)):
                return True
        return False

    many = sorted(range(len(gold)), key=lambda k: -len(prints[0][k][1]))  # telling columns first
    return extend(many, list(range(len(found))), ([0] * len(want), [0] * len(have)))
