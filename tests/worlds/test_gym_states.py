"""worlds.Gym: a state is the seed and the actions since; pictures are drawn beside the episode."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from guerdon.core.world import Discrete, Stepped, WorldSpec
from guerdon.worlds.gym import Gym, GymWorld

pytest.importorskip("gymnasium")
FILE = Path(__file__).with_name("faulty.py")
SLOTS = torch.arange(3)
NEEDS = {"LunarLander-v3": "Box2D", "BipedalWalker-v3": "Box2D", "HalfCheetah-v5": "mujoco"}


def actions(spec: WorldSpec, k: int, rng: torch.Generator) -> Tensor:
    if isinstance(spec.action, Discrete):
        return torch.randint(spec.action.n, (k,), generator=rng)
    low, high = spec.action.bounds()
    return (low + (high - low) * torch.rand(k, *spec.action.shape, generator=rng, dtype=torch.float64)).float()


def go_on(spec: WorldSpec, world: GymWorld, steps: int, rng: torch.Generator) -> list[Tensor]:
    """Everything that is seen in the next steps; a slot whose episode is over begins another."""
    seen: list[Tensor] = []
    for t in range(steps):
        got: Stepped = world.step(SLOTS, actions(spec, 3, rng))
        assert not any(got.failed), got.failed
        seen += [got.observation, got.reward, got.terminated, got.truncated]
        if (over := got.terminated | got.truncated).any():
            seen.append(world.reset(SLOTS[over], SLOTS[over] + 1000 * t)[0])
    return seen


@pytest.mark.parametrize(
    "name",
    ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "FrozenLake-v1", "LunarLander-v3", "BipedalWalker-v3", "HalfCheetah-v5"],
)
def test_a_restored_state_goes_on_bit_for_bit(name: str) -> None:
    if (package := NEEDS.get(name)) and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    spec, rng = Gym(name), torch.Generator().manual_seed(1)
    world = spec.open(3)
    world.reset(SLOTS, torch.tensor([5, -7, 2**40]))
    go_on(spec, world, 67, rng)  # long enough for several episodes of most: what was before must not matter
    states = world.snapshot(SLOTS)
    other = spec.open(3)
    other.reset(SLOTS, SLOTS)
    go_on(spec, other, 5, rng)
    assert other.restore(SLOTS, states) == ["", "", ""]
    left = rng.get_state()
    expected = go_on(spec, world, 40, rng)
    rng.set_state(left)
    got = go_on(spec, other, 40, rng)
    assert len(expected) == len(got)
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    world.close()
    other.close()


def test_a_fork_goes_several_ways_and_leaves_the_first_alone() -> None:
    spec = Gym("Acrobot-v1", limit=12)
    world = spec.open(3)
    world.reset(SLOTS[:1], torch.tensor([4]))
    for _ in range(10):
        world.step(SLOTS[:1], torch.tensor([2]))
    (state,) = world.snapshot(SLOTS[:1])
    assert world.restore(SLOTS[1:], [state, state]) == ["", ""]
    got = world.step(SLOTS, torch.tensor([0, 2, 0]))
    assert torch.equal(got.observation[0], got.observation[2])
    assert not torch.equal(got.observation[0], got.observation[1])
    assert world.step(SLOTS, torch.tensor([0, 2, 0])).truncated.all()  # the limit counts the steps before the fork too


def test_a_state_is_plain_data_that_survives_an_episode_s_end() -> None:
    world = Gym("Pendulum-v1", limit=2).open(3)
    world.reset(SLOTS, SLOTS)
    world.step(SLOTS[:2], torch.ones(2, 1))
    world.step(SLOTS[:1], torch.ones(1, 1))  # over
    over, begun, fresh = states = world.snapshot(SLOTS)
    assert [len(s["actions"]) for s in states] == [2, 1, 0]
    assert (begun["seed"], begun["over"], over["over"]) == (1, False, True)
    assert isinstance(fresh["actions"], Tensor)
    assert fresh["actions"].shape == (0, 1)
    other = Gym("Pendulum-v1", limit=2).open(3)
    assert other.restore(SLOTS, states) == ["", "", ""]
    assert other.step(SLOTS, torch.ones(3, 1)).failed == ["the episode is over; the slot has to be reset", "", ""]


def test_an_environment_that_is_not_deterministic_says_so() -> None:
    spec = Gym(f"{FILE}:Faulty", {"fault": "chance"})
    world = spec.open(3)
    world.reset(SLOTS, torch.tensor([2, 4, 6]))
    world.step(SLOTS[:2], torch.tensor([1, 1]))
    why = f"{FILE}:Faulty is not deterministic: 1 actions from seed 2 led elsewhere this time (fresh=True may help)"
    assert world.restore(SLOTS[:1], world.snapshot(SLOTS[:1])) == [why]
    assert world.restore(SLOTS[2:], world.snapshot(SLOTS[2:])) == [""]  # nothing was stepped
    assert world.step(SLOTS, torch.tensor([0, 0, 0])).failed == [why, "", ""]
    assert world.reset(SLOTS[:1], SLOTS[:1])[1] == [""]


def test_a_state_of_a_broken_slot_has_nothing_to_restore() -> None:
    spec = Gym(f"{FILE}:Faulty", {"fault": "raise", "at": 1})
    world = spec.open(3)
    world.reset(SLOTS[:2], torch.tensor([2, 3]))
    world.step(SLOTS[:2], SLOTS[:2])
    assert spec.open(3).restore(SLOTS, world.snapshot(SLOTS)) == [
        "",
        "the saved slot had none: step raised ValueError: wheels came off",
        "the saved slot had none: no episode has begun in this slot",
    ]


def test_box2d_is_made_anew_because_its_worlds_remember() -> None:
    """BipedalWalker keeps its physics world when it is reset: an episode would depend on those before it."""
    pytest.importorskip("Box2D")

    def episode(world: GymWorld, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        world.reset(SLOTS[:1], SLOTS[:1] + seed)
        for _ in range(100):
            got = world.step(SLOTS[:1], actions(spec, 1, rng))
            if got.terminated:
                break
        return got.observation

    spec = Gym("BipedalWalker-v3")
    used = spec.open(1)
    for seed in range(6):
        new = spec.open(1)
        assert torch.equal(episode(used, seed), episode(new, seed))
        new.close()
    used.close()


# ---------------------------------------------------------------- pictures
def test_pictures_of_one_episode_do_not_disturb_it() -> None:
    spec, rng = Gym("CartPole-v1"), torch.Generator().manual_seed(0)
    drawn, plain = spec.open(3), spec.open(3)
    for world in (drawn, plain):
        world.reset(SLOTS, SLOTS)
    pictures = []
    for _ in range(4):
        a = actions(spec, 3, rng)
        assert torch.equal(drawn.step(SLOTS, a).observation, plain.step(SLOTS, a).observation)
        pictures.append(drawn.render(1))
    assert all(p is not None and p.shape == (400, 600, 3) and p.dtype.name == "uint8" for p in pictures)
    assert (pictures[0] != pictures[3]).any()
    assert (drawn.render(1) == pictures[3]).all()
    assert (plain.render(1) == pictures[3]).all()  # the same state, the same picture, whichever were drawn before
    drawn.reset(SLOTS[1:2], torch.tensor([77]))
    assert (drawn.render(1) != pictures[3]).any()
    drawn.close()
    plain.close()


def test_an_environment_may_draw_itself() -> None:
    world = Gym("CartPole-v1", {"render_mode": "rgb_array"}).open(1)
    world.reset(SLOTS[:1], SLOTS[:1])
    picture = world.render(0)
    assert picture is not None
    assert picture.shape == (400, 600, 3)
    world.close()


def test_no_picture_has_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    world = Gym(f"{FILE}:Faulty").open(1)
    world.reset(SLOTS[:1], SLOTS[:1])
    with caplog.at_level(logging.WARNING, "guerdon"):
        assert world.render(0) is None
        assert world.render(0) is None
    (record,) = caplog.records
    assert "no picture" in record.getMessage()
    assert "render_mode" in record.getMessage()


def test_mujoco_draws_or_says_what_is_missing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    from guerdon.worlds import _drawing

    world = Gym("InvertedPendulum-v5").open(1)
    world.reset(SLOTS[:1], SLOTS[:1])
    _drawing._choose_library.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "none")
    assert world.render(0) is None
    assert "MUJOCO_GL=none does not draw here; type: apt install libegl1" in caplog.text
    monkeypatch.delenv("MUJOCO_GL")
    _drawing._choose_library.cache_clear()
    picture = world.render(0)
    assert picture is not None or "MuJoCo found no OpenGL library that draws here" in caplog.text
    if picture is not None:
        assert picture.shape == (480, 480, 3)
        assert picture.std() > 1
    world.close()
