"""worlds.Gym in worker processes: the same bits at any number of them, and one that dies or hangs is the failure of its slots."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon import worlds
from guerdon.core.errors import PlanError
from guerdon.worlds._pool import Pool
from guerdon.worlds.gym import Gym, GymWorld

gymnasium = pytest.importorskip("gymnasium")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="worker processes need a socket pair")
FILE = Path(__file__).with_name("faulty.py")
SLOTS = torch.arange(5)


def faulty(fault: str, workers: int, **more: Any) -> Gym:
    return Gym(f"{FILE}:Faulty", options={"fault": fault}, workers=workers, **more)


def processes(world: GymWorld) -> list[int]:
    assert isinstance(world.host, Pool)
    return [lane.process.pid for lane in world.host.lanes.values()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_same_bits_at_any_number_of_workers() -> None:
    def trace(workers: int) -> list[Tensor]:
        world, rng = Gym("Acrobot-v1", limit=9, workers=workers).open(5), torch.Generator().manual_seed(0)
        seen = [world.reset(SLOTS, SLOTS - 2)[0]]
        for t in range(60):
            some = torch.randperm(5, generator=rng)[: int(torch.randint(1, 6, (1,), generator=rng))]
            got = world.step(some, torch.randint(3, (len(some),), generator=rng))
            assert not any(got.failed)
            seen += [got.observation, got.reward, got.terminated, got.truncated]
            if (over := got.truncated).any():
                seen.append(world.reset(some[over], some[over] + 10 * t)[0])
        picture = world.render(3)
        assert picture is not None
        for state in world.snapshot(SLOTS):
            seen += [state["actions"], state["last"], torch.tensor([state["gain"], state["seed"], state["over"]])]
        world.close()
        return [*seen, torch.from_numpy(picture)]

    alone = trace(0)
    for workers in (1, 2, 3):
        got = trace(workers)
        assert len(got) == len(alone)
        assert all(torch.equal(a, b) for a, b in zip(alone, got, strict=True)), workers


def test_states_move_between_processes() -> None:
    here, there = Gym("Pendulum-v1").open(3), Gym("Pendulum-v1", workers=2).open(3)
    slots = torch.arange(3)
    here.reset(slots, slots)
    for _ in range(7):
        here.step(slots, torch.ones(3, 1))
    assert there.restore(slots, here.snapshot(slots)) == ["", "", ""]
    assert torch.equal(here.step(slots, torch.zeros(3, 1)).observation, there.step(slots, torch.zeros(3, 1)).observation)
    assert here.restore(slots, there.snapshot(slots)) == ["", "", ""]
    there.close()


def test_a_fault_in_a_worker_is_that_of_its_slot() -> None:
    world = faulty("raise", 2).open(3)
    slots = torch.arange(3)
    assert world.reset(slots, torch.tensor([2, 3, 4]))[1] == ["", "", ""]
    for _ in range(2):
        assert not any(world.step(slots, slots).failed)
    assert world.step(slots, slots).failed == ["", "step raised ValueError: wheels came off", ""]
    assert world.reset(slots[1:2], torch.tensor([6]))[1] == [""]
    assert world.step(slots, slots).failed == ["", "", ""]
    world.close()


def test_a_worker_that_dies_fails_its_slots_and_is_started_again() -> None:
    world = faulty("", 2).open(4)
    slots = torch.arange(4)
    world.reset(slots, slots)
    expected = world.step(slots, slots)
    os.kill(processes(world)[1], signal.SIGKILL)  # slots 1 and 3
    got = world.step(slots[:3], slots[:3])
    assert list(got.failed) == ["", "its worker process died (exit code -9)", ""]
    assert float(got.reward[1]) == 0
    assert world.step(slots[3:], slots[3:]).failed == ["its worker process died (exit code -9)"]
    assert world.snapshot(slots[3:]) == [{"failed": "its worker process died (exit code -9)"}]
    assert world.reset(slots[1:2], slots[1:2])[1] == [""]  # another process
    again = world.step(slots, slots)
    assert list(again.failed) == ["", "", "", "its worker process died (exit code -9)"]
    assert torch.equal(again.observation[1], expected.observation[1])
    world.close()


def test_an_environment_that_ends_its_process() -> None:
    world = faulty("die", 1).open(2)
    world.reset(torch.arange(2), torch.tensor([3, 2]))
    for _ in range(2):
        world.step(torch.arange(2), torch.zeros(2, dtype=torch.long))
    assert world.step(torch.arange(2), torch.zeros(2, dtype=torch.long)).failed == ["its worker process died (exit code 7)"] * 2
    assert world.reset(torch.arange(2), torch.tensor([4, 2]))[1] == ["", ""]
    world.close()


def test_a_worker_that_hangs_is_ended() -> None:
    world = faulty("hang", 2, timeout=3).open(2)
    slots = torch.arange(2)
    assert world.reset(slots, torch.tensor([2, 3]))[1] == ["", ""]
    for _ in range(2):
        assert not any(world.step(slots, slots).failed)
    pids, begun = processes(world), time.monotonic()
    assert world.step(slots, slots).failed == ["", "its worker process did not answer within 3 s and was ended"]
    assert time.monotonic() - begun < 10
    assert [alive(pid) for pid in pids] == [True, False]
    assert world.reset(slots, torch.tensor([2, 4]))[1] == ["", ""]
    world.close()


def test_closing_and_forgetting_leave_no_process() -> None:
    world = Gym("CartPole-v1", workers=2).open(4)
    world.reset(SLOTS[:4], SLOTS[:4])
    pids = processes(world)
    assert all(alive(p) for p in pids)
    world.close()
    assert not any(alive(p) for p in pids)
    world.close()  # twice is fine
    world.reset(SLOTS[:2], SLOTS[:2])
    pids = processes(world)
    del world
    gc.collect()
    assert not any(alive(p) for p in pids)


def test_a_program_that_is_killed_takes_its_workers_along() -> None:
    program = (  # torch takes seconds to import, and the pool does without
        "import os, signal, sys, types\n"
        "room = sys.modules['guerdon.worlds'] = types.ModuleType('guerdon.worlds')\n"
        f"room.__path__ = [{str(Path(worlds.__file__).parent)!r}]\n"
        "from guerdon.worlds import _form, _making, _pool\n"
        "forms = _form.Form(shape=(4,), dtype='float32'), _form.Form(n=2)\n"
        "pool = _pool.Pool(_making.Recipe('CartPole-v1'), *forms, 1, 60.0)\n"
        "assert pool.reset([0], [0])[1] == ['']\n"
        "assert 'torch' not in sys.modules\n"
        "print(pool.lanes[0].process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (-signal.SIGKILL, "")
    until = time.monotonic() + 10
    while alive(int(told.stdout)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(int(told.stdout))


def test_what_workers_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match=r"plain data .*; use workers=0"):
        Gym(f"{FILE}:Faulty", {"fault": torch.ones(1)}, workers=1).open(1)
    (tmp_path / "guerdon_test_cart.py").write_text("from gymnasium.envs.classic_control import CartPoleEnv\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry := dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", registry)
    gymnasium.register("GuerdonLambda-v0", entry_point=lambda: gymnasium.make("CartPole-v1"))
    gymnasium.register("GuerdonNamed-v0", entry_point="guerdon_test_cart:CartPoleEnv", max_episode_steps=3)
    with pytest.raises(PlanError, match="is registered with a callable"):
        Gym("GuerdonLambda-v0", workers=1).open(1)
    world = Gym("GuerdonNamed-v0", workers=1).open(1)
    assert world.reset(SLOTS[:1], SLOTS[:1])[1] == [""]  # its process has it too
    assert [bool(world.step(SLOTS[:1], SLOTS[:1]).truncated) for _ in range(3)] == [False, False, True]
    world.close()
