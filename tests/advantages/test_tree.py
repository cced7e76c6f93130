"""Credit along a tree, by hand."""

from __future__ import annotations

import pytest
import torch

from guerdon.advantages import Tree
from guerdon.core import Batch, PlanError, RewardOutput, Rollout

# one item: two branches at step 0, of which the first has three leaves and the second two; another item without forks
NODE = torch.tensor([[1, 3, 3], [1, 4, 4], [1, 5, 5], [2, 6, 6], [2, 7, 7], [8, 8, 8]])
GROUP = torch.tensor([0, 0, 0, 0, 0, 1])


def batch(total, ok=None, mask=None) -> Batch:
    mask = torch.ones(6, 3, dtype=torch.bool) if mask is None else mask
    rollout = Rollout(["q"] * 6, ["a"] * 6, NODE, mask, GROUP, torch.arange(6), node=NODE)
    reward = RewardOutput.of(torch.tensor(total, dtype=torch.double))
    if ok is not None:
        reward = reward.replace(ok=torch.tensor(ok), reason=["" if k else "no" for k in ok])
    return Batch.of(rollout, reward)


def test_a_branch_counts_once_however_many_leaves_it_has():
    # V of the branches: (0 + 3 + 6) / 3 = 3 and (1 + 9) / 2 = 5, their mean 4; leaves: 0 3 6 1 9, mean 3.8
    found = Tree(std=False)(batch([0.0, 3.0, 6.0, 1.0, 9.0, 7.0]))
    assert found[:, 0].tolist() == [-1.0, -1.0, -1.0, 1.0, 1.0, 0.0]
    assert torch.allclose(found[:5, 1], torch.tensor([-3.8, -0.8, 2.2, -2.8, 5.2], dtype=torch.double))
    assert torch.equal(found[:, 1], found[:, 2])
    # siblings: leaves against their own branch's leaves, 3 and 5
    found = Tree("siblings", std=False)(batch([0.0, 3.0, 6.0, 1.0, 9.0, 7.0]))
    assert found[:, 1].tolist() == found[:, 2].tolist() == [-3.0, 0.0, 3.0, -4.0, 4.0, 0.0]
    # their deviations are 3 and sqrt(2) * 4, that of the two branches sqrt(2)
    scaled = Tree("siblings", eps=1e-12)(batch([0.0, 3.0, 6.0, 1.0, 9.0, 7.0]))
    half = 0.5**0.5
    assert torch.allclose(scaled[:5, 1], torch.tensor([-1.0, 0.0, 1.0, -half, half], dtype=torch.double))
    assert torch.allclose(scaled[:5, 0], torch.tensor([-half] * 3 + [half] * 2, dtype=torch.double))


def test_failed_leaves_leave_the_means():
    found = Tree("siblings", std=False)(batch([0.0, 3.0, 6.0, 1.0, 9.0, 7.0], [True, True, False, False, False, True]))
    assert found[:2, 1].tolist() == [-1.5, 1.5]  # 0 and 3 around 1.5
    assert found[:, 0].tolist() == [0.0] * 6  # the other branch has no leaf left to compare with
    assert found[2:].abs().sum() == 0


def test_only_chosen_steps_have_credit_and_others_still_count():
    mask = torch.ones(6, 3, dtype=torch.bool)
    mask[1:3, 0] = mask[4, 0] = False
    found = Tree(std=False)(batch([0.0, 3.0, 6.0, 1.0, 9.0, 7.0], mask=mask))
    assert found[:, 0].tolist() == [-1.0, 0.0, 0.0, 1.0, 0.0, 0.0]


def test_rows_without_nodes_are_refused():
    rows = batch([0.0] * 6)
    with pytest.raises(PlanError, match=r"draw them with samplers\.Branch"):
        Tree()(rows.replace(rollout=rows.rollout.replace(node=None)))
    with pytest.raises(PlanError, match="did you mean 'layer'"):
        Tree("layers")
