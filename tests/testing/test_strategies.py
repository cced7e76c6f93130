"""Atoms under drawn batches, of shapes that nobody would think of."""

import pytest
from hypothesis import given, settings

from guerdon import advantages, selection, transforms
from guerdon.testing import check_advantage, check_select, check_transform
from guerdon.testing.strategies import batches, rollouts


@given(rollouts())
def test_drawn_rollouts_are_valid(rollout):
    assert rollout.check() is rollout
    assert len(rollout.uid.unique()) == len(rollout)


@pytest.mark.parametrize(
    "atom", [advantages.GroupNorm(), advantages.RLOO(), advantages.BatchNorm(), advantages.Returns(0.9)], ids=str
)
@settings(max_examples=30)
@given(batch=batches())
def test_advantages(atom, batch):
    check_advantage(atom, batch)


@pytest.mark.parametrize("atom", [transforms.Center(), transforms.Standardise(), transforms.Clip(-1.0, 1.0)], ids=str)
@settings(max_examples=30)
@given(batch=batches())
def test_transforms(atom, batch):
    check_transform(atom, batch)


@pytest.mark.parametrize("atom", [selection.BestOfN(), selection.BestVsWorst(), selection.DropDeadGroups()], ids=str)
@settings(max_examples=30)
@given(batch=batches())
def test_selections(atom, batch):
    check_select(atom, batch)
