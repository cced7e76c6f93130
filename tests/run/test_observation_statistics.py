"""ObservationStatistics: which states are seen, how often, and by whom."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from guerdon.core import Batch, PlanError, RewardOutput, Rollout
from guerdon.run.observation_statistics import ObservationStatistics, keeps_statistics


class Front(nn.Module):
    def __init__(self):
        super().__init__()
        for name, value in (("mean", 0.0), ("var", 1.0), ("count", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        self.seen = []

    def update(self, observations):
        self.seen.append(observations)


class Net(nn.Module):
    def __init__(self, front):
        super().__init__()
        self.front, self.layer = front, nn.BatchNorm1d(1)  # running statistics too, but not ours


def batch():
    """Three rows: two steps, one step, and one that failed."""
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    states = torch.arange(9.0).reshape(3, 3, 1)
    rollout = Rollout([""] * 3, [""] * 3, torch.zeros(3, 2), mask, torch.arange(3), torch.arange(3), states=states)
    reward = RewardOutput(torch.zeros(3), torch.tensor([True, True, False]), ["", "", "planted"])
    return Batch(rollout, reward, reward)


def live(*fronts):
    return SimpleNamespace(modules=lambda: {str(k): Net(f) for k, f in enumerate(fronts)})


def test_every_acted_state_once():
    """States in which an action was chosen: 0 and 1 of the first row, 3 of the second, none of the failed one."""
    shared, own = Front(), Front()
    learner = ObservationStatistics().build(nn.Linear(1, 1))
    assert learner.update(batch(), live(shared, shared, own)) == {"states": 3.0}
    for front in (shared, own):  # a front that two networks share sees each state once
        assert [s.tolist() for s in front.seen] == [[[0.0], [1.0], [3.0]]]


def test_refusals():
    with pytest.raises(PlanError, match="normalise=True"):
        ObservationStatistics().update(batch(), SimpleNamespace(modules=lambda: {"policy": nn.BatchNorm1d(1)}))
    stateless = batch()
    with pytest.raises(PlanError, match="no states"):
        ObservationStatistics().update(stateless.replace(rollout=stateless.rollout.replace(states=None)), live(Front()))
    assert not keeps_statistics(nn.BatchNorm1d(1))
