"""The open database: connections, transactions, and the check of what is there. Needs SQLAlchemy."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, create_engine, event, exc, inspect, select, text

from guerdon.core.errors import DataError
from guerdon.feedback.store import tables
from guerdon.feedback.store.place import Place, check_file

_ABANDONED: list[Any] = []  # pools of a parent process: closing their connections here would end the parent's
_PATIENCE = 30.0  # seconds that a writer waits for others


class Busy(DataError):
    """Another transaction was in the way; the same again may well succeed."""


class Database:
    """Transactions over a pool of connections, for any thread, and anew in a forked process.

    Args:
        place: Where.

    Raises:
        DataError: where it cannot be opened, or holds something else.
    """

    def __init__(self, place: Place):
        self.place = place
        self.sqlite = place.file is not None
        if place.file is not None:
            check_file(place, place.file)
        self._start()
        try:
            _check(self)
        except BaseException:
            self.engine.dispose()
            raise

    def _start(self) -> None:
        options: dict[str, Any] = {"pool_size": 5, "max_overflow": 20, "pool_timeout": _PATIENCE, "hide_parameters": True}
        if self.sqlite:
            options["connect_args"] = {"timeout": _PATIENCE, "isolation_level": None, "check_same_thread": False}
        else:
            options["pool_pre_ping"] = True
        try:
            engine = create_engine(self.place.url, **options)
        except ModuleNotFoundError:
            raise DataError("a feedback store in PostgreSQL needs psycopg: pip install 'guerdon[feedback]'") from None
        if self.sqlite:
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        self._pid, self.engine, self._one_writer = os.getpid(), engine, threading.Lock()

    @contextmanager
    def connection(self, **options: Any) -> Iterator[Connection]:
        """A connection without a transaction; the driver's errors become one line.

        Raises:
            DataError: for what the database refuses.
            Busy: where another transaction stood in the way.
        """
        if os.getpid() != self._pid:
            _ABANDONED.append(self.engine)
            self._start()
        try:
            with self.engine.connect() as c:
                yield c.execution_options(**options) if options else c
        except exc.IntegrityError:
            raise
        except exc.SQLAlchemyError as e:
            if getattr(getattr(e, "orig", None), "sqlstate", None) in ("40P01", "40001"):
                raise Busy(f"{self.place.name}: {self._say(e)}") from None
            raise DataError(f"{self.place.name}: {self._say(e)}") from None

    def close(self) -> None:
        if os.getpid() == self._pid:
            self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store."""
        options = {} if self.sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.connection(**options) as c, c.begin():
            yield c

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction; what it wrote is durable after the block."""
        # SQLite has one writer at a time. Threads queue here, fairly; processes poll for its lock.
        with self._one_writer if self.sqlite else nullcontext(), self.connection(guerdon_write=True) as c, c.begin():
            yield c

    @contextmanager
    def bare(self) -> Iterator[Connection]:
        """A connection on which each statement stands alone: for what databases do not do in transactions."""
        with self.connection(**({"guerdon_bare": True} if self.sqlite else {"isolation_level": "AUTOCOMMIT"})) as c:
            yield c

    def lock(self, c: Connection, *names: str) -> None:
        """Keep other writers off these tables until the transaction ends; SQLite has but one writer anyhow."""
        if not self.sqlite:
            c.execute(text(f"LOCK TABLE {', '.join(names)} IN SHARE ROW EXCLUSIVE MODE"))

    def _say(self, e: exc.SQLAlchemyError) -> str:
        """The driver's own words, on one line, without statements, values and secrets."""
        said = [line.strip() for line in str(getattr(e, "orig", None) or e).splitlines() if line.strip()] or [type(e).__name__]
        known = {
            "database is locked": f"another process has been writing for {_PATIENCE:.0f} s",
            "file is not a database": "is not an SQLite database, or a damaged one",
        }
        return known.get(said[0]) or self.place.hide(said[0])


def _set_up_sqlite(connection: Any, _: Any) -> None:
    # FULL: a commit is on the disk when it returns. secure_delete: what is deleted is overwritten with zeros.
    for setting in ("synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that first reads and then writes could be refused without a wait.
    options = connection.get_execution_options()
    if not options.get("guerdon_bare"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("guerdon_write") else "BEGIN")


def _check(db: Database) -> None:
    """Finds a store, or makes one in an empty database; anything else is refused unchanged."""
    with db.connection() as c, c.begin():
        found = _version(db, c)
    if found is None:
        if db.sqlite:
            _write_ahead(db)
        with db.write() as c:
            if not db.sqlite:
                c.execute(text(f"SELECT pg_advisory_xact_lock({tables.APPLICATION})"))
            if _version(db, c) is None:  # nobody else was faster
                tables.metadata.create_all(c)
                c.execute(tables.version.insert().values(version=tables.VERSION))
                if db.sqlite:
                    c.exec_driver_sql(f"PRAGMA application_id = {tables.APPLICATION}")


def _version(db: Database, c: Connection) -> int | None:
    """The store's version; None for an empty database."""
    names = inspect(c).get_table_names()
    if not names:
        return None
    if tables.version.name not in names:
        raise DataError(f"{db.place.name}: holds tables of something else ({sorted(names)[0]}); a feedback store needs its own")
    found = c.execute(select(tables.version.c.version)).scalars().all()
    if len(found) != 1 or found[0] != tables.VERSION:
        if len(found) == 1 and found[0] > tables.VERSION:
            raise DataError(f"{db.place.name}: is a store of version {found[0]}, made by a newer guerdon, and this one "
                            f"knows version {tables.VERSION}: upgrade guerdon")  # fmt: skip
        raise DataError(f"{db.place.name}: names no version that a store has ({found}), so something else changed it")
    return int(found[0])


def _write_ahead(db: Database) -> None:
    """Switch the file to a write-ahead log. While others do the same SQLite refuses at once instead of waiting."""
    end = time.monotonic() + _PATIENCE
    with db.bare() as c:
        while True:
            try:
                mode = c.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
                break
            except exc.OperationalError as e:
                if "locked" not in str(e.orig) or time.monotonic() > end:
                    raise
                time.sleep(0.02)
    if mode != "wal":
        raise DataError(f"{db.place.name}: SQLite cannot keep a write-ahead log there; choose a folder on a local disk")
