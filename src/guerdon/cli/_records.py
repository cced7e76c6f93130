"""The FEEDBACK arguments: files of any format, a store, or several of them, as records."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from guerdon.cli._main import Stop
from guerdon.core.errors import DataError

if TYPE_CHECKING:
    from guerdon.core.feedback import Feedback

EVERY = 1000  # records between two updates of the counter


def read_records(
    words: Sequence[str], style: str | None = None, columns: Sequence[str] = (), *, quiet: bool = False
) -> list[Feedback]:
    """All records, read once.

    Args:
        words: Files, and files or URLs of stores.
        style: Format of the files; None: as their columns say.
        columns: ``ROLE=NAME``: what a column is called in these files.
        quiet: No counter.

    Raises:
        DataError: naming the file and the line of a broken record, or an argument without any.
    """
    found: list[Feedback] = []
    tell = not quiet and sys.stderr.isatty()
    names = renamed(columns)
    for k, word in enumerate(words):
        if is_store(word) and (style or names):
            raise Stop(f"{'--format' if style else '--column'} is for files, and argument {k + 1} of the feedback is a store")
    for word in words:
        before = len(found)
        for record in _of_store(word) if is_store(word) else _of_file(word, style, names):
            found.append(record)
            if tell and len(found) % EVERY == 0:
                print(f"\r{len(found):,} records", end="", file=sys.stderr)
        if len(found) == before:
            raise DataError(f"{name_of(word)}: no feedback in it")
    if tell:
        print("\r\033[K", end="", file=sys.stderr)
    return found


def renamed(columns: Sequence[str]) -> dict[str, str]:
    """role -> name of the column, from ``ROLE=NAME``.

    >>> renamed(["prompt=question"])
    {'prompt': 'question'}
    """
    found = {}
    for text in columns:
        role, sign, name = text.partition("=")
        if not (role and sign and name):
            raise Stop(f"--column {text!r}: expected ROLE=NAME, as in --column prompt=question")
        found[role] = name
    return found


def is_store(word: str) -> bool:
    """Whether an argument names a store: a URL, or a file of SQLite."""
    if "://" in word:
        return True
    with suppress(OSError), open(word, "rb") as f:
        return f.read(16) == b"SQLite format 3\0"
    return False


def name_of(word: str) -> str:
    """What messages call it: the URL of a store holds a password, perhaps."""
    if "://" not in word:
        return word
    from guerdon.feedback.store.place import read_place

    return read_place(word).name


def _of_file(word: str, style: str | None, names: dict[str, str]) -> Iterator[Feedback]:
    from guerdon import feedback

    return iter(feedback.read(word, style, columns=names))


def _of_store(word: str) -> Iterator[Feedback]:
    from guerdon import feedback
    from guerdon.feedback.store.place import read_place

    file = read_place(word).file
    if file is not None and not Path(file).is_file():
        raise DataError(f"{file}: no such store")  # opening it would make one
    with feedback.Store(word) as store:
        yield from store.read()
