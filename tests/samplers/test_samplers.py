"""Samplers against a draw that writes down what is asked of it."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import Items, PlanError, RewardOutput, Streams
from guerdon.samplers import Given, Group, Refill, WithGreedy
from guerdon.testing._policies import TinyText


class Later:
    """A reward that is computed when it is waited for."""

    def __init__(self, log, value):
        self.log, self.value = log, value

    def result(self):
        self.log.append("waited")
        return self.value


class Recorder:
    def __init__(self, scope="sample", reward=None):
        self.scope, self.log, self.count = scope, [], 0
        self.policy, self.streams = TinyText(seed=3), Streams(1)
        self.reward = reward or (lambda rollout: rollout.mask.sum(1).double())

    def items(self, n):
        self.count += 1
        contexts = [[1 + k % 5, 2] for k in range(n)]
        return Items(contexts, self.streams.fork("items", self.count).uids(n), {"win": [[3, 0]] * n, "lose": [[4]] * n})

    def sample(self, items, n, *, temperature=1.0, **controls):
        self.log.append(f"sample {len(items)}")
        return self.policy.sample(items, n, streams=self.streams, temperature=max(temperature, 0.05), **controls)

    def read(self, items, outputs):
        return self.policy.rollout_from(items, outputs, streams=self.streams)

    def score(self, rollout):
        self.log.append(f"score {len(rollout)}")
        return Later(self.log, RewardOutput.of(self.reward(rollout)))


def test_chunks_are_scored_while_the_next_is_sampled_and_change_nothing():
    draw = Recorder()
    rollout, reward = Group(contexts=4, n=3, chunk=2)(draw)
    assert draw.log == ["sample 2", "score 6", "sample 2", "score 6", "waited", "waited"]
    whole, all_at_once = Group(contexts=4, n=3)(Recorder())
    assert torch.equal(rollout.uid, whole.uid)
    assert torch.equal(rollout.actions, whole.actions)
    assert torch.equal(reward.total, all_at_once.total)


def test_a_reward_over_the_whole_draw_waits_for_it():
    draw = Recorder(scope="batch")
    Group(contexts=4, n=3, chunk=2)(draw)
    assert draw.log == ["sample 2", "sample 2", "score 12", "waited"]


def test_refill_keeps_groups_that_differ_and_draws_until_there_are_enough():
    def reward(rollout):  # in each round, the first two groups agree inside
        first = rollout.group.unique()[:2]
        return torch.where(torch.isin(rollout.group, first), 0.0, torch.arange(len(rollout)).double())

    draw = Recorder(reward=reward)
    rollout, out = Refill(contexts=3, n=4, tries=5)(draw)
    assert draw.count == 3  # one living group a round
    assert len(rollout) == 12
    assert len(rollout.group.unique()) == 3
    for g in rollout.group.unique():
        values = out.total[rollout.group == g]
        assert float(values.max()) > float(values.min())


def test_refill_goes_on_with_what_it_has():
    rollout, _ = Refill(contexts=2, n=3, tries=2)(Recorder(reward=lambda r: torch.zeros(len(r))))
    assert len(rollout) == 6  # nothing differs anywhere: one round stands for the draw
    with pytest.raises(PlanError, match="scope"):
        Refill()(Recorder(scope="batch"))


def test_failed_rows_do_not_make_a_group_alive():
    draw = Recorder()
    draw.score = lambda rollout: Later([], RewardOutput.of(torch.arange(len(rollout)).double()).replace(
        ok=torch.arange(len(rollout)) % 3 == 0, reason=["" if k % 3 == 0 else "no" for k in range(len(rollout))]))  # fmt: skip
    _, reward = Refill(contexts=2, n=3, tries=2)(draw)
    assert len(reward) == 6


def test_greedy_returns_are_the_baseline():
    draw = Recorder()
    rollout, _ = WithGreedy(contexts=2, n=3)(draw)
    greedy = draw.policy.sample(
        Items([rollout.contexts[0], rollout.contexts[3]], rollout.group[[0, 3]]), 1, streams=draw.streams, temperature=0.05
    )
    expected = greedy.mask.sum(1).double().repeat_interleave(3)
    assert torch.equal(rollout.info["baseline"], expected)


def test_given_answers_are_rows_of_one_group():
    rollout, reward = Given(("win", "lose"), contexts=2)(Recorder())
    assert rollout.outputs == [[3, 0], [4], [3, 0], [4]]
    assert rollout.info["preferred"].tolist() == [1, 0, 1, 0]
    assert rollout.group.tolist()[0] == rollout.group.tolist()[1] != rollout.group.tolist()[2]
    assert len(reward) == 4
    with pytest.raises(PlanError, match="has no column 'chosen'; it has: lose, win"):
        Given(("chosen",))(Recorder())
