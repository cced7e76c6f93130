"""What commands say: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@cache
def _console(stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else 160  # nobody's screen: tables need not be squeezed
    return Console(stderr=stderr, highlight=False, width=wide)


def note(text: str, *, quiet: bool = False) -> None:
    """A line for the person who waits; never part of the result."""
    if not quiet:
        _console(True).print(text, markup=False, soft_wrap=True)


def show(renderable: Any) -> None:
    """The result, for people."""
    _console(False).print(renderable, soft_wrap=isinstance(renderable, str), markup=False)


def emit(value: Any) -> None:
    """The result, for programs: one JSON document, null in place of a number that is not finite."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
