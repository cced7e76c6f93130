"""PAR: what saturation does to credit, the references of a prompt, and arms that differ in the shaping alone."""

import pytest
import torch

from guerdon import advantages, rewards, transforms
from guerdon.core import Batch, Items, RewardOutput, Streams, recorded
from guerdon.run import Prompts
from guerdon.systems import get
from guerdon.systems.reward_shaping.par import par, reference_rewards
from guerdon.testing import tiny_lm


def credit(plan, totals, references):
    rollout = recorded(["q"] * len(totals), ["a"] * len(totals), {"reference_rewards": [references] * len(totals)})
    batch = Batch.of(rollout, RewardOutput.of(torch.tensor(totals, dtype=torch.double)))
    shaping = plan.transforms[0]
    return plan.advantage(batch.replace(reward=shaping.apply(shaping.init(), batch)[1]))[:, 0].tolist()


def test_far_above_the_references_there_is_nothing_left_to_gain():
    plan = par(rewards.Length(high=5), base="none", source=Prompts(("q",)))
    # sigmoid(5) = 0.993307, sigmoid(9) = 0.999877: leave-one-out credit of -+0.006570, where the bare reward gives -+4
    assert credit(plan, [5.0, 9.0], [0.0]) == pytest.approx([-0.006570, 0.006570], abs=1e-6)
    # around the references: sigmoid(-1) = 0.268941, sigmoid(1) = 0.731059: -+0.462117
    assert credit(plan, [-1.0, 1.0], [0.0]) == pytest.approx([-0.462117, 0.462117], abs=1e-6)


def test_reference_rewards_are_those_of_the_answers_in_the_order_of_the_prompts():
    policy, streams = tiny_lm(), Streams(0)
    items = Items(["2+2=", "3+3="], streams.uids(2))
    reward = rewards.Length(high=5)
    found = reference_rewards(items, policy, reward, 3, streams=streams, max_tokens=5)
    rollout = policy.sample(items, 3, streams=streams, max_tokens=5)
    assert found == [[float(r) for r in reward(rollout).total[rows]] for rows in (slice(0, 3), slice(3, 6))]


def test_an_answer_that_cannot_be_scored_is_no_reference():
    def judge(output):
        return None if judge.calls.append(output) or len(judge.calls) == 2 else 1.0

    judge.calls = []
    items = Items(["2+2="], Streams(0).uids(1))
    assert reference_rewards(items, tiny_lm(), rewards.as_reward(judge), 3, streams=Streams(0), max_tokens=5) == [[1.0, 1.0]]


def test_the_arms_of_the_verdict_differ_in_the_shaping_alone():
    study = get("par").study
    assert study.arms["unshaped"].func is study.arms["PAR"]
    assert study.arms["unshaped"].keywords == {"shaping": transforms.Scale(8.0)}
    assert not study.tune  # one rate for all


def test_group_deviations_would_undo_the_bound():
    """Why the study's baseline does not divide by the group's deviation: saturated rewards would count in full again."""
    plan = par(rewards.Length(high=5), base="none", source=Prompts(("q",)))
    from dataclasses import replace

    grpo = replace(plan, advantage=advantages.GroupNorm(eps=1e-9))
    assert credit(grpo, [5.0, 9.0], [0.0]) == pytest.approx(credit(grpo, [-1.0, 1.0], [0.0]), rel=1e-3)
