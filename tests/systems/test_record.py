"""Records: what one holds, that its verdict follows from its figures, and that those that are kept say nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial

import pytest

from guerdon.core.errors import DataError
from guerdon.study import VERDICT_SEEDS, Expect, Study, run_study
from guerdon.systems import (
    Found,
    Paper,
    System,
    _provenance,
    _verdicts,
    failures,
    find,
    get,
    judge_again,
    names,
    read_record,
    record_of,
    verdict_record,
    verdicts_folder,
    write_record,
)


def arm(seed, budget, *, gain=0.0, fails=-1, lr=1.0):
    """An arm of the tests.

    Only its first line is shown.
    """
    if seed == fails:
        raise ValueError("planted")
    return {"x": seed + gain + 0.1 * gain * (seed % 2), "draws": [0, 1], "curve": [1 / 3, float("nan")]}


def system(**changes):
    arms = {"good": partial(arm, gain=1.0), "bad": arm}
    expect = [Expect("good", "higher", "bad", by=0.5), Expect("bad", "higher", "good", by=-1.2)]
    study = Study(**{"arms": arms, "metric": "x", "expect": expect, "seeds": 4, "traces": ["draws", "curve"], **changes})
    return System("A test", "It tests.", Paper("On Tests", ("Doe, Jane",), 2020, "2001.00001"), study, tried="much")


def recorded(tmp_path, changes=None, **how):
    (tmp_path / "mine.py").write_text("# a file")
    one = system(**(changes or {}))
    return record_of(Found("mine", "", tmp_path / "mine.py"), one, run_study(one.study, **how))


def test_what_a_record_holds(tmp_path):
    record = recorded(tmp_path, {"tune": {"lr": (1.0, 2.0)}})
    asked = {"id", "family", "title", "claim", "paper", "verdict", "summary", "metric", "effect", "ci", "expectation", "swapped", "seeds",
             "arms", "tuning", "traces", "labels", "tried", "seconds", "prepared", "budget", "workers", "commit", "versions", "source"}  # fmt: skip
    assert asked <= set(record)
    assert (record["id"], record["family"], record["verdict"], record["swapped"]) == ("mine", "", "reproduced", "not reproduced")
    assert record["seeds"] == [1000, 1001, 1002, 1003]
    # gain 1, and a tenth more at odd seeds: 1, 1.1, 1, 1.1: mean 1.05, deviation 0.0577, t 3.1824: half width 0.0919
    assert record["effect"] == pytest.approx(1.05)
    assert record["ci"] == pytest.approx([0.9581, 1.1419], abs=1e-4)
    good, bad = record["arms"]["good"], record["arms"]["bad"]
    assert good["metrics"] == {"x": pytest.approx([1001.0, 1002.1, 1003.0, 1004.1])}
    assert good["traces"] == {"draws": [[0.0, 1.0]] * 4, "curve": [[0.3333, None]] * 4}
    assert (good["about"], bad["about"]) == ("gain=1.0", "An arm of the tests.")
    assert (good["setting"], len(record["tuning"]), record["tuning"][0]["seed"]) == ({"lr": 1.0}, 4, 0)
    assert [e["text"] for e in record["expectation"]] == [
        "good higher than bad by at least 0.5",
        "bad not lower than good by more than 1.2",
    ]
    assert record["summary"] == (
        "Reproduced over 4 paired seeds: good higher than bad by at least 0.5: +1.05 (+0.958 to +1.14), reproduced; "
        "bad not lower than good by more than 1.2: -1.05 (-1.14 to -0.958), reproduced."
    )
    assert "torch" in record["versions"]


@pytest.mark.parametrize("how", [{"budget": "tiny"}, {"pilot": True}])
def test_no_verdict_where_there_is_none(tmp_path, how):
    record = recorded(tmp_path, **how)
    assert (record["verdict"], record["swapped"]) == (None, None)
    assert {e["verdict"] for e in record["expectation"]} == {None}
    assert record["effect"] == pytest.approx(1.05)
    assert record["summary"].startswith("No verdict: ")
    assert record["pilot"] == ("pilot" in how)


def test_failures_keep_their_seed_and_their_reason(tmp_path):
    arms = {"good": partial(arm, gain=1.0, fails=1002), "bad": arm}
    record = recorded(tmp_path, {"arms": arms})
    assert record["arms"]["good"]["metrics"]["x"] == [1001.0, 1002.1, None, 1004.1]
    (told,) = failures(record)
    assert re.fullmatch(r"good, seed 1002: ValueError: planted \(test_record.py, line \d+\)", told)
    assert (record["verdict"], record["effect"], record["ci"], record["swapped"]) == (None, None, None, None)
    assert record["summary"] == f"No verdict: 1 of 8 trials failed; {told}."
    json.dumps(record, allow_nan=False)


def test_a_record_comes_back_as_it_was(tmp_path):
    record = recorded(tmp_path)
    path = write_record(record, tmp_path / "a/b/mine.json")
    assert read_record(path) == json.loads(json.dumps(record))
    assert judge_again(read_record(path))[0] == record["verdict"]
    assert [j.effect for j in judge_again(read_record(path))[1]] == [
        e["effect"] for e in record["expectation"]
    ]  # to the last bit
    lines = path.read_text().splitlines()
    assert len(lines) < 90
    assert all(len(line) <= 132 for line in lines if "{" in line)


@pytest.mark.parametrize("text", ["", "[1]", '{"id": "x"}', "{broken"])
def test_what_is_no_record(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json: not a record of a study"):
        read_record(tmp_path / "x.json")


def test_the_hash_is_of_all_code_and_of_the_file(tmp_path, monkeypatch):
    package = tmp_path / "src/guerdon"
    (package / "core").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "core/a.py").write_text("1")
    (tmp_path / "mine.py").write_text("1")
    monkeypatch.setattr(_provenance, "PACKAGE", package)
    seen = [_provenance.source_hash(tmp_path / "mine.py")]
    for path, text in ((tmp_path / "mine.py", "2"), (package / "core/a.py", "2"), (package / "core/b.py", "")):
        path.write_text(text)
        seen.append(_provenance.source_hash(tmp_path / "mine.py"))
    assert len(set(seen)) == 4
    (package / "core/notes.txt").write_text("3")
    assert _provenance.source_hash(tmp_path / "mine.py") == seen[-1]


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_commit_and_whether_the_code_is_at_it(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=Jane", "-c", "user.email=jane@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    package = tmp_path / "src/guerdon"
    package.mkdir(parents=True)
    monkeypatch.setattr(_provenance, "PACKAGE", package)
    assert _provenance.commit_of() == ""  # no checkout at all
    (tmp_path / "pyproject.toml").touch()
    (package / "__init__.py").write_text("1")
    git("init", "-q")
    git("add", "pyproject.toml")
    git("commit", "-qm", "first")
    assert _provenance.commit_of() == ""  # a repository that knows nothing of this code
    git("add", "src")
    git("commit", "-qm", "second")
    head = git("rev-parse", "HEAD")
    assert _provenance.commit_of() == head
    (tmp_path / "elsewhere.txt").write_text("1")
    (tmp_path / "reproductions").mkdir()
    (tmp_path / "reproductions/a.json").write_text("{}")
    assert _provenance.commit_of() == head  # records change nothing
    (tmp_path / "mine.py").write_text("1")
    assert _provenance.commit_of([tmp_path / "mine.py"]) == f"{head}-dirty"
    (package / "new.py").write_text("1")
    assert _provenance.commit_of() == f"{head}-dirty"
    (package / "new.py").unlink()
    (package / "__init__.py").write_text("2")
    assert _provenance.commit_of() == f"{head}-dirty"


def test_where_verdicts_lie(tmp_path, monkeypatch):
    package = tmp_path / "site-packages/guerdon"
    (package / "_reproductions").mkdir(parents=True)
    record = recorded(tmp_path)
    write_record(record, package / "_reproductions/mine.json")
    for module in (_provenance, _verdicts):
        monkeypatch.setattr(module, "PACKAGE", package)
    assert verdicts_folder() == package / "_reproductions"
    assert verdict_record("mine") == json.loads(json.dumps(record))
    assert verdict_record("other") is None


# ---------------------------------------------------------------- the project's own records
KEPT = [n for n in names() if verdict_record(n) is not None]


def test_every_record_is_of_a_system():
    assert {p.stem for p in verdicts_folder().glob("*.json")} <= set(names())


@pytest.mark.parametrize("name", KEPT)
def test_the_verdict_follows_from_the_figures_of_each_seed(name):
    record = verdict_record(name)
    verdict, judged = judge_again(record)
    assert record["verdict"] == verdict
    assert len(judged) == len(record["expectation"])
    for found, told in zip(judged, record["expectation"], strict=True):
        assert found.verdict == told["verdict"]
        assert found.effect == pytest.approx(told["effect"], rel=1e-9)
        assert [found.low, found.high] == pytest.approx(told["ci"], rel=1e-9)
    assert (record["effect"], record["ci"]) == (record["expectation"][0]["effect"], record["expectation"][0]["ci"])
    assert record["summary"].startswith(record["verdict"].capitalize())


@pytest.mark.parametrize("name", KEPT)
def test_with_the_labels_exchanged_nothing_is_reproduced(name):
    record = verdict_record(name)
    assert record["swapped"] == judge_again(record, swapped=True)[0]
    assert record["swapped"] != "reproduced"


@pytest.mark.parametrize("name", KEPT)
def test_the_record_is_of_the_study_as_it_stands(name):
    """An expectation or an arm that was changed after the verdict would need a new one."""
    record, study = verdict_record(name), get(name).study
    assert [e["text"] for e in record["expectation"]] == [str(e) for e in study.expect]
    assert (record["metric"], list(record["arms"])) == (study.metric, list(study.arms))
    assert record["seeds"] == list(VERDICT_SEEDS[: study.seeds])
    assert (record["budget"], record["pilot"], failures(record)) == ("default", False, [])
    assert record["family"] == find(name).family


@pytest.mark.parametrize("name", KEPT)
def test_the_record_is_honest_about_what_it_took(name):
    record = verdict_record(name)
    assert 0 < record["seconds"] <= 600, "a study at the default budget takes at most ten minutes"
    assert record["workers"] <= 2
    assert record["commit"], "made outside a checkout"
    assert not record["commit"].endswith("-dirty"), "made with code that nobody else can get"
    assert record["verdict"] == "reproduced" or get(name).tried, "says what was tried"
    assert (verdicts_folder() / f"{name}.svg").is_file()
    assert {len(v) for arm in record["arms"].values() for v in arm["metrics"].values()} == {len(record["seeds"])}
    if study_tunes := get(name).study.settings if get(name).study.tune else []:
        by_arm = {a: [t["setting"] for t in record["tuning"] if t["arm"] == a] for a in get(name).study.tuned}
        assert {len(s) for s in by_arm.values()} == {len(study_tunes) * get(name).study.pilots}, "arms tuned unequally"


def test_the_swapped_verdict_is_of_the_swapped_arms(tmp_path):
    record = recorded(tmp_path, {"expect": [Expect("bad", "higher", "good", by=0.5)]})
    assert (record["verdict"], record["swapped"]) == ("not reproduced", "reproduced")  # a claim that is the wrong way round
    flipped = replace(system().study, expect=[Expect("good", "higher", "bad", by=0.5)])
    assert run_study(flipped).verdict == record["swapped"]
