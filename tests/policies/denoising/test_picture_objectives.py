"""The objective objects that train text and control train every kind of denoising policy; pushed without KL they leave the data."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from guerdon.audit import OffData, OffDataDistance
from guerdon.core import Items, PlanError, RewardOutput, Streams
from guerdon.policies import (
    DDPM,
    Consistency,
    DenoiserMLP,
    Diffusion,
    Flow,
    HeadOnPolicy,
    Labels,
    MaskedDiffusion,
    OwnTrunk,
    TokenMLP,
    UNet,
)
from guerdon.policies.denoising import FlowSDE, Straight
from guerdon.run import AdamW, Evaluation, Train, run
from guerdon.testing._same_objectives import OBJECTIVES, Fixed, plan_of

TARGET = torch.tensor([1.0, -1.0], dtype=torch.double)


@dataclass(frozen=True)
class Near:
    """Pays points for being near the target, texts for every C."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        if isinstance(rollout.outputs, torch.Tensor):
            return RewardOutput.of(-(rollout.outputs - TARGET).square().sum(1))
        return RewardOutput.of(torch.tensor([float(o.count("C")) for o in rollout.outputs]).double())


# ---------------------------------------------------------------- each raises its measure
TINY: dict[str, Any] = {"network": DenoiserMLP((16,)), "dtype": "float64", "steps": 3}
KINDS = {
    "diffusion": lambda: Diffusion.of((2,), **TINY),
    "flow": lambda: Flow.of((2,), **TINY),
    "consistency": lambda: Consistency.of((2,), **TINY),
    "masked": lambda: MaskedDiffusion.of(4, "ACGT", network=TokenMLP((16,)), dtype="float64", steps=3),
}
RISE = 1.5  # of the mean reward, at least


def mean_reward(policy):
    return float(Near()(policy.sample(Items(["a"] * 200, Streams(9).uids(200)), 1, streams=Streams(9))).total.mean())


@pytest.mark.parametrize("name", ["grpo", "ppo", "reinforce"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_sampled_objective_raises_the_reward(kind, name):
    policy = KINDS[kind]()
    before = mean_reward(policy)
    run(plan_of(name, policy, Fixed(("a", "b")), Near(), 2, 15, 0.03, critic=HeadOnPolicy()))
    assert mean_reward(policy) > before + RISE


@pytest.mark.parametrize("kind", ["diffusion", "flow", "masked"])
def test_likelihood_of_given_outputs_raises_it_too(kind):
    policy = KINDS[kind]()
    before = mean_reward(policy)
    given = ["CCCA", "CGCC"] if kind == "masked" else torch.stack([TARGET + 0.1, TARGET - 0.1])
    run(plan_of("sft", policy, Fixed(("a", "b"), {"completion": given}), None, 2, 15, 0.03, ("completion",)))
    assert mean_reward(policy) > before + RISE


@pytest.mark.parametrize("kind", ["diffusion", "flow", "masked"])
def test_preferences_move_samples_to_the_preferred_side(kind):
    """A model of two clusters, and pairs that prefer one: DPO moves samples there, and does not leave the data for it."""
    policy = KINDS[kind]()
    if kind == "masked":
        won, lost = ["CCCA", "CGCC"] * 8, ["AGAT", "TTGA"] * 8
        both = [x for pair in zip(won, lost, strict=True) for x in pair]
    else:
        scatter = 0.2 * torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
        both = torch.stack([TARGET, -TARGET]).repeat(16, 1) + scatter
        won, lost = both[0::2], both[1::2]
    run(plan_of("sft", policy, Fixed(("a",) * 32, {"completion": both}), None, 32, 60, 0.02, ("completion",)))
    before = mean_reward(policy)
    source = Fixed(("a",) * 16, {"chosen": won, "rejected": lost})
    run(plan_of("dpo", policy, source, None, 16, 20, 0.003, ("chosen", "rejected")))
    assert mean_reward(policy) > before + (0.3 if kind == "masked" else 1.0)


def test_a_map_to_the_data_has_no_likelihood_of_given_outputs():
    """It learns from given pictures by distillation only; from its own samples, by every objective (below)."""
    with pytest.raises(PlanError, match="no denoising bound"):
        run(
            plan_of("sft", KINDS["consistency"](), Fixed(("a",), {"completion": TARGET[None]}), None, 1, 1, 0.01, ("completion",))
        )


# ---------------------------------------------------------------- one step of each, for every kind of network, reward and critic
LETTERS = {"network": TokenMLP((8,)), "condition": Labels(2, 4), "steps": 3}
ALL = {
    "unet": lambda: Diffusion.of((1, 4, 4), network=UNet((4, 8)), condition=Labels(2, 4), guidance=1.5, steps=3),
    "ddpm": lambda: Diffusion.of((2,), network=DenoiserMLP((8,)), predict="noise", kernel=DDPM("large"), steps=3),
    "flow": lambda: Flow.of((1, 4, 4), network=UNet((4, 8)), condition=Labels(2, 4), steps=3),
    "consistency": lambda: Consistency.of((2,), network=DenoiserMLP((8,)), steps=3),
    "masked": lambda: MaskedDiffusion.of(4, "ACGT", **LETTERS),
}


@dataclass(frozen=True)
class Bright:
    """The mean of a picture, the letters C of a text."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        if isinstance(rollout.outputs, torch.Tensor):
            return RewardOutput.of(rollout.outputs.flatten(1).mean(1).double())
        return Near()(rollout)


@pytest.mark.parametrize("name", [*OBJECTIVES, "grpo-mean"])
@pytest.mark.parametrize("kind", ALL)
def test_one_step_has_a_finite_gradient(kind, name):
    policy = ALL[kind]()
    source, columns = Fixed((0, 1)), ()
    if name in ("dpo", "sft") and kind != "consistency":  # which learns from the best of its own samples
        out = policy.sample(Items([0, 1] * 2, Streams(0).uids(4)), 1, streams=Streams(0)).outputs
        columns = ("chosen", "rejected") if name == "dpo" else ("completion",)
        source = Fixed((0, 1), {"chosen": out[:2], "rejected": out[2:], "completion": out[:2]})
    plan = plan_of(name.split("-")[0], policy, source, Bright(), 2, 1, 0.01, columns, critic=OwnTrunk())
    if name == "grpo-mean":
        learner = Train(dataclasses.replace(OBJECTIVES["grpo"], dims="mean"), AdamW(lr=0.01))
        plan = dataclasses.replace(plan, learners={"policy": learner})
    before = [p.detach().clone() for p in policy.parameters()]
    result = run(plan)
    assert 0 < result.history[-1]["grad_norm/policy"] < float("inf")
    assert any(not torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    assert all(bool(torch.isfinite(p).all()) for p in policy.parameters())
    assert policy.dims == ("mean" if name == "grpo-mean" else "sum")


# ---------------------------------------------------------------- out of the data, and kept in it
class Started(nn.Module):
    """The exact velocity of a flow from noise to N(0, 0.3^2), and a correction that begins at zero."""

    width = 16

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.first, self.last = nn.Linear(3, 16).double(), nn.Linear(16, 2).double()
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(16, 3, generator=g, dtype=torch.double))
            self.last.weight.zero_()
            self.last.bias.zero_()

    def features(self, x, time, condition):
        return self.first(torch.cat([x, time[:, None].to(x)], 1)).tanh()

    def forward(self, x, time, condition):
        t = time[:, None].to(x)
        data = (1 - t) * 0.09 / ((1 - t).square() * 0.09 + t.square()) * x
        return (x - data) / t + self.last(self.features(x, time, condition))


@dataclass(frozen=True)
class Data:
    """400 points of N(0, 0.3^2)."""

    def pictures(self):
        return 0.3 * torch.randn(400, 2, generator=torch.Generator().manual_seed(1), dtype=torch.double)


@dataclass(frozen=True)
class Rightwards:
    """A reward that is no judge of data at all: the further right the better."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        return RewardOutput.of(rollout.outputs[:, 0])


def pushed(beta):
    """(rise of the reward, share outside the data at the end, levels of the audit's findings) of one run; beta 0: no KL."""
    policy = Flow((2,), Started(), None, noise=Straight(), predict="flow", kernel=FlowSDE(0.7), steps=6)
    plan = plan_of("grpo", policy, Fixed(tuple("abcd")), Rightwards(), 4, 24, 0.02)
    term = OBJECTIVES["grpo"]
    kl = dataclasses.replace(term.objective.kl, beta=beta) if beta else None
    learner = Train(dataclasses.replace(term, objective=dataclasses.replace(term.objective, kl=kl)), AdamW(lr=0.02))
    evaluation = Evaluation(samples=128, every=6, show=0, keep_best=False, measures=(OffDataDistance(Data()),))
    found = []
    result = run(
        dataclasses.replace(plan, learners={"policy": learner}, evaluation=evaluation, checks=(OffData(),)),
        sinks=(lambda event: found.append(event) if event["event"] == "finding" else None,),
    )
    first, last = result.evaluations[0]["metrics"], result.evaluations[-1]["metrics"]
    return last["proxy/mean"] - first["proxy/mean"], last["off_data/outside"], [f["level"] for f in found]


def test_a_reward_pushed_without_kl_leaves_the_data_and_the_audit_says_so():
    rise, outside, findings = pushed(0.0)
    assert rise > 0.9 and outside > 0.8  # three deviations of the data
    assert "error" in findings


def test_with_kl_it_does_not():
    rise, outside, findings = pushed(1.0)
    assert rise > 0.1 and outside < 0.15
    assert not findings


# ---------------------------------------------------------------- the page that says so
def test_the_examples_of_the_page_run():
    page = Path(__file__).resolve().parents[3] / "docs/concepts/pictures.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf8"), re.DOTALL)
    assert len(blocks) == 4
    exec("\n".join(blocks), {})
