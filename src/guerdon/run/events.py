"""events.jsonl: the truth of a run. Reports, summaries and sinks are made from it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from guerdon.core.errors import RunError

Sink = Callable[[Mapping[str, Any]], None]


class EventLog:
    """Appends events to a file and hands each to its sinks.

    A checkpoint notes ``offset``; a resumed run cuts the file there and writes the same events again.
    """

    def __init__(self, path: Path | None, *, offset: int = 0, sinks: tuple[Sink, ...] = ()):
        self.path, self.sinks = path, sinks
        self.file = None
        if path is not None:
            self.file = open(path, "ab")  # noqa: SIM115 (kept open for the whole run)
            self.file.truncate(offset)
            self.file.seek(0, os.SEEK_END)

    @property
    def offset(self) -> int:
        return self.file.tell() if self.file else 0

    def write(self, event: str, step: int, **fields: Any) -> None:
        row = {"event": event, "step": step, "time": round(time.time(), 3), **_plain(fields)}
        if self.file:
            try:
                self.file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                self.file.flush()
            except OSError as e:
                raise RunError(f"{self.path}: event not written: {e.strerror}") from None
        for sink in self.sinks:
            sink(row)

    def sync(self) -> None:
        if self.file:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        if self.file:
            self.file.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The complete events of a file; a torn last line is passed over."""
    with open(path, "rb") as f:
        for line in f:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _plain(value: Any) -> Any:
    """JSON without NaN: a number that is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
