"""Tabular worlds: every episode follows from its seed; snapshots are exact; frequencies are those of the table."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from guerdon.core import PlanError, Stream, mix
from guerdon.core.world import World, WorldSpec
from guerdon.run.spec import from_tree, to_tree
from guerdon.worlds import Tabular, TabularFile, exact
from guerdon.worlds.tabular import TabularWorld

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.full(6, 0.5), (6, 3))
R = RNG.normal(size=(6, 3, 6))
START = np.array([0.5, 0.25, 0.25, 0, 0, 0])
TERMINAL = np.arange(6) == 5


def six(horizon: int | None = None) -> Tabular:
    return Tabular(P, R, START, TERMINAL, horizon)


def endless() -> Tabular:
    return Tabular(RNG.dirichlet(np.ones(4), (4, 2)), np.zeros((4, 2)), np.full(4, 0.25), [False] * 4)


def walk(world: World, slot: int, seed: int, steps: int) -> list[int]:
    """States of one slot under action t mod 2."""
    one = torch.tensor([slot])
    states = [int(world.reset(one, torch.tensor([seed]))[0])]
    for t in range(steps):
        states.append(int(world.step(one, torch.tensor([t % 2])).observation))
    return states


def test_it_meets_the_protocols() -> None:
    assert isinstance(six(), WorldSpec) and isinstance(six().open(2), World)
    assert six().observation.n == 6 and six().action.n == 3


def test_an_episode_depends_on_its_seed_alone() -> None:
    spec, seeds = endless(), [3, 2**62, 3, -5]
    alone = [walk(spec.open(1), 0, seed, 80) for seed in seeds]
    assert alone[0] == alone[2] != alone[1]
    world, slots = spec.open(7), torch.tensor([6, 0, 3, 2])
    seen = [world.reset(slots, torch.tensor(seeds))[0]]
    for t in range(80):
        order = torch.randperm(4, generator=torch.Generator().manual_seed(t))
        parts = [world.step(slots[part], torch.full((len(part),), t % 2)).observation for part in order.split(3)]
        seen.append(torch.cat(parts)[order.argsort()])
    assert torch.stack(seen, 1).tolist() == alone


def test_what_happens_is_number_t_of_the_episodes_stream() -> None:
    # [0, 0.25] leads to 0, (0.25, 1] to 2, and 1 never
    spec = Tabular([[[0.25, 0, 0.75]], [[1, 0, 0]], [[0.25, 0, 0.75]]], np.zeros((3, 1)), [0.25, 0, 0.75], [False] * 3)
    u = Stream(mix("tabular", torch.tensor([11]))).uniform(60)[0]
    world, one = spec.open(1), torch.tensor([0])
    seen = [int(world.reset(one, torch.tensor([11]))[0])]
    seen += [int(world.step(one, torch.tensor([0])).observation) for _ in range(59)]
    assert seen == [0 if x <= 0.25 else 2 for x in u.tolist()]


@pytest.mark.parametrize("taken", [0, 1, 31, 32, 50])
def test_a_snapshot_goes_on_exactly_and_forks(taken: int) -> None:
    spec = endless()
    whole = walk(spec.open(1), 0, 9, 90)
    first = spec.open(1)
    walk(first, 0, 9, taken)
    saved = first.snapshot(torch.tensor([0]))
    second = spec.open(3)
    assert list(second.restore(torch.tensor([2, 0]), [saved[0], saved[0]])) == ["", ""]
    both = [second.step(torch.tensor([0, 2]), torch.tensor([t % 2] * 2)).observation.tolist() for t in range(taken, 90)]
    assert both == [[s, s] for s in whole[taken + 1 :]]
    second.restore(torch.tensor([1]), [{**saved[0], "seed": 10}])  # the same state, another future
    other = [int(second.step(torch.tensor([1]), torch.tensor([t % 2])).observation) for t in range(taken, 90)]
    assert other != whole[taken + 1 :]


def test_snapshots_are_plain_data() -> None:
    world = six().open(1)
    world.reset(torch.tensor([0]), torch.tensor([4]))
    (state,) = world.snapshot(torch.tensor([0]))
    assert yaml.safe_load(yaml.safe_dump(dict(state))) == state


def test_frequencies_are_those_of_the_table() -> None:
    n = 20_000
    world, slots = six().open(n), torch.arange(20_000)
    first, _ = world.reset(slots, slots)
    counts = np.bincount(first, minlength=6)
    assert np.abs(counts - n * START).max() < 4 * np.sqrt(n / 4)
    here = slots[first == 0]
    after = world.step(here, torch.full((len(here),), 2)).observation
    expected = len(here) * P[0, 2]
    chi2 = ((np.bincount(after, minlength=6) - expected) ** 2 / expected).sum()
    assert chi2 < 25  # five degrees of freedom: one in ten thousand


@pytest.mark.parametrize("horizon", [None, 4])
def test_returns_are_those_of_the_exact_solver(horizon: int | None) -> None:
    spec, n = six(horizon), 20_000
    policy = np.random.default_rng(1).dirichlet(np.ones(3), 6)
    world, slots = spec.open(n), torch.arange(20_000)
    state, _ = world.reset(slots, slots + 1)
    total, generator = np.zeros(n), torch.Generator().manual_seed(0)
    while len(slots):
        action = torch.multinomial(torch.from_numpy(policy)[state], 1, generator=generator)[:, 0]
        done = world.step(slots, action)
        total[slots.numpy()] += done.reward.numpy()
        going = ~(done.terminated | done.truncated)
        slots, state = slots[going], done.observation[going]
    expected = exact.expected_return(spec.mdp, policy, steps=horizon)
    assert abs(total.mean() - expected) < 4 * total.std() / np.sqrt(n)


def test_rewards_and_ends() -> None:
    # 0 -> 1 -> 2 (end); the reward of a step may depend on what follows
    p = [[[0, 1, 0]], [[0, 0, 1]], [[0, 0, 0]]]
    r = [[[9, 2, 9]], [[9, 9, 3]], [[9, 9, 9]]]
    world, one = Tabular(p, r, [1, 0, 0], [0, 0, 1], horizon=2).open(1), torch.tensor([0])
    world.reset(one, one)
    first, second = world.step(one, one), world.step(one, one)
    assert (first.reward.item(), second.reward.item()) == (2.0, 3.0) and first.reward.dtype == torch.float64
    assert not first.terminated and second.terminated and not second.truncated  # ended by itself, though the time was up as well
    short = Tabular(p, r, [1, 0, 0], [0, 0, 1], horizon=1).open(1)
    short.reset(one, one)
    cut = short.step(one, one)
    assert cut.truncated and not cut.terminated


def test_a_step_that_cannot_be_is_a_failure_with_a_reason() -> None:
    world = six(horizon=1).open(3)
    world.reset(torch.tensor([0, 1]), torch.tensor([0, 0]))
    done = world.step(torch.tensor([0, 1, 2]), torch.tensor([0, 3, 0]))
    assert list(done.failed) == ["", "action 3 is not one of 0 to 2", "slot 2 is in no episode; reset it first"]
    assert done.reward[1:].tolist() == [0, 0] and bool(done.truncated[0])
    assert "in no episode" in world.step(torch.tensor([0]), torch.tensor([0])).failed[0]
    assert world.render(0) is None
    world.close()


def test_a_plan_holds_it_by_content() -> None:
    spec = six(horizon=7)
    tree = yaml.safe_load(yaml.safe_dump(to_tree(spec)))
    back = from_tree(tree)
    assert back == spec and hash(back) == hash(spec) and repr(back) == repr(spec)
    other = dataclasses.replace(spec, start=[1, 0, 0, 0, 0, 0])
    assert other != spec and repr(other) != repr(spec)
    assert spec == Tabular(torch.from_numpy(P), R.tolist(), START, TERMINAL, 7)


def test_a_file_names_the_same_world(tmp_path: Path) -> None:
    six().mdp.save(tmp_path / "six.npz")
    spec = TabularFile(str(tmp_path / "six.npz"), horizon=5)
    assert from_tree(to_tree(spec)) == spec
    actions = torch.zeros(1, dtype=torch.long)
    for world in (spec.open(1), six(5).open(1)):
        world.reset(actions, actions + 3)
    assert isinstance(world, TabularWorld)
    assert walk(spec.open(1), 0, 8, 2) == walk(six(5).open(1), 0, 8, 2)


def test_one_line_for_what_a_plan_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match="horizon must be at least 1, got 0"):
        six(horizon=0)
    with pytest.raises(PlanError, match="start must be probabilities"):
        Tabular(P, R, START * 2, TERMINAL)
    monkeypatch.setattr("guerdon.worlds.tabular.LARGEST", 100)
    with pytest.raises(PlanError, match=r"108 transitions are too many for a plan; MDP\.save them and name worlds\.TabularFile"):
        six()
