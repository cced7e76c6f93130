"""File: prompts and their columns from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.core import PlanError, nearest
from guerdon.feedback.messages import prompt_of
from guerdon.run.sources.cycle import Cycle, Row
from guerdon.run.sources.table import FileTable, Read


@dataclass(frozen=True)
class File:
    r"""Contexts from a file: JSON lines (``.jsonl``), a list of objects (``.json``), ``.csv``, ``.parquet`` or text with a prompt
    per line (``.txt``), each but Parquet also as ``.gz``. The whole file is checked before the first row is used; memory does not
    grow with it.

    Args:
        path: The file.
        prompt: Column with the context: a text or a list of messages.
        columns: Columns that travel along for rewards (None: all others). A row of JSON without one has None there.
        limit: Rows used, from the first.
        shuffle: Whether each epoch has an order of its own.

    Raises:
        DataError: when it is opened; one line that names the file and the line, and the nearest column.

    Example:
        >>> import pathlib, tempfile
        >>> from guerdon.core import Streams
        >>> path = pathlib.Path(tempfile.mkdtemp(), "sums.csv")
        >>> _ = path.write_text("prompt,answer\n2 + 2 =,4\n3 + 3 =,6\n")
        >>> items = File(str(path), shuffle=False).open().draw(2, streams=Streams(0))
        >>> items.contexts, items.info
        (['2 + 2 =', '3 + 3 ='], {'answer': ['4', '6']})
    """

    path: str
    prompt: str = "prompt"
    columns: tuple[str, ...] | None = None
    limit: int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        check_limit("File", self.limit)
        if isinstance(self.columns, str):
            raise PlanError(f"File: columns must be a list of names, got {self.columns!r}")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source, after the file was checked; a relative path begins in ``folder`` (None: the current one)."""
        return open_file(self.path, self._read, self.limit, seed, self.shuffle, folder)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of rows, after all were checked."""
        return len(self.open(folder=folder))

    def _read(self, row: dict[str, Any]) -> Row:
        context = prompt_of(column(row, self.prompt), self.prompt)
        if self.prompt == "messages" and not isinstance(context, str) and context[-1]["role"] == "assistant":
            raise ValueError("'messages' ends with an answer of the assistant; for demonstrations use Demonstrations")
        if self.columns is None:
            return context, {n: v for n, v in row.items() if n != self.prompt}
        return context, {n: column(row, n) for n in self.columns}


def open_file(path: str, read: Read, limit: int | None, seed: int, shuffle: bool, folder: str | Path | None) -> Cycle:
    """A running source over a file."""
    return Cycle(FileTable(Path(folder or ".") / path, read, limit), seed, shuffle)


def column(row: dict[str, Any], name: str) -> Any:
    """A row's value.

    Raises:
        ValueError: with the nearest column where there is no such one.
    """
    if name not in row:
        raise ValueError(f"no column {name!r}; {nearest(name, row)}")
    return row[name]


def check_limit(who: str, limit: int | None) -> None:
    """Raises PlanError for a limit that leaves no rows."""
    if limit is not None and limit < 1:
        raise PlanError(f"{who}: limit must be at least 1, got {limit}")
