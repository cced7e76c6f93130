"""What the process behind ``Regex`` runs: standard library only."""

from __future__ import annotations

import re


def match(output: str, pattern: str, full: bool) -> float:
    """1.0 where the pattern is found in the output, or, with ``full``, is the whole of it."""
    compiled = re.compile(pattern)  # the module keeps what it compiled
    return float((compiled.fullmatch(output) if full else compiled.search(output)) is not None)
