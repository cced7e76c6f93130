"""The same objective objects that train text train control policies: one dict of them, three kinds of steps."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from guerdon import policies, rewards
from guerdon.core import Items, RewardOutput, Streams
from guerdon.core.world import Episode, Start
from guerdon.policies import CNN, GRU, MLP, Control, TanhGaussian
from guerdon.run import Episodes, run
from guerdon.testing._policies import GaussianChain, TinyText
from guerdon.testing._same_objectives import OBJECTIVES, Fixed
from guerdon.testing._same_objectives import plan_of as same_plan
from guerdon.worlds import GridWorld, PointMaze

MAZE = GridWorld(("S...", ".##.", "...G"), step_reward=-0.05, horizon=20)
SMALL = CNN((4,), (3,), (2,), 16)


@dataclass(frozen=True)
class Few:
    """Pays a text for every 3 in it, a chain for ending near (1, -1)."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        if isinstance(rollout.outputs, list):
            return RewardOutput.of(torch.tensor([float(o.count(3)) for o in rollout.outputs]).double())
        return RewardOutput.of(-(rollout.outputs - torch.tensor([1.0, -1.0])).square().sum(1))


def plan_of(name, policy, *parts, **controls):
    return same_plan(name, policy, *parts, critic=critic_of(policy), **controls)


def critic_of(policy):
    return policies.StateValue(MLP((32,))) if isinstance(policy, Control) else Own()


@dataclass(frozen=True)
class Own:
    """The small reference policies answer value questions themselves; a copy of one is a critic."""

    def build(self, policy):
        return OwnValues(copy.deepcopy(policy))


class OwnValues(torch.nn.Module):
    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, rollout, *, want=("value",)):
        return self.policy(rollout, want=("value",))

    def values(self, rollout):
        return self(rollout).value.detach()


# ---------------------------------------------------------------- each raises its measure
def expert(n, wrong=False):
    """Episodes along the way right and down; a wrong one walks into the wall below the start's neighbour and back."""
    world, out = MAZE.open(1), []
    moves = [1, 3, 1, 3, 1, 3] if wrong else [1, 1, 1, 2, 2]
    slot = torch.tensor([0])
    for seed in range(n):
        seen, paid = [world.reset(slot, torch.tensor([seed]))[0][0]], []
        for a in moves:
            done = world.step(slot, torch.tensor([a]))
            seen.append(done.observation[0])
            paid.append(done.reward[0])
        assert bool(done.terminated[0]) == (not wrong)
        out.append(Episode(torch.stack(seen), torch.tensor(moves), torch.stack(paid), not wrong))
    return out


def mean_return(policy):
    items = Items([Start(MAZE, 0)] * 64, Streams(99).uids(64))
    return float(rewards.Environment(dense=False)(policy.sample(items, 1, streams=Streams(99))).total.mean())


BEST = 1 - 5 * 0.05  # five steps to the goal


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_objective_solves_a_small_maze(name):
    policy = Control.of(MAZE, body=MLP((32,)), seed=1)
    columns, source, n, steps = (), Episodes(MAZE), 4, 40
    if name == "sft":
        columns, source, n, steps = ("completion",), Fixed(("s",) * 2, {"completion": expert(2)}), 2, 60
    elif name == "dpo":
        source = Fixed(("s",) * 2, {"chosen": expert(2), "rejected": expert(2, wrong=True)})
        columns, n, steps = ("chosen", "rejected"), 2, 80
    reward = rewards.Environment(dense=name == "ppo")
    before = mean_return(policy)
    run(plan_of(name, policy, source, reward, n, steps, 0.01, columns))
    assert before < 0
    after = mean_return(policy)
    assert after > (before + 0.4 if name == "dpo" else BEST - 0.15)  # a preference says which is better, not what is best


GIVEN = {"text": ([[3, 3, 0], [3, 0]], [[1, 1, 0], [2, 0]])}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_objects_train_text(name):
    policy = TinyText(seed=3)
    contexts = ([1, 2], [4])
    won, lost = GIVEN["text"]
    columns = {"sft": ("completion",), "dpo": ("chosen", "rejected")}.get(name, ())
    source = Fixed(contexts, {"completion": won, "chosen": won, "rejected": lost} if columns else {})

    def threes():
        items = Items([*contexts] * 100, Streams(9).uids(200))
        return float(Few()(policy.sample(items, 1, streams=Streams(9))).total.mean())

    before = threes()
    run(plan_of(name, policy, source, Few(), 2, 30, 0.02, columns))
    assert threes() > before + 0.5


@pytest.mark.parametrize("name", ["grpo", "ppo", "reinforce"])
def test_and_denoising(name):
    policy = GaussianChain(seed=1)

    def near():
        return float(Few()(policy.sample(Items(["a"] * 200, Streams(9).uids(200)), 1, streams=Streams(9))).total.mean())

    before = near()
    run(plan_of(name, policy, Fixed(("a", "b")), Few(), 2, 40, 0.01))
    assert near() > before + 0.5


# ---------------------------------------------------------------- one step of each, for every kind of body and head
MAZES = {
    "recurrent": (MAZE, {"body": GRU(8, MLP((8,)))}),
    "pixels": (GridWorld(("S..", "..G"), pixels=True, horizon=6), {"body": SMALL}),
    "recurrent-pixels": (GridWorld(("S..", "..G"), pixels=True, horizon=6), {"body": GRU(8, SMALL)}),
    "tanh": (PointMaze(), {"head": TanhGaussian(), "body": MLP((8,))}),
    "gaussian": (PointMaze(), {"body": MLP((8,)), "normalise": True}),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("kind", MAZES)
def test_one_step_has_a_finite_gradient(kind, name):
    world, how = MAZES[kind]
    policy = Control.of(world, **how)
    columns, source = (), Episodes(world)
    if name in ("dpo", "sft"):
        items = Items([Start(world, 0)] * 4, Streams(0).uids(4))
        given = policy.sample(items, 1, streams=Streams(0), steps=6).outputs
        columns = ("chosen", "rejected") if name == "dpo" else ("completion",)
        source = Fixed(("s",) * 2, {"chosen": given[:2], "rejected": given[2:], "completion": given[:2]})
    plan = plan_of(name, policy, source, Paid(name == "ppo"), 2, 1, 0.01, columns, steps=6)
    if name == "ppo" and not policy.markov:
        plan = plan.__class__(**{**vars(plan), "critics": {"critic": policies.HeadOnPolicy()}})
    before = [p.detach().clone() for p in policy.parameters()]
    result = run(plan)
    grown = result.history[-1]["grad_norm/policy"]
    assert 0 < grown < float("inf")
    assert any(not torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    assert all(bool(torch.isfinite(p).all()) for p in policy.parameters())


@dataclass(frozen=True)
class Paid:
    """A reward that differs between rows even where the world pays nothing yet: the first action's number."""

    dense: bool
    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        first = rollout.actions[:, 0].float().reshape(len(rollout), -1).sum(1)
        step = torch.zeros(rollout.mask.shape)
        step[:, 0] = first
        return RewardOutput.of(torch.zeros(len(rollout)), step=step) if self.dense else RewardOutput.of(first)
