"""Store: feedback that stays, in a file or on a server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guerdon.core.errors import DataError
from guerdon.core.feedback import Feedback
from guerdon.core.files import replacing
from guerdon.feedback.store.place import read_place
from guerdon.feedback.store.records import Erasure, Version, parse, to_row, unsafe

if TYPE_CHECKING:
    from guerdon.feedback.store.database import Database


class Store:
    """Records of feedback in SQLite or PostgreSQL: added once, corrected by new records, erased on request.

    Any number of threads and processes may use one store at the same time, and a store that was opened before a fork works after
    it. What ``add``, ``correct`` and ``retract`` return for is on the disk.

    A record is *current* until it is corrected or retracted. Reading and counting mean current records, unless ``corrected``
    asks for all.

    Args:
        url: A path, ``sqlite:///PATH``, or ``postgresql://USER:PASSWORD@HOST/DATABASE``. A new SQLite file or an empty database
            becomes a store.
        clock: Seconds since 1970, written beside what is stored.

    Raises:
        DataError: one line, for a place that cannot be opened, or that holds something else or a newer store; that is left as
            it is.

    Example:
        >>> import tempfile
        >>> from guerdon.feedback import Rating, Store
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Store(f"{folder.name}/feedback.db") as store:
        ...     [first] = store.add(Rating(context="2 + 2?", output="4", scores={"overall": 1}, annotator="ann"))
        ...     second = store.correct(first, store.get(first).replace(scores={"overall": 5}))
        ...     [r.scores for r in store.read()], len(store), store.count(corrected=True), store.erase("ann"), len(store)
        ([{'overall': 5}], 1, 2, 2, 0)
        >>> folder.cleanup()
    """

    def __init__(self, url: str | os.PathLike[str], *, clock: Callable[[], float] = time.time):
        place = read_place(url)
        from guerdon.feedback.store.database import Database

        self.clock = clock
        self._name = place.name
        self._open: Database | None = Database(place)

    @property
    def _db(self) -> Database:
        if self._open is None:
            raise DataError(f"{self._name}: the store is closed")
        return self._open

    def add(self, records: Feedback | Iterable[Feedback]) -> list[str]:
        """Adds records; one that is there already, current or not, is passed over.

        They are taken from the iterable in chunks of at most 1,000, a transaction each. Where one is refused, the chunks before
        its own stay.

        Args:
            records: One, or any number of them.

        Returns:
            Their ids, in the same order.

        Raises:
            DataError: for what is no record, a uid beyond 64 bits, or a name of more than 2,000 bytes.
        """
        from guerdon.feedback.store import writing

        return writing.add(self._db, [records] if isinstance(records, Feedback) else records, self.clock)

    def get(self, id: str) -> Feedback:
        """A record, current or not.

        Raises:
            DataError: for an unknown id.
        """
        from guerdon.feedback.store import queries

        return queries.get(self._db, id)

    def read(
        self,
        kind: str | type[Feedback] | None = None,
        annotator: str | None = None,
        source: str | None = None,
        context: Any = None,
        uid: int | None = None,
        since: float | None = None,
        until: float | None = None,
        corrected: bool = False,
    ) -> Iterator[Feedback]:
        """Records in the order in which they were added, read as they are asked for.

        What is added, corrected or retracted while one reads does not show; what is erased is gone at once.

        Args:
            kind: ``"rating"`` or ``Rating``.
            annotator: Who said it.
            source: All of it, or what is before a colon: ``"pairs.jsonl"`` finds ``"pairs.jsonl:17"``.
            context: Of equal ``key_of``.
            uid: Identity of a sampled row (``Rollout.uid``) that the record is about.
            since: Said at this time or later, in seconds since 1970; records without a time are left out.
            until: Said before this time.
            corrected: Whether records that are no longer current are given too.

        Raises:
            DataError: for an unknown kind.
        """
        from guerdon.feedback.store import queries

        wanted = queries.conditions(kind, annotator, source, context, uid, since, until)
        return map(parse, queries.read(self._db, wanted, corrected))

    def count(
        self,
        kind: str | type[Feedback] | None = None,
        annotator: str | None = None,
        source: str | None = None,
        context: Any = None,
        uid: int | None = None,
        since: float | None = None,
        until: float | None = None,
        corrected: bool = False,
    ) -> int:
        """How many records ``read`` would give."""
        from guerdon.feedback.store import queries

        return queries.count(self._db, queries.conditions(kind, annotator, source, context, uid, since, until), corrected)

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # an empty store is a store

    def kinds(self, corrected: bool = False) -> dict[str, int]:
        """Kind -> records."""
        from guerdon.feedback.store import queries

        return queries.groups(self._db, "kind", corrected)

    def annotators(self, corrected: bool = False) -> dict[str, int]:
        """Annotator -> records."""
        from guerdon.feedback.store import queries

        return {unsafe(name): n for name, n in queries.groups(self._db, "annotator", corrected).items()}

    def correct(self, id: str, record: Feedback, by: str = "") -> str:
        """Puts a new record in the place of a current one; the old one is kept.

        Where two correct one record at the same time, one of them gets the error.

        Args:
            id: The old record.
            record: The new one; not stored yet. One that shall say the same as before needs another ``time``.
            by: Who corrects; the annotator of the new record where that is not given.

        Returns:
            Id of the new record.

        Raises:
            DataError: where the old one is unknown or no longer current (the message names what is), or the new one is stored.
        """
        from guerdon.feedback.store import chain

        now = self.clock()
        row = to_row(record, "the new record", now)
        chain.end(self._db, id, row, list(record.uids), by or record.annotator, "", now)
        return str(row["id"])

    def retract(self, id: str, by: str = "", reason: str = "") -> None:
        """Ends a record without another in its place; it is kept. Adding it again does not bring it back.

        Raises:
            DataError: where it is unknown or no longer current.
        """
        from guerdon.feedback.store import chain

        chain.end(self._db, id, None, [], by, reason, self.clock())

    def history(self, id: str) -> list[Version]:
        """The chain of corrections that a record belongs to, oldest first.

        Raises:
            DataError: for an unknown id.
        """
        from guerdon.feedback.store import chain

        return chain.history(self._db, id)

    def erase(self, annotator: str) -> int:
        """Erases what one person said, for good: their records, current or not, and the corrections and retractions they made.

        Records of others stay. One that the person corrected or retracted is current again; where records of others stood on
        both sides of the person's in a chain, the later one still replaces the earlier one, without the person's name.
        ``erasures`` keeps that something was erased, not whose.

        In SQLite the file is rewritten and its log emptied before this returns; in PostgreSQL the rows are deleted and
        vacuumed. Copies elsewhere (exports, backups, server logs) are not reached.

        Args:
            annotator: The name, as it stands in the records.

        Returns:
            Number of records erased.

        Raises:
            DataError: without a name, or where readers in other processes keep SQLite's log from being emptied for 30 s (the
                records are deleted then; erase again).
        """
        if not annotator:
            raise DataError("erase needs the name of an annotator; records without one are nobody's")
        from guerdon.feedback.store import erase

        return erase.erase(self._db, annotator, self.clock)

    def erasures(self) -> list[Erasure]:
        """What was erased and when, oldest first."""
        from guerdon.feedback.store import erase

        return erase.trail(self._db)

    def export(self, path: str | os.PathLike[str], corrected: bool = False) -> int:
        """Writes records as JSON lines that ``from_record`` reads, ids unchanged. The file appears when it is whole.

        Args:
            path: The file; one that is there is replaced.
            corrected: Whether records that are no longer current are written too; the marks that say so are not.

        Returns:
            Number of records.

        Raises:
            DataError: where it cannot be written.
        """
        from guerdon.feedback.store import queries

        target = Path(path)
        written = 0
        try:
            with replacing(target) as f:
                for text in queries.read(self._db, [], corrected):
                    f.write(text.encode("ascii") + b"\n")
                    written += 1
        except OSError as e:
            raise DataError(f"{target}: cannot be written ({e.strerror})") from None
        return written

    def copy(self, url: str | os.PathLike[str]) -> int:
        """Copies everything, with corrections and times, into an empty store: from SQLite to PostgreSQL or back.

        Args:
            url: Where to; nothing or an empty store may be there.

        Returns:
            Number of records.

        Raises:
            DataError: where it cannot be opened or is not empty.
        """
        from guerdon.feedback.store import writing

        with Store(url) as target:
            return writing.copy(self._db, target._db)

    def close(self) -> None:
        """Closes all connections; a second time does nothing."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self._name!r})"
