"""What chains over pictures hold: one stored trace and little more, and nothing of a draw once the next begins."""

import json
import subprocess
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon import advantages, objectives, samplers
from guerdon.core import Items, RewardOutput, Rollout, Streams
from guerdon.core.protocols import Draw
from guerdon.policies import DenoiserMLP, Diffusion, Frozen
from guerdon.run import AdamW, Evaluation, Pathwise, Plan, Prompts, Train, run

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "picture_memory.py"
LIMIT = 1.3


def policy(steps: int = 4) -> Diffusion:
    return Diffusion.of((5,), network=DenoiserMLP((8,)), steps=steps, dtype="float64")


def storage(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_sampling_stays_within_a_third_of_one_trace() -> None:
    size = ["--rows=72", "--steps=15", "--side=74", "--network=points"]  # 72 MiB a trace; the whole size: picture_memory.md
    made = subprocess.run([sys.executable, str(BENCHMARK), "--part=sample", *size], check=True, capture_output=True, text=True)
    found = json.loads(made.stdout)
    assert found["trace"] == 72 * 16 * 3 * 74 * 74 * 4
    assert 0.9 < found["ratio"] < LIMIT  # below: the trace itself was not seen, and nothing was measured


def test_a_rollout_and_its_parts_store_states_once() -> None:
    streams = Streams(0)
    rollout = policy().sample(Items(["a", "b"], streams.uids(2)), 3, streams=streams)
    for part in (rollout, rollout[2:5], Rollout.cat([rollout[:2], rollout[2:]]), rollout.to("cpu"), rollout.trim()):
        assert part.states is not None
        assert storage(part.actions) == storage(part.states)
        assert torch.equal(part.actions, part.states[:, 1:][:, : part.steps])
    assert rollout.states is not None and isinstance(rollout.outputs, torch.Tensor)
    assert storage(rollout.outputs) == storage(rollout.states)
    assert Rollout.cat([rollout]) is rollout


class Sum:
    scope, differentiable = "sample", True

    def __call__(self, rollout: Rollout) -> RewardOutput:
        assert isinstance(rollout.outputs, torch.Tensor)
        return RewardOutput.of(rollout.outputs.sum(1))


@dataclass(frozen=True)
class Watching(samplers.Group):
    """Looks, before it draws, whether anything still holds what it drew before."""

    seen: Any = None
    found: Any = None

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        self.found.extend(state() is not None for state in self.seen)
        rollout, reward = super().__call__(draw)
        assert rollout.states is not None
        self.seen.append(weakref.ref(rollout.states))
        return rollout, reward


@pytest.mark.parametrize("learner", [Train(objectives.PolicyGradient(), AdamW()), Pathwise()])
def test_no_draw_outlives_the_next(learner: Any) -> None:
    seen, held = list[Any](), list[bool]()
    plan = Plan(
        policy=policy(), source=Prompts(("a", "b")), sampler=Watching(contexts=2, n=3, seen=seen, found=held), reward=Sum(),
        references={"reference": Frozen()}, advantage=advantages.GroupNorm(), learners={"policy": learner}, steps=4,
        evaluation=Evaluation(samples=4, every=2),
    )  # fmt: skip
    run(plan)
    assert len(held) == 6
    assert not any(held)
