"""The trainer on a real language model: gradients that do not depend on how they were computed, failures that leave no trace."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from guerdon import advantages, objectives
from guerdon.core import Batch, Items, RewardOutput, Streams, Term
from guerdon.policies import Frozen, HeadOnPolicy
from guerdon.run import AdamW, Train, train
from guerdon.testing import check_learner, tiny_lm
from guerdon.testing._base import padded, shuffled

RUN = SimpleNamespace(streams=Streams(0), step=0)
POLICY = tiny_lm()
TERMS = {
    "grpo": Term(objectives.PolicyGradient(kl=objectives.KL(0.1)), over="sample"),
    "dapo": Term(objectives.PolicyGradient(clip=objectives.Clip(0.2, 0.28), entropy=0.01), over="step"),
    "gspo": Term(objectives.PolicyGradient(ratio=objectives.SequenceRatio()), over="sample"),
}


@pytest.fixture(scope="module")
def batch():
    streams = Streams(3)
    rollout = POLICY.sample(Items(["1+1=", "12+30=", "7="], streams.uids(3)), 4, streams=streams, max_tokens=9, top_k=12)
    total = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    out = Batch.of(rollout, RewardOutput.of(total))
    out = out.replace(refs={"reference": Frozen().build(tiny_lm(seed=1)).output(rollout)})
    return out.replace(advantage={"main": advantages.GroupNorm()(out)})


def gradient(batch, term, rows):
    """The gradient of one optimiser step, taken from a step of plain descent."""
    policy = copy.deepcopy(POLICY)
    trainer = Train(term, AdamW(lr=0.0), rows=rows, max_grad_norm=None).build(policy)
    trainer.update(batch, RUN)
    return torch.cat([p.grad.flatten() for p in trainer.parameters if p.grad is not None])


@pytest.mark.parametrize("name", sorted(TERMS))
def test_the_gradient_does_not_depend_on_how_it_is_computed(batch, name):
    whole = gradient(batch, TERMS[name], None)
    scale = float(whole.abs().max())
    assert scale > 0
    changes = {f"micro-batch {n}": (batch, n) for n in (1, 3, 8)}
    changes |= {"order": (batch[shuffled(len(batch))], 3), "padding": (padded(batch), 3)}
    for change, (other, rows) in changes.items():
        gap = float((gradient(other, TERMS[name], rows) - whole).abs().max())
        assert gap <= 1e-6 * scale, change


def test_by_default_a_cpu_takes_parts_of_equal_size(batch, monkeypatch):
    """147 steps in 12 rows, about 40 at once: 147 / 40 = 3.7, so four parts of three rows; figures are those of the whole."""
    whole = gradient(batch, TERMS["grpo"], 12)
    assert int(batch.rollout.lengths.sum()) == 147
    seen = []

    def figures():
        policy = copy.deepcopy(POLICY)
        policy.register_forward_hook(lambda module, args, out: seen.append((len(args[0]), args[0].steps)))
        trainer = Train(TERMS["grpo"], AdamW(lr=0.0)).build(policy)
        return trainer.update(batch.replace(rollout=batch.rollout.replace(logp=batch.rollout.logp + noise)), RUN)

    noise = torch.rand(batch.rollout.logp.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    once = figures()
    assert [n for n, _ in seen] == [12]
    monkeypatch.setattr(train, "STEPS_AT_ONCE", 40)
    seen.clear()
    parts = figures()
    assert [n for n, _ in seen] == [3, 3, 3, 3]
    assert [t for _, t in seen] == sorted(t for _, t in seen)  # rows of similar length together
    assert parts == pytest.approx(once, rel=1e-9)
    assert float((gradient(batch, TERMS["grpo"], None) - whole).abs().max()) <= 1e-6 * float(whole.abs().max())


def test_failed_rows_leave_no_trace(batch):
    """30 % of the rows fail and hold NaN: the gradient is that of the others alone."""
    dead = torch.zeros(12, dtype=torch.bool)
    dead[[0, 3, 6, 10]] = True
    reward = batch.reward.replace(ok=~dead, total=torch.where(dead, torch.nan, batch.reward.total))
    spoiled = batch.replace(reward=reward, advantage={"main": torch.where(dead[:, None], torch.nan, batch.advantage["main"])})
    alone = batch[~dead]
    for name, term in TERMS.items():
        a, b = gradient(spoiled, term, 3), gradient(alone, term, None)
        assert float((a - b).abs().max()) <= 1e-6 * float(b.abs().max()), name


def test_a_trainer_keeps_the_contract_of_learners(batch):
    def make():
        policy = copy.deepcopy(POLICY)
        return Train(objectives.PolicyGradient(), AdamW(lr=1e-3, decay="cosine"), epochs=2, minibatches=2, rows=3).build(
            policy
        ), policy

    figures = check_learner(make, batch, RUN)
    assert figures["mismatch/max"] < 1e-9


def test_a_policy_and_its_value_head_under_one_learner(batch):
    policy = copy.deepcopy(POLICY)
    critic = HeadOnPolicy().build(policy)
    values = {"critic": critic.values(batch.rollout)}
    terms = (Term(objectives.PolicyGradient()), Term(objectives.ValueLoss(), weight=0.5))
    trainer = Train(terms, AdamW(lr=1e-3), of=("policy", "critic"), rows=4).build(critic.with_policy(policy))
    figures = trainer.update(batch.replace(values=values), RUN)
    assert {"loss/policygradient", "loss/valueloss", "grad_norm"} <= set(figures)
    assert float(critic.head.weight.detach().abs().max()) > 0


def test_a_poisoned_gradient_moves_no_weight(batch):
    policy = copy.deepcopy(POLICY)
    before = [p.detach().clone() for p in policy.parameters()]
    poisoned = batch.replace(advantage={"main": torch.full_like(batch.advantage["main"], torch.inf)})
    figures = Train(objectives.Reinforce()).build(policy).update(poisoned, RUN)
    assert figures["skipped/not_finite"] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
