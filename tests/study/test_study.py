"""What can be a study, and what an arm may return."""

from __future__ import annotations

import pytest
import torch

from guerdon.core.errors import PlanError
from guerdon.study import Budget, Expect, Study, Task
from guerdon.study.trial import perform

GAIN = Expect("a", "higher", "b", by=1.0)
TINY = Budget("tiny")


def arm(seed, budget, **setting):
    return {"x": 1.0}


def study(**changes):
    return Study(**{"arms": {"a": arm, "b": arm}, "metric": "x", "expect": [GAIN], **changes})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"expect": []}, "no expectation claims a difference"),
        ({"expect": [Expect("a", "higher", "b", by=-1.0)]}, "no expectation claims a difference"),
        ({"expect": [Expect("a", "higher", "bb", by=1.0)]}, "no arm 'bb'; "),
        ({"arms": {"a": arm, "b": arm, "": arm}}, "an arm without a name"),
        ({"untuned": ["c"]}, "no arm 'c'"),
        ({"seeds": 2}, "at least 3"),
        ({"long_arms": {"a": arm}}, r"\['a'\] are both arms and long arms"),
        ({"pilots": 0}, "pilots must be at least 1"),
        ({"best": "highest"}, "best 'higher' or 'lower'"),
        ({"tune": {"lr": ()}}, r"tune 'lr' has \(\)"),
        ({"tune": {"lr": "12"}}, "a list of plain values"),
        ({"tune": {"lr": (1.0, arm)}}, "a list of plain values"),
        ({"tune": {"lr": (float("nan"),)}}, "a list of plain values"),
    ],
)
def test_what_could_not_be_a_study(changes, complaint):
    with pytest.raises(PlanError, match=complaint):
        study(**changes)


def test_budgets():
    assert [Budget(n).pick(tiny=1, default=2) for n in ("tiny", "default", "long")] == [1, 2, 2]
    assert Budget("long").pick(tiny=1, default=2, long=3) == 3
    with pytest.raises(PlanError, match="did you mean 'tiny'"):
        Budget("tyny")  # type: ignore[arg-type]
    assert list(study(long_arms={"c": arm}).arms_at(Budget("long"))) == ["a", "b", "c"]
    assert list(study(long_arms={"c": arm}).arms_at(Budget())) == ["a", "b"]


def test_arms_are_tuned_over_the_same_settings():
    found = study(
        arms=dict.fromkeys("abcd", arm), tune={"lr": (1, 2), "k": (3, 4)}, expect=[GAIN, Expect("a", "higher", "d", by=1.0)]
    )
    assert found.tuned == ["a", "b", "d"]  # c is in no expectation
    assert found.settings == [{"lr": 1, "k": 3}, {"lr": 1, "k": 4}, {"lr": 2, "k": 3}, {"lr": 2, "k": 4}]
    assert study(tune={"lr": (1,)}, untuned=["b"]).tuned == ["a"]
    assert study().tuned == []


def test_what_an_arm_must_measure():
    found = study(expect=[GAIN, Expect("b", "lower", "a", by=1.0, metric="kl")], arms=dict.fromkeys("abc", arm))
    assert (found.needs("a"), found.needs("b"), found.needs("c")) == (["kl", "x"], ["kl", "x"], [])
    only = study(expect=[Expect("a", "higher", "b", by=1.0, metric="kl")], tune={"lr": (1,)})
    assert only.needs("a") == ["kl", "x"]  # what it is tuned by, too


class Broken:
    def __float__(self):
        raise ValueError("planted")


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "PlanError: arm 'a' returned NoneType; a mapping from names to numbers was expected"),
        ({"x": float("nan")}, "PlanError: arm 'a': x is nan"),
        ({"x": float("inf")}, "PlanError: arm 'a': x is inf"),
        ({"x": 1.0, "y": float("nan")}, "PlanError: arm 'a': y is nan"),
        ({"gold": 1.0}, "PlanError: arm 'a' measured no 'x'; known: gold"),
        ({}, "PlanError: arm 'a' measured no 'x'; nothing is known here"),
        ({"x": "high"}, "PlanError: arm 'a': x is str; a number or a list of numbers was expected"),
        ({"x": None}, "PlanError: arm 'a': x is NoneType; a number or a list of numbers was expected"),
        ({"x": torch.ones(3)}, "PlanError: arm 'a': x is Tensor; a number or a list of numbers was expected"),
        ({"x": Broken()}, "PlanError: arm 'a': x is Broken; a number or a list of numbers was expected"),
        ({"x": 1.0, "curve": [1.0, "2.x"]}, "PlanError: arm 'a': curve is str; a number or a list of numbers was expected"),
    ],
)
def test_a_failed_trial_has_its_reason(returned, reason):
    trial = perform(study(arms={"a": lambda seed, budget: returned, "b": arm}), Task("a", 0), TINY)
    assert (trial.ok, trial.reason, trial.metrics) == (False, reason, {})


def test_what_counts_as_a_number_or_a_trace():
    returned = {"x": torch.tensor(2.0), "n": 3, "yes": True, "curve": (1, torch.tensor(2.0)), "gaps": [float("nan")]}
    trial = perform(study(arms={"a": lambda seed, budget: returned, "b": arm}), Task("a", 0), TINY)
    assert trial.ok
    assert trial.metrics == {"x": 2.0, "n": 3.0, "yes": 1.0}
    assert trial.traces["curve"] == [1.0, 2.0]


def test_settings_reach_the_arm():
    seen = []

    def curious(seed, budget, **setting):
        seen.append((seed, budget.name, setting))
        return {"x": 0.0}

    perform(study(arms={"a": curious, "b": arm}), Task("a", 7, {"lr": 0.1}), TINY)
    assert seen == [(7, "tiny", {"lr": 0.1})]
