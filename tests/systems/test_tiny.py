"""Every system's study runs from end to end, in seconds, and measures what its expectation speaks of."""

from __future__ import annotations

import math

import pytest

from guerdon.study import Budget, run_study
from guerdon.systems import find, get, names, record_of

TINY = Budget("tiny")


@pytest.mark.parametrize("name", names())
def test_the_study_runs_at_the_tiny_budget(name: str, cache_dir) -> None:
    system = get(name)
    study = system.study
    outcome = run_study(study, budget=TINY)
    assert [f"{t.task.arm}: {t.reason}" for t in outcome.failed] == []
    assert list(outcome.trials) == list(study.arms)
    assert len(outcome.judged) == len(study.expect)
    assert outcome.verdict is None
    for arm, trials in outcome.trials.items():
        assert len(trials) == 2
        for trial in trials:
            assert set(study.needs(arm)) <= set(trial.metrics)
            assert all(math.isfinite(v) for v in trial.metrics.values())
    if study.traces:
        assert any(set(study.traces) <= set(t.traces) for rows in outcome.trials.values() for t in rows)
        for rows in outcome.trials.values():
            for trial in rows:
                assert len({len(trial.traces[n]) for n in study.traces if n in trial.traces}) <= 1, "traces of different lengths"
    known = {m for rows in outcome.trials.values() for t in rows for m in (*t.metrics, *t.traces)}
    assert set(study.labels) <= known, "labels for what nobody measures"
    record = record_of(find(name), system, outcome)
    assert record["verdict"] is None
    assert record["summary"] == "No verdict: the tiny budget only shows that everything runs."


LONG = [(name, arm) for name in names() for arm in get(name).study.long_arms]


@pytest.mark.parametrize(("name", "arm"), LONG)
def test_the_arms_of_the_long_budget_run(name: str, arm: str, cache_dir) -> None:
    study = get(name).study
    if study.prepare is not None:
        study.prepare(TINY)
    found = study.long_arms[arm](0, TINY)
    assert study.metric in found
    assert all(math.isfinite(v) for v in found.values() if isinstance(v, int | float))
