"""Journal: verdicts on disk, so that a resumed run asks no reward twice and gets the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from guerdon.core import DataError, Episode, Reward, Rollout

_SYNC_EVERY = 1.0  # seconds: what the system has taken survives our end at once; a loss of power costs this much


class Journal:
    """Append-only JSON lines, one verdict each, found again by row identity and a hash of what was scored.

    A line that was cut short by a kill, or that cannot be read, counts as not written. Numbers keep all their bits.

    Args:
        path: The file; it and its folder are made when missing.

    Raises:
        DataError: where the file cannot be opened.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.hits = 0
        self._place: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()
        self._synced = 0.0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as e:
            raise DataError(f"{self.path}: cannot be opened as a journal ({e.strerror})") from None
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            record = _read(line)
            if record is not None:
                self._place[record["uid"], record["content"]] = end
            end += len(line)
        self._file.truncate(end)  # else the next line would continue the torn one
        self._end = end

    def __len__(self) -> int:
        return len(self._place)

    def get(self, uid: int, content: str) -> dict[str, Any] | None:
        """The verdict for a row, counted as a hit; None where there is none."""
        with self._lock:
            place = self._place.get((uid, content))
            if place is None:
                return None
            self._file.seek(place)
            record = _read(self._file.readline())
            self.hits += record is not None
            return record

    def put(self, uids: Sequence[int], contents: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
        """Write verdicts down; they are with the system when this returns."""
        lines = [
            json.dumps({"uid": u, "content": c, **r}).encode() + b"\n" for u, c, r in zip(uids, contents, records, strict=True)
        ]
        with self._lock:
            self._file.write(b"".join(lines))
            self._file.flush()
            for uid, content, line in zip(uids, contents, lines, strict=True):
                self._place[uid, content] = self._end
                self._end += len(line)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self) -> None:
        with self._lock:
            if not self._file.closed:
                os.fsync(self._file.fileno())
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        return record if isinstance(record["uid"], int) and isinstance(record["content"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def contents(reward: Reward, rollout: Rollout) -> list[str]:
    """[B] hash of what each row's verdict depends on: the reward, its context and output, and those of rows scored with it."""
    who = identity(reward)
    rows = [_hash(who, c, o) for c, o in zip(rollout.contexts, rollout.outputs, strict=True)]
    if reward.scope == "sample":
        return rows
    groups = rollout.group.tolist() if reward.scope == "group" else [0] * len(rows)
    together = {g: _hash(*(r for r, h in zip(rows, groups, strict=True) if h == g)) for g in set(groups)}
    return [_hash(r, together[g]) for r, g in zip(rows, groups, strict=True)]


def identity(reward: Any) -> str:
    """Names a reward with its settings and, where they can be read, its user's code; one that knows its ``identity`` says it."""
    own = getattr(reward, "identity", None)
    if isinstance(own, str) and own:  # a learned reward, whose weights may change while the run goes on
        return _hash(type(reward).__qualname__, own)
    code = ""
    file = getattr(reward, "file", "")
    if file and Path(file).is_file():
        code = Path(file).read_text(encoding="utf8", errors="replace")
    elif hasattr(reward, "fn"):
        try:
            code = inspect.getsource(reward.fn)
        except (OSError, TypeError):
            code = ""
    members = getattr(reward, "members", {})
    members = members.values() if isinstance(members, Mapping) else members
    name = repr(reward) if dataclasses.is_dataclass(reward) else f"{type(reward).__module__}.{type(reward).__qualname__}"
    return _hash(name, code, *(identity(m) for m in members))


def _hash(*values: Any) -> str:
    digest = hashlib.blake2b(digest_size=10)
    for value in values:
        _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Type, size and content, so that no two different values feed the same bytes."""
    if isinstance(value, str):
        data = value.encode("utf8", "surrogatepass")
    elif isinstance(value, Tensor):
        data = str((value.dtype, tuple(value.shape))).encode() + value.detach().cpu().contiguous().numpy().tobytes()
    elif isinstance(value, Mapping):
        digest.update(f"map{len(value)}".encode())
        for k in sorted(value, key=str):
            _feed(digest, str(k))
            _feed(digest, value[k])
        return
    elif isinstance(value, list | tuple):
        digest.update(f"list{len(value)}".encode())
        for v in value:
            _feed(digest, v)
        return
    elif isinstance(value, Episode):  # its repr is a summary
        return _feed(digest, vars(value))
    else:
        data = repr(value).encode("utf8", "surrogatepass")
    digest.update(f"{type(value).__name__}{len(data)}:".encode() + data)
