"""The world's contract: guards around whatever a world answers."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import GuerdonError, RunError
from guerdon.core.guarded import guarded_reset, guarded_step
from guerdon.core.persistent import Persistent
from guerdon.core.world import Box, Discrete, Spaces, Start, Stepped, World, WorldSpec
from guerdon.testing._worlds import Counting

SLOTS = torch.arange(3)
NEVER = torch.zeros(3, dtype=torch.bool)
FINE = ["", "", ""]
VECTOR = Box((2,))


class Says:
    """Answers what it was told to."""

    n = 3

    def __init__(self, answer):
        self.answer = answer

    def reset(self, slots, seeds):
        return self.answer() if callable(self.answer) else self.answer

    def step(self, slots, actions):
        return self.answer() if callable(self.answer) else self.answer


def test_a_healthy_answer_is_handed_on_untouched():
    done = Stepped(torch.ones(3, 2), torch.ones(3, dtype=torch.double), NEVER, ~NEVER, FINE)
    assert guarded_step(Says(done), VECTOR, SLOTS, SLOTS) is done
    seen = torch.ones(3, 2)
    observation, failed = guarded_reset(Says((seen, ("", "", ""))), VECTOR, SLOTS, SLOTS)
    assert observation is seen and failed == FINE


def test_each_slot_answers_for_itself():
    seen = torch.ones(3, 2)
    seen[0, 1] = float("inf")
    paid = torch.tensor([1.0, float("nan"), 2.0], dtype=torch.double)
    done = guarded_step(Says(Stepped(seen, paid, ~NEVER, ~NEVER, ["", "", "engine"])), VECTOR, SLOTS, SLOTS)
    assert list(done.failed) == ["observation is not finite", "reward is nan", "engine"]
    assert done.reward.tolist() == [0, 0, 0] and not done.observation.any()
    assert not done.terminated.any() and not done.truncated.any()
    numbers, failed = guarded_reset(Says((torch.tensor([0, 4, -1]), FINE)), Discrete(4), SLOTS, SLOTS)
    assert failed == ["", "observation is not one of 0 to 3", "observation is not one of 0 to 3"]
    assert numbers.tolist() == [0, 0, 0]


def broken(**changed):
    fields = {"observation": torch.ones(3, 2), "reward": torch.ones(3, dtype=torch.double), "terminated": NEVER,
              "truncated": NEVER, "failed": FINE}  # fmt: skip
    return Stepped(**{**fields, **changed})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (broken(observation=torch.ones(3, 4)), "observation has shape (4,), expected (2,)"),
        (broken(observation=torch.ones(2, 2)), "2 observations for 3 slots"),
        (broken(observation=torch.ones(3, 2, dtype=torch.double)), "observation is torch.float64, expected torch.float32"),
        (broken(reward=torch.ones(3, 1)), "step returned reward of shape (3, 1), expected (3,)"),
        (broken(truncated=torch.zeros(2)), "step returned truncated of shape (2,), expected (3,)"),
        (broken(failed=[""]), "the world gave 1 reasons for 3 slots"),
        (None, "step raised AttributeError: 'NoneType' object has no attribute 'observation'"),
        (lambda: {}["wheel"], "step raised KeyError: 'wheel'"),
    ],
)
def test_an_answer_that_is_none_fails_all_who_asked(answer, reason):
    done = guarded_step(Says(answer), VECTOR, SLOTS, SLOTS)
    assert list(done.failed) == [reason] * 3
    assert done.observation.shape == (3, 2) and not done.terminated.any()


def stop():
    raise RunError("the machine is gone")


def test_a_clear_line_is_not_swallowed():
    for call in (guarded_step, guarded_reset):
        with pytest.raises(GuerdonError, match="the machine is gone"):
            call(Says(stop), VECTOR, SLOTS, SLOTS)


class Forgetful(Counting):
    """Cannot save or cannot put back, and says so by raising."""

    when = "snapshot"

    def open(self, n):
        world = super().open(n)

        def fail(*args):
            raise OSError("disk is full")

        setattr(world, self.when, fail)
        return world


@pytest.mark.parametrize("when", ["snapshot", "restore"])
def test_episodes_that_cannot_be_kept_are_lost_with_a_reason(when, monkeypatch):
    monkeypatch.setattr(Forgetful, "when", when)
    live = Persistent(Forgetful(), 2, 0)
    live.begin(torch.arange(2))
    other = Persistent(Forgetful(), 2, 0)
    other.load_state_dict(live.state_dict())
    assert set(other.lost) == {0, 1} and "OSError: disk is full" in other.lost[1]
    assert not other.running.any()


def test_names_and_shapes():
    world = Counting()
    assert isinstance(world, WorldSpec) and isinstance(world.open(1), World)
    assert not isinstance(Spaces(world.observation, world.action), WorldSpec)
    assert str(Start(world, 3)) == f"{world} from 3"
    assert Start(world, 3) == Start(Counting(), 3) and hash(Start(world, 3)) == hash(Start(Counting(), 3))
