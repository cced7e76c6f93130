"""What ``SQL`` runs inside the sandbox: one query on one fresh database in memory. Standard library only; sent there as text."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
from binascii import a2b_base64
from typing import Any

READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
REFUSED = {"load_extension", "fts3_tokenizer", "random", "randomblob"}  # the last two: another answer each time
NAMES = {  # action code -> what a note calls it
    code: name.removeprefix("SQLITE_").replace("_", " ")
    for name, code in vars(sqlite3).items()
    if re.match(
        "SQLITE_(CREATE|DROP|ALTER|ATTACH|DETACH|ANALYZE|DELETE|INSERT|UPDATE|PRAGMA|REINDEX|SAVEPOINT|TRANSACTION)", name
    )
}
EVERY = 10_000  # virtual machine instructions between two looks at the budget


def run(database: str, query: str, rows: int, size: int, steps: int, memory: int) -> dict[str, Any]:
    """The table that a query gives, or why it gives none.

    Args:
        database: "script:" and SQL text, or "bytes:" and a database file in base 64.
        query: One statement that reads.
        rows: Most rows.
        size: Most bytes, of all cells together and of any value on the way.
        steps: Most instructions of sqlite's virtual machine.
        memory: Most bytes that sqlite takes.

    Returns:
        ``{"columns": names, "rows": rows}``, or ``{"error": text, "where": "database" or "query"}``.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute(f"PRAGMA hard_heap_limit = {memory:d}")
        open_database(connection, database)
        connect_tables(connection)
        for pragma in ("temp_store = MEMORY", "query_only = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as e:
        return failed("database", e)
    denied: list[str] = []
    confine(connection, denied, size, steps)
    try:
        return table(connection, query, rows, size)
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as e:
        if denied:
            return {"error": f"not allowed: {denied[0]}", "where": "query"}
        if str(e) == "interrupted":
            return {"error": f"took more than {steps} steps", "where": "query"}
        return failed("query", e)


def open_database(connection: sqlite3.Connection, database: str) -> None:
    """Fill an empty database with what a script makes, or with a file's bytes."""
    kind, _, content = database.partition(":")
    if kind == "script":
        connection.executescript(content)
    else:
        connection.deserialize(a2b_base64(content))
        connection.execute("SELECT count(*) FROM sqlite_master")  # a file that is no database shows here


def connect_tables(connection: sqlite3.Connection) -> None:
    """Touch the tables that a module provides (json_each, full text): connecting to one takes more rights than reading it."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'").fetchall()
    for name in ["json_each", "json_tree", *(n for (n,) in found)]:
        with contextlib.suppress(sqlite3.Error):  # a module that this sqlite lacks: a query that needs it says so
            connection.execute('SELECT * FROM "' + name.replace('"', '""') + '" LIMIT 0').fetchall()


def confine(connection: sqlite3.Connection, denied: list[str], size: int, steps: int) -> None:
    """Reading only, with a budget; what is refused is noted in ``denied``."""

    def judge(action: int, first: str | None, second: str | None, *_: Any) -> int:
        if action == sqlite3.SQLITE_FUNCTION and second is not None and second.lower() in REFUSED:
            denied.append(f"{second.lower()}()")
        elif action not in READS and (action, first) != (sqlite3.SQLITE_PRAGMA, "data_version"):  # full-text tables ask for it
            denied.append(NAMES.get(action, "what does not only read"))
        else:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    left = [max(1, steps // EVERY)]

    def tick() -> int:
        left[0] -= 1
        return left[0] < 0

    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
    connection.set_authorizer(judge)
    connection.set_progress_handler(tick, EVERY)


def table(connection: sqlite3.Connection, query: str, rows: int, size: int) -> dict[str, Any]:
    """What the query gives, as far as it may."""
    connection.text_factory = text
    cursor = connection.execute(query)
    if cursor.description is None:
        return {"error": "gives no table", "where": "query"}
    found: list[list[Any]] = []
    used = 0
    for row in cursor:
        used += sum(len(v) if isinstance(v, str | bytes) else 8 for v in row)
        if len(found) >= rows:
            return {"error": f"gives more than {rows} rows", "where": "query"}
        if used > size:
            return {"error": f"gives more than {size} bytes", "where": "query"}
        found.append([cell(v) for v in row])
    return {"columns": [c[0] for c in cursor.description], "rows": found}


def text(stored: bytes) -> Any:
    """A text as it is, or the bytes of one that is not UTF-8, which sqlite does not check."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return {"text": stored.hex()}


def cell(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    return value if not isinstance(value, float) or math.isfinite(value) else {"real": str(value)}


def failed(where: str, error: Exception) -> dict[str, Any]:
    """An error's first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return {"error": lines[0][:200], "where": where}
