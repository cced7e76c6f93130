"""The critic's loss against numbers worked out by hand."""

import pytest
import torch

from guerdon.advantages import td_lambda_returns
from guerdon.core import Batch, PlanError, PolicyOutput, RewardOutput, Rollout, rewards
from guerdon.objectives import ValueLoss
from guerdon.testing import example_batch, example_output

NAN = float("nan")


def tiny(total, old, mask, terminal=True, ok=True):
    mask = torch.tensor([mask])
    rollout = Rollout(
        [""], [""], torch.zeros(mask.shape), mask, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long),
        terminal=torch.tensor([terminal]),
    )  # fmt: skip
    reward = RewardOutput(torch.tensor([total], dtype=torch.double), torch.tensor([ok]), ["" if ok else "planted"])
    values = {"critic": torch.tensor([old], dtype=torch.double)}
    return Batch(rollout, reward, reward, values=values, weight=torch.ones(1, dtype=torch.double))


def new(value):
    return PolicyOutput(value=torch.tensor([value], dtype=torch.double, requires_grad=True))


def test_monte_carlo_targets():
    batch = tiny(4.0, [9.0, 9.0, 9.0, 9.0], [True, False, True])
    out = new([1.0, NAN, 5.0, NAN])
    loss = ValueLoss(gamma=0.5, lam=1.0)(out, batch)
    assert loss[0].tolist() == [0.5 * (1 - 2) ** 2, 0.0, 0.5 * (5 - 4) ** 2]
    loss.sum().backward()
    assert out.value.grad[0].tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_bootstrapped_targets():
    batch = tiny(4.0, [9.0, 3.0, 7.0], [True, True], terminal=False)
    # cut off: the last target is 4 + 7; the first, with lam = 0, is 0 + 3
    assert ValueLoss(gamma=1.0, lam=0.0)(new([0.0, 0.0, 0.0]), batch)[0].tolist() == [4.5, 60.5]


@pytest.mark.parametrize(
    ("value", "expected", "slope"),
    [
        # the old value is 2, the target 4, the clip 0.5
        (2.4, 0.5 * 1.6**2, -1.6),  # inside: the plain loss
        (3.0, 0.5 * 1.5**2, 0.0),  # beyond, towards the target: the clipped loss is larger, and flat
        (1.0, 0.5 * 3.0**2, -3.0),  # beyond, away from the target: the plain loss is larger
    ],
)
def test_clipped_loss(value, expected, slope):
    batch = tiny(4.0, [2.0, 0.0], [True])
    out = new([value, 0.0])
    loss = ValueLoss(lam=1.0, clip=0.5)(out, batch)
    assert loss[0].tolist() == pytest.approx([expected])
    loss.sum().backward()
    assert out.value.grad[0].tolist() == pytest.approx([slope, 0.0])


def test_failed_rows_teach_nothing():
    out = new([1.0, 2.0])
    loss = ValueLoss()(out, tiny(NAN, [NAN, NAN], [True], ok=False))
    assert loss.tolist() == [[0.0]]
    loss.sum().backward()
    assert out.value.grad.tolist() == [[0.0, 0.0]]


def test_zero_at_the_targets_of_a_random_batch():
    batch = example_batch(1)
    r = batch.rollout
    target = td_lambda_returns(rewards(batch), batch.values["critic"], r.mask, r.terminal, 0.9, 0.8)
    value = torch.cat([target, torch.zeros(12, 1, dtype=torch.double)], 1)
    assert not ValueLoss(gamma=0.9, lam=0.8)(PolicyOutput(value=value), batch).any()
    assert ValueLoss(gamma=0.9, lam=0.8)(example_output(batch), batch).any()


def test_needs_and_nonsense():
    assert ValueLoss().needs == {"value", "values", "reward"}
    for make in (lambda: ValueLoss(gamma=1.5), lambda: ValueLoss(lam=-1.0), lambda: ValueLoss(clip=0.0)):
        with pytest.raises(PlanError):
            make()
    with pytest.raises(PlanError, match="did you mean 'critic'"):
        ValueLoss(critic="citric")(new([0.0, 0.0]), tiny(1.0, [0.0, 0.0], [True]))
