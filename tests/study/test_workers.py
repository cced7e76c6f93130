"""Trials in processes of their own: the same numbers, and whatever can happen to a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guerdon.core.errors import DataError, PlanError
from guerdon.study import Budget, Task, run_study
from guerdon.study.worker import load, module_of
from guerdon.study.workers import Workers

FILE = """
import os
import sys
import time
from pathlib import Path

import neighbour
from guerdon.study import Expect, Study

HERE = Path(__file__).parent


def _told(arm, seed):
    with open(HERE / "log", "a") as f:
        f.write(f"{arm} {seed} {os.getpid()}\\n")


def good(seed, budget):
    _told("good", seed)
    print("an arm may print; it is no answer")
    return {"x": seed + neighbour.GAIN, "threads": __import__("torch").get_num_threads()}


def bad(seed, budget):
    _told("bad", seed)
    what = (HERE / "order").read_text() if (HERE / "order").exists() else ""
    if f"{what} {seed}" == "kill 1001":
        os.kill(os.getpid(), 9)
    if f"{what} {seed}" == "leave 1001":
        sys.exit("I leave")
    if f"{what} {seed}" == "raise 1001":
        raise ValueError("planted")
    if f"{what} {seed}" == "nan 1001":
        return {"x": float("nan")}
    if what == "slow":
        time.sleep(30)
    return {"x": float(seed)}


STUDY = Study({"good": good, "bad": bad}, "x", [Expect("good", "higher", "bad", by=0.5)], seeds=3)
OTHER = 3
"""
PLANTED = '        raise ValueError("planted")'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "neighbour.py").write_text("GAIN = 1.0\n")
    (tmp_path / "random.py").write_text("raise ImportError('this is not the standard library')\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("neighbour", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def log(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_the_same_as_here_and_side_by_side(folder):
    study = load("mine.py:STUDY")
    apart = run_study(study, source="mine.py:STUDY", workers=2)
    assert apart.workers == 2
    assert {pid for *_, pid in log(folder)} != {str(os.getpid())}
    here = run_study(study)
    assert apart.judged == here.judged
    assert [t.metrics["x"] for t in apart.trials["good"]] == [1001.0, 1002.0, 1003.0]
    assert {t.metrics["threads"] for t in apart.trials["good"]} == {1.0}


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("kill", "its process was killed by signal 9"),
        ("leave", "its process ended with exit code 1: I leave"),
        ("raise", f"ValueError: planted (mine.py, line {1 + FILE.splitlines().index(PLANTED)})"),
        ("nan", "PlanError: arm 'bad': x is nan"),
    ],
)
def test_what_happens_to_one_trial_happens_to_it_alone(folder, order, reason):
    (folder / "order").write_text(order)
    found = run_study(load("mine.py:STUDY"), source="mine.py:STUDY", workers=1, kept=folder / "kept")
    assert found.verdict is None
    assert [(t.task.arm, t.task.seed, t.reason) for t in found.failed] == [("bad", 1001, reason)]
    (folder / "order").write_text("")
    again = run_study(load("mine.py:STUDY"), source="mine.py:STUDY", workers=1, kept=folder / "kept")
    assert again.verdict == "reproduced"
    assert len(log(folder)) == 7  # six, and the one that failed


def alive(pid: str) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if state.exists():  # a process that has ended and that nobody has asked after is none
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").is_dir()


def ends(pid: str, within: float = 20.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def waiting(folder: Path, arm: str, within: float = 60.0) -> str:
    """The process that has begun a trial of an arm."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if (folder / "log").exists() and (found := [pid for name, _, pid in log(folder) if name == arm]):
            return found[0]
        time.sleep(0.05)
    raise AssertionError("no trial began")


SCRIPT = """
from guerdon.study import run_study
from guerdon.study.worker import load
run_study(load("mine.py:STUDY"), source="mine.py:STUDY", workers=2)
"""


@pytest.mark.parametrize("signal", [2, 9])
def test_workers_end_with_whoever_began_them(folder, signal):
    (folder / "order").write_text("slow")
    with subprocess.Popen([sys.executable, "-P", "-c", SCRIPT], stderr=subprocess.DEVNULL) as process:
        try:
            worker = waiting(folder, "bad")
            process.send_signal(signal)
            process.wait(timeout=20)  # it does not wait for the trial's 30 seconds
        finally:
            process.kill()
    assert ends(worker)
    began = len(log(folder))
    time.sleep(0.3)
    assert len(log(folder)) == began  # and none begins after the end


def test_nothing_begins_after_the_end(folder):
    with Workers("mine.py:STUDY", 1) as workers:
        trials = workers([Task("good", 0), Task("good", 1), Task("good", 2)], Budget("tiny"))
        assert next(trials).ok
    rest = list(trials)  # the second may have ended just before the workers did
    assert not rest[-1].ok
    time.sleep(0.2)
    assert len(log(folder)) <= 2


def test_what_cannot_be_loaded(folder):
    with pytest.raises(DataError, match=r"none\.py: there is no such file"):
        load("none.py:STUDY")
    with pytest.raises(DataError, match="there is no module none_such"):
        load("none_such:STUDY")
    with pytest.raises(PlanError, match=r"mine\.py: there is no 'STUDI' in it"):
        load("mine.py:STUDI")
    with pytest.raises(PlanError, match=r"mine\.py:OTHER is a int, not a Study"):
        load("mine.py:OTHER")
    (folder / "broken.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        module_of("broken.py")
    assert "guerdon_study_broken" not in sys.modules
    (folder / "needs_none_such.py").write_text("import none_such_either")
    with pytest.raises(ModuleNotFoundError, match="none_such_either"):
        module_of("needs_none_such")


def test_a_worker_that_cannot_begin_says_why(folder):
    (folder / "neighbour.py").write_text("1 / 0")
    with Workers("mine.py:STUDY", 1) as workers:
        (trial,) = workers([Task("good", 0)], Budget("tiny"))
    assert trial.reason == "its process ended with exit code 1: ZeroDivisionError: division by zero"
