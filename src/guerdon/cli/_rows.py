"""Columns of a data file: which hold answers, which hold what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guerdon.core.errors import DataError, nearest

Row = dict[str, Any]
OUTPUTS = ("output", "completion", "text", "response")
CONTEXTS = ("prompt", "context", "question", "instruction")


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line or row number, columns) of every row, in bounded memory.

    Raises:
        DataError: naming the file and the line.
    """
    from guerdon.feedback.files import kind_of, rows_of

    empty = True
    for place in rows_of(path, kind_of(path)):
        empty = False
        yield place
    if empty:
        raise DataError(f"{path}: no rows in it")


def pick(row: Mapping[str, Any], known: tuple[str, ...], where: str, wanted: str | None = None) -> str:
    """Name of the first of ``known`` columns that a row has, or of the ``wanted`` one.

    Raises:
        DataError: for a row without one.
    """
    if wanted is not None:
        if wanted not in row:
            raise DataError(f"{where}: no column {wanted!r}; {nearest(wanted, map(str, row))}")
        return wanted
    found = next((name for name in known if name in row), None)
    if found is None:
        there = ", ".join(map(str, row)) or "none"
        raise DataError(f"{where}: expected a column {', '.join(known[:-1])} or {known[-1]}; it has: {there}")
    return found


def as_output(value: Any) -> Any:
    """The text of an answer that is written as messages; anything else as it is."""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping) and "content" in value[-1]:
        return value[-1]["content"]
    return value
