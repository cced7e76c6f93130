"""Finding records: the filters, reading page by page, counts. Needs SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, false, func, or_, select

from guerdon.core.errors import DataError
from guerdon.core.feedback import Feedback
from guerdon.feedback.store.database import Database
from guerdon.feedback.store.records import INT64, context_hash, kind_of, parse, safe
from guerdon.feedback.store.tables import feedback, mark, uids

_PAGE = 1000  # records
_PAGE_SIZE = 4_000_000  # characters: long texts make short pages
CURRENT = ~exists().where(mark.c.old == feedback.c.id)


def conditions(
    kind: str | type[Feedback] | None,
    annotator: str | None,
    source: str | None,
    context: Any,
    uid: int | None,
    since: float | None,
    until: float | None,
) -> list[ColumnElement[bool]]:
    """What a record must meet; None asks for nothing.

    Raises:
        DataError: for an unknown kind.
    """
    found: list[ColumnElement[bool]] = []
    if kind is not None:
        found.append(feedback.c.kind == kind_of(kind))
    if annotator is not None:
        found.append(feedback.c.annotator == safe(annotator))
    if source is not None:
        file = safe(source) + ":"
        found.append(or_(feedback.c.source == safe(source), func.substr(feedback.c.source, 1, len(file)) == file))
    if context is not None:
        found.append(feedback.c.context == context_hash(context))
    if uid is not None:
        # a number beyond 64 bits is nobody's, and no database takes it
        found.append(feedback.c.id.in_(select(uids.c.id).where(uids.c.uid == uid)) if uid in INT64 else false())
    if since is not None:
        found.append(feedback.c.time >= float(since))
    if until is not None:
        found.append(feedback.c.time < float(until))
    return found


def get(db: Database, id: str) -> Feedback:
    """One record.

    Raises:
        DataError: for an unknown id.
    """
    with db.read() as c:
        text = c.scalar(select(feedback.c.record).where(feedback.c.id == id))
    if text is None:
        raise DataError(f"{db.place.name}: holds no record {id!r}")
    return parse(text)


def read(db: Database, wanted: list[ColumnElement[bool]], corrected: bool) -> Iterator[str]:
    """JSON texts, page by page, each in a transaction of its own: a reader that pauses for hours is in nobody's way.

    Which records are current, and which is the last one, is settled when the first page is read. Marks are made one at a time
    and numbered in that order, so the number of the last one stands for the state of all.
    """
    with db.read() as c:
        last_mark = c.scalar(select(func.coalesce(func.max(mark.c.seq), 0))) or 0
        end = c.scalar(select(func.coalesce(func.max(feedback.c.seq), 0))) or 0
    wanted = [*wanted, feedback.c.seq <= end]
    if not corrected:
        ended = exists().where(and_(mark.c.old == feedback.c.id, mark.c.seq <= last_mark))
        later = exists().where(and_(mark.c.new == feedback.c.id, mark.c.seq > last_mark))
        wanted += [~ended, ~later]
    seq: int | None = 0
    while seq is not None:
        page, seq = _page(db, wanted, seq)
        yield from page


def _page(db: Database, wanted: list[ColumnElement[bool]], after: int) -> tuple[list[str], int | None]:
    """(JSON texts, where the next page begins; None at the end)."""
    query = select(feedback.c.seq, feedback.c.record).where(feedback.c.seq > after, *wanted).order_by(feedback.c.seq)
    texts: list[str] = []
    size = 0
    with db.read() as c, c.execute(query.limit(_PAGE), execution_options={"yield_per": 100}) as rows:
        for seq, text in rows:
            texts.append(text)
            size += len(text)
            if len(texts) == _PAGE or size >= _PAGE_SIZE:
                return texts, seq
    return texts, None


def count(db: Database, wanted: list[ColumnElement[bool]], corrected: bool) -> int:
    """How many records meet all."""
    with db.read() as c:
        return c.scalar(select(func.count()).select_from(feedback).where(*wanted, *(() if corrected else (CURRENT,)))) or 0


def groups(db: Database, name: str, corrected: bool) -> dict[str, int]:
    """Value of a column -> records, in order of the values."""
    column = feedback.c[name]
    query = select(column, func.count()).where(*(() if corrected else (CURRENT,))).group_by(column)
    with db.read() as c:
        return dict(sorted((value, n) for value, n in c.execute(query)))


def stored_ids(c: Connection, *ids: str) -> list[str]:
    """Those of the ids that are there."""
    return list(c.scalars(select(feedback.c.id).where(feedback.c.id.in_(ids))))
