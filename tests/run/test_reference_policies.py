"""The same objectives on three kinds of steps, in float64, against closed forms."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from guerdon import advantages, objectives, policies, samplers, selection, transforms
from guerdon.core import Items, PolicyOutput, RewardOutput, Streams
from guerdon.run import AdamW, Plan, Term, Train, run
from guerdon.testing import example_policies
from guerdon.testing._policies import GaussianChain, TinyText

VALUE = torch.tensor([0.0, 0.4, -0.6, 1.0, 0.2, -0.2, 0.7], dtype=torch.double)  # worth of each one-token answer
BETA = 0.5


@dataclass(frozen=True)
class Fixed:
    """The same contexts at every draw."""

    contexts: tuple
    columns: tuple = ()

    def draw(self, n, *, streams):
        k = [i % len(self.contexts) for i in range(n)]
        return Items([self.contexts[i] for i in k], streams.uids(n), {name: [v[i] for i in k] for name, v in self.columns})

    def tell(self, batch):
        pass


@dataclass(frozen=True)
class TokenValue:
    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        return RewardOutput.of(torch.stack([VALUE[o[0]] for o in rollout.outputs]))


def distribution(policy):
    """Exact probabilities of the seven one-token answers to the prompt [1, 2]."""
    items = Items([[1, 2]] * 7, Streams(0).uids(7))
    return policy(policy.rollout_from(items, [[k] for k in range(7)], streams=Streams(0))).logp.sum(1).exp().detach()


def tilted(reference):
    p = reference * (VALUE / BETA).exp()
    return p / p.sum()


@pytest.mark.parametrize("objective", [objectives.PolicyGradient(), objectives.Reinforce()], ids=["ppo", "reinforce"])
def test_policy_gradient_with_kl_reaches_the_tilted_distribution(objective):
    policy = TinyText(seed=3)
    reference = distribution(copy.deepcopy(policy))
    plan = Plan(
        policy=policy, source=Fixed(([1, 2],)), sampler=samplers.Group(contexts=1, n=512, controls={"max_tokens": 1}), reward=TokenValue(),
        references={"reference": policies.Frozen()}, transforms=(transforms.TokenKL(beta=BETA),), advantage=advantages.RLOO(),
        learners={"policy": Train(objective, AdamW(lr=0.02, decay="linear"), minibatches=2)}, steps=150, checks=(),
    )  # fmt: skip
    start = 0.5 * float((reference - tilted(reference)).abs().sum())
    run(plan)
    distance = 0.5 * float((distribution(policy) - tilted(reference)).abs().sum())
    assert distance < 0.02 < start


def test_dpo_on_soft_labels_reaches_the_same_distribution():
    policy = TinyText(seed=3)
    reference = distribution(copy.deepcopy(policy))
    several = [(i, j) for i in range(7) for j in range(i)]
    label = [float(torch.sigmoid(VALUE[i] - VALUE[j])) for i, j in several]
    columns = (("win", [[i] for i, _ in several]), ("lose", [[j] for _, j in several]), ("label", label))
    plan = Plan(
        policy=policy, source=Fixed(tuple([1, 2] for _ in several), columns), sampler=samplers.Given(("win", "lose"), contexts=len(several)),
        references={"reference": policies.Frozen()}, select=(selection.GivenPairs(),),
        learners={"policy": Train(objectives.DPO(beta=BETA), AdamW(lr=0.03, decay="linear"))}, steps=400, checks=(),
    )  # fmt: skip
    run(plan)
    torch.testing.assert_close(distribution(policy), tilted(reference), atol=1e-3, rtol=0)


@dataclass(frozen=True)
class Aim:
    """The end of a chain should lie near (1, -1, 1, -1 ...); episodes are paid by their environment, step by step."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        if "reward" in rollout.trace:
            return RewardOutput.of(torch.zeros(len(rollout), dtype=torch.double), step=rollout.trace["reward"])
        end = (rollout.states[:, -1] if rollout.states is not None else rollout.outputs).flatten(1).double()
        return RewardOutput.of(-(end - torch.tensor([1.0, -1.0]).repeat(end.shape[1])[: end.shape[1]]).square().sum(1))


class StateCritic(torch.nn.Module):
    """A value head over the states a reference policy sees, with parameters of its own."""

    def __init__(self, policy):
        super().__init__()
        self.head = copy.deepcopy(policy.head).requires_grad_(True)
        self.features = policy._features

    def forward(self, rollout, *, want=("value",)):
        behind = torch.arange(rollout.steps + 1) > rollout.lengths[:, None]
        return PolicyOutput(value=torch.where(behind, 0.0, self.head(self.features(rollout.states))[..., 0]))

    def values(self, rollout):
        return self(rollout).value.detach()


@dataclass(frozen=True)
class OfStates:
    def build(self, policy):
        return StateCritic(policy)


def test_ppo_with_gae_and_a_critic_improves_other_kinds_of_steps():
    policy = GaussianChain(seed=1)
    policy.head.requires_grad_(False)
    plan = Plan(
        policy=policy, source=Fixed(("a",)), sampler=samplers.Group(contexts=16, n=2), reward=Aim(), critics={"critic": OfStates()},
        advantage=advantages.GAE(gamma=0.95, lam=0.9),
        learners={
            "policy": Train(Term(objectives.PolicyGradient()), AdamW(lr=0.01), epochs=2, minibatches=2),
            "critic": Train(objectives.ValueLoss(gamma=0.95, lam=0.9), AdamW(lr=0.02), of="critic", epochs=2),
        },
        steps=60, checks=(),
    )  # fmt: skip
    result = run(plan)
    gain = [sum(h.get("return", h["reward/mean"]) for h in part) / 10 for part in (result.history[:10], result.history[-10:])]
    assert gain[1] > gain[0] + 0.1
    errors = [sum(h["loss/critic"] for h in part) / 10 for part in (result.history[:10], result.history[-10:])]
    assert errors[1] < errors[0]


def test_the_same_objective_object_serves_every_policy():
    objective = objectives.PolicyGradient()
    for name, (policy, items) in example_policies().items():
        contexts = tuple(items.contexts)
        reward = Aim() if name != "tiny-text" else TokenValue()
        plan = Plan(
            policy=copy.deepcopy(policy), source=Fixed(contexts), sampler=samplers.Group(contexts=3, n=4), reward=reward,
            advantage=advantages.BatchNorm(), learners={"policy": Train(objective)}, steps=2, checks=(),
        )  # fmt: skip
        result = run(plan)
        assert result.history[0]["mismatch/max"] < 1e-9
        assert result.history[0]["grad_norm/policy"] > 0
