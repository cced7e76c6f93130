"""The one reduction: hand-computed numbers, and sums that do not care how they were cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.core import Batch, Pairs, RewardOutput, Rollout, components, denominator, micro_batches, reduce


def make(lengths, ok=None, weight=None, group=None, pairs=None):
    n, steps = len(lengths), max(lengths) + 1
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    group = torch.tensor(group if group is not None else list(range(n)))
    rollout = Rollout(["c"] * n, ["o"] * n, torch.zeros(n, steps), mask, group, torch.arange(n))
    reward = RewardOutput.of(torch.zeros(n)).replace(ok=torch.tensor(ok if ok is not None else [True] * n))
    return Batch.of(rollout, reward).replace(weight=torch.tensor(weight or [1.0] * n), pairs=pairs)


def test_three_ways_to_weigh_steps():
    batch = make([1, 3])
    loss = torch.tensor([[4.0, 9, 9, 9], [1, 2, 3, 9]])
    assert float(reduce(loss, batch, denominator(batch, "step"), "step")) == pytest.approx((4 + 6) / 4)
    assert float(reduce(loss, batch, denominator(batch, "step", "sample"), "step", "sample")) == pytest.approx((4 + 2) / 2)
    assert float(reduce(loss, batch, denominator(batch, "step", 5), "step", 5)) == pytest.approx((4 + 6) / (2 * 5))


def test_weights_and_failures_leave_numerator_and_denominator():
    batch = make([1, 1, 2], ok=[True, False, True], weight=[2.0, 1.0, 1.0])
    loss = torch.tensor([[1.0, 0, 0], [float("nan"), 0, 0], [3, 5, 0]])
    assert float(reduce(loss, batch, denominator(batch, "step"), "step")) == pytest.approx((2 * 1 + 3 + 5) / (2 + 2))
    assert denominator(batch, "sample") == 3.0


def test_pairs_with_a_failed_row_do_not_count():
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([1, 0]), weight=torch.tensor([1.0, 3.0]))
    batch = make([1, 1, 1], ok=[True, False, True], pairs=pairs)
    assert denominator(batch, "pair") == 3.0
    assert float(reduce(torch.tensor([float("nan"), 2.0]), batch, 3.0, "pair")) == pytest.approx(2.0)


def test_groups_count_once():
    batch = make([1, 1, 1, 1], ok=[False, False, True, True], group=[5, 5, 9, 9])
    assert denominator(batch, "group") == 1.0
    assert float(reduce(torch.tensor([float("nan"), 7.0]), batch, 1.0, "group")) == 7.0


def test_an_empty_step_is_zero_and_not_nan():
    batch = make([1], ok=[False])
    assert float(reduce(torch.ones(1, 2), batch, denominator(batch, "step"), "step")) == 0.0
    assert list(micro_batches(batch, ["step"])) == []


def test_a_loss_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"shape \(2,\) for unit 'step', expected \(2, 3\)"):
        reduce(torch.zeros(2), make([1, 2]), 1.0, "step")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=9), st.integers(1, 4), st.data())
def test_micro_batches_cut_no_unit_and_lose_no_row(lengths, rows, data):
    n = len(lengths)
    group = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    several = [(i, j) for i in range(n) for j in range(n) if i != j]
    chosen = data.draw(st.lists(st.sampled_from(several), max_size=4)) if several else []
    pairs = Pairs(*(torch.tensor([p[k] for p in chosen], dtype=torch.long) for k in (0, 1)))
    batch = make(lengths, group=group, pairs=pairs)
    parts = list(micro_batches(batch, ["group", "pair"], rows))
    assert sorted(u for p in parts for u in p.rollout.uid.tolist()) == list(range(n))
    assert sum(len(p.pairs) for p in parts) == len(chosen)
    homes = [set(p.rollout.group.tolist()) for p in parts]
    assert all(not a & b for i, a in enumerate(homes) for b in homes[:i])
    loss = torch.rand(n, max(lengths) + 1, dtype=torch.double)
    total = denominator(batch, "step")
    whole = reduce(loss, batch, total, "step")
    cut = sum(reduce(loss[p.rollout.uid][:, : p.rollout.steps], p, total, "step") for p in parts)
    torch.testing.assert_close(whole, cut)


def test_components_join_through_pairs_and_groups():
    pairs = Pairs(torch.tensor([0]), torch.tensor([3]))
    batch = make([1] * 5, group=[7, 7, 8, 8, 9], pairs=pairs)
    label = components(batch, ["group", "pair"])
    assert len({label[k].item() for k in range(4)}) == 1 and label[4] != label[0]
