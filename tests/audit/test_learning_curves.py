"""Learning curves: bands over seeds by hand, the page of several runs, and the page of one run in a world."""

import json
import math

import numpy as np
import pytest

from guerdon.audit import compare, write_curves, write_report
from guerdon.audit.curves import band
from guerdon.audit.events import read_history
from guerdon.audit.report.control import environment_steps, episodes_seen, in_a_world, pays_itself, places, training_line
from guerdon.audit.report.curves import end_of, setting_labels, settings_of
from guerdon.core.errors import DataError, PlanError


# ---------------------------------------------------------------- bands
def test_runs_are_compared_where_all_of_them_have_been():
    curve = band([([0, 10, 20], [0.0, 10.0, 20.0]), ([10, 30], [30.0, 50.0])], points=3)
    assert curve.x.tolist() == [10.0, 15.0, 20.0]
    assert curve.middle.tolist() == [20.0, 25.0, 30.0]  # means of 10 and 30, 15 and 35, 20 and 40
    assert (curve.lo.tolist(), curve.hi.tolist()) == ([10.0, 15.0, 20.0], [30.0, 35.0, 40.0])  # two runs: both ends are reached
    assert curve.runs == 2


def test_a_resample_takes_whole_runs():
    """Runs that cross: at every point the spread is that of the values there, and the band never leaves them."""
    x = np.arange(11.0)
    curve = band([(x, x), (x, 10 - x), (x, np.full(11, 5.0))], points=11)
    assert curve.middle == pytest.approx(np.full(11, 5.0))
    assert curve.lo == pytest.approx(np.minimum(x, 10 - x))
    assert curve.hi == pytest.approx(np.maximum(x, 10 - x))


def test_one_run_has_no_band_and_runs_apart_no_curve():
    alone = band([([0, 4], [1.0, 3.0])], points=2)
    assert alone.middle.tolist() == [1.0, 3.0]
    assert np.isnan(alone.lo).all()
    assert len(band([([0, 1], [0.0, 0.0]), ([5, 6], [0.0, 0.0])]).x) == 0
    assert len(band([]).x) == 0


def test_readings_that_are_not_finite_are_left_out():
    assert band([([0, 1, 2], [0.0, math.nan, 4.0])], points=3).middle.tolist() == [0.0, 2.0, 4.0]


# ---------------------------------------------------------------- runs, made up
def write_run(folder, seed=0, draws=40, gain=400.0, lr=0.001, *, evals=True, failures=None, policy_seed=None, reason="finished"):
    """A run in a world whose returns rise to ``gain``; 1,000 environment steps a draw."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    plan = {
        "name": folder.name, "policy": {"use": "policies.Control.of", "seed": seed if policy_seed is None else policy_seed},
        "learners": {"policy": {"use": "run.Train", "lr": lr}}, "steps": draws, "seed": seed,
    }  # fmt: skip
    rows = [{"event": "start", "step": 0, "time": 1e9, "plan": plan, "task": folder.name, "parameters": 4610, "device": "cpu"}]

    def evaluation(step):
        value = 20 + (gain - 20) * step / draws
        return {"event": "eval", "step": step, "time": 1e9 + step, "samples": [], "metrics": {
            "episode/count": 16.0, "episode/return": value, "episode/return_std": 10.0, "episode/length": value, "proxy/mean": value,
            "proxy/std": 10.0, "proxy/ok": 1.0, "n": 16.0, "env/steps": 1000.0 * step, "episode/terminated": 0.75}}  # fmt: skip

    rows += [evaluation(0)] if evals else []
    for step in range(1, draws + 1):
        value = 20 + (gain - 20) * step / draws + float(rng.normal())
        metrics = {"reward/ok": 1.0, "episode/count": 8.0, "episode/return": value, "episode/return_q25": value - 9, "episode/return_q75": value + 9,
                   "episode/length": value, "episode/terminated": 1.0, "entropy": 0.6, "env/steps": 1000.0 * step, "return": 90.0}  # fmt: skip
        rows.append({"event": "draw", "step": step, "time": 1e9 + step, "metrics": metrics, "seconds": {"sample": 0.5, "update": 0.4},
                     "failures": failures or {}})  # fmt: skip
        rows += [evaluation(step)] if evals and step % 10 == 0 else []
    rows.append({"event": "end", "step": draws, "time": 1e9 + draws, "reason": reason, "best_step": draws})
    (folder / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "plan.yaml").write_text("{}")
    return folder


def main_of(page):
    return page.read_text().split("<main>")[1]


# ---------------------------------------------------------------- one run
def test_the_page_of_a_run_in_a_world_speaks_of_returns(tmp_path):
    text = main_of(write_report(write_run(tmp_path / "cart")))
    assert "The return rose." in text
    assert "40 draws (40,000 environment steps, 320 episodes) of a policy with 4,610 parameters on CPU" in text
    assert "the return went from 20 to 400" in text
    assert "Return by environment steps" in text
    assert "band: the middle half of the episodes" in text
    assert "25 % cut off at a limit" in text
    assert "No environment broke" in text
    for word in ("Diversity", "Held-out reward", "Over-optimisation", "Distinct-n", "Reward by draw", "answers", "hacking"):
        assert word not in text.split('id="plan"')[0], word
    summary = json.loads((tmp_path / "cart/summary.json").read_text())
    assert (summary["environment_steps"], summary["episodes"]) == (40_000, 320)
    assert summary["changes"]["return"]["direction"] == "rose"


def test_a_run_that_learned_nothing_is_told_so(tmp_path):
    assert "No clear change: the interval of the return&#39;s difference includes zero." in main_of(
        write_report(write_run(tmp_path / "a", gain=20))
    )
    assert "The return fell." in main_of(write_report(write_run(tmp_path / "b", gain=-80)))


def test_without_evaluations_the_draws_speak(tmp_path):
    text = main_of(write_report(write_run(tmp_path / "a", evals=False)))
    assert "From the episodes of the first 8 draws and the last 8." in text
    assert "Dots:" not in text


def test_failures_are_told_by_reason(tmp_path):
    text = main_of(write_report(write_run(tmp_path / "a", failures={"step raised RuntimeError: the motor is stuck": 2})))
    assert "the motor is stuck" in text
    assert "80 episodes or parts of them could not be scored" in text


def test_another_reward_than_the_return_is_judged_like_any_other(tmp_path):
    folder = write_run(tmp_path / "a")
    text = (folder / "events.jsonl").read_text().replace('"proxy/mean": ', '"proxy/mean": 1')
    (folder / "events.jsonl").write_text(text)
    assert not pays_itself(read_history(folder))
    page = main_of(write_report(folder))
    assert "Over-optimisation" in page
    assert "Return by environment steps" in page


def test_what_a_history_in_a_world_holds(tmp_path):
    h = read_history(write_run(tmp_path / "a"))
    assert in_a_world(h)
    assert pays_itself(h)
    assert (environment_steps(h), episodes_seen(h)) == (40_000, 320)
    assert places(h, np.array([0, 1, 40])).tolist() == [0.0, 1000.0, 40_000.0]
    (line,) = training_line(h)
    assert line.hi - line.lo == pytest.approx(np.full(40, 18.0))
    assert end_of(h) == pytest.approx(20 + 380 * np.mean([37, 38, 39, 40]) / 40, abs=2)  # the draws after step 36,000


def test_a_line_of_few_episodes_has_no_band(tmp_path):
    folder = write_run(tmp_path / "a")
    text = (folder / "events.jsonl").read_text().replace('"episode/count": 8.0', '"episode/count": 2.0')
    (folder / "events.jsonl").write_text(text)
    assert training_line(read_history(folder))[0].lo is None


def test_a_long_run_is_drawn_small(tmp_path):
    h = read_history(write_run(tmp_path / "a", draws=1000))
    (line,) = training_line(h)
    assert len(line.x) == 240
    assert (line.lo < line.y).all()


# ---------------------------------------------------------------- several runs
def test_seeds_of_one_plan_are_one_line(tmp_path):
    ends = {"slow": (100.0, 120.0, 140.0), "fast": (300.0, 320.0, 340.0)}
    runs = [
        write_run(tmp_path / name / f"seed-{k}", k, gain=v, lr=0.1 * (name == "fast"))
        for name, many in ends.items()
        for k, v in enumerate(many)
    ]
    settings = settings_of(runs)
    assert [(s.label, s.runs) for s in settings] == [
        ("lr 0.0", ("slow/seed-0", "slow/seed-1", "slow/seed-2")), ("lr 0.1", ("fast/seed-0", "fast/seed-1", "fast/seed-2"))]  # fmt: skip
    page = write_curves(runs, tmp_path / "out")
    tree = json.loads(page.with_suffix(".json").read_text())
    assert tree["pairs"][0]["difference"]["iqm"] == pytest.approx(200 * 38.5 / 40, abs=3)
    assert tree["pairs"][0]["improvement"]["mean"] == 1.0
    text = main_of(page)
    assert "With 3 seeds such an interval is too narrow" in text
    assert ">higher<" in text
    assert page.with_suffix(".svg").exists()


def test_labels_by_plan():
    plans = [{"a": k, "b": k, "c": k, "seed": s} for k in (1, 2) for s in (0, 1)]
    from pathlib import Path

    folders = [Path(f"{n}/seed-{s}") for n in ("one", "two") for s in (0, 1)]
    assert setting_labels(plans, folders) == ["one", "one", "two", "two"]
    assert setting_labels(plans, [Path("x/seed-0")] * 4) == ["x", "x", "x (2)", "x (2)"]


def test_given_labels_and_single_runs(tmp_path):
    runs = [write_run(tmp_path / n, k) for k, n in enumerate("ab")]
    text = main_of(write_curves(runs, tmp_path / "own.html", labels=["ours", "<b>theirs</b>"]))
    assert "&lt;b&gt;theirs&lt;/b&gt;" in text
    assert "A setting with one run has no band" in text


def test_what_has_no_curve_is_named(tmp_path, synthetic):
    story = synthetic.write(tmp_path / "story")
    with pytest.raises(DataError, match="story: no episode of a world ended in this run"):
        write_curves([story], tmp_path / "out")
    with pytest.raises(PlanError, match="1 labels for 2 runs"):
        write_curves([story, story], tmp_path / "out", labels=["a"])
    with pytest.raises(PlanError, match="at least one run"):
        write_curves([], tmp_path / "out")


def test_compare_tells_returns_and_steps(tmp_path):
    found = compare(write_run(tmp_path / "a", gain=100.0), write_run(tmp_path / "b", gain=150.0, draws=20))
    rows = {r.name: r for r in found.rows}
    assert (rows["return"].a, rows["return"].b, rows["return"].difference) == (100.0, 150.0, 50.0)
    assert rows["return"].clear
    assert (rows["environment steps"].a, rows["environment steps"].b) == (40_000, 20_000)


def test_a_story_is_no_run_in_a_world(tmp_path, synthetic):
    h = read_history(synthetic.write(tmp_path / "story"))
    assert not in_a_world(h)
    assert not pays_itself(h)
    assert "environment_steps" not in json.loads((write_report(h.path.parent).parent / "summary.json").read_text())
