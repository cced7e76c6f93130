"""``guerdon reproduce``: records, places, exit codes, and going on after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from guerdon.cli import _reproducing
from guerdon.systems import _provenance, find, get, names

FILE = '''"""A bandit."""
import os
import time
from pathlib import Path

from guerdon.study import Expect, Study
from guerdon.systems import Paper, System

HERE = Path(__file__).resolve().parent


def _arm(name, gain):
    def arm(seed, budget):
        if (HERE / f"fails-{name}").exists() and seed % 1000 == 1:
            raise ValueError("planted")
        if (HERE / "slow").exists():
            time.sleep(0.4)
        with open(HERE / "log", "a") as f:
            f.write(f"{name} {seed}\\n")
        return {"x": gain + 0.01 * (seed % 3) * gain, "steps": [0, 1], "curve": [0, gain]}
    return arm


def prepare(budget):
    if (HERE / "unprepared").exists():
        raise ValueError("no warm start")


SYSTEM = System(
    name="Two against one", claim="Two is more than one.", paper=Paper("On Two", ("Doe, Jane",), 2020, "2001.00001"),
    study=Study({"two": _arm("two", 2.0), "one": _arm("one", 1.0)}, "x", [Expect("two", "higher", "one", by=0.5)], seeds=3,
                prepare=prepare, traces=["steps", "curve"]),
)
'''


@pytest.fixture
def mine(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUERDON_CACHE", str(here / "cache"))
    (here / "mine.py").write_text(FILE)
    return here


ONE = ("reproduce", "./mine.py", "--workers", "1")
RECORD = "runs/reproduce/own/mine.json"


def runs(folder: Path) -> Counter[str]:
    return Counter((folder / "log").read_text().splitlines())


def test_a_verdict_is_told_and_written(guerdon, mine):
    said = guerdon(*ONE)
    assert said.code == 0
    record = json.loads((mine / RECORD).read_text())
    assert (record["id"], record["verdict"], record["swapped"]) == ("mine", "reproduced", "not reproduced")
    assert record["seeds"] == [1000, 1001, 1002]
    assert (mine / RECORD).with_suffix(".svg").stat().st_size > 1000
    for part in ("two higher than one by at least 0.5", "reproduced", record["summary"], f"wrote {RECORD}"):
        assert part in said.out
    assert said.err.startswith("this runs your code: ./mine.py\n")
    assert "mine: 2 arms x 3 paired seeds, default budget" in said.err
    assert not any((mine / "cache/studies").iterdir())  # finished: begins anew next time

    again = guerdon(*ONE, "--json", "--quiet")
    assert again.json()["effect"] == record["effect"]
    assert again.err == ""
    assert set(runs(mine).values()) == {2}


def test_failed_trials_leave_no_verdict_and_exit_1(guerdon, mine):
    assert guerdon(*ONE, "--quiet").code == 0
    before = (mine / RECORD).read_text()
    (mine / "fails-one").touch()
    said = guerdon(*ONE)
    assert said.code == 1
    assert "failed: one, seed 1001: ValueError: planted" in said.out
    assert "No verdict: 1 of 6 trials failed" in said.out
    assert "one of seed 1001 failed: ValueError: planted" in " ".join(said.err.split())
    assert (mine / RECORD).read_text() == before  # a verdict does not give way to none
    assert json.loads((mine / "runs/reproduce/own/mine-failed.json").read_text())["verdict"] is None
    (mine / "fails-one").unlink()
    assert guerdon(*ONE, "--quiet").code == 0
    assert runs(mine)["two 1000"] == 2  # once for each of two finished calls; the failed one's good trials were kept


def test_what_fails_before_any_trial_exits_1(guerdon, mine):
    (mine / "unprepared").touch()
    said = guerdon(*ONE)
    assert said.code == 1
    told = "guerdon: mine: no verdict: the warm starts could not be made: ValueError: no warm start (mine.py, line "
    assert said.err.splitlines()[-1].startswith(told)
    assert not (mine / "runs").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--budget", "tyny"), "no budget 'tyny'; did you mean 'tiny'?"),
        (("--seeds", "1"), "invalid value for '--seeds'"),
        (("--workers", "0"), "invalid value for '--workers'"),
    ],
)
def test_wrong_options_get_one_line(guerdon, mine, words, complaint):
    assert complaint in guerdon("reproduce", "./mine.py", *words).complaint()
    assert not (mine / "runs").exists()


def test_wrong_files_get_one_line(guerdon, mine):
    assert "none.py: there is no such file" in guerdon("reproduce", "./none.py").complaint()
    (mine / "mine.py").write_text("x = (")
    assert "mine.py:1: '(' was never closed" in guerdon("reproduce", "./mine.py").complaint()


def test_a_verdict_never_gives_way_to_less(guerdon, mine):
    (mine / "out").mkdir()
    said = guerdon(*ONE, "--quiet", "--out", "out", "--seeds", "4")
    assert said.code == 0
    before = (mine / "out/mine.json").read_text()
    for words, why in ((("--budget", "tiny"), "a tiny run"), (("--pilot",), "a pilot"), ((), "a run of 3 seeds")):
        complaint = guerdon(*ONE, "--out", "out", *words).complaint()
        assert complaint.endswith(f"out/mine.json holds the verdict 'reproduced' over 4 seeds, and {why} does not replace it; choose another "
                                  "place: --out FOLDER")  # fmt: skip
    assert (mine / "out/mine.json").read_text() == before
    assert sum(runs(mine).values()) == 8  # refused before anything ran


def order(what: str, **how) -> _reproducing.Order:
    found = find(what)
    return _reproducing.Order(found, found.load(), **how)


def test_places(mine, monkeypatch):
    """A full run of guerdon's own study goes to the checkout's records when called there, everything else among the runs."""
    first, root = names()[0], mine / "checkout"
    (root / "src/guerdon").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    seeds = get(first).study.seeds
    monkeypatch.setattr(_provenance, "PACKAGE", root / "src/guerdon")
    name = f"{first}.json"
    assert order(first).place() == Path("runs/reproduce") / name  # called from outside
    monkeypatch.chdir(root)
    assert order(first).place() == Path("reproductions") / name
    assert order(first, seeds=seeds + 1).place() == Path("reproductions") / name
    assert order(first, budget="long").place() == Path("reproductions/long") / name
    assert order(first, seeds=seeds - 1).place() == Path(f"runs/reproduce/{seeds - 1}-seeds") / name
    assert order(first, budget="tiny").place() == Path("runs/reproduce/tiny") / name
    assert order(first, pilot=True).place() == Path("runs/reproduce/pilot") / name
    assert order(str(mine / "mine.py")).place() == Path("runs/reproduce/own/mine.json")
    assert order(first, budget="tiny", out=Path("x")).place() == Path("x") / name
    monkeypatch.chdir(root / "src")
    assert order(first).place() == root / "reproductions" / name
    monkeypatch.setattr(_provenance, "PACKAGE", mine / "site-packages/guerdon")  # an installed package has no checkout
    assert order(first).place() == Path("runs/reproduce") / name


def test_a_place_that_cannot_be_is_refused_before_anything_runs(guerdon, mine):
    (mine / "taken").write_text("a file")
    complaint = guerdon(*ONE, "--out", "taken/there").complaint()
    assert complaint == f"guerdon: taken/there/mine.json: {mine / 'taken'} is a file, expected a folder"
    assert not (mine / "log").exists()


def test_code_that_changes_while_the_study_runs_is_told(guerdon, mine, monkeypatch):
    monkeypatch.setattr(_reproducing, "source_hash", lambda file: "0123456789abcdef")
    said = guerdon(*ONE)
    assert "the code changed while the study ran" in said.err
    assert json.loads((mine / RECORD).read_text())["commit"].endswith("-dirty")


def test_a_file_of_ones_own_never_replaces_a_systems_verdict(guerdon, mine):
    assert guerdon(*ONE, "--quiet", "--out", "out").code == 0
    record = json.loads((mine / "out/mine.json").read_text())
    (mine / "out/mine.json").write_text(json.dumps({**record, "family": "reward-shaping"}))
    assert "a run of a file of your own does not replace it" in guerdon(*ONE, "--out", "out").complaint()


def test_ctrl_c_says_how_to_go_on_and_nothing_is_run_twice(mine):
    (mine / "slow").touch()
    command = [
        sys.executable,
        "-P",
        "-c",
        "import sys; from guerdon.cli import main; sys.exit(main())",
        "reproduce",
        "mine.py",
        "--workers",
        "1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            end = time.monotonic() + 60
            while not ((mine / "log").exists() and sum(runs(mine).values()) >= 2) and time.monotonic() < end:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert (
        err.splitlines()[-1]
        == "guerdon: interrupted; the trials that ended are kept; go on with: guerdon reproduce mine.py --workers 1"
    )
    assert not (mine / "runs").exists()
    (mine / "slow").unlink()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "trials of an interrupted call are kept" in done.stderr
    counts = runs(mine)
    assert len(counts) == 6
    assert sum(counts.values()) <= 7  # the one that was running may have begun again
    assert json.loads((mine / RECORD).read_text())["verdict"] == "reproduced"


def test_fresh_forgets(guerdon, mine):
    (mine / "fails-one").touch()
    assert guerdon(*ONE, "--quiet").code == 1
    (mine / "fails-one").unlink()
    assert guerdon(*ONE, "--quiet", "--fresh").code == 0
    assert runs(mine)["two 1000"] == 2


def test_changed_code_forgets_too(guerdon, mine):
    (mine / "fails-one").touch()
    assert guerdon(*ONE, "--quiet").code == 1
    (mine / "fails-one").unlink()
    (mine / "mine.py").write_text(FILE + "\n# changed\n")
    assert guerdon(*ONE, "--quiet").code == 0
    assert runs(mine)["two 1000"] == 2


@pytest.mark.slow
def test_a_system_runs_at_the_tiny_budget_from_its_copy(guerdon, here):
    """What the page for new users says: copy, then reproduce the copy."""
    first = min(names(), key=lambda n: (n != "par", n))
    assert guerdon("cp", first, "copy.py").code == 0
    said = guerdon("reproduce", "./copy.py", "--budget", "tiny", "--workers", "1", "--json")
    assert said.code == 0, said.err
    record = said.json()
    assert (record["id"], record["budget"], record["verdict"]) == ("copy", "tiny", None)
    assert list(record["arms"]) == list(get(first).study.arms)
