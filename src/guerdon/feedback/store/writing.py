"""Adding records, and copying a whole store. Needs SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Insert, Table, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from guerdon.core.errors import DataError
from guerdon.core.feedback import Feedback
from guerdon.feedback.store.database import Busy, Database
from guerdon.feedback.store.records import to_row
from guerdon.feedback.store.tables import erasure, feedback, mark, metadata, uids

_CHUNK = 1000  # records of one transaction
_CHUNK_SIZE = 4_000_000  # characters of one transaction
_TRIES = 10  # of a transaction that met another's


def add(db: Database, records: Iterable[Feedback], clock: Callable[[], float]) -> list[str]:
    """Adds records, a transaction for each chunk; ids in the order of the records."""
    ids: list[str] = []
    source = enumerate(records, 1)
    while chunk := list(_chunk(source, clock)):
        rows = {row["id"]: row for row, _ in chunk}  # one of each
        numbers = {row["id"]: record.uids for row, record in chunk}
        for tried in range(1, _TRIES + 1):
            try:
                with db.write() as c:
                    insert(c, list(rows.values()), numbers)
                break
            except Busy:  # two imported the same records in different orders; PostgreSQL stopped one of them
                if tried == _TRIES:
                    raise
        ids += [row["id"] for row, _ in chunk]
    return ids


def _chunk(source: Iterator[tuple[int, Feedback]], clock: Callable[[], float]) -> Iterator[tuple[dict[str, Any], Feedback]]:
    size = 0
    for k, record in islice(source, _CHUNK):
        row = to_row(record, f"record {k}", clock())
        yield row, record
        size += len(row["record"])
        if size >= _CHUNK_SIZE:
            return


def insert(c: Connection, rows: list[dict[str, Any]], numbers: Mapping[str, Sequence[int]], again: bool = True) -> None:
    """Inserts rows and the numbers of the sampled rows they are about.

    Args:
        c: A transaction.
        rows: Columns of each record.
        numbers: id -> row identities.
        again: Whether a record that is already there is passed over; else it is an error.
    """
    c.execute(_over(c, feedback) if again else feedback.insert(), rows)
    if about := [{"id": id, "uid": uid} for id, found in numbers.items() for uid in sorted(set(found))]:
        c.execute(_over(c, uids), about)


def _over(c: Connection, table: Table) -> Insert:
    """An insert that passes over what is there."""
    if c.dialect.name == "sqlite":
        return sqlite_insert(table).on_conflict_do_nothing()
    return postgresql_insert(table).on_conflict_do_nothing()


def copy(source: Database, target: Database) -> int:
    """Every row of every table, in one transaction.

    Raises:
        DataError: where the target is not empty.
    """
    with source.read() as a, target.write() as b:
        target.lock(b, *(t.name for t in (mark, feedback, uids, erasure)))
        if b.execute(select(feedback.c.seq).limit(1)).first() or b.execute(select(erasure.c.seq).limit(1)).first():
            raise DataError(f"{target.place.name}: is not empty, and a store is copied into an empty one only")
        copied = 0
        for table in metadata.sorted_tables:
            if table.name == "guerdon_store":
                continue
            columns = [column for column in table.c if column.name != "seq"]  # numbers are given anew, in the same order
            order = [table.c.seq] if "seq" in table.c else list(table.primary_key)
            with a.execute(select(*columns).order_by(*order), execution_options={"yield_per": 200}) as rows:
                for part in rows.mappings().partitions():
                    b.execute(table.insert(), [dict(row) for row in part])
                    copied += len(part) if table is feedback else 0
    return copied
