"""LambdaReturns against numbers worked out by hand, and beside the loss that reads them."""

import pytest
import torch

from guerdon.advantages import GAE, LambdaReturns, Whiten
from guerdon.core import Batch, PlanError, PolicyOutput, RewardOutput, Rollout
from guerdon.objectives import ValueLoss
from guerdon.testing import check_advantage, example_batch, example_output


def tiny(terminal):
    mask = torch.tensor([[True, True]])
    rollout = Rollout(
        [""], [""], torch.zeros(1, 2), mask, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long),
        terminal=torch.tensor([terminal]),
    )  # fmt: skip
    reward = RewardOutput.of(torch.zeros(1, dtype=torch.double), step=torch.tensor([[1.0, 2.0]], dtype=torch.double))
    return Batch(rollout, reward, reward, values={"critic": torch.tensor([[10.0, 20.0, 40.0]], dtype=torch.double)})


@pytest.mark.parametrize(
    ("terminal", "lam", "expected"),
    [
        (True, 1.0, [1 + 0.5 * 2, 2.0]),
        (False, 1.0, [1 + 0.5 * (2 + 0.5 * 40), 2 + 0.5 * 40]),
        (False, 0.0, [1 + 0.5 * 20, 2 + 0.5 * 40]),
        (False, 0.25, [1 + 0.5 * (0.75 * 20 + 0.25 * 22), 2 + 0.5 * 40]),  # the later target is 22 either way
    ],
)
def test_hand_computed(terminal, lam, expected):
    assert LambdaReturns(gamma=0.5, lam=lam)(tiny(terminal))[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_given_target_is_the_target_the_loss_takes_by_itself(seed):
    batch = example_batch(seed)
    new = example_output(batch)
    given = batch.replace(advantage={**batch.advantage, "return": LambdaReturns(0.9, 0.8)(batch)})
    for clip in (None, 0.2):
        alone = ValueLoss(gamma=0.9, lam=0.8, clip=clip)(new, batch)
        torch.testing.assert_close(ValueLoss(target="return", clip=clip)(new, given), alone, rtol=0, atol=1e-12)
    assert alone.any()


def test_contract_and_refusals():
    check_advantage(LambdaReturns(0.9, 0.7), example_batch(5))
    for make in (lambda: LambdaReturns(gamma=1.1), lambda: LambdaReturns(lam=-0.1)):
        with pytest.raises(PlanError):
            make()
    with pytest.raises(PlanError, match="did you mean 'critic'"):
        LambdaReturns(critic="critics")(tiny(True))


def test_whiten_divides_by_the_unbiased_deviation():
    """Over the four chosen steps of both rows: mean 2.5, sum of squares 5, deviation sqrt(5 / 3)."""
    rows = Rollout.cat([tiny(True).rollout] * 2)
    reward = RewardOutput.of(torch.zeros(2), step=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    batch = Batch(rows, reward, reward, values={"critic": torch.zeros(2, 3)})
    expected = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]) - 2.5) / (5 / 3) ** 0.5
    torch.testing.assert_close(Whiten(GAE(gamma=0.0))(batch), expected)


def test_value_loss_with_a_target():
    batch = tiny(True)
    batch = batch.replace(advantage={"main": torch.zeros(1, 2), "return": torch.tensor([[3.0, 5.0]], dtype=torch.double)})
    new = PolicyOutput(value=torch.tensor([[1.0, 5.0, 9.0]], dtype=torch.double))
    assert ValueLoss(target="return")(new, batch).tolist() == [[2.0, 0.0]]
    assert ValueLoss(target="return").needs == {"value", "advantage"}
    assert ValueLoss(target="return", clip=1.0).needs == {"value", "advantage", "values"}
    with pytest.raises(PlanError, match="did you mean 'return'"):
        ValueLoss(target="returns")(new, batch)


def test_value_loss_asks_its_head():
    """Half the gap to the target, whatever the head makes of its two raw outputs; the failed row holds NaN and is not asked."""

    class Sum:
        def loss(self, raw, target):
            assert torch.isfinite(raw).all()
            return (raw.sum(-1) - target).abs() / 2

    class Output:
        def need(self, name):
            assert name == "value_raw"
            return raw

    raw = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]], [[float("nan")] * 2] * 3], requires_grad=True)
    batch = Batch(
        Rollout.cat([tiny(True).rollout] * 2), *[RewardOutput(torch.zeros(2), torch.tensor([True, False]), ["", "planted"])] * 2,
        advantage={"return": torch.tensor([[5.0, 1.0], [float("nan")] * 2])},
    )  # fmt: skip
    loss = ValueLoss(target="return", head=Sum())(Output(), batch)
    assert loss.tolist() == [[1.5, 1.5], [0.0, 0.0]]
    loss.sum().backward()
    assert raw.grad[0].tolist() == [[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0]]
    assert not raw.grad[1].any()
    with pytest.raises(PlanError, match="expected a value head"):
        ValueLoss(head="HLGauss")
    with pytest.raises(PlanError, match="set one of them"):
        ValueLoss(head=Sum(), clip=0.2)
