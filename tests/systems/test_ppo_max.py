"""PPO-max: rewards, advantages and value targets of a small batch by hand, and arms that each lack one part."""

import pytest
import torch

from guerdon import objectives, policies
from guerdon.core import Batch, PolicyOutput, RewardOutput, Rollout
from guerdon.run import Prompts
from guerdon.systems import get
from guerdon.systems.policy_gradient import ppo_max as file


@pytest.fixture
def plan():
    return file.ppo_max("reward", base="base", source=Prompts(("q",)))


def batch_of(totals):
    """Two rows of two steps whose log-probs are 0.5 above the reference's; values 0.2, 0.1 and 0 at the end."""
    n = len(totals)
    mask, logp = torch.ones(n, 2, dtype=torch.bool), torch.full((n, 2), -1.0, dtype=torch.double)
    rollout = Rollout(["q"] * n, ["a"] * n, torch.zeros(n, 2), mask, torch.arange(n), torch.arange(n), logp=logp)
    values = torch.tensor([[0.2, 0.1, 0.0]] * n, dtype=torch.double)
    batch = Batch.of(rollout, RewardOutput.of(torch.tensor(totals, dtype=torch.double)))
    return batch.replace(refs={"reference": PolicyOutput(logp=logp - 0.5)}, values={"critic": values})


def credited(plan, batch):
    for transform in plan.transforms:
        batch = batch.replace(reward=transform.apply(transform.init(), batch)[1])
    return batch.replace(advantage={"main": plan.advantage(batch)})


def test_rewards_and_advantages(plan):
    batch = credited(plan, batch_of([1.0, 3.0]))
    # Rewards 1 and 3: mean 2, deviation sqrt 2, so -+0.707107; each step pays 0.1 * 0.5.
    assert batch.reward.total.tolist() == pytest.approx([-0.707107, 0.707107], abs=1e-6)
    assert batch.reward.step[0].tolist() == pytest.approx([-0.05, -0.05])
    # First row: delta_1 = -0.757107 - 0.1 = -0.857107; delta_0 = -0.05 + 0.1 - 0.2 = -0.15; A_0 = -0.15 + 0.95 * -0.857107.
    assert batch.advantage["main"][0].tolist() == pytest.approx([-0.964252, -0.857107], abs=1e-6)


def test_the_critic_learns_from_small_steps_only(plan):
    batch = credited(plan, batch_of([1.0, 3.0]))
    value = torch.tensor([[1.0, 0.1, 0.0]] * 2, dtype=torch.double)
    loss = plan.learners["critic"].terms(PolicyOutput(value=value), batch)
    # Target of the first row's start: A + V = -0.764252; |1.0 - target| is the larger miss: 0.5 * 1.764252^2.
    assert float(loss[0, 0]) == pytest.approx(0.5 * 1.764252**2, abs=1e-5)
    # The second row's: delta_1 = 0.657107 - 0.1, A_0 = -0.15 + 0.95 * 0.557107 = 0.379252, target 0.579252. The value may move
    # by 0.2 to 0.4, which misses by 0.179252; the value itself misses by 0.420748: still the larger.
    assert float(loss[1, 0]) == pytest.approx(0.5 * 0.420748**2, abs=1e-5)
    near = torch.tensor([[0.6, 0.1, 0.0]] * 2, dtype=torch.double, requires_grad=True)
    miss = plan.learners["critic"].terms(PolicyOutput(value=near), batch)[1, 0]
    assert miss.item() == pytest.approx(0.5 * 0.179252**2, abs=1e-5)  # 0.6 is nearer, but counts as 0.4 ...
    miss.backward()
    assert near.grad.abs().sum().item() == 0.0  # ... and nothing is learned from it


def test_large_rewards_are_clipped():
    plan = file.ppo_max("reward", base="base", source=Prompts(("q",)), delta=0.5)
    assert credited(plan, batch_of([1.0, 3.0])).reward.total.tolist() == [-0.5, 0.5]


def test_the_critic_starts_as_the_reward_model_and_learns_first(plan):
    assert plan.critics == {"critic": policies.FromReward("reward")}
    assert [n for n in plan.learners if plan.learners[n].due.at(0)] == ["critic"]
    assert plan.learners["policy"].due.at(3)


def test_each_arm_lacks_one_part(plan):
    def differs(change):
        other = change(plan)
        fields = [n for n in ("transforms", "advantage", "critics") if getattr(other, n) != getattr(plan, n)]
        return fields + [n for n in plan.learners if other.learners[n] != plan.learners[n]]

    parts = {
        file.no_kl: ["transforms"], file.no_clip: ["policy"], file.no_scaling: ["transforms"], file.no_value_clip: ["critic"],
        file.critic_of_policy: ["critics"], file.full_returns: ["advantage", "critic"], file.whitened: ["advantage"],
    }  # fmt: skip
    assert {change: differs(change) for change in file.PARTS.values()} == parts
    assert file.no_kl(plan).transforms == plan.transforms[:1]
    assert file.no_scaling(plan).transforms[1:] == plan.transforms[1:]
    assert file.no_clip(plan).learners["policy"].terms == objectives.PolicyGradient(clip=None)


def test_the_verdict_is_about_the_kl_price():
    study = get("ppo-max").study
    assert study.arms["without KL price"].keywords == {"without": ("KL price",)}
    assert file.PARTS["KL price"] is file.no_kl
    assert [(e.arm, e.than, e.metric) for e in study.expect] == [
        ("PPO-max", "without KL price", None),
        ("without KL price", "PPO-max", "proxy"),
    ]
