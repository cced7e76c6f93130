import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from guerdon.core.files import cache_folder
from guerdon.tasks.cache import cached, recipe_key


def writer(text: str):
    def write(folder: Path) -> dict[str, str]:
        (folder / "weights").write_text(text)
        return {"note": text}

    return write


def test_made_once_then_found(fresh_cache: Path) -> None:
    first = cached("thing", {"a": 1}, lambda: writer("one"))
    again = cached("thing", {"a": 1}, lambda: pytest.fail("made twice"))
    other = cached("thing", {"a": 2}, lambda: writer("two"))
    assert first == again != other
    assert (first / "weights").read_text() == "one"
    assert (other / "weights").read_text() == "two"
    assert json.loads((first / "guerdon.json").read_text()) == {"recipe": {"a": 1}, "note": "one"}
    assert sorted(p.name for p in first.parent.iterdir()) == sorted([first.name, other.name])
    assert first.is_relative_to(fresh_cache)


def test_the_key_depends_on_values_not_on_their_order() -> None:
    assert recipe_key({"a": 1, "b": [1, 2]}) == recipe_key({"b": [1, 2], "a": 1})
    assert len({recipe_key({"a": v}) for v in (1, 2, "1", True, None, 1.5)}) == 6


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_training_or_writing_leaves_nothing(fresh_cache: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        raise error

    def half(folder: Path) -> dict[str, str]:
        (folder / "weights").write_text("half")
        raise error

    for make in (interrupted, lambda: half):
        with pytest.raises(error):
            cached("thing", {"a": 1}, make)
        assert [p for p in fresh_cache.rglob("*") if p.is_file()] == []
    assert (cached("thing", {"a": 1}, lambda: writer("whole")) / "weights").read_text() == "whole"


KILLED = """
import sys, time
from pathlib import Path
from guerdon.tasks.cache import cached
def write(folder):
    (folder / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
cached("thing", {"a": 1}, lambda: write)
"""


def test_a_kill_in_the_middle_leaves_nothing_that_looks_finished(fresh_cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    (leftover,) = (fresh_cache / "base").iterdir()
    assert leftover.name.startswith(".part-")
    made = cached("thing", {"a": 1}, lambda: writer("whole"))
    assert (made / "weights").read_text() == "whole"
    assert leftover.exists()  # it might belong to a process that is still writing ...
    os.utime(leftover, (time.time() - 90_000,) * 2)
    cached("thing", {"a": 2}, lambda: writer("other"))
    assert not leftover.exists()  # ... but not after a day
    assert made.exists()


def test_when_another_process_is_faster_its_copy_stays(fresh_cache: Path) -> None:
    def slow():
        cached("thing", {"a": 1}, lambda: writer("faster"))  # all of what another process would do meanwhile
        return writer("slower")

    made = cached("thing", {"a": 1}, slow)
    assert (made / "weights").read_text() == "faster"
    assert [p.name for p in made.parent.iterdir()] == [made.name]


def test_many_at_once_agree(fresh_cache: Path) -> None:
    start, results = threading.Barrier(6), []

    def worker(k: int) -> None:
        def make():
            start.wait()
            return writer(str(k))

        results.append(cached("thing", {"a": 1}, make))

    threads = [threading.Thread(target=worker, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 6
    assert len(set(results)) == 1
    assert [p.name for p in results[0].parent.iterdir()] == [results[0].name]


def test_a_damaged_folder_is_made_anew(fresh_cache: Path) -> None:
    made = cached("thing", {"a": 1}, lambda: writer("one"))
    (made / "guerdon.json").unlink()
    assert cached("thing", {"a": 1}, lambda: writer("two")) == made
    assert (made / "weights").read_text() == "two"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("GUERDON_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "guerdon"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "guerdon"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "guerdon"
