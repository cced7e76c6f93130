"""States and actions of a chain are one tensor, in every copy."""

from __future__ import annotations

import torch

from guerdon.core import Rollout


def chain(rows=4, steps=3, chained=True):
    states = torch.arange(rows * (steps + 1) * 2, dtype=torch.float32).reshape(rows, steps + 1, 2)
    actions = states[:, 1:] if chained else states[:, 1:].clone()
    mask = torch.ones(rows, steps, dtype=torch.bool)
    return Rollout(
        ["c"] * rows, states[:, -1], actions, mask, torch.zeros(rows).long(), torch.arange(rows), states=states
    ).check()


def test_a_view_stays_a_view_in_every_copy():
    rollout = chain()
    assert rollout.chained
    for copy in (
        rollout[1:3],
        rollout[torch.tensor([2, 0])],
        rollout.to("cpu"),
        Rollout.cat([rollout, chain(2)]),
        rollout.trim(),
    ):
        assert copy.chained
        assert torch.equal(copy.actions, copy.states[:, 1:])
        assert copy.actions.data_ptr() == copy.states[:, 1:].data_ptr()


def test_copies_are_what_they_were_without_a_view():
    view, apart = chain(), chain(chained=False)
    assert not apart.chained
    for f in (lambda r: r[[3, 1]], lambda r: Rollout.cat([r, r]), lambda r: r.to("cpu")):
        a, b = f(view), f(apart)
        assert torch.equal(a.actions, b.actions)
        assert torch.equal(a.states, b.states)
        assert a.uid.tolist() == b.uid.tolist()
        assert not b.chained


def test_changed_states_or_actions_are_kept_apart():
    rollout = chain()
    other = rollout.replace(actions=rollout.actions + 1)
    assert not other.chained
    assert torch.equal(other[:2].actions, rollout.actions[:2] + 1)


def test_cat_pads_chains_of_different_lengths_together():
    joined = Rollout.cat([chain(1, 3), chain(1, 2)])
    assert joined.chained
    assert joined.mask.tolist() == [[True] * 3, [True, True, False]]
    assert torch.equal(joined.actions[1, :2], chain(1, 2).actions[0])
    assert not joined.actions[1, 2].any()


def test_one_part_is_not_copied():
    rollout = chain()
    assert Rollout.cat([rollout]) is rollout
