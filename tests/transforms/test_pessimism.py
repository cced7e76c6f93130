"""Pessimism: what is taken off, what is left alone, and what is refused."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import Batch, PlanError, RewardOutput, recorded
from guerdon.rewards import Ensemble, as_reward
from guerdon.transforms import Pessimism


def batch(std, ok=(True, True, True)):
    out = RewardOutput(torch.tensor([1.0, 2.0, 3.0]), torch.tensor(ok), ["" if k else "failed" for k in ok], std=std)
    return Batch.of(recorded(["q"] * 3, ["a", "b", "c"]), out.checked())


def test_a_row_loses_its_own_doubt():
    given = batch(torch.tensor([0.0, 0.5, 4.0]))
    _, reward = Pessimism(1.5).apply(None, given)
    assert reward.total.tolist() == [1.0, 1.25, -3.0]
    assert reward.std.tolist() == [0.0, 0.5, 4.0]
    assert Pessimism(0.0).apply(None, given)[1].total.tolist() == [1.0, 2.0, 3.0]


def test_failed_rows_stay_failed_and_doubt_without_a_number_fails_its_row():
    _, reward = Pessimism().apply(None, batch(torch.tensor([1.0, float("nan"), 1.0]), (False, True, True)))
    assert reward.ok.tolist() == [False, False, True]
    assert reward.total.tolist() == [0.0, 0.0, 2.0]


def test_a_reward_that_does_not_know_its_doubt_is_refused_at_first_use():
    with pytest.raises(PlanError, match=r"^Pessimism: the reward has no std; take one that knows its uncertainty"):
        Pessimism().apply(None, batch(None))
    nobody = batch(None, (False, False, False))  # rows that all failed have no std, and that is nobody's fault
    assert Pessimism().apply(None, nobody)[1].ok.tolist() == [False] * 3


def test_the_doubt_of_an_ensemble():
    """Members say 0 and 2: mean 1, standard deviation sqrt(2) with Bessel's correction."""
    rows = recorded(["q"], ["a"])
    out = Ensemble((as_reward(lambda output: 0.0), as_reward(lambda output: 2.0)))(rows)
    _, reward = Pessimism(1.0).apply(None, Batch.of(rows, out))
    assert reward.total.tolist() == pytest.approx([1 - 2**0.5])


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused(weight):
    with pytest.raises(PlanError, match="weight must be a number of at least 0"):
        Pessimism(weight)
