"""A format: a name, the columns that show it, and a function from rows to records."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.core.errors import nearest
from guerdon.core.feedback import Feedback
from guerdon.feedback.readers.cells import Cells

Shape = tuple[tuple[str, ...], ...]  # columns that a row must have, each under one of several names


def any_row(row: Mapping[str, Any]) -> bool:
    """For formats that the columns alone show."""
    return True


@dataclass(frozen=True)
class Format:
    """A format of feedback files.

    Args:
        name: As ``read(path, format=...)`` and error messages have it.
        about: One line.
        example: A row.
        shapes: The columns that show it: one of the shapes is enough.
        read: A row -> its records; a ValueError or DataError says what is wrong with the row.
        fits: Whether a row with these columns is of the format indeed.
        options: Which of ``codes``, ``scale`` and ``scores`` have a meaning in it.
    """

    name: str
    about: str
    example: Mapping[str, Any]
    shapes: tuple[Shape, ...]
    read: Callable[[Cells], Iterable[Feedback]]
    fits: Callable[[Mapping[str, Any]], bool] = any_row
    options: tuple[str, ...] = ()

    def recognises(self, row: Mapping[str, Any]) -> bool:
        return any(not missing(shape, row) for shape in self.shapes) and self.fits(row)


def missing(shape: Shape, row: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The columns of a shape that a row lacks, each with its other names."""
    return [names for names in shape if not any(n in row for n in names)]


def recognise(row: Mapping[str, Any], known: Sequence[Format]) -> Format:
    """The first format that a row is of.

    Raises:
        ValueError: where there is none: what was found, and what the nearest format lacks.
    """
    for candidate in known:
        if candidate.recognises(row):
            return candidate
    columns = [str(n) for n in row]
    shapes = [(f, s) for f in known for s in f.shapes]
    near, shape = max(shapes, key=lambda m: (_likeness(m[1], columns), m[0].fits(row)))
    lacks = missing(shape, row)
    there = f"no format has the columns {', '.join(repr(n)[:40] for n in columns[:20]) or 'none'}"
    names = f"formats: {', '.join(f.name for f in known)}"
    if not _likeness(shape, columns):
        raise ValueError(f"{there}, or one like them; name columns with columns={{'output': ...}}; {names}")
    if not lacks:
        raise ValueError(f"{there}; if it is {near.name!r}, say so with format={near.name!r}; {names}")
    hint = nearest(lacks[0][0], columns)
    hint = f" ({hint})" if hint.startswith("did you mean") else ""
    wanted = " and ".join(repr(names[0]) for names in lacks)
    raise ValueError(
        f"{there}; the nearest is {near.name!r}, which also needs {wanted}{hint}; name columns with "
        f"columns={{{lacks[0][0]!r}: ...}}; {names}"
    )


def _likeness(shape: Shape, columns: Sequence[str]) -> float:
    """Share of a shape's columns that are there; one with a similar name counts half."""
    there = [next((n for n in names if n in columns), None) for names in shape]
    free = [c for c in columns if c not in there]
    near = [difflib.get_close_matches(names[0], free, n=1, cutoff=0.75) for names in shape]
    return sum(1.0 if t else 0.5 if n else 0.0 for t, n in zip(there, near, strict=True)) / len(shape)
