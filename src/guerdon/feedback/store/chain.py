"""Corrections and retractions: marks that end a record, and the chain they make. Needs SQLAlchemy."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exc, select

from guerdon.core.errors import DataError
from guerdon.feedback.store.database import Database
from guerdon.feedback.store.queries import stored_ids
from guerdon.feedback.store.records import Version, parse, safe, unsafe
from guerdon.feedback.store.tables import feedback, mark
from guerdon.feedback.store.writing import insert


def end(db: Database, old: str, row: dict[str, Any] | None, numbers: list[int], by: str, reason: str, time: float) -> None:
    """End a record, by another (``row``) or by none.

    Raises:
        DataError: where the record is unknown or has ended, or the new one is already stored.
    """
    new = row["id"] if row is not None else None
    try:
        with db.write() as c:
            db.lock(c, mark.name)  # so that the order of their numbers is the order in which marks appear
            _refuse(db, c, old, new)
            if row is not None:
                insert(c, [row], {row["id"]: numbers}, again=False)
            c.execute(mark.insert().values(old=old, new=new, by=safe(by), time=time, reason=safe(reason)))
    except exc.IntegrityError:  # somebody was faster, between the look and the deed
        with db.read() as c:
            _refuse(db, c, old, new)
        raise DataError(f"{db.place.name}: {old} changed at this moment; try again") from None


def _refuse(db: Database, c: Connection, old: str, new: str | None) -> None:
    if not stored_ids(c, old):
        raise DataError(f"{db.place.name}: holds no record {old!r}")
    last, current = _tip(c, old)
    if current and last == old:
        if new is not None and stored_ids(c, new):
            same = "is the same record" if new == old else f"is already stored as {new}"
            raise DataError(f"{db.place.name}: {old} cannot be corrected: what should replace it {same}")
        return
    now = f"{last} is current" if current else f"{last} was retracted" if last != old else "it was retracted"
    raise DataError(f"{db.place.name}: {old} is no longer current: {now}")


def _tip(c: Connection, id: str) -> tuple[str, bool]:
    """(last record of the chain, whether it is current)."""
    while (found := c.execute(select(mark.c.new).where(mark.c.old == id)).first()) is not None:
        if found.new is None:
            return id, False
        id = found.new
    return id, True


def history(db: Database, id: str) -> list[Version]:
    """The chain of a record, oldest first.

    Raises:
        DataError: where the record is unknown.
    """
    with db.read() as c:
        if not stored_ids(c, id):
            raise DataError(f"{db.place.name}: holds no record {id!r}")
        while (before := c.scalar(select(mark.c.old).where(mark.c.new == id))) is not None:
            id = before
        query = select(feedback, mark.c.new, mark.c.by, mark.c.time.label("ended"), mark.c.reason, mark.c.seq.label("mark"))
        query = query.outerjoin(mark, mark.c.old == feedback.c.id)
        found: list[Version] = []
        following: str | None = id
        while following is not None:
            row = c.execute(query.where(feedback.c.id == following)).one()
            status = "current" if row.mark is None else "retracted" if row.new is None else "corrected"
            said = (unsafe(row.by or ""), row.ended, unsafe(row.reason or ""))
            found.append(Version(row.id, parse(row.record), row.stored, status, *said))
            following = row.new
        return found
