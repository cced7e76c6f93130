"""StateValue: a critic of states with a network of its own."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import Items, ModelError, PlanError, Streams
from guerdon.core.world import Start
from guerdon.policies import CNN, GRU, MLP, Control, HLGauss, StateValue
from guerdon.testing._policies import TinyText
from guerdon.testing._worlds import Counting
from guerdon.worlds import GridWorld

STREAMS = Streams(2)


def acted(policy, world, steps=3):
    items = Items([Start(world, k) for k in range(8)], STREAMS.uids(8))
    return policy.sample(items, 1, streams=STREAMS, steps=steps)


def test_a_value_for_every_state_and_the_one_a_row_was_cut_off_in():
    """Behind the end: 0 where the row ended by itself, and 0 in the padding; else the network's own number."""
    world = Counting()
    policy = Control.of(world, dtype="float64")
    rollout = acted(policy, world)
    critic = StateValue(MLP((8,))).build(policy)
    values = critic.values(rollout)
    assert values.shape == (8, rollout.steps + 1) and values.dtype == torch.float64
    kinds = set()
    for k in range(8):
        n = int(rollout.mask[k].sum())
        with torch.no_grad():
            each = torch.stack([critic.raw(s[None])[0, 0] for s in rollout.states[k, : n + 1]])
        ended = bool(rollout.terminal[k])
        kinds.add((ended, n < rollout.steps))
        torch.testing.assert_close(values[k, :n], each[:n])
        assert float(values[k, n]) == (0.0 if ended else pytest.approx(float(each[n]), abs=1e-12))
        assert not values[k, n + 1 :].any()
    assert {(True, True), (False, False)} <= kinds


def test_it_shares_nothing_with_the_policy():
    world = Counting()
    policy = Control.of(world, normalise=True)
    critic = StateValue(MLP((8,)), normalise=True).build(policy)
    mine = {p.data_ptr() for p in [*critic.parameters(), *critic.buffers()]}
    assert mine.isdisjoint(p.data_ptr() for p in [*policy.parameters(), *policy.buffers()])
    both = critic.with_policy(policy)
    rollout = acted(policy, world)
    out = both(rollout, want=("logp", "entropy", "value"))
    torch.testing.assert_close(out.logp, policy(rollout).logp)
    torch.testing.assert_close(out.value.detach(), critic.values(rollout))
    assert out.value_raw is None
    assert not torch.equal(StateValue(seed=1).build(policy).last.weight, StateValue(seed=2).build(policy).last.weight)


def test_other_heads_say_what_they_are_made_of():
    world = Counting()
    policy = Control.of(world)
    head = HLGauss(-10.0, 200.0, bins=11)
    critic = StateValue(MLP((8,)), head=head).build(policy)
    rollout = acted(policy, world)
    out = critic(rollout)
    assert out.value_raw.shape == (*out.value.shape, 11)
    inside = rollout.mask
    torch.testing.assert_close(out.value[:, :-1][inside], head.value(out.value_raw[:, :-1][inside]))


def test_it_reads_pictures():
    world = GridWorld(("S..", "..G"), pixels=True, horizon=4)
    policy = Control.of(world, body=CNN((4,), (3,), (2,), 16))
    critic = StateValue(CNN((4,), (3,), (2,), 16)).build(policy)
    rollout = acted(policy, world)
    assert torch.isfinite(critic.values(rollout)).all()
    critic(rollout).value.sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in critic.parameters())


def test_what_it_cannot_serve_is_refused():
    with pytest.raises(PlanError, match=r"take policies\.HeadOnPolicy"):
        StateValue(GRU())
    with pytest.raises(ModelError, match=r"TinyText has none; take policies\.OwnTrunk"):
        StateValue().build(TinyText())
