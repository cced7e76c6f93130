"""Control keeps the contract of policies: what it says after acting is what it did, wherever its weights are."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import DataError, Items, Streams
from guerdon.core.world import Box, Discrete, Episode, Stepped
from guerdon.policies import CNN, GRU, MLP, Control, Gaussian, HeadOnPolicy, TanhGaussian
from guerdon.testing import check_policy
from guerdon.testing._worlds import Counting
from guerdon.worlds import GridWorld, PointMaze

STREAMS = Streams(5)


class Arms:
    """Observes five numbers and takes 2 x 3 of them, for some steps; a learned dynamics would look like it."""

    observation, action = Box((5,)), Box((2, 3), -1.0, (1.0, 2.0, 1.0, 1.0, 0.5, 1.0))
    n = 8

    def open(self, n):
        self.x = torch.zeros(n, 5)
        return self

    def reset(self, slots, seeds):
        self.x[slots] = Streams(1)("x", seeds).normal(5).float()
        return self.x[slots], [""] * len(slots)

    def step(self, slots, actions):
        self.x[slots] = self.x[slots].roll(1, 1) + actions.flatten(1)[:, :5].float()
        never = torch.zeros(len(slots), dtype=torch.bool)
        return Stepped(self.x[slots], self.x[slots].sum(1).double(), self.x[slots, 0] > 2, never, [""] * len(slots))

    def close(self):
        pass


ARMS = Arms()
GRID = GridWorld("four-rooms", horizon=25)
PIXELS = GridWorld(("S..", "..G"), pixels=True, horizon=12)
SMALL = CNN((4, 6), (3, 2), (2, 1), 16)
POLICIES = {
    "numbers": (GRID, {}),
    "vector": (Counting(), {"body": MLP((16,))}),
    "linear": (GRID, {"body": MLP(())}),
    "gaussian": (ARMS, {"normalise": True}),
    "tanh": (ARMS, {"head": TanhGaussian()}),
    "recurrent": (GRID, {"body": GRU(16)}),
    "recurrent-tanh": (ARMS, {"body": GRU(16), "head": TanhGaussian()}),
    "pixels": (PIXELS, {"body": SMALL}),
    "recurrent-pixels": (PIXELS, {"body": GRU(16, SMALL)}),
    "maze": (PointMaze(), {"head": TanhGaussian(), "body": MLP((32, 32), "relu")}),
}
LIMIT = {("float64", False): 1e-9, ("float64", True): 1e-9, ("float32", False): 1e-4, ("float32", True): 1e-3}


def starts(world, n=3):
    from guerdon.core.world import Start

    return Items([Start(world, k) for k in range(n)], STREAMS.uids(n))


def made(name, dtype="float64", push=0.0):
    """A policy; ``push`` moves all its weights at random, as long training may."""
    world, how = POLICIES[name]
    policy = Control.of(world, dtype=dtype, **how)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(push * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    if policy.front.scale is not None:
        policy.front.scale.update(torch.randn(50, *policy.front.space.shape, generator=generator) * 3 + 1)
    return policy, starts(world)


def limit(policy, dtype):
    return LIMIT[dtype, isinstance(policy.action, Box)]


@pytest.mark.parametrize("push", [0.0, 0.5], ids=["fresh", "moved"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_replayed_log_prob_is_the_sampled_one(name, dtype, push):
    policy, items = made(name, dtype, push)
    check_policy(policy, items, n=2, steps=24, tolerance=limit(policy, dtype))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("name", ["numbers", "gaussian", "tanh", "recurrent-tanh"])
def test_at_every_temperature(name, temperature):
    policy, items = made(name, push=0.3)
    check_policy(policy, items, n=2, steps=12, temperature=temperature)
    rollout = policy.sample(items, 3, streams=STREAMS, steps=6, temperature=temperature)
    if temperature == 0:  # the most likely action, with the log-prob it has at 1
        torch.testing.assert_close(rollout.actions[0], rollout.actions[1], atol=1e-9, rtol=0)
    else:
        cooler = rollout.replace(behaviour=tuple(b.__class__(temperature=1.0) for b in rollout.behaviour))
        with torch.no_grad():
            assert not torch.allclose(policy(cooler).logp, rollout.logp)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_and_narrow_distributions(dtype):
    """Draws of |u| up to 30 before squashing, standard deviations down to 1e-3."""
    policy, items = made("tanh", dtype)
    with torch.no_grad():
        policy.head.mean.bias.copy_(torch.tensor([-30.0, -12.0, 12.0, 30.0, 0.0, 5.0]))
        policy.head.log_std.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0, -7.0, -7.0]))
    assert check_policy(policy, items, n=2, steps=20, tolerance=limit(policy, dtype)) >= 0
    rollout = policy.sample(items, 2, streams=STREAMS, steps=20)
    assert float(rollout.actions.abs().max()) > 25
    assert torch.isfinite(rollout.logp).all() and bool((rollout.logp[rollout.mask].abs() > 30).any())
    policy, items = made("gaussian", dtype)
    with torch.no_grad():
        policy.head.log_std.copy_(torch.tensor([-7.0, -6.0, 0.0, 3.0, -7.0, 1.0]))
    check_policy(policy, items, n=2, steps=20, tolerance=limit(policy, dtype))


@pytest.mark.parametrize("name", ["numbers", "tanh", "recurrent", "pixels"])
def test_fragments_keep_the_contract_too(name):
    from guerdon.run import Fragments

    policy, _ = made(name, push=0.3)
    source = Fragments(POLICIES[name][0]).open(0)
    for draw in range(3):
        streams = Streams(draw)
        rollout = policy.sample(source.draw(3, streams=streams), 1, streams=streams, steps=9)
        with torch.no_grad():
            for rows in torch.arange(len(rollout)).split(2):
                part = rollout[rows].trim()
                assert float((policy(part).logp - part.logp).abs().max()) < 1e-9
    assert len(rollout.info["slot"]) == len(rollout)


@pytest.mark.parametrize("name", ["vector", "gaussian", "recurrent", "pixels"])
def test_given_episodes_are_read_as_if_acted(name):
    """``rollout_from`` the episodes of a rollout gives its log-probs: demonstrations and segments are ordinary rows."""
    policy, items = made(name, push=0.3)
    rollout = policy.sample(items, 2, streams=STREAMS, steps=10)
    within = policy.rollout_from(items.repeat(2), rollout.outputs, streams=STREAMS)
    assert torch.equal(within.mask, rollout.mask) and torch.equal(within.states, rollout.states)
    assert torch.equal(within.terminal, rollout.terminal) and torch.equal(within.trace["reward"], rollout.trace["reward"])
    assert {b.engine for b in within.behaviour} == {"recorded"}
    if not isinstance(policy.action, Box):  # a Gaussian draw that was cut to the box is another action
        torch.testing.assert_close(policy(within).logp.detach(), rollout.logp, atol=1e-9, rtol=0)


def test_squashed_demonstrations_come_back():
    policy, items = made("tanh")
    rollout = policy.sample(items, 2, streams=STREAMS, steps=10)
    within = policy.rollout_from(items.repeat(2), rollout.outputs, streams=STREAMS)
    torch.testing.assert_close(within.actions, torch.where(rollout.mask[..., None], rollout.actions, 0.0), atol=1e-5, rtol=1e-5)


def episode(**changed):
    return Episode(**{"observations": torch.zeros(3, 2), "actions": torch.tensor([0, 1]), **changed})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", "item 1: expected a core.world.Episode, got str"),
        (episode(observations=torch.zeros(3, 4)), r"item 1: observations have shape \(4,\), expected \(2,\)"),
        (episode(actions=torch.tensor([0, 2])), "item 1: actions reach from 0 to 2, expected 0 to 1"),
        (episode(actions=torch.zeros(2, 1, dtype=torch.long)), r"item 1: actions have shape \(1,\), expected \(\)"),
        (episode(observations=torch.tensor([[0.0, 1], [2, float("nan")], [0, 0]])), "item 1: observations hold a NaN"),
        (episode(actions=torch.tensor([0.0, 0.5])), "item 1: actions are .*float32, expected whole numbers"),
    ],
)
def test_episodes_that_do_not_fit_are_named(given, message):
    policy = Control.of(Counting())
    with pytest.raises(DataError, match=message):
        policy.rollout_from(Items(["a", "b"], STREAMS.uids(2)), [episode(), given], streams=STREAMS)
    with pytest.raises(DataError, match="1 outputs for 2 items"):
        policy.rollout_from(Items(["a", "b"], STREAMS.uids(2)), [episode()], streams=STREAMS)


def test_an_episode_counts_its_parts():
    with pytest.raises(ValueError, match="needs one observation more, got 2"):
        Episode(torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="has 3 rewards"):
        Episode(torch.zeros(3, 4), torch.zeros(2), torch.zeros(3))


def test_actions_that_were_cut_keep_the_density_of_the_draw():
    """A Gaussian may draw beyond the box: the world gets the bound, the rollout keeps the draw."""
    policy, items = made("gaussian")
    with torch.no_grad():
        policy.head.log_std.fill_(2.0)
    rollout = policy.sample(items, 2, streams=STREAMS, steps=5)
    low, high = ARMS.action.bounds()
    assert float(rollout.actions.abs().max()) > 3
    for e in rollout.outputs:
        assert bool((e.actions >= low).all()) and bool((e.actions <= high).all())


@pytest.mark.parametrize("name", ["recurrent", "recurrent-pixels", "pixels"])
def test_a_head_on_the_policy_sees_every_state(name):
    """[B, T+1] values of all states, the last one included, equal to those of one-step longer prefixes."""
    policy, items = made(name, push=0.3)
    critic = HeadOnPolicy().build(policy)
    with torch.no_grad():
        critic.head.weight.normal_(generator=torch.Generator().manual_seed(1))
    rollout = policy.sample(items, 2, streams=STREAMS, steps=7)
    values = critic.values(rollout)
    assert values.shape == (6, rollout.steps + 1)
    shorter = policy.sample(items, 2, streams=STREAMS, steps=4)  # the same episodes, cut off earlier
    again = critic.values(shorter)
    cut = ~shorter.terminal & (shorter.mask.sum(1) == 4)
    assert bool(cut.any())
    torch.testing.assert_close(again[cut][:, :5], values[cut][:, :5], atol=1e-9, rtol=0)
    assert bool((again[cut][:, 4] != 0).all())


def test_a_memory_matters():
    """A GRU tells apart histories that end in the same observation; what it remembers starts empty in each episode."""
    policy, items = made("recurrent", push=0.5)
    rollout = policy.sample(items, 4, streams=STREAMS, steps=20)
    hidden = policy(rollout, want=("hidden",)).hidden.detach()
    first = hidden[:, 0][[0, 4, 8]]
    assert float((hidden[0, 0] - hidden[1, 0]).abs().max()) < 1e-12  # the same start
    same = [(a, b) for a in range(3, 20) for b in range(a) if rollout.states[0, a] == rollout.states[0, b]]
    assert same and any(float((hidden[0, a] - hidden[0, b]).abs().max()) > 1e-3 for a, b in same)
    assert first.shape == (3, 16)


def test_spaces():
    low, high = Box((2,), (-1.0, -2.0), 3.0).bounds()
    assert low.tolist() == [-1, -2] and high.tolist() == [3, 3]
    assert Discrete(3).dtype == torch.long and Discrete(3).shape == ()
    assert Control.of(ARMS, head=Gaussian(-1.0)).head.log_std.tolist() == [-1.0] * 6
