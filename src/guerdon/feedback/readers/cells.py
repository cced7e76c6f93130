"""A row whose columns are taken one by one; what nobody took becomes the record's info."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as clock
from typing import Any

from guerdon.core.errors import nearest
from guerdon.feedback.messages import kind, output_of, prompt_of

CONTEXTS = ("prompt", "context", "question", "instruction", "query", "problem", "input")
OUTPUTS = ("output", "completion", "response", "answer", "text")
ANNOTATORS = ("annotator", "annotator_id", "worker_id", "rater_id")
MISSING = ("", "n/a", "na", "nan", "none", "null", "-")  # how tables write that there is no value
_DEEPEST = 64


@dataclass(frozen=True)
class Settings:
    """What the caller of ``read`` says that the file does not.

    Args:
        annotator: Who said it where the row does not say; or column or name in the file -> name.
        codes: A label as it is written -> what it means: P(first better).
        scale: Lowest and highest score that could be given.
        scores: Columns that hold scores.
        timed: Whether the column ``time`` says when; else it is one of the others.
    """

    annotator: str | Mapping[str, str] | None = None
    codes: Mapping[str, float] | None = None
    scale: tuple[float, float] | None = None
    scores: tuple[str, ...] = ()
    timed: bool = False


@dataclass
class Cells:
    """A row.

    Args:
        row: Column -> value.
        source: Where it was read.
        settings: What the caller said.
    """

    row: Mapping[str, Any]
    source: str = ""
    settings: Settings = field(default_factory=Settings)
    taken: set[str] = field(default_factory=set)

    def find(self, names: tuple[str, ...]) -> str | None:
        """The first of some columns that the row has."""
        return next((n for n in names if n in self.row), None)

    def take(self, *names: str) -> Any:
        """The value of the first of some columns that the row has; it will not be among the info.

        Raises:
            ValueError: where there is none, with the nearest column.
        """
        name = self.find(names)
        if name is None:
            wanted = " or ".join(map(repr, names[:3]))
            raise ValueError(f"no column {wanted}; {nearest(names[0], map(str, self.row))}")
        self.taken.add(name)
        return self.row[name]

    def maybe(self, *names: str) -> Any:
        """The value of the first of some columns, None where the row has none or says nothing there."""
        if self.find(names) is None:
            return None
        value = self.take(*names)
        return None if is_missing(value) else value

    def output(self, *names: str) -> Any:
        """An output, from the first of some columns."""
        value = self.take(*names)
        return output_of(value, self.find(names) or names[0])

    def listed(self, *names: str) -> list[Any]:
        """A list, also as JSON in a text, as CSV files have it."""
        value = unpacked(self.take(*names))
        if not isinstance(value, list | tuple):
            raise ValueError(f"{self.find(names)!r} is {kind(value)}, expected a list")
        return list(value)

    def context(self) -> Any:
        """What was asked: the first column of ``CONTEXTS``, an instruction with its input below; "" where there is none."""
        name = self.find(CONTEXTS)
        if name is None:
            return ""
        found = prompt_of(self.take(name), name)
        if name == "instruction" and "input" in self.row:
            below = self.maybe("input")
            if below is not None:
                below = prompt_of(below, "input")
                if not isinstance(found, str) or not isinstance(below, str):
                    raise ValueError("'instruction' and 'input' must both be texts")
                found = f"{found}\n\n{below}"
        return found

    def common(self) -> dict[str, Any]:
        """Annotator, time, source, and all columns that were not taken, as plain values; to be called when all others are."""
        who = self.maybe(*ANNOTATORS)
        given = self.settings.annotator
        if who is None:
            name = given if isinstance(given, str) else ""
        else:
            name = plain_text(who, "annotator")
            name = given.get(name, name) if isinstance(given, Mapping) else name
        said = self.maybe("time") if self.settings.timed else None
        time = None if said is None else seconds_of(said)
        info = {str(n): plain(v, str(n)) for n, v in self.row.items() if n not in self.taken}
        return {"annotator": name, "time": time, "source": self.source, "info": info}


def plain(value: Any, name: str, depth: int = 0) -> Any:
    """A value of a file as JSON can hold it: dates as text, NaN as None.

    Raises:
        ValueError: for bytes and other things that have no place in a record.
    """
    if depth > _DEEPEST:
        raise ValueError(f"{name!r} is nested too deeply")
    if isinstance(value, float) and not math.isfinite(value):
        return None if value != value else str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v, name, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, name, depth + 1) for v in value]
    if isinstance(value, date | datetime | clock):
        return value.isoformat()
    if hasattr(value, "tolist"):  # arrays and numbers of numpy and torch
        return plain(value.tolist(), name, depth + 1)
    if isinstance(value, bytes | bytearray | memoryview):
        raise ValueError(f"{name!r} holds bytes; leave it out of the file, or store it as text")
    return str(value)


def plain_text(value: Any, name: str) -> str:
    """A text, or a number as text.

    Raises:
        ValueError: for anything else.
    """
    found = prompt_of(value, name)
    if not isinstance(found, str):
        raise ValueError(f"{name!r} is {kind(value)}, expected a text")
    return found


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: None, NaN, "", "N/A".

    >>> [is_missing(v) for v in (None, float("nan"), " N/A", 0, "0")]
    [True, True, True, False, False]
    """
    if isinstance(value, str):
        return value.strip().casefold() in MISSING
    return value is None or (isinstance(value, float) and value != value)


def number_of(value: Any, name: str) -> float:
    """A number, also one that is written as a text.

    Raises:
        ValueError: for anything else.

    >>> number_of("4.5", "rating"), number_of(3, "rating")
    (4.5, 3.0)
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        found = float(value)
        if not math.isfinite(found) or (isinstance(value, str) and "_" in value):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{name!r} is {shown(value)}, expected a number") from None
    return found


def seconds_of(value: Any) -> float:
    """A time in seconds since 1970, from a number of them, a date or an ISO text; UTC where that is not said.

    Raises:
        ValueError: for anything else.

    >>> seconds_of("1970-01-02 00:00"), seconds_of("1970-01-01T01:00+01:00"), seconds_of("12.5")
    (86400.0, 0.0, 12.5)
    """
    try:
        return number_of(value, "time")
    except ValueError:
        text = value.isoformat() if isinstance(value, date) else value
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(
            f"'time' is {shown(value)}, expected seconds since 1970, or a date such as 2024-05-01T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def shown(value: Any) -> str:
    """A short value as it is, a long one in words.

    >>> shown("A>>B"), shown(["a", "b"])
    ("'A>>B'", 'a list')
    """
    short = isinstance(value, str | bool | float) or (isinstance(value, int) and abs(value) < 10**15)
    text = repr(value) if short else ""
    return text if text and len(text) <= 40 else kind(value)


def unpacked(value: Any) -> Any:
    """A list or mapping that is written as JSON in a text; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value.tolist() if hasattr(value, "tolist") else value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
