"""The ensembles' maths by hand, and what tells the arms apart."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import RewardError, recorded
from guerdon.rewards import Column, Length
from guerdon.study import Budget
from guerdon.systems.reward_models import rm_ensembles as system
from guerdon.systems.reward_models.rm_ensembles import SYSTEM, Standardised, rm_ensembles

MEMBERS = [Column("a"), Column("b")]
REFERENCE = recorded(["q"] * 2, ["x", "y"], {"a": [0.0, 2.0], "b": [10.0, 30.0]})  # a: 1 +- 1, b: 20 +- 10
ANSWERS = recorded(["q"] * 2, ["x", "y"], {"a": [3.0, 1.0], "b": [10.0, 50.0]})  # standardised a: 2, 0; b: -1, 3


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("worst", [-1.0, 0.0]),
        ("mean", [0.5, 1.5]),
        ("uncertainty", [0.5 - 0.5 * 2.25, 1.5 - 0.5 * 2.25]),  # both answers lie 1.5 to either side of their mean
    ],
)
def test_members_are_standardised_on_the_reference_before_they_are_combined(combine, expected):
    assert rm_ensembles(MEMBERS, REFERENCE, combine=combine)(ANSWERS).total.tolist() == pytest.approx(expected)


def test_scales_of_members_do_not_matter():
    louder = recorded(["q"] * 2, ["x", "y"], {"a": [0.0, 200.0], "b": [10.0, 30.0]})
    same = recorded(["q"] * 2, ["x", "y"], {"a": [300.0, 100.0], "b": [10.0, 50.0]})
    assert rm_ensembles(MEMBERS, louder)(same).total.tolist() == pytest.approx(
        rm_ensembles(MEMBERS, REFERENCE)(ANSWERS).total.tolist()
    )


def test_outputs_that_could_not_be_scored_set_no_scale_and_stay_failures():
    holey = recorded(["q"] * 3, ["x", "y", "z"], {"a": [0.0, None, 2.0], "b": [10.0, 7.0, 30.0]})
    ensemble = rm_ensembles(MEMBERS, holey)
    assert (ensemble.members[0].centre, ensemble.members[0].spread) == (1.0, 1.0)
    assert ensemble(holey).ok.tolist() == [True, False, True]


def test_a_member_that_tells_nothing_apart_is_refused():
    with pytest.raises(RewardError, match="spread must be above 0"):
        rm_ensembles(MEMBERS, recorded(["q"] * 2, ["x", "y"], {"a": [1.0, 1.0], "b": [1.0, 2.0]}))
    assert Standardised(Length(high=1), 0.0, 1.0).scope == "sample"


def _scored(columns):
    """16 answers to one prompt, with gold 0 to 15, as answers and as reference batch."""
    info = {"gold": [float(k) for k in range(16)], **{f"member-{m}": column for m, column in enumerate(columns)}}
    rollout = recorded(["q"] * 16, [str(k) for k in range(16)], info)
    return lambda seed, budget: (rollout, rollout)


def test_one_member_that_overrates_one_answer_misleads_itself_but_not_the_worst_case(monkeypatch):
    right = [float(k) for k in range(16)]
    monkeypatch.setattr(system, "_scored", _scored([right] * 4 + [[100.0, *right[1:]]]))
    tiny = Budget("tiny")  # the best of 8
    found = {name: arm(0, tiny) for name, arm in SYSTEM.study.arms.items()}
    deviation = float(torch.arange(16).double().std())
    # The largest of 8 of 0 .. 15 is 8 * 17 / 9 - 1 on average. The misled member takes answer 0 where it is among the 8 (half
    # the time), else the largest of 8 of 1 .. 15, which is 8 * 16 / 9.
    best, misled = 8 * 17 / 9 - 1, 0.5 * 8 * 16 / 9
    assert found["WCO"]["lift"] == pytest.approx((best - 7.5) / deviation)
    assert found["single"]["lift"] == pytest.approx(((4 * best + misled) / 5 - 7.5) / deviation)
    assert found["WCO"]["drop"] == 0 < found["WCO"]["lift"]
    assert found["single"]["gold_curve"][0] == pytest.approx(0)  # the best of one is any answer


def test_members_that_agree_leave_nothing_to_combine(monkeypatch):
    monkeypatch.setattr(system, "_scored", _scored([[float(k * k) for k in range(16)]] * 5))
    lifts = {name: arm(0, Budget("tiny"))["lift"] for name, arm in SYSTEM.study.arms.items()}
    assert len({round(v, 9) for v in lifts.values()}) == 1


@pytest.mark.slow
def test_training_against_an_ensemble_runs():
    arm = SYSTEM.study.long_arms["trained on UWO, KL 0.01"]
    found = arm(0, Budget("tiny"))
    assert found["drop"] >= 0
    assert "kl" in found
