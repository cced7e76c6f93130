"""Preferences and Demonstrations: recorded answers, in the formats that TRL reads and as dialogues of HH-RLHF."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.core import PlanError, nearest
from guerdon.feedback.messages import answer_of
from guerdon.feedback.readers.preference import preference_of
from guerdon.feedback.readers.single import demonstration_of
from guerdon.run.sources.cycle import Cycle, Row
from guerdon.run.sources.file import check_limit, open_file


@dataclass(frozen=True)
class Preferences:
    """Two answers to one prompt, ``chosen`` and ``rejected``, as columns of these names.

    Each may be a text or messages. Without a ``prompt`` the two are whole conversations (or texts), and what they begin with
    in common is the prompt; a text is not cut inside a word. Texts whose turns begin with "Human:" and "Assistant:" are dialogues
    (HH-RLHF): the prompt is then a list of messages. Other columns travel along.

    Args:
        path: The file, of a kind that ``File`` reads.
        limit: Rows used, from the first.
        shuffle: Whether each epoch has an order of its own.
        format: ``"hh"`` for dialogues, ``"preference"`` to leave such texts as they are, for a model without a chat template;
            None: as each row looks.

    Raises:
        DataError: when it is opened; one line that names the file and the line.
    """

    path: str
    limit: int | None = None
    shuffle: bool = True
    format: str | None = None

    def __post_init__(self) -> None:
        check_limit("Preferences", self.limit)
        if self.format not in (None, "hh", "preference"):
            raise PlanError(f"Preferences: unknown format {self.format!r}; {nearest(self.format, ('hh', 'preference'))}")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source, after the file was checked; a relative path begins in ``folder`` (None: the current one)."""
        read = functools.partial(read_preference, format=self.format)
        return open_file(self.path, read, self.limit, seed, self.shuffle, folder)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of rows, after all were checked."""
        return len(self.open(folder=folder))


@dataclass(frozen=True)
class Demonstrations:
    """Good answers, in the column ``completion``: to imitate.

    A row has ``prompt`` and ``completion`` (texts or messages), or ``messages`` that end with an answer of the assistant, or
    ``text`` alone (then the prompt is empty). Other columns travel along.

    Args:
        path: The file, of a kind that ``File`` reads.
        limit: Rows used, from the first.
        shuffle: Whether each epoch has an order of its own.

    Raises:
        DataError: when it is opened; one line that names the file and the line.
    """

    path: str
    limit: int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        check_limit("Demonstrations", self.limit)

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source, after the file was checked; a relative path begins in ``folder`` (None: the current one)."""
        return open_file(self.path, read_demonstration, self.limit, seed, self.shuffle, folder)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of rows, after all were checked."""
        return len(self.open(folder=folder))


def read_preference(row: dict[str, Any], format: str | None = None) -> Row:
    """A row as (prompt, {chosen, rejected, ...}).

    >>> read_preference({"chosen": "Hi, how are you?", "rejected": "Hi, how old are you?"})
    ('Hi, how', {'chosen': ' are you?', 'rejected': ' old are you?'})
    """
    prompt, chosen, rejected = preference_of(row, None if format is None else format == "hh")
    rest = {n: v for n, v in row.items() if n not in ("prompt", "chosen", "rejected")}
    return prompt, {"chosen": answer_of(chosen, "chosen"), "rejected": answer_of(rejected, "rejected"), **rest}


def read_demonstration(row: dict[str, Any]) -> Row:
    """A row as (prompt, {completion, ...}).

    >>> read_demonstration({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})
    ([{'role': 'user', 'content': '2 + 2?'}], {'completion': '4'})
    """
    prompt, completion, used = demonstration_of(row)
    return prompt, {"completion": completion, **{n: v for n, v in row.items() if n not in used}}
