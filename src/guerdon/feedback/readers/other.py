"""Several outputs in order, and guerdon's own records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guerdon.core.feedback import KINDS, Feedback, Ranking, from_record
from guerdon.feedback.messages import output_of
from guerdon.feedback.readers.cells import Cells, number_of, shown
from guerdon.feedback.readers.shapes import Format

_LISTS = ("outputs", "completions", "responses", "answers", "candidates")
_RANKS = ("ranks", "rank", "ranking")


def _read_ranking(cells: Cells) -> Iterator[Ranking]:
    """Outputs with their ranks, or a list of them that begins with the best."""
    name = cells.find(("best_first", *_LISTS)) or "outputs"
    outputs = [output_of(o, f"{name} {k}") for k, o in enumerate(cells.listed("best_first", *_LISTS), 1)]
    if len(outputs) < 2:
        raise ValueError(f"{name!r} has {len(outputs)}, expected two outputs or more")
    if name == "best_first":
        ranks = list(range(1, len(outputs) + 1))
    else:
        ranks = [_rank(r) for r in cells.listed(*_RANKS)]
        if len(ranks) != len(outputs):
            raise ValueError(f"'ranks' has {len(ranks)} for {len(outputs)} outputs, expected one for each")
    yield Ranking(context=cells.context(), outputs=tuple(outputs), ranks=tuple(ranks), **cells.common())


def _rank(value: Any) -> int:
    found = number_of(value, "ranks")
    if found != int(found) or found < 1:
        raise ValueError(f"'ranks' has {shown(value)}, expected whole numbers from 1, the best")
    return int(found)


def _read_record(cells: Cells) -> Iterator[Feedback]:
    """A record as it was written; where it was read and by whom is filled in only where it does not say."""
    try:
        found = from_record({str(k): v for k, v in cells.row.items()})
        found.to_record()
    except (TypeError, OverflowError, RecursionError) as e:
        raise ValueError(f"not a record of feedback: {e}") from None
    given = cells.settings.annotator
    if isinstance(given, str) and not found.annotator:
        found = found.replace(annotator=given)
    elif isinstance(given, Mapping) and found.annotator in given:
        found = found.replace(annotator=given[found.annotator])
    yield found


def _is_record(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("kind"), str) and row["kind"] in KINDS


RANKING = Format(
    "ranking",
    "several outputs with their ranks, 1 the best and equal ranks ties; or best_first, a list in order",
    {"prompt": "2 + 2 =", "outputs": ["5", "4", "four"], "ranks": [2, 1, 1]},
    ((_LISTS, _RANKS), (("best_first",),)),
    _read_ranking,
)
RECORDS = Format(
    "records",
    "guerdon's own records, as feedback.write leaves them",
    {"kind": "comparison", "context": "2 + 2 =", "first": "4", "second": "5", "label": 1.0},
    ((("kind",),),),
    _read_record,
    _is_record,
)
