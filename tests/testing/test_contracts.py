"""Every atom of every room is held to its contract; an atom joins by being in its room's list of examples."""

from __future__ import annotations

import pytest

from guerdon import advantages, objectives, rewards, selection, testing, transforms
from guerdon.testing import (
    check_advantage,
    check_objective,
    check_policy,
    check_reward,
    check_select,
    check_transform,
    example_advantages,
    example_batch,
    example_objectives,
    example_policies,
    example_rewards,
    example_selects,
    example_transforms,
)


@pytest.mark.parametrize("name", sorted(example_policies()))
def test_policy(name):
    policy, items = example_policies()[name]
    check_policy(policy, items)


@pytest.mark.parametrize("name", sorted(example_transforms()))
def test_transform(name):
    check_transform(example_transforms()[name], example_batch(seed=1))


@pytest.mark.parametrize("name", sorted(example_advantages()))
def test_advantage(name):
    check_advantage(example_advantages()[name], example_batch(seed=2))


@pytest.mark.parametrize("name", sorted(example_selects()))
def test_select(name):
    check_select(example_selects()[name], example_batch(seed=3))


@pytest.mark.parametrize("name", sorted(example_objectives()))
@pytest.mark.parametrize("seed", [4, 5])
def test_objective(name, seed):
    check_objective(example_objectives()[name], example_batch(seed=seed))


@pytest.mark.parametrize("name", sorted(example_rewards()))
def test_reward(name):
    reward, rollout = example_rewards()[name]
    check_reward(reward, rollout)


@pytest.mark.parametrize(
    ("room", "examples"),
    [
        (advantages, "advantages"),
        (objectives, "objectives"),
        (selection, "selects"),
        (transforms, "transforms"),
        (rewards, "rewards"),
    ],
)
def test_every_public_atom_has_an_example(room, examples):
    shown = {type(e[0] if isinstance(e, tuple) else e).__name__ for e in getattr(testing, f"example_{examples}")().values()}
    marks = {"selects": "__call__", "rewards": "scope"}.get(examples, "needs")
    atoms = {n for n in room.__all__ if isinstance(getattr(room, n), type) and hasattr(getattr(room, n), marks)}
    missing = {n for n in atoms if n[0].isupper()} - shown - NOT_ATOMS
    assert not missing, f"no example of {sorted(missing)}"


NOT_ATOMS = {"Scorer", "Function"}
