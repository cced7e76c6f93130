"""What was acknowledged is there after kill -9, whole; any number of processes open one store; forks keep theirs."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guerdon.core.errors import DataError
from guerdon.feedback import Critique, Store

DRIVER = Path(__file__).with_name("store_driver.py")


@pytest.fixture(scope="module")
def drive() -> Iterator[Callable[..., Any]]:
    """Has the driver do something; tells what it said."""
    with subprocess.Popen([sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def ask(*what: object) -> Any:
            asked.write(json.dumps(what) + "\n")
            asked.flush()
            answer = answers.readline()
            assert answer, "the driver died; its last words are on standard error"
            return json.loads(answer)

        yield ask
        asked.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_writers_killed_in_the_middle_lose_nothing_they_acknowledged(drive: Any, place: str, tmp_path: Path, seed: int) -> None:
    with Store(place):
        pass
    told = drive("kill", place, str(tmp_path), seed)
    acknowledged = told["acknowledged"]
    assert told["ended"] == [9, 9, 9] and told["enough"] <= len(acknowledged) < 1080
    with Store(place) as store:
        found = {r.id: r for r in store.read(corrected=True)}
        for write in acknowledged:
            assert all(i in found for i in write["ids"])
        with store._db.read() as c:
            rows = c.exec_driver_sql("SELECT id, record FROM guerdon_feedback").fetchall()
            marks = dict(map(tuple, c.exec_driver_sql("SELECT old, new FROM guerdon_mark")))
            sides = Counter(i for (i,) in c.exec_driver_sql("SELECT id FROM guerdon_uid"))
        assert sorted(i for i, _ in rows) == sorted(found)  # each row is what its id is the hash of
        assert sides == {i: len(set(r.uids)) for i, r in found.items()}  # and brought its uids
        assert all(marks[write["ids"][0]] == write["new"] for write in acknowledged if "new" in write)
        assert all(old in found and new in found for old, new in marks.items()) and any("new" in write for write in acknowledged)
        together = Counter((r.annotator, r.uids[0]) for r in found.values() if r.info["of"] == 3)
        assert set(together.values()) <= {3}  # what was added at once is there or not
        assert len(store.add(list(found.values()))) == len(found) == store.count(corrected=True)


@pytest.mark.parametrize("n", [8])
def test_processes_that_open_a_new_store_at_once(drive: Any, place: str, tmp_path: Path, n: int) -> None:
    assert drive("open", place, str(tmp_path), n)["ended"] == [0] * n
    with Store(place) as store:
        assert len(store) == n + 1


def test_a_store_works_on_both_sides_of_a_fork(drive: Any, place: str) -> None:
    told = drive("fork", place)
    assert told["child"] in (2, 3)
    assert sorted(told["found"]) == ["child", "parent, after", "parent, before", "parent, meanwhile"]


def test_a_server_killed_in_the_middle_loses_nothing(server: Any) -> None:
    url = server.fresh()
    store, acknowledged, errors = Store(url), [], []
    many = threading.Event()

    def work(k: int) -> None:
        try:
            for n in range(5000):
                acknowledged.extend(
                    store.add([Critique(output="x" * 100, text=f"{k} {n} {part}", uids=(n,)) for part in range(2)])
                )
                if len(acknowledged) > 300:
                    many.set()
        except DataError as e:
            errors.append(str(e))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    assert many.wait(30)
    server.kill()
    [t.join(30) for t in threads]
    assert len(errors) == 4 and all("\n" not in e and server.password not in e for e in errors)
    server.start()
    found = {r.id for r in store.read()}  # the same store reconnects
    assert found >= set(acknowledged) and len(found) % 2 == 0
    assert store.count(uid=0) == 8
    store.close()
