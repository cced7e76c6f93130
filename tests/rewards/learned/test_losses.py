"""Losses: numbers by hand, probabilities that sum to one, finite differences, and TRL's own code."""

import ast
import inspect
import math
import textwrap
from types import SimpleNamespace

import pytest
import torch

from guerdon.core import PlanError
from guerdon.rewards.learned.losses import BradleyTerry, Davidson, GaussianNLL, RaoKupper, SquaredError, centring

D = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.double)
Y = torch.tensor([1.0, 0.25, 0.5, 0.0], dtype=torch.double)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_bradley_terry_by_hand():
    loss = BradleyTerry()(D, Y)
    by_hand = [-y * math.log(sigmoid(d)) - (1 - y) * math.log(sigmoid(-d)) for d, y in zip(D.tolist(), Y.tolist(), strict=True)]
    assert loss.tolist() == pytest.approx(by_hand, abs=1e-14)
    assert loss[3].item() == pytest.approx(math.log(2))


def test_the_margin_is_a_lead_of_the_better_one():
    margin = torch.tensor([0.3, 0.3, 0.3, 0.3], dtype=torch.double)
    loss = BradleyTerry(margin=2.0)(D, Y, margin)
    assert loss[0].item() == pytest.approx(-math.log(sigmoid(0.5 - 0.6)))  # first is better
    assert loss[3].item() == pytest.approx(-math.log(sigmoid(-0.0 - 0.6)))  # second is better: its own lead
    assert loss[2].item() == BradleyTerry()(D, Y)[2].item()  # a tie has none
    assert torch.equal(BradleyTerry()(D, Y, margin), BradleyTerry()(D, Y))  # left out unless asked for


def test_smoothing_mixes_the_labels():
    smooth = BradleyTerry(label_smoothing=0.2)(D, torch.ones(4))
    expected = 0.9 * BradleyTerry()(D, torch.ones(4)) + 0.1 * BradleyTerry()(D, torch.zeros(4))
    assert torch.allclose(smooth, expected, atol=1e-14)


def test_far_apart_rewards_have_finite_losses():
    for loss in (BradleyTerry(), RaoKupper(), Davidson()):
        out = loss(torch.tensor([800.0, -800.0, 800.0]), torch.tensor([0.0, 1.0, 0.5]))
        assert torch.isfinite(out).all() and (out > 300).all(), loss


@pytest.mark.parametrize("eta", [0.01, 0.5, 3.0])
def test_rao_kupper_by_hand(eta):
    for d in (-2.0, 0.0, 1.3):
        first, second = sigmoid(d - eta), sigmoid(-d - eta)
        delta = torch.full((3,), d, dtype=torch.double)
        loss = RaoKupper(threshold=eta)(delta, torch.tensor([1.0, 0.0, 0.5]))
        assert loss.tolist() == pytest.approx([-math.log(first), -math.log(second), -math.log(1 - first - second)], abs=1e-9)


@pytest.mark.parametrize("nu", [0.1, 1.0, 4.0])
def test_davidson_by_hand(nu):
    for d in (-2.0, 0.0, 1.3):
        a, b = math.exp(d / 2), math.exp(-d / 2)
        delta = torch.full((3,), d, dtype=torch.double)
        loss = Davidson(tie=nu)(delta, torch.tensor([1.0, 0.0, 0.5]))
        assert loss.tolist() == pytest.approx([-math.log(p / (a + b + nu)) for p in (a, b, nu)], abs=1e-12)


def test_without_ties_davidson_and_rao_kupper_are_bradley_terry():
    decided = torch.tensor([1.0, 0.0, 1.0, 0.0])
    plain = BradleyTerry()(D, decided)
    assert torch.allclose(Davidson(tie=1e-12)(D, decided), plain, atol=1e-9)
    assert torch.allclose(RaoKupper(threshold=1e-12)(D, decided), plain, atol=1e-9)


@pytest.mark.parametrize("loss", [RaoKupper(threshold=0.7), Davidson(tie=0.7)])
def test_learned_ties_start_where_they_say(loss):
    start = torch.tensor(loss.parameters["tie"], dtype=torch.double)
    assert torch.allclose(loss(D, Y, tie=start), loss(D, Y), atol=1e-12)
    assert type(loss)(learned=False).parameters == {}


@pytest.mark.parametrize("loss", [BradleyTerry(1.0, 0.1), RaoKupper(), Davidson()])
def test_gradients_are_those_of_finite_differences(loss):
    delta = D.clone().requires_grad_()
    tie = torch.tensor(0.3, dtype=torch.double, requires_grad=True)
    margin = torch.tensor([0.1, 0.2, 0.0, 0.4], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda d, t: loss(d, Y, margin, t if loss.parameters else None) + 0 * t, (delta, tie))


def test_ratings_by_hand_and_masked():
    score = torch.tensor([[1.0, 5.0], [0.0, 1.0]], dtype=torch.double, requires_grad=True)
    rating = torch.tensor([[3.0, float("nan")], [float("nan"), 2.0]], dtype=torch.double)
    loss = SquaredError()(score, rating)
    assert loss.tolist() == [[2.0, 0.0], [0.0, 0.5]]
    loss.sum().backward()
    assert score.grad.tolist() == [[-2.0, 0.0], [0.0, -1.0]]
    log_sd = torch.tensor([math.log(2.0), 0.0], dtype=torch.double)
    noisy = GaussianNLL()(score, rating, log_sd)
    assert noisy[0].tolist() == pytest.approx([4 / 8 + math.log(2), 0.0])
    density = torch.distributions.Normal(score[1, 1].detach(), 1.0).log_prob(rating[1, 1])
    assert noisy[1, 1].item() == pytest.approx(-density.item() - 0.5 * math.log(2 * math.pi))


def test_gaussian_gradients_are_those_of_finite_differences():
    score = torch.tensor([[1.0, 5.0], [0.0, 1.0]], dtype=torch.double, requires_grad=True)
    log_sd = torch.tensor([0.3, -0.2], dtype=torch.double, requires_grad=True)
    rating = torch.tensor([[3.0, float("nan")], [1.0, 2.0]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda s, v: GaussianNLL()(s, rating, v), (score, log_sd))


@pytest.mark.parametrize("margins", [True, False])
def test_equal_to_trl(margins):
    """The loss lines of TRL's RewardTrainer, run on given rewards."""
    trainer = pytest.importorskip("trl.trainer.reward_trainer")
    method = ast.parse(textwrap.dedent(inspect.getsource(trainer.RewardTrainer.compute_loss))).body[0]
    lines = [n for n in method.body if isinstance(n, ast.If) and ast.unparse(n.test) in (
        "'margin' in inputs", "self.args.center_rewards_coefficient is not None")]  # fmt: skip
    assert len(lines) == 2, "TRL computes its loss in another way now; look how"
    chosen, rejected = (torch.randn(6, generator=torch.Generator().manual_seed(k), dtype=torch.double) for k in (1, 2))
    margin = torch.tensor([0.0, 0.5, 1.0, 2.0, 0.1, 0.0], dtype=torch.double)
    names = {
        "inputs": {"margin": margin} if margins else {}, "rewards_chosen": chosen, "rewards_rejected": rejected, "nn": torch.nn,
        "self": SimpleNamespace(args=SimpleNamespace(center_rewards_coefficient=0.02)), "torch": torch,
    }  # fmt: skip
    exec(compile(ast.Module(lines, []), "trl", "exec"), names)
    ours = BradleyTerry(margin=1.0)(chosen - rejected, torch.ones(6), margin if margins else None)
    ours = (ours + 0.02 * centring(chosen, rejected)).mean()
    assert ours.item() == pytest.approx(names["loss"].item(), abs=1e-14)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BradleyTerry(margin=-1), "margin"),
        (lambda: BradleyTerry(label_smoothing=1.0), "label_smoothing"),
        (lambda: RaoKupper(threshold=0), "threshold"),
        (lambda: Davidson(tie=0), "tie"),
        (lambda: GaussianNLL(sd=0), "sd"),
    ],
)
def test_impossible_settings(make, says):
    with pytest.raises(PlanError, match=says):
        make()
