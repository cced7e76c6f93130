"""Records on the disk, and where the project's own ones lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.core.errors import DataError
from guerdon.core.files import write_text
from guerdon.systems._provenance import PACKAGE, checkout
from guerdon.systems._record import Record


def write_record(record: Mapping[str, Any], path: Path) -> Path:
    """Writes a record as JSON, whole or not at all; one seed's figures on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _json(record) + "\n")
    return path


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        DataError: for a file that is none.
    """
    try:
        record = json.loads(path.read_text(encoding="utf8"))
    except ValueError as e:
        raise DataError(f"{path}: not a record of a study ({e})") from None
    if not isinstance(record, dict) or not {"id", "verdict", "expectation", "arms"} <= set(record):
        raise DataError(f"{path}: not a record of a study; expected what guerdon reproduce writes")
    return record


def _json(value: Any, indent: str = "", key: str = "") -> str:
    """JSON, broken into lines where one would be too long; a list of figures stays on its line."""
    line = key + json.dumps(value, ensure_ascii=False, allow_nan=False)
    figures = isinstance(value, list) and not any(isinstance(v, Mapping | list) for v in value)
    if len(indent) + len(line) <= 130 or not isinstance(value, Mapping | list) or not value or figures:
        return line
    deeper = indent + "  "
    if isinstance(value, Mapping):
        inner = [_json(v, deeper, f"{json.dumps(k, ensure_ascii=False)}: ") for k, v in value.items()]
    else:
        inner = [_json(v, deeper) for v in value]
    begin, end = "{}" if isinstance(value, Mapping) else "[]"
    return f"{key}{begin}\n" + ",\n".join(deeper + part for part in inner) + f"\n{indent}{end}"


def verdicts_folder() -> Path:
    """Where the project's own records lie: in the checkout, or in the installed package."""
    root = checkout()
    return PACKAGE / "_reproductions" if root is None else root / "reproductions"


def verdict_record(name: str) -> Record | None:
    """The project's own record of a system; None where it has not been measured."""
    path = verdicts_folder() / f"{name}.json"
    return read_record(path) if path.is_file() else None
