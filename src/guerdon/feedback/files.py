"""Files of rows, read as a stream: JSON lines, JSON, CSV, Parquet, and text with one prompt per line; with .gz packed by gzip."""

from __future__ import annotations

import contextlib
import csv
import gzip
import importlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from guerdon.core.errors import DataError, nearest
from guerdon.feedback.json_rows import LONGEST, rows_of_json

KINDS = (".jsonl", ".json", ".csv", ".parquet", ".txt")
_BOM = b"\xef\xbb\xbf"


def kind_of(path: Path) -> str:
    """The file's kind by its name, without ``.gz``.

    Raises:
        DataError: for a missing file, or a kind that is not known.
    """
    if not path.is_file():
        folder = path.parent
        near = (
            nearest(path.name, [p.name for p in folder.iterdir() if p.is_file()][:200])
            if folder.is_dir()
            else f"no folder {folder}"
        )
        raise DataError(f"{path}: no such file; {near}")
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    if suffix not in KINDS or (suffix == ".parquet" and path.name != name):
        raise DataError(f"{path}: unknown kind of file {suffix or path.name!r}; expected {', '.join(KINDS)} or .jsonl.gz")
    return suffix


def row_of(line: bytes, kind: str) -> dict[str, Any]:
    """One line of JSON or text as a row.

    Raises:
        ValueError: saying what is wrong with it.
    """
    try:
        text = line.removeprefix(_BOM).decode("utf8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    if kind == ".txt":
        return {"prompt": text.rstrip("\r\n")}
    try:
        row = json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"not valid JSON: {e.msg} at column {e.colno}") from None
    except RecursionError:
        raise ValueError("not valid JSON: nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object per line, such as {{'prompt': ...}}, got {type(row).__name__}")
    return row


def lines_of(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(line number, offset, line) of every line that is not blank.

    Raises:
        DataError: for a line too long to be one.
    """
    number = offset = 0
    while line := file.readline(LONGEST):
        number += 1
        if len(line) == LONGEST:
            raise DataError(f"{path}:{number}: longer than {LONGEST >> 20} MiB; expected one JSON object per line")
        if line.strip().removeprefix(_BOM):
            yield number, offset, line
        offset += len(line)


def rows_of(path: Path, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line or row number, row) of a file that cannot be read in any order, from its beginning.

    Raises:
        DataError: one line that names the file and the line.
    """
    if kind == ".parquet":
        yield from _parquet(path)
        return
    number = 0
    try:
        with contextlib.closing(_binary(path)) as file:
            if kind == ".csv":
                for number, row in _csv(file, path):
                    yield number, row
                return
            if kind == ".json":
                for number, row in rows_of_json(file, path):
                    yield number, row
                return
            for number, _, line in lines_of(file, path):
                try:
                    row = row_of(line, kind)
                except ValueError as e:
                    raise DataError(f"{path}:{number}: {e}") from None
                yield number, row
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path}: not a whole gzip file (it ends or breaks behind line {number})") from None


def _binary(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.name.endswith(".gz") else path.open("rb"))


def _csv(file: BinaryIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    before = csv.field_size_limit(LONGEST)  # of the whole process, so it is put back
    reader = csv.reader((line.decode("utf8") for line in _without_bom(file)), strict=True)
    try:
        header = next(reader, [])
        if twice := [name for k, name in enumerate(header) if name in header[:k]]:
            raise DataError(f"{path}:{reader.line_num}: the header has column {twice[0]!r} twice")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(f"{path}:{reader.line_num}: {len(cells)} fields, and the header has {len(header)}")
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as e:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV: {e}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}:{reader.line_num + 1}: not UTF-8 text") from None
    finally:
        csv.field_size_limit(before)


def _without_bom(file: BinaryIO) -> Iterator[bytes]:
    yield file.readline(LONGEST).removeprefix(_BOM)
    while line := file.readline(LONGEST):
        yield line


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        pyarrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as e:
        raise DataError(f"{path}: not a Parquet file that can be read: {str(e).splitlines()[0]}") from None
