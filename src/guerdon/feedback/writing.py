"""Records to a file of JSON lines, whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from guerdon.core.errors import DataError
from guerdon.core.feedback import Feedback
from guerdon.core.files import replacing


def write(records: Iterable[Feedback], path: str | Path) -> int:
    """Write records as JSON lines, which ``read`` gives back as they were; the file appears when all are written.

    Args:
        records: Any feedback.
        path: A ``.jsonl`` or ``.jsonl.gz``; one that is there is replaced.

    Returns:
        Number of records.

    Raises:
        DataError: for another kind of file, or a record that JSON cannot hold.

    Example:
        >>> import tempfile
        >>> from guerdon.core.feedback import Critique
        >>> from guerdon.feedback.readers import read
        >>> path = Path(tempfile.mkdtemp(), "critiques.jsonl")
        >>> write([Critique(output="4", text="right")], path)
        1
        >>> [c.text for c in read(path)]
        ['right']
    """
    path = Path(path)
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(f"{path}: records are written as .jsonl or .jsonl.gz")
    number = 0
    try:
        with replacing(path) as file:
            # No name and no time in the archive: the same records give the same bytes.
            packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if path.name.endswith(".gz") else None
            out = cast("IO[bytes]", packed or file)
            for record in records:
                number += 1
                out.write(json.dumps(record.to_record(), allow_nan=False).encode() + b"\n")
            if packed:
                packed.close()
    except OSError as e:
        raise DataError(f"{path}: cannot be written ({e.strerror or e})") from None
    return number
