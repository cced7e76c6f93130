"""Episodes and Fragments: where control policies act, and what of it is in a checkpoint."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import PlanError, RunError, Stateful, Streams
from guerdon.core.world import Slot, Start
from guerdon.run import Episodes, Fragments
from guerdon.run.spec import from_tree, to_tree
from guerdon.worlds import GridWorld

WORLD = GridWorld("corridor")


def test_every_start_has_a_seed_of_its_own_that_the_draw_decides():
    live = Episodes(WORLD).open()
    a, b, again = (live.draw(4, streams=Streams(k)) for k in (1, 2, 1))
    assert all(isinstance(c, Start) and c.world == WORLD and 0 <= c.seed < 2**31 for c in a.contexts)
    seeds = [[c.seed for c in items.contexts] for items in (a, b, again)]
    assert len(set(seeds[0] + seeds[1])) == 8 and seeds[0] == seeds[2]
    assert torch.equal(a.uid, again.uid)


def test_listed_seeds_come_in_turn_and_the_cursor_is_saved():
    live = Episodes(WORLD, seeds=[5, 6, 7]).open()
    assert [c.seed for c in live.draw(4, streams=Streams(0)).contexts] == [5, 6, 7, 5]
    other = Episodes(WORLD, seeds=(5, 6, 7)).open()
    other.load_state_dict(live.state_dict())
    assert [c.seed for c in other.draw(2, streams=Streams(1)).contexts] == [6, 7]
    assert isinstance(live, Stateful)


def test_slots_are_the_same_environments_at_every_draw():
    live = Fragments(WORLD).open(3)
    first, second = (live.draw(2, streams=Streams(k)) for k in (0, 1))
    assert [c.index for c in first.contexts] == [0, 1] and all(isinstance(c, Slot) for c in first.contexts)
    assert first.contexts[0].live is second.contexts[1].live
    assert not torch.equal(first.uid, second.uid)
    with pytest.raises(RunError, match="2 environments are open and 3 were asked for"):
        live.draw(3, streams=Streams(2))
    assert isinstance(live, Stateful)


def test_before_the_first_draw_there_is_nothing_to_save():
    live = Fragments(WORLD).open(3)
    state = live.state_dict()
    assert state == {"live": None} and live.lost == {}
    other = Fragments(WORLD).open(3)
    other.load_state_dict(state)
    assert len(other.draw(4, streams=Streams(0)).contexts) == 4
    other.close()
    other.close()  # twice is once


def test_another_seed_begins_other_episodes():
    begun = []
    for seed in (3, 3, 4):
        slots = Fragments(GridWorld(("SS", "SG"))).open(seed).draw(40, streams=Streams(0))
        live = slots.contexts[0].live
        live.begin(torch.arange(40))
        begun.append(live.observation.tolist())
    assert begun[0] == begun[1] != begun[2]


def test_they_stand_in_plans():
    for atom in (Episodes(WORLD, seeds=(1, 2)), Fragments(WORLD)):
        assert from_tree(to_tree(atom)) == atom
        hash(atom)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Episodes("CartPole-v1"),
            r"Episodes: world must be a world such as worlds.Gym\('CartPole-v1'\), got 'CartPole-v1'",
        ),
        (lambda: Fragments(None), "Fragments: world must be a world"),
        (lambda: Episodes(WORLD, seeds=()), "whole numbers of at least 0"),
        (lambda: Episodes(WORLD, seeds=(1, -2)), "whole numbers of at least 0"),
    ],
)
def test_what_is_no_world_is_refused(make, message):
    with pytest.raises(PlanError, match=message):
        make()
