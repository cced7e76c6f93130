"""Losses of comparisons, and the divergences behind them, against numbers worked out by hand and closed forms."""

import math

import pytest
import torch

from guerdon.core import Batch, Pairs, PlanError, PolicyOutput, RewardOutput, Rollout, denominator, reduce
from guerdon.objectives import (
    DPO,
    Alpha,
    ForwardKL,
    HingeLoss,
    IPOLoss,
    JensenShannon,
    ReverseKL,
    displacement,
    kl_estimate,
)

NAN = float("nan")


def tiny(reference, win, lose, mask=None, ok=None, **pairs):
    reference = torch.tensor(reference, dtype=torch.double)
    n, t = reference.shape
    mask = torch.ones(n, t, dtype=torch.bool) if mask is None else torch.tensor(mask)
    rollout = Rollout([""] * n, [""] * n, torch.zeros(n, t), mask, torch.zeros(n, dtype=torch.long), torch.arange(n))
    ok = torch.tensor(ok or [True] * n)
    reward = RewardOutput(torch.zeros(n, dtype=torch.double), ok, ["" if k else "planted" for k in ok.tolist()])
    columns = {k: torch.tensor(v, dtype=torch.double) for k, v in pairs.items()}
    return Batch(
        rollout, reward, reward, refs={"reference": PolicyOutput(logp=reference)}, weight=torch.ones(n, dtype=torch.double),
        pairs=Pairs(torch.tensor(win), torch.tensor(lose), **columns),
    )  # fmt: skip


def new(logp):
    return PolicyOutput(logp=torch.tensor(logp, dtype=torch.double, requires_grad=True))


def nll(z, p=1.0):
    return p * math.log1p(math.exp(-z)) + (1 - p) * math.log1p(math.exp(z))


# Row 0 gains 2 nats over two chosen steps, row 1 loses 1 over one: the gap is 3, per step 2.
REFERENCE = [[-2.0, NAN, -2.0], [-1.0, NAN, NAN]]
POLICY = [[-1.5, NAN, -0.5], [-2.0, NAN, NAN]]
MASK = [[True, False, True], [True, False, False]]


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (DPO(beta=0.5), nll(1.5)),
        (DPO(beta=0.5, label_smoothing=0.1), nll(1.5, 0.9)),
        (DPO(beta=0.5, margin=0.25), nll(1.25)),
        (DPO(beta=0.5, margin_scale=0.5), nll(0.5)),
        (DPO(beta=0.5, average=True), nll(1.0)),
        (DPO(beta=0.5, loss=HingeLoss()), 0.0),
        (DPO(beta=0.1, loss=HingeLoss()), 0.7),
        (DPO(beta=0.5, loss=IPOLoss()), 4.0),  # (3 - 1)^2
        (DPO(beta=0.5, loss=IPOLoss(), average=True), 1.0),  # (2 - 1)^2
        (DPO(beta=0.5, loss=IPOLoss(), margin=0.5), 1.0),  # (3 - 0.5 / 0.5 - 1)^2
        (DPO(beta=2.0, reference=None), nll(0.0)),  # both rows have -2
        (DPO(beta=2.0, reference=None, average=True, margin=0.5), nll(1.5)),  # SimPO: -1 against -2
        (DPO(beta=0.5, divergence=ForwardKL()), nll(0.5 * (-math.exp(-2) + math.exp(1)))),
        (DPO(beta=0.5, divergence=Alpha(2.0)), nll(0.5 * (math.exp(2) - math.exp(-1)))),
        (
            DPO(beta=0.5, divergence=JensenShannon()),
            nll(0.5 * (math.log(2 / (1 + math.exp(-2))) - math.log(2 / (1 + math.exp(1))))),
        ),
    ],
    ids=lambda x: str(x)[:60],
)
def test_hand_computed(objective, expected):
    batch = tiny(REFERENCE, [0], [1], mask=MASK, margin=[2.0])
    assert objective(new(POLICY), batch).tolist() == pytest.approx([expected], rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (DPO(beta=0.5), nll(1.5, 0.7)),
        (DPO(beta=0.5, label_smoothing=0.1), nll(1.5, 0.7 * 0.9 + 0.3 * 0.1)),
        (DPO(beta=0.5, loss=HingeLoss()), 0.3 * 2.5),
        (DPO(beta=0.5, loss=IPOLoss()), 0.7 * 4 + 0.3 * 16),
    ],
    ids=lambda x: str(x)[:60],
)
def test_soft_labels(loss, expected):
    batch = tiny(REFERENCE, [0], [1], mask=MASK, label=[0.7])
    assert loss(new(POLICY), batch).tolist() == pytest.approx([expected])
    turned = tiny(REFERENCE, [1], [0], mask=MASK, label=[0.3])
    assert loss(new(POLICY), turned).tolist() == pytest.approx([expected])  # the same statement the other way round


def test_gradient_at_the_reference():
    """Half beta up for the winner's steps, down for the loser's, nothing at other steps."""
    batch = tiny(REFERENCE, [0], [1], mask=MASK)
    out = new(REFERENCE)
    DPO(beta=0.3)(out, batch).sum().backward()
    assert out.logp.grad.tolist() == [pytest.approx([-0.15, 0, -0.15]), pytest.approx([0.15, 0, 0])]


def test_rows_that_failed_take_their_pairs_along():
    batch = tiny(
        [[-1.0], [NAN], [-1.0]], [0, 0, 1], [1, 2, 2], ok=[True, False, True], weight=[1.0, 2.0, 4.0], label=[1.0, 1.0, 1.0]
    )
    out = new([[-0.5], [NAN], [-1.5]])
    loss = DPO(beta=1.0)(out, batch)
    assert loss.tolist() == pytest.approx([0.0, nll(1.0), 0.0])
    total = denominator(batch, "pair")
    assert total == 2.0
    value = reduce(loss, batch, total, "pair")
    assert float(value.detach()) == pytest.approx(nll(1.0))
    value.backward()
    assert torch.isfinite(out.logp.grad).all()


def test_displacement_by_hand():
    batch = tiny([[-1.0], [-2.0], [-1.0], [NAN]], [0, 2, 3], [1, 0, 0], ok=[True, True, True, False])
    out = new([[-1.5], [-4.0], [-2.5], [NAN]])
    # pairs (0, 1): -0.5 against -2; (2, 0): -1.5 against -0.5; the third has a failed row
    expected = {"chosen": -1.0, "rejected": -1.25, "gap": 0.25, "accuracy": 0.5}
    assert displacement(out, batch) == {f"displacement/{k}": pytest.approx(v) for k, v in expected.items()}
    alone = torch.tensor([1, 2])
    assert displacement(out[alone], batch[alone]) == {}
    assert DPO().describe(out, batch) == displacement(out, batch)
    assert DPO(reference=None, average=True).describe(out, batch) == {}  # nothing to compare with


def test_needs_and_nonsense():
    assert DPO().needs == {"pairs", "reference", "logp"}
    assert DPO(reference=None).needs == {"pairs", "logp"}
    for make in (
        lambda: DPO(beta=0.0), lambda: DPO(label_smoothing=0.5), lambda: DPO(margin=NAN), lambda: Alpha(0.0), lambda: Alpha(1.0),
        lambda: DPO(reference=None, divergence=ForwardKL()),
    ):  # fmt: skip
        with pytest.raises(PlanError):
            make()
    batch = tiny(REFERENCE, [0], [1], mask=MASK)
    with pytest.raises(PlanError, match="no margin"):
        DPO(margin_scale=1.0)(new(POLICY), batch)
    with pytest.raises(PlanError, match="no pairs"):
        DPO()(new(POLICY), batch.replace(pairs=None))
    with pytest.raises(PlanError, match="did you mean 'reference'"):
        DPO(reference="referense")(new(POLICY), batch)


# ---------------------------------------------------------------- divergences
DIVERGENCES = [ReverseKL(), ForwardKL(), JensenShannon(), Alpha(0.5), Alpha(2.0), Alpha(-1.0)]


@pytest.mark.parametrize("d", DIVERGENCES, ids=str)
def test_derivatives_are_derivatives(d):
    u = torch.tensor([0.1, 0.5, 1.0, 2.0, 7.0], dtype=torch.double, requires_grad=True)
    (exact,) = torch.autograd.grad(d.f(u.log()).sum(), u)
    torch.testing.assert_close(d.derivative(u.detach().log()), exact, rtol=1e-9, atol=1e-12)
    assert d.f(torch.zeros(1, dtype=torch.double)).item() == pytest.approx(0, abs=1e-15)
    assert (exact.diff() > 0).all()  # convex


def test_divergences_of_two_distributions():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.double)

    def of(d):
        return float((q * d.f((p / q).log())).sum())

    def kl(a, b):
        return float((a * (a / b).log()).sum())

    m = (p + q) / 2
    assert of(ReverseKL()) == pytest.approx(kl(p, q))
    assert of(ForwardKL()) == pytest.approx(kl(q, p))
    assert of(JensenShannon()) == pytest.approx(kl(p, m) + kl(q, m))
    assert of(Alpha(2.0)) == pytest.approx(0.5 * float(((p - q) ** 2 / q).sum()))  # half of Pearson's chi-square
    assert of(Alpha(1 - 1e-6)) == pytest.approx(kl(p, q), rel=1e-4)
    assert of(Alpha(1e-6)) == pytest.approx(kl(q, p), rel=1e-4)


def test_kl_estimators_have_the_right_mean():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.double)
    ratio, exact = (p / q).log(), float((p * (p / q).log()).sum())
    assert float((p * kl_estimate(ratio, "k1")).sum()) == pytest.approx(exact)
    assert float((p * kl_estimate(ratio, "k3")).sum()) == pytest.approx(exact)
    assert (kl_estimate(ratio, "k3") >= 0).all()
    near = torch.tensor(1e-9, dtype=torch.double)
    assert float(kl_estimate(near, "k3")) == pytest.approx(5e-19, rel=0.2, abs=1e-19)  # no cancellation to speak of
