"""Steps as rows: transitions, and one gradient whether a draw is trained on by rows or by steps."""

from __future__ import annotations

import copy

import pytest
import torch

from guerdon import advantages, objectives, policies
from guerdon.core import Batch, Items, PlanError, PolicyOutput, RewardOutput, Streams
from guerdon.core.steps import one_step_rows, transitions
from guerdon.policies import GRU, MLP, Control, StateValue
from guerdon.run import AdamW, Term, Train
from guerdon.testing import example_batch
from guerdon.testing._worlds import Counting

STREAMS = Streams(8)
COUNTING = Counting()


def acted(policy, n=10):
    from guerdon.core.world import Start

    items = Items([Start(COUNTING, k) for k in range(n)], STREAMS.uids(n))
    return policy.sample(items, 1, streams=STREAMS, steps=5)


def batch_of(policy, critic, whiten=False):
    """Rows of unequal length and weight; some failed, one full of NaN, one of weight 0."""
    rollout = acted(policy)
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.double)

    ok = torch.ones(len(rollout), dtype=torch.bool)
    ok[[2, 5]] = False
    total = torch.where(ok, 0.0, float("nan")).double()
    reward = RewardOutput(total, ok, ["" if o else "broke" for o in ok.tolist()], step=rollout.trace["reward"].double() / 40)
    batch = Batch.of(rollout, reward).replace(
        weight=torch.tensor([1.0, 0.5, 1.0, 2.0, 0.0, 1.0, 1.0, 3.0, 1.0, 0.25], dtype=torch.double),
        values={"critic": critic.values(rollout)},
        refs={"reference": PolicyOutput(logp=rollout.logp + 0.1 * normal(*rollout.mask.shape) * rollout.mask)},
    )
    gae = advantages.GAE(gamma=0.9, lam=0.8)
    main = advantages.Whiten(gae) if whiten else gae
    return batch.replace(advantage={"main": main(batch), "return": advantages.LambdaReturns(gamma=0.9, lam=0.8)(batch)})


class Fixed:
    """What an update needs of a run."""

    streams, step = Streams(2), 0


TERMS = (
    Term(objectives.PolicyGradient(clip=0.2, kl=0.1, entropy=0.01)),
    Term(objectives.ValueLoss(target="return"), weight=0.5),
)  # fmt: skip


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("rows", [None, 3])
def test_a_full_batch_gives_one_gradient_by_rows_and_by_steps(whiten, rows):
    """The weights after two epochs of plain gradient steps agree to 1e-12 in float64: failed and weighted rows included."""
    policy = Control.of(COUNTING, body=MLP((8,)), dtype="float64")
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(4), dtype=p.dtype))
    critic = StateValue(body=MLP((8,))).build(policy)
    batch = batch_of(policy, critic)
    moved = {}
    for by in ("row", "step"):
        network = StateValue(body=MLP((8,))).build(policy).with_policy(copy.deepcopy(policy))
        before = [p.detach().clone() for p in network.parameters()]
        # A huge epsilon makes Adam's step proportional to the gradient, so that nothing is normalised away.
        optim = AdamW(lr=1.0, eps=1e3)
        figures = Train(TERMS, optim, of=("policy", "critic"), by=by, whiten=whiten, rows=rows, epochs=2).build(network).update(batch, Fixed)  # fmt: skip
        moved[by] = [(a - b).detach() for a, b in zip(network.parameters(), before, strict=True)], figures
    for a, b in zip(moved["row"][0], moved["step"][0], strict=True):
        assert float(a.abs().max()) > 1e-7
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-15)
    rows_, steps_ = moved["row"][1], moved["step"][1]
    for name in ("grad_norm", "loss/policygradient", "loss/valueloss", "mismatch/max"):
        assert rows_[name] == pytest.approx(steps_[name], rel=1e-9, abs=1e-12), name


def test_transitions_are_the_steps_of_a_rollout():
    policy = Control.of(COUNTING)
    rollout = acted(policy)
    one = transitions(rollout).check()
    assert len(one) == int(rollout.mask.sum()) and one.states.shape[1] == 2
    k = 0
    for row in range(len(rollout)):
        n = int(rollout.mask[row].sum())
        for t in range(n):
            assert torch.equal(one.states[k], rollout.states[row, t : t + 2])
            assert one.actions[k, 0] == rollout.actions[row, t] and one.trace["reward"][k, 0] == rollout.trace["reward"][row, t]
            assert bool(one.terminal[k]) == (bool(rollout.terminal[row]) and t == n - 1)
            assert one.group[k] == rollout.group[row]
            k += 1
    with torch.no_grad():
        torch.testing.assert_close(policy(one).logp[:, 0], rollout.logp[rollout.mask], atol=1e-6, rtol=0)
    some = torch.zeros(len(rollout), dtype=torch.bool)
    some[3] = True
    assert len(transitions(rollout, some)) == int(rollout.mask[3].sum())


def test_only_live_steps_become_rows_and_bring_what_is_known_of_them():
    batch = example_batch(seed=2)
    batch = batch.replace(weight=torch.arange(len(batch)).double())
    one = one_step_rows(batch)
    keep = batch.rollout.mask & batch.live[:, None]
    assert len(one) == int(keep.sum()) and bool(one.live.all())
    for name in ("main", "other"):
        assert torch.equal(one.advantage[name][:, 0], batch.advantage[name][keep])
    value = batch.values["critic"]
    assert torch.equal(one.values["critic"], torch.stack([value[:, :-1][keep], value[:, 1:][keep]], 1))
    assert torch.equal(one.refs["old"].logp[:, 0], batch.refs["old"].logp[keep])
    assert torch.equal(one.weight, batch.weight[:, None].expand(keep.shape)[keep])
    assert one.pairs is None and not one.reward.total.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Train(objectives.DPO(), by="step"), "DPO gives one loss per pair"),
        (lambda: Train(objectives.PolicyGradient(ratio=objectives.SequenceRatio()), by="step"), "one ratio per trajectory"),
        (lambda: Train(Term(objectives.PolicyGradient(), over="sample"), by="step"), "over='sample' needs whole trajectories"),
        (lambda: Train(Term(objectives.PolicyGradient(), over=9), by="step"), "over=9 needs whole trajectories"),
        (lambda: Train(objectives.ValueLoss(), by="step"), "ValueLoss reads rewards along a trajectory; give it target='return'"),
        (lambda: Train(Term(objectives.PolicyGradient(), rows=len), by="step"), "rows= chooses among whole trajectories"),
        (lambda: Train(objectives.PolicyGradient(), by="turn"), "by is 'turn'; expected 'row' or 'step'"),
        (lambda: Train(objectives.PolicyGradient(), by="step").build(Control.of(COUNTING, body=GRU(4))), "this policy remembers"),
        (lambda: Train(objectives.PolicyGradient(), by="step").build(text()), "this policy remembers"),
        (
            lambda: Train(objectives.ValueLoss(target="return"), of="critic", by="step").build(recurrent_head()),
            "this policy remembers",
        ),
    ],
)
def test_what_single_steps_cannot_serve_is_refused(make, message):
    with pytest.raises(PlanError, match=message) as found:
        make()
    assert "\n" not in str(found.value)


def text():
    from guerdon.testing._policies import TinyText

    return TinyText()


def recurrent_head():
    return policies.HeadOnPolicy().build(Control.of(COUNTING, body=GRU(4)))
