"""Where a store may be, what is refused in one line, and that SQLite's files hold nothing of who was erased."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from guerdon.core.errors import DataError
from guerdon.feedback import Critique, Store
from guerdon.feedback.store import database

NAME, WORDS = "Wilhelmina Quux", "a most unusual sentence 8c1f"


def said(text: str, annotator: str = "ann", **fields: Any) -> Critique:
    return Critique(context="2 + 2?", output="4", text=text, annotator=annotator, **fields)


def refusal(url: Any) -> str:
    with pytest.raises(DataError) as e:
        Store(url)
    assert "\n" not in str(e.value) and len(str(e.value)) < 300
    return str(e.value)


@pytest.mark.parametrize("form", [str, Path, lambda p: f"sqlite:///{p}", lambda p: os.path.relpath(p)])
def test_forms_of_a_path(tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "with space & ?.db" if form is not str else tmp_path / "feedback.db"
    if "sqlite" in str(form(file)):
        file = tmp_path / "feedback.db"
    with Store(form(file)) as store:
        monkeypatch.chdir(tmp_path.parent)
        store.add(said("a"))
        assert (
            file.exists() and repr(store) == f"Store({str(form(file)).removeprefix('sqlite:///')!r})" or form not in (str, Path)
        )
    with Store(file) as store:
        assert len(store) == 1


def test_how_sqlite_is_set(tmp_path: Path) -> None:
    with Store(tmp_path / "f.db") as store, store._db.read() as c:
        settings = {
            k: c.exec_driver_sql(f"PRAGMA {k}").scalar() for k in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
        assert c.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_the_person_is_nowhere_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "f.db"

    def seen(*wanted: str) -> bool:
        return any(w.encode() in p.read_bytes() for w in wanted for p in tmp_path.iterdir())

    with Store(path) as store, Store(path) as other:
        others = store.add([said(f"of ann {k}") for k in range(200)])
        ids = store.add([said(f"{WORDS} {k} " + "long " * 3000 * (k % 5 == 0), annotator=NAME, source=WORDS) for k in range(50)])
        for k in ids[:5]:
            store.correct(k, said(f"{WORDS} again {k}", annotator=NAME))
        store.retract(others[0], by=NAME, reason=WORDS)
        assert len(list(other.read(annotator=NAME))) == 50
        assert seen(NAME) and seen(WORDS)
        assert store.erase(NAME) == 55
        assert not seen(NAME, WORDS, "Quux", "8c1f")  # the store is still open, and so is the other
        assert {p.name for p in tmp_path.iterdir()} >= {"f.db", "f.db-wal", "f.db-shm"}
        assert len(list(other.read())) == 200
        store.add(said("goes on"))
    assert not seen(NAME, WORDS) and seen("of ann 7") and seen("goes on")


def test_a_reader_that_keeps_the_log_is_told_of_and_erasing_again_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PATIENCE", 0.2)
    path = tmp_path / "f.db"
    with Store(path) as store:
        store.add([said(WORDS, annotator=NAME), said("a")])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM guerdon_feedback").fetchone()
        with pytest.raises(DataError, match="another program still reads the store"):
            store.erase(NAME)
        assert len(store) == 1 and store.erasures()[0].finished is None
        assert any(WORDS.encode() in p.read_bytes() for p in tmp_path.iterdir())
        reader.close()
        assert store.erase(NAME) == 0
        assert not any(WORDS.encode() in p.read_bytes() for p in tmp_path.iterdir())
        assert all(e.finished for e in store.erasures()) and store.erasures()[0].records == 1


def test_a_writer_that_does_not_end_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PATIENCE", 0.2)
    with Store(tmp_path / "f.db") as store:
        writer = sqlite3.connect(tmp_path / "f.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match=r"f\.db: another process has been writing for"):
            store.add(said("a"))
        assert len(store) == 0  # reading goes on
        writer.close()
        store.add(said("a"))


def test_places_that_are_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "there is no folder" in refusal(tmp_path / "no" / "f.db")
    for wrong in ("", "sqlite://", "sqlite:///:memory:", ":memory:", "sqlite:///", "a\x00b", b"bytes"):
        assert "expected a path, sqlite:///PATH or postgresql://" in refusal(wrong)
    assert "no feedback store opens mysql://" in refusal("mysql://u:secret@h/d")
    assert "sqlite:///PATH and nothing more" in refusal("sqlite:///a.db?mode=ro")
    text = tmp_path / "notes.db"
    text.write_text("These are notes, not a database.")
    assert "is not an SQLite database" in refusal(text)
    half = tmp_path / "half.db"
    with Store(half) as store:
        store.add([said(str(k)) for k in range(50)])
    half.write_bytes(half.read_bytes()[:100] + b"\xff" * 5000)
    assert str(half) in refusal(half)
    assert text.read_text() == "These are notes, not a database." and not list(tmp_path.glob("*-wal"))


def test_a_database_of_something_else_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with sqlite3.connect(path) as c:
        c.execute("CREATE TABLE accounts (name)")
    c.close()
    before = path.read_bytes()
    assert "holds tables of something else (accounts)" in refusal(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["bank.db"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that even root cannot write")
def test_a_place_that_cannot_be_written() -> None:
    assert "/proc/feedback.db: unable to open database file" in refusal("/proc/feedback.db")


def test_a_place_that_another_user_may_not_write() -> None:
    script = """
import os, sys
from guerdon.core.errors import DataError
from guerdon.feedback import Store
path = sys.argv[1]
Store(path).close()
root = os.geteuid() == 0
for mode in (0o555, 0):
    os.chmod(os.path.dirname(path), mode)
    if root:  # root may write anywhere
        os.setegid(65534), os.seteuid(65534)
    for place in (path, path + "2"):
        try:
            Store(place)
        except DataError as e:
            print(str(e).removeprefix(place))
    if root:
        os.seteuid(0), os.setegid(0)
"""
    folder = tempfile.mkdtemp(prefix="guerdon-read-only-")
    done = subprocess.run([sys.executable, "-c", script, f"{folder}/f.db"], capture_output=True, text=True, timeout=60)
    os.chmod(folder, 0o755)
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    said_ = done.stdout.splitlines()
    assert len(said_) == 4 and all("cannot be read (Permission denied)" in line for line in said_[2:]), said_
    assert all(f"{folder} cannot be written, and a feedback store must be" in line for line in said_[:2]), said_


def test_servers_that_cannot_be_reached_and_passwords_that_stay_secret(server: Any) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = s.getsockname()[1]
    unreachable = refusal(f"postgresql://ann:s3cr3t@127.0.0.1:{closed}/db")
    assert unreachable.startswith(f"postgresql://ann:***@127.0.0.1:{closed}/db: ") and "refused" in unreachable
    wrong = refusal(f"postgres://{server.user}:s3cr3t@127.0.0.1:{server.port}/postgres?connect_timeout=5")
    assert "password authentication failed" in wrong
    missing = refusal(server.url().removesuffix("/postgres") + "/nowhere")
    assert 'database "nowhere" does not exist' in missing
    option = refusal(server.url("?pasword=s3cr3t"))
    for said_ in (
        unreachable,
        wrong,
        missing,
        option,
        refusal("postgresql://u:s3cr3t@h:port/d"),
        refusal("postgresql://u:s3cr3t@[::1/d"),
    ):
        assert "s3cr3t" not in said_ and server.password not in said_
    with Store(server.fresh()) as store:
        assert repr(store) == f"Store('postgresql://{server.user}:***@127.0.0.1:{server.port}/postgres')"
        with pytest.raises(DataError) as e:
            store.get("nobody")
        assert server.password not in str(e.value)


def test_postgresql_keeps_no_statistics_of_what_people_say(server: Any) -> None:
    with Store(server.fresh()) as store:
        store.add([said(f"{WORDS} {k % 2}", annotator=NAME, source=WORDS, uids=(k,)) for k in range(300)])
        with store._db.bare() as c:
            c.exec_driver_sql("ANALYZE guerdon_feedback")
            query = "SELECT attname, pg_stats::text FROM pg_stats WHERE schemaname = current_schema()"
            rows = c.exec_driver_sql(query).fetchall()
        assert {name for name, _ in rows} >= {"kind", "context"}
        assert NAME not in repr(rows) and WORDS not in repr(rows)


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert refusal("postgresql://u:p@h/d") == "a feedback store in PostgreSQL needs psycopg: pip install 'guerdon[feedback]'"
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert refusal(tmp_path / "f.db") == "the feedback store needs SQLAlchemy: pip install 'guerdon[feedback]'"
    assert not list(tmp_path.iterdir())


def test_the_room_loads_no_database_code() -> None:
    script = "import sys, guerdon.feedback; print([m for m in ('sqlalchemy', 'psycopg', 'sqlite3') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
