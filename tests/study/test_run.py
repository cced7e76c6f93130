"""A study from its first trial to its verdict: seeds, tuning, failures, and going on after an interruption."""

from __future__ import annotations

import json

import pytest

from guerdon.core.errors import PlanError, RunError
from guerdon.study import Expect, Study, run_study

GAIN = Expect("good", "higher", "bad", by=0.5)


class Recorder:
    """An arm that remembers what it was asked; noise is the seed's, so that pairing takes it away."""

    def __init__(self, gain: float = 0.0, fails=()):
        self.gain, self.fails, self.seen = gain, fails, []

    def __call__(self, seed, budget, **setting):
        self.seen.append((seed, setting))
        if seed in self.fails:
            raise ValueError("planted")
        return {
            "x": seed % 7 + self.gain + 0.01 * (seed % 3) * self.gain - abs(setting.get("lr", 1.0) - 1.0),
            "draws": [0.0, 1.0],
        }


def study(good=None, bad=None, **changes):
    arms = {"good": good or Recorder(1.0), "bad": bad or Recorder()}
    return Study(**{"arms": arms, "metric": "x", "expect": [GAIN], "seeds": 4, **changes})


def test_a_verdict_from_paired_seeds():
    found = run_study(study())
    assert found.verdict == "reproduced"
    # gain at seeds 1000 .. 1003 (1000 % 3 = 1): 1.01, 1.02, 1.00, 1.01
    assert found.judged[0].effect == pytest.approx(1.01)
    assert list(found.seeds) == [1000, 1001, 1002, 1003]
    for arm in ("good", "bad"):
        assert [s for s, _ in found.study.arms[arm].seen] == [1000, 1001, 1002, 1003]
    assert found.values("bad") == [6.0, 0.0, 1.0, 2.0]
    assert found.failed == []


@pytest.mark.parametrize("how", [{"pilot": True}, {"budget": "tiny"}, {"pilot": True, "budget": "long"}])
def test_pilots_and_tiny_runs_never_touch_verdict_seeds(how):
    good = Recorder(1.0)
    found = run_study(study(good), **how)
    assert found.verdict is None
    assert found.judged[0].effect == pytest.approx(1.0, abs=0.1)
    assert good.seen
    assert all(s < 1000 for s, _ in good.seen)


@pytest.mark.parametrize("seeds", [0, 1, -3, 10**7])
def test_impossible_numbers_of_seeds_are_refused_before_anything_runs(seeds):
    good = Recorder(1.0)
    with pytest.raises(PlanError, match=f"{seeds} seeds; from 2 to"):
        run_study(study(good), seeds=seeds)
    assert good.seen == []


def test_warm_starts_are_made_first_and_once():
    order = []

    def arm(seed, budget):
        order.append(seed)
        return {"x": 0.0}

    run_study(study(arm, arm, prepare=lambda budget: order.append(budget.name)))
    assert order == ["default", *[s for s in range(1000, 1004) for _ in "ab"]]


def test_warm_starts_that_cannot_be_made_are_told():
    with pytest.raises(RunError, match="the warm starts could not be made: ZeroDivisionError"):
        run_study(study(prepare=lambda budget: 1 / 0))


def test_both_arms_are_tuned_alike_and_on_pilot_seeds():
    good, bad = Recorder(1.0), Recorder()
    found = run_study(study(good, bad, tune={"lr": (0.1, 1.0, 3.0)}, pilots=2))
    for arm in (good, bad):
        tuned = [(s, w["lr"]) for s, w in arm.seen if s < 1000]
        assert sorted(tuned) == [(s, lr) for s in (0, 1) for lr in (0.1, 1.0, 3.0)]
        assert [w for s, w in arm.seen if s >= 1000] == [{"lr": 1.0}] * 4  # the best one: nothing is lost there
    assert found.settings == {"good": {"lr": 1.0}, "bad": {"lr": 1.0}}
    assert len(found.tuning) == 12


def test_tuning_may_look_for_the_lowest():
    found = run_study(study(tune={"lr": (0.1, 1.0, 3.0)}, best="lower"))
    assert found.settings == {"good": {"lr": 3.0}, "bad": {"lr": 3.0}}


def test_settings_that_json_changes_are_told_apart():
    """A pair becomes a list on its way to a worker and back."""
    seen = []

    def arm(seed, budget, *, betas=(0.0, 0.0)):
        seen.append(tuple(betas))
        return {"x": betas[1]}

    found = run_study(study(arm, arm, tune={"betas": ((0.1, 0.2), (0.1, 0.9), (0.1, 0.3))}))
    assert found.settings["good"] == {"betas": (0.1, 0.9)}


def test_a_setting_that_fails_is_passed_over_and_one_that_is_left_out_is_not_tuned():
    class Picky(Recorder):
        def __call__(self, seed, budget, **setting):
            if setting.get("lr") == 1.0:
                raise ValueError("too high")
            return super().__call__(seed, budget, **setting)

    found = run_study(study(Picky(1.0), tune={"lr": (0.1, 1.0, 1.5)}, untuned=["bad"]))
    assert found.settings == {"good": {"lr": 1.5}}
    assert [w for _, w in found.study.arms["bad"].seen] == [{}] * 4
    with pytest.raises(RunError, match="arm 'good' failed at every setting: ValueError: too high"):
        run_study(study(Picky(1.0), tune={"lr": (1.0,)}))


def test_a_failed_trial_leaves_no_verdict():
    found = run_study(study(bad=Recorder(fails=[1002])))
    assert (found.verdict, found.judged) == (None, [])
    assert [(t.task.arm, t.task.seed, t.reason) for t in found.failed] == [("bad", 1002, "ValueError: planted")]
    assert len(found.values("bad")) == 3


def test_an_arm_outside_the_expectations_may_fail():
    found = run_study(study(arms={"good": Recorder(1.0), "bad": Recorder(), "other": Recorder(fails=[1000])}))
    assert found.verdict == "reproduced"
    assert len(found.failed) == 1


def test_a_metric_that_is_missing_is_a_failed_trial():
    found = run_study(study(expect=[GAIN, Expect("good", "lower", "bad", by=1.0, metric="drawn")]))
    assert found.verdict is None
    assert {t.reason for t in found.failed} == {
        "PlanError: arm 'good' measured no 'drawn'; known: x",
        "PlanError: arm 'bad' measured no 'drawn'; known: x",
    }


def test_progress_counts_everything():
    told = []
    run_study(study(tune={"lr": (0.1, 1.0)}), progress=lambda done, total, trial: told.append((done, total, trial.task.arm)))
    assert [d for d, _, _ in told] == list(range(1, 14))  # warm starts, 2 arms x 2 settings, 2 arms x 4 seeds
    assert {t for _, t, _ in told} == {13}
    assert told[0][2] == ""


# ---------------------------------------------------------------- interrupted and gone on with
class Stopped(Recorder):
    """Interrupted at a seed, once."""

    def __init__(self, at, **how):
        super().__init__(**how)
        self.at = at

    def __call__(self, seed, budget, **setting):
        if seed == self.at:
            self.at = None
            raise KeyboardInterrupt
        return super().__call__(seed, budget, **setting)


def test_an_interrupted_study_goes_on_and_gives_the_same(tmp_path):
    kept = tmp_path / "a/trials.jsonl"
    good, bad = Recorder(1.0), Stopped(1002)
    interrupted = study(good, bad, tune={"lr": (0.1, 1.0)})
    with pytest.raises(KeyboardInterrupt):
        run_study(interrupted, kept=kept)
    found = run_study(interrupted, kept=kept)
    assert [s for s, _ in good.seen] == [0, 0, 1000, 1001, 1002, 1003]  # none twice
    assert [s for s, _ in bad.seen] == [0, 0, 1000, 1001, 1002, 1003]
    whole = run_study(study(tune={"lr": (0.1, 1.0)}))
    assert (found.verdict, found.judged, found.settings) == (whole.verdict, whole.judged, whole.settings)
    assert [t.metrics for t in found.trials["bad"]] == [t.metrics for t in whole.trials["bad"]]


def test_failed_trials_are_run_again(tmp_path):
    kept = tmp_path / "trials.jsonl"
    good = Recorder(1.0, fails=[1001])
    assert run_study(study(good), kept=kept).verdict is None
    good.fails = ()
    assert run_study(study(good), kept=kept).verdict == "reproduced"
    assert [s for s, _ in good.seen] == [1000, 1001, 1002, 1003, 1001]


def test_a_line_cut_short_costs_one_trial(tmp_path):
    kept = tmp_path / "trials.jsonl"
    run_study(study(), kept=kept)
    text = kept.read_bytes()
    for cut in range(1, len(text.splitlines()[-1])):
        kept.write_bytes(text[:-cut])
        good, bad = Recorder(1.0), Recorder()
        found = run_study(study(good, bad), kept=kept)
        assert found.verdict == "reproduced"
        assert (good.seen, bad.seen) == ([], [(1003, {})]), cut
        assert all(json.loads(line) for line in kept.read_text().splitlines())


def test_the_time_of_all_calls_counts_and_that_between_them_does_not(tmp_path, monkeypatch):
    kept, clock = tmp_path / "trials.jsonl", [100.0]
    monkeypatch.setattr("guerdon.study.book.time.monotonic", lambda: clock[0])

    class Slow(Stopped):
        def __call__(self, seed, budget, **setting):
            clock[0] += 10
            return super().__call__(seed, budget, **setting)

    def prepare(budget):
        clock[0] += 5

    stopped = study(Slow(None, gain=1.0), Slow(1002), prepare=prepare)
    with pytest.raises(KeyboardInterrupt):
        run_study(stopped, kept=kept)
    clock[0] += 1000
    found = run_study(stopped, kept=kept)
    # First call: 5, then 50 for five trials, and 10 that were lost; second: 5, 30. What was lost after the last trial is not known.
    assert found.seconds == pytest.approx(5 + 50 + 5 + 30)
    assert found.prepared == pytest.approx(10)
