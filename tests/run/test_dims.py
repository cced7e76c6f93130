"""Terms say how log-probs of vector actions are read; the run asks the policy, the rollout records it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from guerdon import advantages, objectives, samplers
from guerdon.core import Items, PlanError, RewardOutput, Streams
from guerdon.policies import DenoiserMLP, Diffusion
from guerdon.run import AdamW, Plan, Term, Train, run


class Same:
    def draw(self, n, *, streams):
        return Items(["x"] * n, streams.uids(n))

    def tell(self, batch):
        pass


class Right:
    scope, differentiable = "sample", False

    def __call__(self, rollout):
        self.seen = rollout
        return RewardOutput.of(rollout.outputs[:, 0].float())


def tiny(**how):
    return Diffusion.of((6,), network=DenoiserMLP((8,)), steps=3, dtype="float64", **how)


def plan(terms, reward, **changes):
    return Plan(policy=tiny(), source=Same(), sampler=samplers.Group(1, 4), reward=reward, advantage=advantages.GroupNorm(),
                learners={"policy": Train(terms, AdamW(lr=1e-3))}, steps=1, checks=(), **changes)  # fmt: skip


def test_a_term_asks_for_the_mean_over_dimensions():
    reward = Right()
    run(plan(Term(objectives.PolicyGradient(), dims="mean"), reward))
    mean = reward.seen
    assert {b.dims for b in mean.behaviour} == {"mean"}
    run(plan(objectives.PolicyGradient(), reward))
    assert {b.dims for b in reward.seen.behaviour} == {"sum"}
    assert torch.equal(mean.states, reward.seen.states)
    torch.testing.assert_close(mean.logp * 6, reward.seen.logp, rtol=1e-12, atol=1e-12)


def test_a_run_does_not_inherit_what_an_earlier_one_asked_for():
    policy, reward = tiny(), Right()
    for terms, dims in ((Term(objectives.PolicyGradient(), dims="mean"), "mean"), (objectives.PolicyGradient(), "sum")):
        run(dataclasses.replace(plan(terms, reward), policy=policy))
        assert {b.dims for b in reward.seen.behaviour} == {dims}


def test_replays_follow_the_rows_and_not_the_policy():
    policy, items = tiny(), Items(["x"], Streams(0).uids(1))
    rows = policy.sample(items, 2, streams=Streams(0))
    policy.dims = "mean"
    mean = policy.sample(items, 2, streams=Streams(0))
    for one in (rows, mean, type(rows).cat([rows, mean])):
        assert torch.allclose(policy(one).logp, one.logp, rtol=0, atol=1e-12)


def test_terms_that_disagree_are_refused_in_one_line():
    both = (Term(objectives.PolicyGradient(), dims="mean"), Term(objectives.SFT(), dims="sum"))
    with pytest.raises(PlanError, match=r"PolicyGradient of learner 'policy' reads log-probs as dims='mean' and SFT"):
        run(plan(both, Right()))
    with pytest.raises(PlanError, match="dims is 'max'"):
        Term(objectives.SFT(), dims="max")
