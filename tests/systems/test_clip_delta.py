"""Clip and Delta: what a step's tokens are paid in a run of it, and arms that differ in the shaping alone."""

import pytest
import torch

from guerdon import rewards, tasks
from guerdon.core import Batch, Items, Streams
from guerdon.core.batch import returns
from guerdon.core.batch import rewards as rewards_of
from guerdon.core.credit import rewards_to_go
from guerdon.run import Prompts
from guerdon.study import Budget
from guerdon.systems import get
from guerdon.systems.reward_shaping import clip_delta as system
from guerdon.testing import tiny_lm, tiny_process_reward

ALPHA = 0.3
ANSWERS = ["3+3=6", "3+3=3+3=6=6=6", "6", "4+3=7"]


def scored(shaping):
    """Four answers to one sum under a plan's reward and shaping, and the process scores of their steps."""
    process = tiny_process_reward(separator="=")
    with torch.no_grad():
        process.model.score.bias.copy_(torch.tensor([-2.0, 2.0]))  # likes most steps
    plan = system.clip_delta(tasks.ArithmeticReward(), process, base="none", source=Prompts(("q",)), alpha=ALPHA, shaping=shaping)
    items = Items(["1+2+3="] * 4, torch.arange(4), {"answer": ["6"] * 4})
    rollout = tiny_lm().rollout_from(items, ANSWERS, streams=Streams(0))
    batch = Batch.of(rollout, plan.reward(rollout))
    for transform in plan.transforms[:-1]:
        batch = batch.replace(reward=transform.apply(transform.init(), batch)[1])
    return batch, process.score(items.contexts, ANSWERS), plan


def test_from_step_k_on_there_is_the_score_of_step_k_and_the_success():
    batch, scores, _ = scored(system.SHAPING[1:])
    left = rewards_to_go(rewards_of(batch), batch.rollout.mask)
    for k, (own, s) in enumerate(zip(scores, [1, 1, 1, 0], strict=True)):
        at = batch.reward.parts[system.ENDS][k].nonzero()[:, 0]
        assert left[k, at].tolist() == pytest.approx([*(ALPHA * r + s for r in own[:-1]), s], abs=1e-6)


def test_clipped_and_differenced_nothing_is_earned_by_steps():
    batch, scores, _ = scored(system.SHAPING)
    flat = [r for own in scores for r in own]
    eta = sum(flat) / len(flat)  # of all 2 + 5 + 1 + 2 steps
    assert len(flat) == 10
    first = [min(own[0] - eta, 0) * ALPHA if len(own) > 1 else 0.0 for own in scores]
    success = torch.tensor([1.0, 1, 1, 0])
    assert (returns(batch) - success).tolist() == pytest.approx(first, abs=1e-6)
    clipped, _, _ = scored(system.SHAPING[:1])
    assert float((returns(clipped) - success).max()) <= 0


def test_unshaped_the_answer_that_repeats_itself_earns_most():
    batch, scores, _ = scored(())
    assert returns(batch).tolist() == pytest.approx(
        [ALPHA * sum(own) + s for own, s in zip(scores, (1, 1, 1, 0), strict=True)], abs=1e-6
    )
    assert int(returns(batch).argmax()) == 1


def test_what_is_cut_off_is_no_answer():
    items = Items(["1+2+3="] * 2, torch.arange(2), {"answer": ["6"] * 2})
    rollout = tiny_lm().rollout_from(items, ["3+3=6"] * 2, streams=Streams(0)).replace(terminal=torch.tensor([True, False]))
    assert system.Answered(tasks.ArithmeticReward())(rollout).total.tolist() == [1.0, 0.0]


def test_labels_say_whether_a_step_has_the_value_of_the_one_before():
    values = [[label.value for label in system.verified("1+2+3=", a)] for a in ("3+3=6", "4+3=7=7", "6=", "3+=6", "1+2+3=1+2+3")]
    assert values == [[1, 1], [-1, 1, 1], [1], [-1, -1], [1, 1]]
    spans = [(label.start, label.end) for label in system.verified("1+2+3=", "3+3=6=")]
    assert spans == [(0, 4), (4, 6)]  # the separator belongs to its step


def test_the_arms_differ_in_the_shaping_alone(cache_dir):
    trees = {}
    for name, arm in get("clip-delta").study.arms.items():
        changes = getattr(arm, "keywords", {})
        plan = system._plan(5, Budget("tiny"), **changes)
        assert isinstance(plan.reward, rewards.Mixture)
        tree = plan.to_tree()
        trees[name] = {k: v for k, v in tree.items() if k not in ("transforms", "reward")}
        assert len(plan.transforms) == (3 if name == "Clip+Delta" else 1)
        assert plan.reward.parts["process"][1] == (0.0 if name == "success only" else system.ALPHA)
    assert len({str(t) for t in trees.values()}) == 1
