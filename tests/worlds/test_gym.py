"""worlds.Gym in this process: its spaces, episodes, limits, and that what breaks stays in its slot."""

from __future__ import annotations

import builtins
import gc
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guerdon import worlds
from guerdon.core.errors import PlanError
from guerdon.core.world import Box, Discrete, World, WorldSpec
from guerdon.run.spec import from_tree, to_tree
from guerdon.worlds.gym import Gym

gymnasium = pytest.importorskip("gymnasium")
FILE = Path(__file__).with_name("faulty.py")
SLOTS = torch.arange(3)


def faulty(fault: str = "", **more: Any) -> Gym:
    return Gym(f"{FILE}:Faulty", options={"fault": fault}, **more)


def ids(*slots: int) -> Tensor:
    return torch.tensor(slots)


# ---------------------------------------------------------------- specs
def test_spaces_are_found_out_by_making_one() -> None:
    cart, cheetah_like, lake = Gym("CartPole-v1"), Gym("Pendulum-v1"), Gym("FrozenLake-v1", {"map_name": "4x4"})
    assert isinstance(cart, WorldSpec)
    assert isinstance(cart.open(1), World)
    assert cart.action == Discrete(2)
    assert isinstance(cart.observation, Box)
    assert cart.observation.shape == (4,)
    assert cart.observation.number == "float32"
    assert cheetah_like.action == Box((1,), -2.0, 2.0)
    assert lake.observation == Discrete(16)
    assert str(lake) == "FrozenLake-v1(map_name='4x4')"
    assert hash(cart) == hash(Gym("CartPole-v1"))


def test_a_plan_names_it() -> None:
    spec = Gym(
        "maze.py:Maze", {"size": 4}, ("FlattenObservation", {"FrameStackObservation": {"stack_size": 2}}), limit=9, workers=2
    )
    tree = to_tree(spec)
    assert tree["use"] == "worlds.Gym"
    assert from_tree(tree) == spec
    assert from_tree({"use": "worlds.Gym", "id": "CartPole-v1"}) == Gym("CartPole-v1")
    assert worlds.Gym is Gym


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (Gym("CartPole-v9"), "no environment 'CartPole-v9' is registered with gymnasium; did you mean 'CartPole-v1'?"),
        (Gym("no/such.py:Maze"), r"no/such.py: no such file$"),
        (Gym(f"{FILE}:Fault"), r"faulty.py: no class or function 'Fault' in it; classes there: Faulty, Odd"),
        (Gym(f"{FILE}:not_an_environment"), "made a dict, expected a gymnasium.Env"),
        (Gym(f"{FILE}:Odd", {"what": "dict"}), "has observations in a Dict space; it has to be a Discrete or a Box"),
        (Gym(f"{FILE}:Odd", {"what": "binary"}), "has actions in a MultiBinary space"),
        (
            Gym(f"{FILE}:Odd", {"what": "half"}),
            "has observations in a Box of float16; a Box has to be of float32, float64 or uint8",
        ),
        (Gym(f"{FILE}:Odd", {"wat": "half"}), "raised TypeError: .*unexpected keyword argument 'wat'"),
        (Gym("CartPole-v1", {"wat": 1}), "CartPole-v1 raised TypeError: .*wat"),
        (Gym("CartPole-v1", wrappers=("FlattenObservations",)), "in gymnasium.wrappers; did you mean 'FlattenObservation'"),
    ],
    ids=lambda v: v[:20] if isinstance(v, str) else "",
)
def test_what_cannot_be_made_is_one_line(spec: Gym, says: str) -> None:
    with pytest.raises(PlanError, match=says) as raised:
        spec.open(2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"id": 3}, "id is 3"),
        ({"limit": 0}, "limit is 0, expected at least 1"),
        ({"workers": -1}, "workers >= 0"),
        ({"id": gymnasium.make, "workers": 2}, "name it as 'file.py:name'"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Gym(**{"id": "CartPole-v1", **fields})


@pytest.mark.parametrize(
    ("id", "lacks"), [("Pendulum-v1", "gymnasium"), ("LunarLander-v3", "Box2D"), ("HalfCheetah-v5", "mujoco")]
)
def test_a_missing_package_says_what_to_type(id: str, lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == lacks:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.startswith(("gymnasium.envs.box2d", "gymnasium.envs.mujoco"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PlanError, match=rf"needs .*{lacks}.*; type: pip install 'guerdon\[control\]'$"):
        Gym(id).open(1)


# ---------------------------------------------------------------- episodes
def test_steps_are_those_of_gymnasium() -> None:
    world, peer = Gym("Acrobot-v1").open(2), gymnasium.make("Acrobot-v1")
    first, _ = world.reset(ids(1), ids(5))
    seen, _ = peer.reset(seed=5)
    assert np.array_equal(first[0], seen)
    for action in (0, 2, 2, 1, 0) * 8:
        got = world.step(ids(1), ids(action))
        seen, reward, *_ = peer.step(action)
        assert np.array_equal(got.observation[0], seen)
        assert float(got.reward) == reward
    peer.close()
    world.close()


def test_a_subset_is_stepped_and_the_rest_stays() -> None:
    world = Gym("Pendulum-v1").open(3)
    world.reset(SLOTS, ids(1, 2, 3))
    world.step(ids(2, 0), torch.zeros(2, 1))
    again = Gym("Pendulum-v1").open(3)
    again.reset(SLOTS, ids(1, 2, 3))
    assert torch.equal(world.step(ids(1), torch.ones(1, 1)).observation, again.step(ids(1), torch.ones(1, 1)).observation)


def test_limits_cut_off() -> None:
    own = Gym("Pendulum-v1").open(1)  # Gymnasium's limit is 200
    own.reset(ids(0), ids(0))
    cut = [bool(own.step(ids(0), torch.zeros(1, 1)).truncated) for _ in range(200)]
    assert cut == [False] * 199 + [True]
    for limit in (3, 250):  # in place of 200
        world = Gym("Pendulum-v1", limit=limit).open(1)
        world.reset(ids(0), ids(0))
        assert [bool(world.step(ids(0), torch.zeros(1, 1)).truncated) for _ in range(limit)] == [False] * (limit - 1) + [True]
        assert world.step(ids(0), torch.zeros(1, 1)).failed == ["the episode is over; the slot has to be reset"]


def test_an_episode_that_ends_at_its_limit_has_ended() -> None:
    def steps(limit: int | None) -> tuple[int, bool, bool]:
        world = Gym("CartPole-v1", limit=limit).open(1)
        world.reset(ids(0), ids(0))
        for k in range(1, 100):
            got = world.step(ids(0), ids(1))
            if got.terminated or got.truncated:
                return k, bool(got.terminated), bool(got.truncated)
        raise AssertionError

    length, *_ = steps(None)
    assert steps(length) == (length, True, False)
    assert steps(length - 1) == (length - 1, False, True)


def test_wrappers_and_numbers_from_one() -> None:
    flat = Gym("FrozenLake-v1", wrappers=("FlattenObservation", {"FrameStackObservation": {"stack_size": 2}}))
    with pytest.raises(PlanError, match="has observations in a Box of int64"):
        _ = flat.observation
    stacked = Gym("CartPole-v1", wrappers=({"FrameStackObservation": {"stack_size": 2}},))
    assert stacked.observation.shape == (2, 4)

    world = Gym(f"{FILE}:Odd", {"what": "start"}).open(1)
    assert world.reset(ids(0), ids(0))[0].tolist() == [0]
    got = world.step(ids(0), ids(2))
    assert (got.observation.tolist(), got.reward.tolist(), got.failed) == ([2], [3.0], [""])  # 2 is the environment's 3
    assert got.reward.dtype == torch.float64


def test_float64_comes_as_float32_and_actions_are_copies() -> None:
    world = Gym(f"{FILE}:Odd", {"what": "wide"}).open(1)
    world.reset(ids(0), ids(0))
    action = torch.tensor([[0.5, -0.5]])
    got = world.step(ids(0), action)
    assert got.observation.dtype == torch.float32
    assert torch.equal(got.observation, torch.tensor([[5e30, -5e30]]))
    assert torch.equal(action, torch.tensor([[0.5, -0.5]]))
    assert world.step(ids(0), action * 1e9).failed == ["observation is inf at [0]"]  # 5e39 has no float32


def test_seeds_of_any_size_begin_different_episodes() -> None:
    world = Gym("CartPole-v1").open(1)
    starts = [world.reset(ids(0), ids(s))[0] for s in (0, 1, -1, 2**31, 2**40, -(2**63), 2**63 - 1, 0)]
    assert torch.equal(starts[0], starts[-1])
    assert len({tuple(s.flatten().tolist()) for s in starts}) == 7


# ---------------------------------------------------------------- faults
FAULTS = {
    "raise": "step raised ValueError: wheels came off",
    "exit": "step raised SystemExit: 3",
    "nan observation": "observation is nan at [1]",
    "inf observation": "observation is inf at [0]",
    "nan reward": "reward is nan",
    "text reward": "reward is of type str, expected a number",
    "no reward": "reward is None, expected a number",
    "shape": "observation has the shape (3,), expected (2,)",
    "dtype": "observation has the dtype float64, expected float32",
    "kind": "observation is of type dict, expected an array of float32",
    "number": "observation is 3, expected an array of float32",
    "four": "step returned 4 values, expected 5: observation, reward, terminated, truncated, info",
    "flag": "terminated is of type str, expected a bool",
    "nothing": "step returned something of type NoneType, expected 5: observation, reward, terminated, truncated, info",
}


@pytest.mark.parametrize(("fault", "why"), FAULTS.items())
def test_a_fault_stays_in_its_slot(fault: str, why: str) -> None:
    world, sound = faulty(fault).open(3), faulty().open(3)
    for w in (world, sound):
        w.reset(SLOTS, ids(2, 3, 4))  # an odd seed breaks
    for k in range(5):
        got, expected = world.step(SLOTS, ids(0, 1, 2)), sound.step(SLOTS, ids(0, 1, 2))
        assert torch.equal(got.observation[[0, 2]], expected.observation[[0, 2]])
        assert torch.equal(got.reward[[0, 2]], expected.reward[[0, 2]])
        assert list(got.failed) == ["", why if k >= 2 else "", ""]
        if k >= 2:
            assert float(got.reward[1]) == 0
            assert not got.observation[1].any()
            assert not (got.terminated | got.truncated).any()
    again, failed = world.reset(ids(1), ids(6))
    assert failed == [""]
    assert torch.equal(again, faulty().open(1).reset(ids(0), ids(6))[0])
    assert world.step(SLOTS, ids(0, 1, 2)).failed == ["", "", ""]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("reset", "reset raised KeyError: 'lost'"),
        ("reset nan", "observation is nan at [1]"),
        ("reset shape", "observation has the shape (1, 2), expected (2,)"),
        ("reset bare", "reset did not return (observation, info)"),
    ],
)
def test_a_reset_that_fails(fault: str, why: str) -> None:
    world = faulty(fault).open(2)
    seen, failed = world.reset(ids(0, 1), ids(2, 3))
    assert list(failed) == ["", why]
    assert not seen[1].any()
    assert world.step(ids(0, 1), ids(0, 0)).failed == ["", why]
    assert world.reset(ids(1), ids(4))[1] == [""]


def test_environments_that_cannot_be_made_any_more_and_none_leaks() -> None:
    from guerdon.worlds._making import load_name

    kind: Any = load_name(f"{FILE}:Faulty")
    kind.made = kind.closed = 0
    world = faulty("make").open(1)  # the first, which tells the spaces, can be made
    assert world.reset(ids(0), ids(0))[1] == [f"make: {FILE}:Faulty raised OSError: no such device"]
    kind.made = kind.closed = 0
    world = faulty("raise").open(2)
    for _ in range(3):
        world.reset(ids(0, 1), ids(3, 5))
        for _ in range(3):
            world.step(ids(0, 1), ids(0, 0))
    assert (kind.made, kind.closed) == (7, 7)  # one for the spaces, and two each time
    world.close()
    assert (kind.made, kind.closed) == (7, 7)


def test_slots_that_were_never_reset_and_actions_that_are_no_numbers() -> None:
    world = Gym("Pendulum-v1").open(2)
    world.reset(ids(0), ids(0))
    assert world.step(ids(0, 1), torch.zeros(2, 1)).failed == ["", "no episode has begun in this slot"]
    assert world.step(ids(0), torch.full((1, 1), torch.nan)).failed == ["action is not finite"]


def test_a_file_that_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import neighbour\nclass Maze(: pass\n")
    with pytest.raises(PlanError, match=r"one.py:2: SyntaxError"):
        Gym(f"{tmp_path}/one.py:Maze").open(1)
    (tmp_path / "two.py").write_text("import neighbour_that_is_not_there\n")
    with pytest.raises(PlanError, match=r"two.py: ModuleNotFoundError: No module named 'neighbour_that_is_not_there'"):
        Gym(f"{tmp_path}/two.py:Maze").open(1)


# ---------------------------------------------------------------- quiet, and fast
def test_no_warning_leaks_and_no_file_is_left(tmp_path: Path) -> None:
    pytest.importorskip("Box2D")
    pytest.importorskip("mujoco")
    program = (
        "import torch\nfrom guerdon.worlds import Gym\n"
        "for name in ('CartPole-v0', 'BipedalWalker-v3', 'HalfCheetah-v5'):\n"
        "    world = Gym(name).open(1)\n"
        "    assert world.reset(torch.tensor([0]), torch.tensor([0]))[1] == ['']\n"
        "    world.close()\n"
        "world = Gym('CartPole-v1', workers=1).open(1)\n"
        "world.reset(torch.tensor([0]), torch.tensor([0]))\n"  # left open
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_cost_of_a_step_is_small() -> None:
    """Half of gymnasium's own vector would do; the bound leaves room for a busy machine."""
    world = Gym("CartPole-v1", limit=10**9).open(8)
    envs = [gymnasium.make("CartPole-v1", disable_env_checker=True) for _ in range(8)]
    slots, push = torch.arange(8), torch.tensor([0, 1] * 4)

    def ours() -> None:
        world.reset(slots, slots)
        for _ in range(8):
            world.step(slots, push)

    def bare() -> None:
        for k, env in enumerate(envs):
            env.reset(seed=k)
        for _ in range(8):
            for env, a in zip(envs, push.tolist(), strict=True):
                env.step(a)

    def fastest(run: Any) -> float:
        run()
        gc.collect()
        times = []
        for _ in range(12):
            start = time.process_time()
            for _ in range(5):
                run()
            times.append(time.process_time() - start)
        return min(times) / (5 * 64) * 1e6

    assert fastest(ours) - fastest(bare) < 25  # us; about 5 on a quiet machine
    for env in envs:
        env.close()
