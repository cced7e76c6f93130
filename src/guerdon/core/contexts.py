"""What was asked, as identity: which contexts are the same, and on which side of a split they are. Free of torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guerdon.core.errors import DataError

if TYPE_CHECKING:
    from guerdon.core.feedback import Feedback


def key_of(context: Any) -> str:
    r"""The same text for equal contexts, apart from white space at line ends and around: what a split must keep together.

    >>> key_of("2 + 2 =") == key_of(" 2 + 2 =\n"), key_of([{"role": "user", "content": "hi"}])
    (True, '[{"content": "hi", "role": "user"}]')
    """
    if isinstance(context, str):
        return "\n".join(line.rstrip() for line in context.strip().splitlines())
    return json.dumps(plain_data(context), sort_keys=True, ensure_ascii=False)


def split(feedback: Sequence[Feedback], held_out: float = 0.2, seed: int = 0) -> tuple[list[Feedback], list[Feedback]]:
    """(training part, held-out part) by context: all records of a context are on the same side, whatever else is there.

    The side depends on the context and the seed alone, so that a data set that grows keeps its sides.

    Args:
        feedback: Records.
        held_out: Share of contexts that are held out, in [0, 1].
        seed: Another one gives another split.
    """
    sides: tuple[list[Feedback], list[Feedback]] = ([], [])
    for f in feedback:
        digest = hashlib.blake2b(f"{seed}\n{key_of(f.context)}".encode("utf8", "surrogatepass"), digest_size=8).digest()
        sides[int.from_bytes(digest, "big") / 2**64 < held_out].append(f)
    return sides


def plain_data(value: Any) -> Any:
    """Plain data for JSON; a number that is not finite, as tables have in empty cells, becomes None.

    Raises:
        DataError: for what JSON cannot hold.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain_data(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(v) for v in value]
    raise DataError(f"feedback holds plain values only (texts, numbers, lists, mappings), got {type(value).__name__}")
