"""Errors a user can act on: one clear line, exit code 2. Free of torch, so that the command line can import it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GuerdonError(Exception):
    """What the user gave cannot work; the message says where, what was expected, what to do. The CLI exits with ``exit_code``."""

    exit_code = 2


class PlanError(GuerdonError):
    """A plan that cannot run: an unknown key, a missing part, or parts that do not fit together."""


class DataError(GuerdonError):
    """A file that cannot be read as what it should be; names the file and the line."""


class ModelError(GuerdonError):
    """A model that cannot be loaded or does not offer what is asked of it."""


class RewardError(GuerdonError):
    """A reward that cannot be used at all. A reward that fails on some rows is not an error: those rows are ``ok=False``."""


class RunError(GuerdonError):
    """A run that cannot go on, such as one whose rewards all fail."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The closest valid name as a hint, or the list of names when nothing is close.

    >>> nearest("tempature", ["temperature", "top_p"])
    "did you mean 'temperature'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "nothing is known here"
