"""Erasing one person: rows, chains, and the bytes behind them. Needs SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, or_, select, text, update

from guerdon.core.errors import DataError
from guerdon.feedback.store.database import Database
from guerdon.feedback.store.records import Erasure, safe
from guerdon.feedback.store.tables import erasure, feedback, mark, uids


def erase(db: Database, annotator: str, clock: Callable[[], float]) -> int:
    """Records erased; see ``Store.erase``.

    Raises:
        DataError: where readers keep SQLite's log from being emptied.
    """
    with db.write() as c:
        db.lock(c, mark.name, feedback.name, uids.name)
        mine = select(feedback.c.id).where(feedback.c.annotator == safe(annotator))
        marks = _erase_marks(c, safe(annotator))
        c.execute(delete(uids).where(uids.c.id.in_(mine)))
        records = c.execute(delete(feedback).where(feedback.c.annotator == safe(annotator))).rowcount
        c.execute(erasure.insert().values(time=clock(), records=records, marks=marks))
    _overwrite(db)
    with db.write() as c:
        c.execute(update(erasure).where(erasure.c.finished.is_(None)).values(finished=clock()))
    return records


class _Mark(NamedTuple):
    """A mark, and whether the two records it ties are to go."""

    seq: int
    old: str
    new: str | None
    theirs: bool
    old_goes: bool
    new_goes: bool


def _erase_marks(c: Connection, who: str) -> int:
    """Ends what the person marked, and ties together what remains on both sides of a record that goes.

    A mark out of a record that stays is kept as long as its maker stays. Its chain then goes on with the next record that stays;
    where there is none it says that the record is no longer current. A mark of the person's own is gone, unless records of
    others follow: those are tied without a name, since both would count otherwise.
    """
    old, new = feedback.alias("was"), feedback.alias("became")
    goes = (old.c.annotator == who, func.coalesce(new.c.annotator == who, False))
    query = (
        select(mark.c.seq, mark.c.old, mark.c.new, mark.c.by == who, *goes)
        .join(old, old.c.id == mark.c.old)
        .outerjoin(new, new.c.id == mark.c.new)
        .where(or_(mark.c.by == who, *goes))
    )
    found = [_Mark(seq, was, became, *map(bool, rest)) for seq, was, became, *rest in c.execute(query)]
    after = {m.old: m for m in found if m.old_goes}
    gone = [m for m in found if m.old_goes]
    kept: list[tuple[_Mark, str | None]] = []
    for m in found:
        if m.old_goes:
            continue
        following, goes_too = m.new, m.new_goes
        while goes_too and following is not None:
            step = after.get(following)
            following, goes_too = (step.new, step.new_goes) if step else (None, False)
        if following is None and m.theirs:
            gone.append(m)
        else:
            kept.append((m, following))
    for m in gone:  # first: no two marks may lead to one record
        c.execute(delete(mark).where(mark.c.seq == m.seq))
    for m, following in kept:
        nameless = {"by": "", "reason": "", "time": None} if m.theirs else {}
        c.execute(update(mark).where(mark.c.seq == m.seq).values(new=following, **nameless))
    return len(gone) + sum(m.theirs for m, _ in kept)


def _overwrite(db: Database) -> None:
    """See to it that what was deleted is in the database's files no more."""
    with db.bare() as c:
        if not db.sqlite:
            for table in (feedback, uids, mark):
                c.execute(text(f"VACUUM {table.name}"))
            return
        c.exec_driver_sql("VACUUM")  # secure_delete left zeros; this also drops what older pages held
        if c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:  # readers still need the log, after a long wait
            raise DataError(f"{db.place.name}: the records are deleted, but another program still reads the store, and parts of "
                            "them may remain in its -wal file: close that reader and erase again")  # fmt: skip


def trail(db: Database) -> list[Erasure]:
    """What was erased and when, oldest first."""
    query = select(erasure.c.time, erasure.c.records, erasure.c.marks, erasure.c.finished).order_by(erasure.c.seq)
    with db.read() as c:
        return [Erasure(*row) for row in c.execute(query)]
