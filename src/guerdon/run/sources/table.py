"""A file as a table: checked from end to end once, then read row by row from disk, so that memory does not grow with it."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from guerdon.core import DataError
from guerdon.feedback.files import kind_of, lines_of, row_of, rows_of
from guerdon.run.sources.cycle import Row

_IN_MEMORY = 1 << 24  # bytes of unpacked rows that need no temporary file
Read = Callable[[dict[str, Any]], Row]


class FileTable:
    """Rows of a file. Only the places where rows begin are held (8 bytes each).

    JSON lines and text are read where they are; packed files, CSV and Parquet are written once as JSON lines into a temporary
    file without a name, which goes away by itself.

    Args:
        path: The file.
        read: A row of the file -> (context, columns); a ValueError says what is wrong with the row.
        limit: Rows used, from the first (None: all).

    Raises:
        DataError: one line that names the file, and the line where there is one.
    """

    def __init__(self, path: Path, read: Read, limit: int | None = None):
        self.name, self.path, self.read = str(path), path, read
        self.kind = kind_of(path)
        self.places = array("q")
        self._stamp: tuple[int, int] | None = None
        known: dict[str, None] = {}
        try:
            in_place = self.kind in (".jsonl", ".txt") and path.name.lower().endswith(self.kind)
            self._file = _opened(path if in_place else None)
            self._close = weakref.finalize(self, self._file.close)
            for number, row in self._scan_lines() if in_place else self._unpack():
                try:
                    known |= dict.fromkeys(read(row)[1])
                except ValueError as e:
                    raise DataError(f"{path}:{number}: {e}") from None
                if len(self.places) == limit:
                    break
        except OSError as e:
            raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None
        if not self.places:
            raise DataError(f"{path}: no rows in it")
        if in_place:
            self._stamp = self._now()
        self.columns = tuple(known)

    def _scan_lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, offset, line in lines_of(self._file, self.path):  # type: ignore[arg-type]
            self.places.append(offset)
            try:
                yield number, row_of(line, self.kind)
            except ValueError as e:
                raise DataError(f"{self.path}:{number}: {e}") from None

    def _unpack(self) -> Iterator[tuple[int, dict[str, Any]]]:
        place = 0
        for number, row in rows_of(self.path, self.kind):
            self.places.append(place)
            try:
                place += self._file.write(json.dumps(row, default=_plain).encode() + b"\n")
            except TypeError as e:
                raise DataError(f"{self.path}:{number}: {e}") from None
            yield number, row

    def _now(self) -> tuple[int, int]:
        found = os.stat(self.path)
        return found.st_size, found.st_mtime_ns

    def __len__(self) -> int:
        return len(self.places)

    def rows(self, index: Sequence[int]) -> list[Row]:
        """Some rows, in any order.

        Raises:
            DataError: where the file was changed since it was checked.
        """
        if self._stamp is not None and (not self.path.exists() or self._now() != self._stamp):
            raise DataError(f"{self.path}: the file was changed while it is in use")
        found = []
        for k in index:
            self._file.seek(self.places[k])
            found.append(self.read(row_of(self._file.readline(), self.kind if self._stamp else ".jsonl")))
        return found


def _opened(path: Path | None) -> IO[bytes]:
    """A file that stays open as long as its table lives."""
    if path is None:
        return tempfile.SpooledTemporaryFile(_IN_MEMORY)
    return path.open("rb")


def _plain(value: Any) -> Any:
    """Dates and decimals as text; bytes have no place in a row."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("a column holds bytes; leave it out of the file, or store it as text")
    return value.item() if hasattr(value, "item") else str(value)
