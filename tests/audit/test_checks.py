import dataclasses
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from guerdon.audit import (
    ConstantReward,
    DeadGroups,
    DiversityLoss,
    EntropyCollapse,
    FailingReward,
    HeldOutDivergence,
    KLBudget,
    LengthDrift,
    LikelihoodDisplacement,
    LogpMismatch,
    NotFinite,
    OnePart,
    UncertaintyGrowth,
    default_checks,
    findings,
    read_history,
)
from guerdon.audit.checks import all_findings, checks_of
from guerdon.audit.series import Series, episodes
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Finding


def series(**columns: list[float]) -> Series:
    named = {k.replace("__", "/"): np.array(v, dtype=float) for k, v in columns.items()}
    return Series(np.arange(1, len(next(iter(named.values()))) + 1), named)


def told(found: list[Finding]) -> list[tuple[str, int | None]]:
    return [(f.level, f.step) for f in found]


def test_every_finding_has_evidence_and_advice(tmp_path: Path, synthetic: ModuleType) -> None:
    found = [f for kind in ("hacked", "failing") for f in findings(read_history(synthetic.write(tmp_path / kind, kind)))]
    assert {f.check for f in found} == {"HeldOutDivergence", "DiversityLoss", "KLBudget", "EntropyCollapse", "FailingReward"}
    for f in found:
        assert f.message.endswith(".")
        assert f.evidence
        assert f.advice
        json.dumps(dict(f.evidence), allow_nan=False)


@pytest.mark.parametrize("kind", ["healthy", "long", "no_held_out", "no_evaluation", "one_step", "empty"])
@pytest.mark.parametrize("seed", range(3))
def test_no_false_alarm_in_healthy_runs(tmp_path: Path, synthetic: ModuleType, kind: str, seed: int) -> None:
    steps = 2000 if kind == "long" else None
    assert findings(read_history(synthetic.write(tmp_path / "run", kind, seed=seed, steps=steps))) == []


def test_noise_alone_is_no_finding() -> None:
    """Twenty runs of 200 draws of pure noise, all checks: not a word."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = 200
        s = series(
            reward__mean=rng.normal(0, 0.3, n), reward__std=rng.uniform(0.1, 0.5, n), reward__ok=np.ones(n),
            kl=rng.normal(0, 2, n),
            kl_step=rng.normal(0, 0.1, n), entropy=2 + rng.normal(0, 0.3, n), length=rng.normal(20, 4, n), terminal=rng.random(n),
            groups__dead=rng.uniform(0, 0.5, n), mismatch__mean=rng.uniform(0, 1e-3, n), distinct_2=0.6 + rng.normal(0, 0.05, n),
        )  # fmt: skip
        assert [f for c in default_checks() if c.of == "draws" for f in c.scan(s)] == []


def test_in_run_and_after_it_say_the_same(tmp_path: Path, synthetic: ModuleType) -> None:
    """Draw by draw, as the loop calls them, the checks tell exactly what they tell of the recorded run."""
    for kind in ("hacked", "learned", "failing"):
        h = read_history(synthetic.write(tmp_path / kind, kind))
        rows = [{k: v[i] for k, v in h.metrics.items() if math.isfinite(v[i])} for i in range(len(h))]
        live = []
        for i in range(1, len(rows) + 2):  # one call more, to hear of the last evaluation
            evals = [{"step": e.step, "metrics": dict(e.metrics)} for e in h.evals if e.step < i]
            run = SimpleNamespace(step=i, history=rows[:i] if i <= len(rows) else rows, evaluations=evals)
            if i > len(rows):
                live += [f for c in default_checks() if c.of == "evaluations" for f in c(None, run)]
            else:
                live += [f for c in default_checks() for f in c(None, run)]
        key = lambda f: (f.check, f.step)  # noqa: E731
        assert sorted(live, key=key) == sorted(findings(h), key=key)
        assert live


def test_a_run_needs_only_step_and_history() -> None:
    run = SimpleNamespace(step=0, history=[])
    assert [f for c in default_checks() for f in c(None, run)] == []
    run = SimpleNamespace(step=1, history=[{"mismatch/mean": 3.0}])
    assert [f.check for c in default_checks() for f in c(None, run)] == ["LogpMismatch"]


def test_episodes_tell_begin_growth_and_end_once() -> None:
    s = np.array([0, 1.2, 1.1, 1.3, 0.9, 1.1, 2.5, 2.6, 0.85, 0.1, 0.1, 1.5])
    assert [(m.kind, m.at, m.since) for m in episodes(s)] == [
        ("began", 1, 1), ("grew", 6, 1), ("ended", 9, 1), ("began", 11, 11),
    ]  # fmt: skip
    assert [(m.kind, m.at) for m in episodes(s, patience=2)] == [("began", 2), ("grew", 6), ("ended", 10)]
    assert [m.at for m in episodes(np.array([0, 9.0, 0.0]), patience=3, strong=5.0)] == [1]
    assert episodes(np.array([math.nan, 0.5])) == []


def test_constant_reward() -> None:
    s = series(reward__std=[0, 0, 0, 0, 0.2], reward__mean=[0.5] * 5, reward__ok=[1] * 5)
    assert told(ConstantReward().scan(s)) == [("warning", 3), ("info", 5)]
    one_row_each = series(reward__std=[0] * 6, reward__mean=[0.1, 0.7, 0.3, 0.9, 0.2, 0.4], reward__ok=[1] * 6)
    assert ConstantReward().scan(one_row_each) == []
    all_failed = series(reward__std=[0] * 6, reward__mean=[0] * 6, reward__ok=[0] * 6)
    assert ConstantReward().scan(all_failed) == []
    solved = series(reward__std=[0.3, 0.2, 0.1, 0, 0, 0, 0], reward__mean=[0.1, 0.5, 0.9, 1, 1, 1, 1], reward__ok=[1] * 7)
    (finding,) = ConstantReward().scan(solved)
    assert finding.level == "info"
    assert "highest reward seen" in finding.message


def test_failing_reward() -> None:
    assert told(FailingReward(limit=0.1).scan(series(reward__ok=[1, 1, 0.9, 0.6]))) == [("warning", 4)]  # (0 + 0 + .1 + .4) / 4
    assert told(FailingReward().scan(series(reward__ok=[0.25]))) == [("error", 1)]
    assert FailingReward().scan(series(reward__ok=[0.9, 1, 1, 1, 1])) == []  # one row of ten in one draw


def test_failing_reward_names_the_reasons_in_a_run() -> None:
    batch = SimpleNamespace(raw=SimpleNamespace(reason=["timed out", "", "timed out", "not a number"]))
    (f,) = FailingReward()(batch, SimpleNamespace(step=1, history=[{"reward/ok": 0.25}]))
    assert f.evidence["timed out"] == 2
    assert f.evidence["not a number"] == 1


def test_kl_budget_per_sample_and_per_step() -> None:
    assert told(KLBudget(limit=10).scan(series(kl=[0, 5, 12, 12, 12, 12, 12], kl_step=[0] * 7))) == [("warning", 5)]
    assert told(KLBudget(step_limit=0.5).scan(series(kl=[1] * 4, kl_step=[0.6] * 4))) == [("warning", 3)]
    assert KLBudget(limit=10).scan(series(kl=[0, 0, 40, 0, 0, 0], kl_step=[0] * 6)) == []  # one wild estimate


def test_entropy_collapse_and_recovery() -> None:
    s = series(entropy=[2.0] * 5 + [0.4] * 6 + [1.8] * 6)
    assert told(EntropyCollapse(fraction=0.25).scan(s)) == [("warning", 10), ("info", 12)]
    assert EntropyCollapse(fraction=0.25).scan(series(entropy=[2.0] * 5 + [1.0] * 20)) == []
    assert EntropyCollapse(fraction=0.25).scan(series(entropy=[0.01] * 5 + [0.0] * 20)) == []


@pytest.mark.parametrize(("after", "words"), [(50.0, "2.5 times as long"), (8.0, "40 % as long")])
def test_length_drift_both_ways(after: float, words: str) -> None:
    (f,) = LengthDrift().scan(series(length=[20.0] * 5 + [after] * 5, terminal=[1.0] * 10))
    assert f.level == "warning"
    assert words in f.message
    assert f.evidence["steps at the start"] == 20.0


def test_dead_groups() -> None:
    assert told(DeadGroups().scan(series(groups__dead=[0.5] * 5 + [1.0] * 5 + [0.2] * 5))) == [("warning", 8), ("info", 13)]


def test_logp_mismatch_at_once_where_it_is_large() -> None:
    assert told(LogpMismatch().scan(series(mismatch__mean=[0.3], mismatch__max=[4.0]))) == [("error", 1)]
    assert told(LogpMismatch().scan(series(mismatch__mean=[0.06, 0.0, 0.06, 0.06], mismatch__max=[1] * 4))) == [("warning", 4)]


def test_diversity_loss_is_told_again_when_half_of_the_rest_is_gone() -> None:
    s = series(distinct_2=[0.8] * 5 + [0.5] * 5 + [0.24] * 5 + [0.06] * 5, length=[20.0] * 20)
    found = DiversityLoss(fraction=0.3).scan(s)
    assert len(found) == 3  # at 62 %, then each time the loss has doubled on a log scale
    assert all(f.level == "warning" for f in found)


def test_diversity_loss_allows_for_length() -> None:
    alike = {"distinct_2": [0.7] * 5 + [0.4] * 5}
    assert told(DiversityLoss(fraction=0.3).scan(series(**alike, length=[20.0] * 10))) == [("warning", 10)]
    longer = series(**alike, length=[20.0] * 5 + [60.0] * 5)  # three times the tokens: 0.7 / sqrt(3) = 0.404
    assert DiversityLoss(fraction=0.3).scan(longer) == []
    counted = series(**alike, length=[20.0] * 5 + [60.0] * 5, distinct_tokens=[500.0] * 10)
    assert told(DiversityLoss(fraction=0.3).scan(counted)) == [("warning", 10)]


def evals(proxy: list[float], held: list[float], std: float | None = 0.2, n: float = 64) -> Series:
    columns = {"proxy__mean": proxy, "held_out__mean": held, "n": [n] * len(proxy)}
    return series(**columns, **({"held_out__std": [std] * len(proxy)} if std else {}))


def test_held_out_divergence() -> None:
    rising = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8]
    check = HeldOutDivergence()
    assert told(check.scan(evals(rising, [0.2, 0.4, 0.5, 0.5, 0.39, 0.38]))) == [("error", 6)]  # 3 errors are 0.107
    assert told(check.scan(evals(rising, [0.2, 0.4, 0.5, 0.5, 0.40, 0.40]))) == []
    (one,) = check.scan(evals(rising[:4], [0.2, 0.5, 0.5, 0.2]))  # 8 errors: believed at once
    assert (one.step, one.evidence["at draw"], one.evidence["evaluations averaged"]) == (4, 2, 1)
    assert one.evidence["fall in standard errors"] == pytest.approx(0.3 / (0.2 * math.sqrt(2 / 63)))
    assert told(check.scan(evals(rising, [0.2, 0.4, 0.1, 0.0, -0.1, -0.2]))) == [("error", 3), ("error", 6)]
    assert check.scan(evals(rising, [0.2, 0.4, 0.5, 0.6, 0.7, 0.8])) == []
    assert check.scan(evals(rising, [0.2, 0.4, 0.5, 0.47, 0.52, 0.48])) == []  # within its error
    both_fall = evals([0.1, 0.9, 0.5, 0.4, 0.3, 0.2], [0.2, 0.9, 0.5, 0.4, 0.3, 0.2])
    assert check.scan(both_fall) == []  # bad, but no exploit


def test_held_out_divergence_without_spreads_needs_seven_evaluations() -> None:
    proxy = [0.1 * k for k in range(8)]
    held = [0.1, 0.2, 0.31, 0.39, 0.30, 0.2, 0.11, 0.0]
    assert {f.check for f in HeldOutDivergence().scan(evals(proxy, held, std=None))} == {"HeldOutDivergence"}
    assert HeldOutDivergence().scan(evals(proxy[:6], [0.1, 0.4, 0.3, 0.2, 0.1, 0.0], std=None)) == []


def test_held_out_divergence_averages_where_one_reading_is_too_noisy() -> None:
    """A fall of 4 standard errors of a reading: 2.8 of a difference, which is too little; 3.6 of the difference of two means."""
    wobble = np.tile([0.3, 0.3, -0.3, -0.3], 4)
    error = 0.2 / math.sqrt(63)
    held = 0.5 + error * (np.where(np.arange(16) < 8, 4.0, 0.0) + wobble)
    found = HeldOutDivergence().scan(evals([0.1 * k for k in range(16)], held.tolist()))
    assert found
    assert found[0].evidence["evaluations averaged"] > 1


def test_likelihood_displacement() -> None:
    chosen, gap = [-0.2 * k for k in range(50)], [0.4 * k for k in range(50)]
    columns = {"displacement__policy.chosen": chosen, "displacement__policy.gap": gap}
    found = LikelihoodDisplacement().scan(series(**columns))
    assert told(found) == [("warning", 28)]  # the mean of draws 24..28 is -5
    assert found[0].evidence["gap, nats"] == pytest.approx(10.0)
    assert (
        LikelihoodDisplacement().scan(series(**{**columns, "displacement__policy.gap": [-g for g in gap]})) == []
    )  # worse things
    assert LikelihoodDisplacement().scan(series(**{**columns, "displacement__policy.chosen": [-c for c in chosen]})) == []
    other = series(**{"displacement__judge.chosen": chosen, "displacement__judge.gap": gap})
    assert told(LikelihoodDisplacement().scan(other)) == [("warning", 28)]
    run = SimpleNamespace(step=28, history=[{"displacement/policy.chosen": c, "displacement/policy.gap": g}
                                            for c, g in zip(chosen[:28], gap, strict=False)])  # fmt: skip
    assert [f.step for f in LikelihoodDisplacement()(None, run)] == [28]


def test_uncertainty_growth() -> None:
    grown = {"reward__uncertainty": [0.2] * 5 + [0.6] * 10}
    assert told(UncertaintyGrowth().scan(series(**grown, reward__std=[1.0] * 15))) == [("warning", 10)]
    assert UncertaintyGrowth().scan(series(**grown, reward__std=[2.0] * 15)) == []  # still small against what sets answers apart
    assert told(UncertaintyGrowth().scan(series(**grown))) == [("warning", 10)]
    assert UncertaintyGrowth().scan(series(reward__uncertainty=[0.2] * 5 + [0.35] * 10, reward__std=[0.5] * 15)) == []
    assert UncertaintyGrowth().scan(series(reward__uncertainty=[0.0] * 15)) == []
    with pytest.raises(PlanError, match="factor must be above 1"):
        UncertaintyGrowth(factor=1.0)


def test_one_part_that_brings_the_gain() -> None:
    rng = np.random.default_rng(0)
    up, still = np.linspace(0, 1, 60), np.zeros(60)
    noise = rng.normal(size=(2, 60)) * 0.02

    def scan(a: np.ndarray, b: np.ndarray, weights: tuple[float, float] = (2.0, 0.5), **more: np.ndarray) -> list[Finding]:
        columns = {"part__style": a, "part__facts": b, "reward__mean": weights[0] * a + weights[1] * b, **more}
        return OnePart().scan(series(**{k: v.tolist() for k, v in columns.items()}, reward__std=[0.5] * 60))

    (found,) = scan(up + noise[0], still + noise[1])
    assert found.level == "info"
    assert "one part, style" in found.message
    assert scan(up + noise[0], 4 * up + noise[1]) == []  # weights count: 2 * 1 against 0.5 * 4
    assert scan(still + noise[0], still + noise[1]) == []  # no gain
    assert scan(up + noise[0], still + noise[1], reward__mean=up**2) == []  # the parts do not add up to the reward


def test_not_finite() -> None:
    run = SimpleNamespace(step=2, history=[{"reward/ok": 1.0}, {"skipped/policy.not_finite": 1.0}])
    assert [f.check for f in NotFinite()(None, run)] == ["NotFinite"]


def test_thresholds_are_checked_and_read_from_the_plan() -> None:
    with pytest.raises(PlanError, match="KLBudget: limit must be a number above 0, got -1"):
        KLBudget(limit=-1)
    for check in (DiversityLoss, EntropyCollapse):
        with pytest.raises(PlanError, match=r"fraction must be below 1, got 1\.5"):
            check(fraction=1.5)
    with pytest.raises(PlanError, match="factor must be above 1"):
        LengthDrift(factor=0.5)
    chosen = {
        type(c).__name__: c
        for c in checks_of({"checks": [{"use": "audit.KLBudget", "limit": 3}, "audit.DeadGroups", {"use": 4}]})
    }
    assert chosen["KLBudget"] == KLBudget(limit=3)
    assert len(chosen) == len(default_checks())
    assert all(dataclasses.is_dataclass(c) and hash(c) == hash(type(c)()) for c in default_checks())


def test_findings_of_the_run_are_kept_and_not_repeated(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "hacked")
    now = findings(read_history(folder))
    with open(folder / "events.jsonl", "a", encoding="utf8") as f:
        for x in [*now[:2], Finding("MyCheck", "warning", "Mine.", 50)]:
            f.write(json.dumps({"event": "finding", "time": 0, **vars(x)}) + "\n")
    both = all_findings(read_history(folder))
    assert len(both) == len(now) + 1
    assert [f.step for f in both] == sorted(f.step for f in both)
