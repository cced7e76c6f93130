"""Feedback from files and data sets, a row at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from guerdon.core.errors import DataError, nearest
from guerdon.core.feedback import Feedback
from guerdon.feedback.files import kind_of, rows_of
from guerdon.feedback.readers import other, pairs, preference, single, spans
from guerdon.feedback.readers.arrow import is_saved, rows_of_saved
from guerdon.feedback.readers.cells import Cells, Settings
from guerdon.feedback.readers.shapes import Format, recognise

__all__ = ["FORMATS", "Format", "formats", "read"]

FORMATS: tuple[Format, ...] = (  # a row is of the first one that recognises it
    other.RECORDS, spans.FINE_GRAINED, *preference.FORMATS, *pairs.FORMATS, spans.STEPWISE, other.RANKING, spans.SPANS,
    single.COMPLETIONS, single.RATINGS, single.DEMONSTRATION,
)  # fmt: skip
ROLES = (
    "annotator", "best_first", "chosen", "completion", "completions", "first", "high", "label", "labels", "low", "margin",
    "messages", "output", "outputs", "prompt", "ranks", "rejected", "scores", "second", "spans", "text", "time",
)  # fmt: skip
Data = str | Path | Iterable[Mapping[str, Any]]


def formats() -> dict[str, str]:
    """The formats that ``read`` knows: name -> one line.

    >>> formats()["preference"]
    'chosen and rejected, texts or messages, with or without a prompt (TRL)'
    """
    return {f.name: f.about for f in FORMATS}


def read(
    path: Data,
    format: str | None = None,
    *,
    annotator: str | Mapping[str, str] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    codes: Mapping[Any, str | float] | None = None,
    scale: tuple[float, float] | None = None,
    limit: int | None = None,
) -> Iterator[Feedback]:
    r"""Records of feedback from a file or a data set, one row after the other, in bounded memory.

    A record's ``source`` is the file's name and the line (``pairs.jsonl:17``), and its ``info`` keeps all columns that are not
    part of the record itself.

    Args:
        path: A file: ``.jsonl``, ``.json`` (a list of objects), ``.csv``, ``.parquet``, each but Parquet also as ``.gz``; a
            folder that ``Dataset.save_to_disk`` wrote; or a data set, which is anything that gives mappings one by one.
        format: One of ``formats()``; None: as the columns of the first row show.
        annotator: Who said it, where the rows do not say; or annotator in the file (or the column of one) -> name.
        columns: Standard column -> the column's name in this file, such as ``{"prompt": "question"}``; ``"scores"`` may have
            several. A ``"time"`` is read only where it is named here.
        codes: What a label means, for pairs: ``{"1": "first", "2": "second", "0": "tie"}``, or P(first better) as a number.
        scale: Lowest and highest score that could be given, for ratings.
        limit: Rows that are read, from the first.

    Raises:
        DataError: one line that names the file, the line in it where there is one, and what was expected there.

    Example:
        >>> rows = [{"prompt": "2 + 2 =", "response 1": "4", "response 2": "5", "label": 0, "level": "easy"}]
        >>> [c] = read(rows)
        >>> c.context, c.first, c.second, c.label, c.source, c.info
        ('2 + 2 =', '4', '5', 1.0, 'rows:1', {'level': 'easy'})
    """
    known = {f.name: f for f in FORMATS}
    if format is not None and format not in known:
        raise DataError(f"unknown format {format!r}; {nearest(format, known)}")
    if limit is not None and limit < 1:
        raise DataError(f"limit must be at least 1, got {limit}")
    renamed = dict(columns or {})
    for role in renamed:
        if role not in ROLES:
            raise DataError(f"columns: nothing is called {role!r}; {nearest(role, ROLES)}")
    scores = renamed.pop("scores", ())
    for role, name in renamed.items():
        if not isinstance(name, str):
            raise DataError(f"columns: {role!r} must be the name of one column, got {name!r}")
    named = (scores,) if isinstance(scores, str) else tuple(scores)
    settings = Settings(annotator, pairs.codes_of(codes), scale, named, timed="time" in renamed)
    where, rows = _open(path)
    return _records(where, islice(rows, limit), known[format] if format else None, settings, renamed)


def _open(path: Any) -> tuple[str, Iterator[tuple[int, Any]]]:
    """(what error messages call it, numbered rows)."""
    if not isinstance(path, str | Path):
        if isinstance(path, Mapping) or not isinstance(path, Iterable):
            what = f"several parts ({', '.join(map(str, path))}): read one" if isinstance(path, Mapping) else type(path).__name__
            raise DataError(f"expected a file, a folder or a data set, got {what}")
        name = getattr(getattr(path, "info", None), "dataset_name", None)
        return str(name or "rows"), enumerate(path, 1)
    path = Path(path)
    if is_saved(path):
        return str(path), rows_of_saved(path)
    return str(path), rows_of(path, kind_of(path))


def _records(
    where: str, rows: Iterator[tuple[int, Any]], format: Format | None, settings: Settings, renamed: Mapping[str, Any]
) -> Iterator[Feedback]:
    name, empty, number = Path(where).name, True, 0
    if format is not None:
        _check_used(format, settings)
    try:
        for number, row in rows:
            try:
                if not isinstance(row, Mapping):
                    raise ValueError(f"expected a mapping of columns, got {type(row).__name__}")
                cells = Cells(_rename(row, renamed), f"{name}:{number}", settings)
                if format is None:
                    format = _recognised(cells.row, settings)
                    _check_used(format, settings)
                for record in format.read(cells):
                    empty = False
                    yield record
            except (ValueError, DataError) as e:
                raise DataError(f"{where}:{number}: {e}") from None
    except OSError as e:
        raise DataError(f"{where}: cannot be read behind row {number} ({e.strerror or e})") from None
    if empty:
        raise DataError(f"{where}: no feedback in it" if number else f"{where}: no rows in it")


def _recognised(row: Mapping[str, Any], settings: Settings) -> Format:
    """The format of a first row; columns of scores or annotators that the caller named say it at once."""
    if settings.scores:
        return single.RATINGS
    if isinstance(settings.annotator, Mapping) and any(n in row for n in settings.annotator) and pairs.pair_of(row):
        return pairs.FORMATS[0]
    return recognise(row, FORMATS)


def _check_used(format: Format, settings: Settings) -> None:
    """Raises DataError for what was said but has no meaning in a format."""
    for option in ("codes", "scale", "scores"):
        if getattr(settings, option) and option not in format.options:
            raise DataError(f"format {format.name!r} has no {option}")


def _rename(row: Mapping[str, Any], renamed: Mapping[str, str]) -> Mapping[str, Any]:
    """The row with its columns under their standard names."""
    if not renamed:
        return row
    for role, name in renamed.items():
        if name not in row:
            raise ValueError(f"no column {name!r} for {role!r}; {nearest(name, map(str, row))}")
    rest = {n: v for n, v in row.items() if n not in renamed.values()}
    return rest | {role: row[name] for role, name in renamed.items()}
