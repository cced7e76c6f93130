"""How a record becomes a row, and what the store tells beside a record."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

from guerdon.core.contexts import key_of
from guerdon.core.errors import DataError, nearest
from guerdon.core.feedback import KINDS, Feedback, from_record

_LONGEST_NAME = 2000  # bytes: what an index of PostgreSQL takes for sure
INT64 = range(-(2**63), 2**63)
_TROUBLE = re.compile("[\\\\\x00\ud800-\udfff]")  # no database takes NUL and lone surrogates in a text
_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")


class Version(NamedTuple):
    """One record of a chain of corrections.

    Attributes:
        id: Its id.
        record: The record.
        stored: When it was stored, seconds since 1970 by the store's clock.
        status: "current", "corrected" (by the next one of the chain) or "retracted".
        by: Who ended it; "" where that is not known or nobody did.
        time: When that was, seconds since 1970; None where that is not known or nobody did.
        reason: Why it was retracted.
    """

    id: str
    record: Feedback
    stored: float
    status: str
    by: str
    time: float | None
    reason: str


class Erasure(NamedTuple):
    """That somebody's feedback was erased; not whose.

    Attributes:
        time: When, seconds since 1970.
        records: Records erased.
        marks: Corrections and retractions erased or made nameless.
        finished: When the last bytes were overwritten as well; None where that was cut short: erase again.
    """

    time: float
    records: int
    marks: int
    finished: float | None


def to_row(record: Any, place: str, stored: float) -> dict[str, Any]:
    r"""The columns of a record. Its JSON is pure ASCII (NUL is ``\u0000``) and exactly what its id is the hash of.

    Raises:
        DataError: for what is no record, or does not fit a column.
    """
    kind = getattr(record, "kind", "")
    if not isinstance(record, Feedback) or KINDS.get(kind) is not type(record):
        raise DataError(f"{place}: a store holds records of feedback, got {type(record).__name__}")
    for uid in record.uids:
        if uid not in INT64:
            raise DataError(f"{place}: uids are 64-bit numbers, got {uid}")
    text = json.dumps(record.to_record(), sort_keys=True)
    names = {"annotator": safe(record.annotator), "source": safe(record.source)}
    if len(names["annotator"].encode()) > _LONGEST_NAME:
        raise DataError(f"{place}: an annotator's name has at most {_LONGEST_NAME} bytes, got {len(record.annotator)} characters")
    return {
        "id": record.id,
        "kind": kind,
        **names,
        "time": None if record.time is None else float(record.time),
        "context": context_hash(record.context),
        "stored": stored,
        "record": text,
    }


def parse(text: str) -> Feedback:
    """The record that ``to_row`` wrote down."""
    return from_record(json.loads(text))


def context_hash(context: Any) -> str:
    """32 hex digits, the same for contexts that ``key_of`` takes for equal."""
    return hashlib.blake2b(key_of(context).encode("utf8", "surrogatepass"), digest_size=16).hexdigest()


def safe(text: str) -> str:
    r"""A text that every database takes: NUL, lone surrogates and backslashes are escaped.

    >>> safe("Zoë"), safe("a\x00b"), safe("\\"), unsafe(safe("a\x00\\u0000\ud800")) == "a\x00\\u0000\ud800"
    ('Zoë', 'a\\u0000b', '\\\\', True)
    """
    return _TROUBLE.sub(lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", text)


def unsafe(text: str) -> str:
    """What ``safe`` was given."""
    return _ESCAPE.sub(lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)


def kind_of(kind: str | type[Feedback]) -> str:
    """The name of a kind of feedback, given by it or by its class.

    Raises:
        DataError: for an unknown one.
    """
    names = {c.__name__: k for k, c in KINDS.items()}
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
    if name in KINDS:
        return name
    if name in names and (isinstance(kind, str) or KINDS[names[name]] is kind):
        return names[name]
    raise DataError(f"unknown kind of feedback {name!r}; {nearest(name, KINDS)}")
