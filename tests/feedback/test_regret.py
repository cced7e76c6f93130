"""Regret against return, in a small chain whose optimal values are known by hand."""

import math

import pytest
import torch

from guerdon.core import RewardError, RewardOutput, Rollout, Streams
from guerdon.feedback import Advantages, BradleyTerry, Regret
from guerdon.testing import check_reward


def walk(states, acted, terminal):
    """A segment in the chain 0 - 1 - 2 - 3: 3 is the goal, a step costs 1, resting costs a half. V*(s) = s - 3."""
    cost = {"right": -1.0, "left": -1.0, "rest": -0.5}
    best = [s - 3.0 for s in states]
    advantage = [cost[a] + best[t + 1] - best[t] for t, a in enumerate(acted)]
    return {"reward": [cost[a] for a in acted], "value": best[:-1], "advantage": advantage, "last": best[-1], "end": terminal}


def segments(*walks):
    def padded(name):
        steps = max(len(w["reward"]) for w in walks)
        return torch.tensor([[*w[name], *[99.0] * (steps - len(w[name]))] for w in walks], dtype=torch.double)

    mask = torch.tensor([[k < len(w["reward"]) for k in range(padded("reward").shape[1])] for w in walks])
    return Rollout(
        contexts=["chain"] * len(walks), outputs=[f"segment {k}" for k in range(len(walks))], actions=torch.zeros(mask.shape),
        mask=mask, group=torch.zeros(len(walks), dtype=torch.long), uid=torch.arange(len(walks)),
        terminal=torch.tensor([w["end"] for w in walks]), info={"last_value": [w["last"] for w in walks]},
        trace={n: padded(n) for n in ("reward", "value", "advantage")},
    ).check()  # fmt: skip


class StepCosts:
    scope, differentiable = "sample", False

    def __call__(self, rollout):
        return RewardOutput.of(torch.zeros(len(rollout)), step=rollout.trace["reward"])


def test_regret_and_return_disagree_where_a_bad_move_is_cheap():
    best = walk([0, 1, 2], ["right", "right"], False)  # return -2, no regret
    lazy = walk([2, 2], ["rest"], False)  # return -1/2, regret 1/2
    back = walk([1, 0], ["left"], False)  # return -1, regret 2
    home = walk([2, 3], ["right"], True)  # return -1, no regret
    rollout = segments(best, lazy, back, home)
    assert Regret(StepCosts())(rollout).total.tolist() == [0.0, -0.5, -2.0, 0.0]
    assert Advantages()(rollout).total.tolist() == [0.0, -0.5, -2.0, 0.0]
    pairs = torch.tensor([[0, 1], [0, 2], [1, 2], [0, 3]])
    by_return = BradleyTerry(StepCosts(), 0).label(rollout, pairs, Streams(0))
    by_regret = BradleyTerry(Regret(StepCosts()), 0).label(rollout, pairs, Streams(0))
    assert by_return.value.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert by_regret.value.tolist() == [1.0, 1.0, 1.0, 0.5]
    assert by_regret.margin.tolist() == [0.5, 2.0, 1.5, 0.0]


def test_regret_discounts_and_fails_on_rows_that_were_cut_off():
    rollout = segments(walk([0, 1, 2], ["right", "right"], False), walk([2, 3], ["right"], True))
    out = Regret(StepCosts(), gamma=0.5)(rollout)
    assert out.total.tolist() == [(-1 + 0.5 * -2 + 3) + (-1 + 0.5 * -1 + 2), -1 + 0.5 * 0 + 1]
    out = Regret(StepCosts())(rollout.replace(info={"last_value": [None, None]}))
    assert out.ok.tolist() == [False, True] and "last_value" in out.reason[0]
    assert Regret(StepCosts())(rollout.replace(info={})).ok.tolist() == [False, True]
    check_reward(Regret(StepCosts()), rollout)
    check_reward(Advantages(), rollout)
    with pytest.raises(RewardError, match="no column 'values'; did you mean 'value'"):
        Regret(StepCosts(), value="values")(rollout)


def test_general_regret_model_frequencies():
    rollout = segments(walk([2, 2], ["rest"], False), walk([1, 0], ["left"], False))
    soft = BradleyTerry(Advantages(), temperature=2.0, soft=True).label(rollout, torch.tensor([[0, 1]]), Streams(0))
    assert math.isclose(float(soft.value[0]), 1 / (1 + math.exp(-1.5 / 2)))
