"""What is told of a query from its text, and when two results are the same."""

import random
import time
from typing import Any

import pytest

from guerdon.core import RewardError
from guerdon.rewards.verifiers.sql_results import Table, compare
from guerdon.rewards.verifiers.sql_text import ordered, query_of, timely


@pytest.mark.parametrize(
    ("output", "query"),
    [
        ("SELECT 1", "SELECT 1"),
        ("```sql\nSELECT 1;\n```", "SELECT 1;"),
        ("First I tried\n```sql\nSELECT 0\n```\nbut then\n```sql\nSELECT 1\n```\nwhich gives\n```\n1\n```", "SELECT 1"),
        ("<think>\n```sql\nSELECT 0\n```\n</think>SELECT 1", "SELECT 1"),
        ("```sql\nSELECT 1", "SELECT 1"),
    ],
)
def test_the_query_in_an_output(output: str, query: str) -> None:
    assert query_of(output) == query


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT a FROM t order\n\tby a", True),
        ("WITH c AS (SELECT a FROM t ORDER BY a) SELECT a FROM c", False),
        ("SELECT a FROM t UNION SELECT b FROM t ORDER BY 1", True),
        ('SELECT "ORDER BY" FROM t', False),
        ("SELECT [order by] FROM t -- ORDER BY a", False),
        ("SELECT a FROM t WHERE b = 'it''s' ORDER BY a", True),
        ("SELECT a FROM t /* ORDER BY a", False),
        ("SELECT sum(a) OVER (PARTITION BY b ORDER BY c) FROM t", False),
        ('SELECT a AS "order" FROM by_name', False),
    ],
)
def test_a_top_level_order(query: str, expected: bool) -> None:
    assert ordered(query) is expected


def test_the_clock_in_a_query() -> None:
    assert (
        timely("SELECT strftime ('%Y')")
        and timely("select current_timestamp")
        and not timely('SELECT date, "current_date" FROM t')
    )


def same(gold: list[list[Any]], found: list[list[Any]], **options: Any) -> bool:
    names = [f"c{k}" for k in range(len(gold[0]))]
    settings = {"in_order": False, "names": False, "permute": True, "tolerance": 1e-9} | options
    return compare(Table(names, gold), Table(names, found), **settings).equal


def test_any_shuffle_of_rows_and_columns_is_equal_and_any_other_cell_is_not() -> None:
    rng = random.Random(0)
    for _ in range(60):
        width, length = rng.randint(1, 6), rng.randint(1, 12)
        gold = [[rng.choice([None, 0, 1, 2, 0.5, "a", "b"]) for _ in range(width)] for _ in range(length)]
        order = rng.sample(range(width), width)
        found = [[row[k] for k in order] for row in rng.sample(gold, length)]
        assert same(gold, found)
        assert same(gold, [[row[k] for k in order] for row in gold], in_order=True)
        found[rng.randrange(length)][rng.randrange(width)] = "other"
        assert not same(gold, found)


def test_wide_results_of_equal_columns_take_no_time() -> None:
    gold = [[k % 2] * 60 for k in range(100)]
    start = time.monotonic()
    assert same(gold, gold[::-1])
    assert not same(gold, [*gold[:98], [0] * 30 + [1] * 30, [1] * 30 + [0] * 30])
    assert time.monotonic() - start < 20


def test_too_many_column_orders_are_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guerdon.rewards.verifiers.sql_results.WORK", 5)
    with pytest.raises(RewardError, match="too many ways"):
        same([[1, 2, 3], [2, 3, 1], [3, 1, 2]], [[2, 1, 3], [3, 2, 1], [1, 3, 2]])


def test_found_numbers_do_not_chain() -> None:
    # each found number is within the tolerance of the next, but the last is three times as far from the known one
    gold = [[1.0]] * 4
    assert same(gold, [[1.0], [1.0], [1.0], [1.0009]], tolerance=1e-3)
    assert not same(gold, [[1.0], [1.0009], [1.0018], [1.0027]], tolerance=1e-3)
