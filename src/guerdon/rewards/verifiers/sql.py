"""SQL: a query whose result is that of the known one."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardError
from guerdon.rewards.sandbox import Limits, Returned, shared_sandbox
from guerdon.rewards.verifiers.sql_results import Table, compare, read_table
from guerdon.rewards.verifiers.sql_text import ordered, query_of, timely
from guerdon.rewards.verifiers.verifier import Checked, Verifier

SUFFIXES = (".sqlite", ".sqlite3", ".db")
LONGEST = 100_000  # characters of a query
FILE = 64 << 20  # bytes of a database file


@dataclass(frozen=True)
class SQL(Verifier):
    """1 where a query gives the same result as the known one on every database of its task, else 0.

    The query is the output, or its last fenced block. It runs in the sandbox on a database in memory, may only read, and may not
    ask for random numbers; the known query runs in another process, and its result is never there. Rows count with their
    duplicates, in any order unless the known query has an ORDER BY of its own (not one in brackets); then order counts, that of
    ties as well, so that a known query should break its ties. Integers are equal exactly, other numbers within ``tolerance``,
    a text never equals a number, NULL equals NULL. DISTINCT counts as written. Results without
    rows need the same number of columns, too.

    A query that fails is wrong (0, with a note). A *known* query that fails is a row that could not be checked.

    Parts: ``equal``, the share of databases with equal results; ``f1``, F1 over rows regardless of their order, averaged over the
    databases; ``ran``, the share on which the query ran; ``empty``, 1 where the known result has no rows on any database: such a
    reward says little.

    Args:
        query: Column with the known query.
        database: Column with a schema script and its data as SQL text, or a path of a database file that ends in .sqlite,
            .sqlite3 or .db, which is read once and taken as unchanging; or a list of these, where results must agree on all.
        ordered: Whether the order of rows counts; None: as the known query says.
        names: Whether the names of columns count, apart from capitals.
        permute: Whether columns may come in another order.
        tolerance: Relative difference up to which numbers are equal that are not both integers.
        partial: Give half of the reward for the share of right rows: (right + f1) / 2.
        rows: Most rows of a result.
        steps: Most instructions of sqlite's virtual machine for one query on one database; unlike seconds, the same on every run.
        limits: What the process of a query may use in all.

    Raises:
        PlanError: for a tolerance below 0, or rows or steps below 1.
        RewardError: where the rollout lacks a column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> script = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2)"
        >>> task = {"query": ["SELECT a FROM t WHERE a > 1"] * 2, "database": [script] * 2}
        >>> out = SQL()(recorded(["q"] * 2, ["SELECT max(a) FROM t", "DROP TABLE t"], task))
        >>> out.total.tolist(), out.parts["ran"].tolist()
        ([1.0, 0.0], [1.0, 0.0])

    Sources: execution accuracy arXiv:1809.08887, several databases and columns in any order arXiv:2010.02840.
    """

    query: str = "query"
    database: str = "database"
    ordered: bool | None = None
    names: bool = False
    permute: bool = True
    tolerance: float = 1e-9
    partial: bool = False
    rows: int = 10_000
    steps: int = 50_000_000
    limits: Limits = Limits(output=16 << 20)
    side_by_side: ClassVar[int] = max(1, min(4, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise PlanError(f"SQL: tolerance must not be below 0, got {self.tolerance}")
        for name in ("rows", "steps"):
            if getattr(self, name) < 1:
                raise PlanError(f"SQL: {name} must be at least 1, got {getattr(self, name)}")

    def columns(self) -> dict[str, str]:
        return {"query": self.query, "database": self.database}

    def check(self, output: str, *, query: Any, database: Any) -> Checked:  # type: ignore[override]
        nothing = {"equal": 0.0, "f1": 0.0, "ran": 0.0, "empty": 0.0}
        try:
            if not isinstance(query, str) or not query.strip():
                raise RewardError("the known query is no text")
            databases = [_load(d) for d in (database if isinstance(database, list) else [database])]
            if not databases:
                raise RewardError("the task has no database")
            gold = self._gold(query, databases)
        except RewardError as e:
            return Checked(reason=str(e))
        nothing["empty"] = float(not any(t.rows for t in gold))
        found = query_of(output) if len(output) <= 10 * LONGEST else output
        if len(found) > LONGEST:
            return Checked(parts=nothing, note=f"a query of more than {LONGEST} characters")
        tables, note, broken, lasting = self._run(found, databases)
        if broken:
            return Checked(reason=broken)
        try:
            pairs = [
                compare(
                    g,
                    t,
                    in_order=ordered(query) if self.ordered is None else self.ordered,
                    names=self.names,
                    permute=self.permute,
                    tolerance=self.tolerance,
                )
                for g, t in zip(gold, tables, strict=False)  # found ones may be fewer: it failed on a database
            ]
        except RewardError as e:
            return Checked(reason=str(e))
        right = len(pairs) == len(gold) and all(p.equal for p in pairs)
        f1 = sum(p.f1 for p in pairs) / len(gold)
        parts = {**nothing, "equal": sum(p.equal for p in pairs) / len(gold), "f1": f1, "ran": len(pairs) / len(gold)}
        note = note or next((p.note for p in pairs if p.note), "")
        return Checked(
            (right + f1) / 2 if self.partial else float(right),
            parts,
            note=note,
            lasting=lasting and not timely(query + " " + found),
        )

    def _gold(self, query: str, databases: Sequence[str]) -> list[Table]:
        """The results of the known query; remembered, as the samples of a group share it."""
        key = hashlib.blake2b(repr((query, databases, self.rows, self.steps, self.limits)).encode("utf8", "replace")).digest()
        with _busy[key[0] % len(_busy)]:  # the same query at the same time would run once per thread
            known = _golds.get(key)
            if known is None:
                tables, note, broken, lasting = self._run(query, databases)
                if broken:
                    raise RewardError(broken)
                known = tables, note
                if lasting and not timely(query):
                    _golds.put(key, known)
        if known[1]:
            raise RewardError(f"the known query fails: {known[1]}")
        return known[0]

    def _run(self, query: str, databases: Sequence[str]) -> tuple[list[Table], str, str, bool]:
        """(results up to the first failure, what failed, why nothing is known, whether it would be the same again)."""
        budget = [self.rows, self.limits.output // 8, self.steps, self.limits.memory // 2]
        called = shared_sandbox().calls(_runner(), [("run", [d, query, *budget], {}) for d in databases], limits=self.limits)
        if called.ended.cause == "sandbox":
            return [], "", called.ended.reason, False
        tables: list[Table] = []
        for k, answer in enumerate(called.answers[: len(databases)]):
            place = f" (database {k + 1})" if len(databases) > 1 else ""
            if not isinstance(answer, Returned):
                return tables, f"{answer.kind}: {answer.message[:200]}{place}", "", True
            value = answer.value
            if isinstance(value, dict) and "error" in value:
                where = "the database cannot be opened: " if value.get("where") == "database" else ""
                return tables, f"{where}{value['error']}{place}", "", True
            try:
                tables.append(read_table(value))
            except ValueError as e:
                return tables, f"{e}{place}", "", True
        if len(tables) < len(databases):
            return tables, called.ended.reason or "ended early", "", called.ended.cause not in ("time", "signal", "exit")
        return tables, "", "", True


def _load(database: Any) -> str:
    """A database as the runner takes it.

    Raises:
        RewardError: for a file that is missing, too large, or no database.
    """
    if not isinstance(database, str) or not database.strip():
        raise RewardError(f"expected a database as SQL text or a path, got {type(database).__name__}")
    if "\n" in database or ";" in database or not database.strip().lower().endswith(SUFFIXES):
        return "script:" + database
    path = Path(database.strip())
    try:
        if path.stat().st_size > FILE:
            raise RewardError(f"{path}: larger than {FILE >> 20} MiB")
        content = bytearray(path.read_bytes())
        if (wal := path.with_name(path.name + "-wal")).exists() and wal.stat().st_size:
            raise RewardError(f"{path}: has changes that are still in {wal.name}; close its other users first")
    except OSError as e:
        raise RewardError(f"{path}: cannot be read as a database ({e.strerror})") from None
    if not content.startswith(b"SQLite format 3\0"):
        raise RewardError(f"{path}: is no sqlite database")
    content[18:20] = b"\1\1"  # a file in WAL mode cannot be opened in memory; without the other file it is a plain one
    return "bytes:" + base64.b64encode(content).decode()


@functools.cache
def _runner() -> str:
    return Path(__file__).with_name("sql_runner.py").read_text(encoding="utf8")


class Results:
    """The latest results of known queries, with what failed; large ones are not kept."""

    def __init__(self, size: int = 256, cells: int = 5_000):
        self.size, self.cells = size, cells
        self._known: OrderedDict[bytes, tuple[list[Table], str]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> tuple[list[Table], str] | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: bytes, result: tuple[list[Table], str]) -> None:
        if sum(len(t.rows) * len(t.columns) for t in result[0]) <= self.cells:
            with self._lock:
                self._known[key] = result
                while len(self._known) > self.size:
                    self._known.popitem(last=False)


_golds = Results()
_busy = [threading.Lock() for _ in range(16)]
