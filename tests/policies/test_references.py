"""References: what they say, how they follow, and what of them is saved. For policies of every kind."""

import pytest
import torch

from guerdon.core import ModelError, PlanError, Stateful, Streams
from guerdon.policies import EMA, AdaptersOff, Frozen, Snapshot
from guerdon.testing import example_policies
from guerdon.testing._models import tiny_lm

STREAMS = Streams(6)


def policies():
    return {**example_policies(), "llama": (tiny_lm(), example_policies()["tiny-text"][1])}


def push(policy, by=0.1):
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad:
                p.add_(by)


@pytest.mark.parametrize("kind", list(policies()))
@pytest.mark.parametrize("spec", [Frozen(), EMA(0.9), Snapshot(2)], ids=str)
def test_a_reference_starts_as_the_policy_and_stays_behind(kind, spec):
    policy, items = policies()[kind]
    reference = spec.build(policy)
    rollout = policy.sample(items, 2, streams=STREAMS)
    before = policy(rollout).logp.detach()
    assert isinstance(reference, Stateful)
    assert torch.equal(reference.output(rollout).logp, before)
    push(policy)
    assert not torch.equal(policy(rollout).logp, before)
    out = reference.output(rollout, want=("logp", "entropy"))
    assert torch.equal(out.logp, before)
    assert out.entropy is not None
    assert not out.logp.requires_grad
    assert all(p.requires_grad for p in policy.parameters())


@pytest.mark.parametrize("kind", ["tiny-text", "llama"])
def test_an_average_follows_by_its_formula_and_is_resumed(kind):
    policy, _ = policies()[kind]
    start = [p.detach().clone() for p in policy.parameters()]
    reference = EMA(decay=0.75, every=2).build(policy)
    for draw in (1, 2, 3, 4):
        push(policy)
        reference.tell(draw)
    # draw 2 moves it by 1/4 of 0.2; draw 4 by 1/4 of (0.4 - 0.05)
    for p, q in zip(reference.policy.parameters(), start, strict=True):
        assert torch.allclose(p, q + 0.05 + 0.25 * 0.35, rtol=0, atol=1e-12)
    fresh = EMA(decay=0.75, every=2).build(policy)
    fresh.load_state_dict(reference.state_dict())
    for p, q in zip(fresh.policy.parameters(), reference.policy.parameters(), strict=True):
        assert torch.equal(p, q)
    state = reference.state_dict()
    push(policy)
    reference.tell(6)
    assert not torch.equal(next(iter(state.values())), next(iter(reference.state_dict().values())))  # a state is a copy


def test_a_snapshot_is_set_anew():
    policy, items = policies()["tiny-text"]
    rollout = policy.sample(items, 2, streams=STREAMS)
    reference = Snapshot(every=3).build(policy)
    seen = []
    for draw in range(1, 7):
        push(policy)
        reference.tell(draw)
        seen.append(torch.equal(reference.output(rollout).logp, policy(rollout).logp))
    assert seen == [False, False, True, False, False, True]


def test_a_frozen_reference_has_nothing_to_save():
    policy, _ = policies()["tiny-text"]
    reference = Frozen().build(policy)
    reference.tell(1)
    assert reference.state_dict() == {}


def test_adapters_off_is_the_base_without_a_copy():
    base, policy = tiny_lm(), tiny_lm(lora=4)
    items = policies()["llama"][1]
    rollout = policy.sample(items, 2, streams=STREAMS)
    reference = AdaptersOff().build(policy)
    new = policy(rollout).logp  # a graph that is waiting for its backward pass
    push(policy)
    assert torch.equal(reference.output(rollout).logp, base(rollout).logp.detach())
    assert not torch.equal(policy(rollout).logp, base(rollout).logp)
    trained = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n for n in trained)
    new = policy(rollout).logp
    reference.output(rollout)
    new.sum().backward()
    assert any(float(p.grad.abs().max()) > 0 for n, p in policy.named_parameters() if "lora_A" in n)
    assert reference.policy is policy


def test_a_following_reference_of_adapters_saves_adapters_only():
    policy = tiny_lm(lora=2)
    state = EMA().build(policy).state_dict()
    assert state
    assert all("lora_" in n for n in state if "inv_freq" not in n)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ModelError, match="AdaptersOff needs a policy with adapters"):
        AdaptersOff().build(tiny_lm())
    with pytest.raises(PlanError, match="decay is 2"):
        EMA(2)
    with pytest.raises(PlanError, match="every is 0"):
        Snapshot(0)
