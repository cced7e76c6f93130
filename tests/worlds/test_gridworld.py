"""GridWorld: the map means what it says, for the world, for the solvers and in pictures."""

from collections import deque

import numpy as np
import pytest
import torch
import yaml

from guerdon.core import PlanError
from guerdon.core.world import World, WorldSpec
from guerdon.run.spec import from_tree, to_tree
from guerdon.worlds import Cell, GridWorld, exact
from guerdon.worlds.grid import LAYOUTS
from guerdon.worlds.grid.states import slips

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def play(grid: GridWorld, *actions: int) -> tuple[list[tuple[int, int]], list[float], bool]:
    """Places, rewards, and whether the episode ended by itself."""
    world, one = grid.open(1), torch.tensor([0])
    world.reset(one, one)
    places, rewards, ended = [grid.states[int(world.state[0])][0]], [], False
    for action in actions:
        done = world.step(one, torch.tensor([action]))
        assert not done.failed[0], done.failed
        places.append(grid.states[int(world.state[0])][0])
        rewards.append(round(float(done.reward), 9))
        ended = bool(done.terminated)
    return places, rewards, ended


def test_moves_walls_and_rewards() -> None:
    grid = GridWorld(("S.x", "#.G"), step_reward=-0.01, stay=True)
    assert isinstance(grid, WorldSpec) and isinstance(grid.open(1), World)
    places, rewards, ended = play(grid, UP, DOWN, RIGHT, RIGHT, STAY, UP, DOWN)
    assert places == [(0, 0), (0, 0), (0, 0), (0, 1), (0, 2), (0, 2), (0, 2), (1, 2)]  # the rim and the wall stop
    assert rewards == [-0.01, -0.01, -0.01, -0.11, -0.11, -0.11, 0.99]  # whoever stays on rough road pays for it
    assert ended


def test_what_is_taken_once_is_gone_and_opens_doors() -> None:
    grid = GridWorld(("KSDG", "oo..", "####"), legend={"G": Cell(reward=1.0, ends=True, needs="o")})
    places, _, _ = play(grid, RIGHT, LEFT, RIGHT, RIGHT, RIGHT)
    assert places[1] == (0, 1) and places[4] == (0, 2)  # locked, then open
    assert places[5] == (0, 2)  # the goal wants both coins
    _, rewards, ended = play(grid, DOWN, LEFT, RIGHT, RIGHT, RIGHT, UP)
    assert rewards == [0.1, 0.1, 0.0, 0.0, 0.0, 1.0] and ended


def test_a_slip_goes_to_the_sides() -> None:
    assert slips((-1, 0), 0.5) == [((-1, 0), 0.5), ((0, 1), 0.25), ((0, -1), 0.25)]
    grid = GridWorld(("...", ".S.", "..G"), slip=0.2, stay=True)
    number = {place: k for k, (place, _) in enumerate(grid.states)}
    moves = grid.mdp.transitions[number[1, 1]]
    assert moves[UP][[number[0, 1], number[1, 0], number[1, 2]]] == pytest.approx([0.8, 0.1, 0.1])
    assert moves[STAY, number[1, 1]] == 1


def test_it_is_gymnasiums_frozen_lake() -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    lake = gymnasium.make("FrozenLake-v1", map_name="4x4", is_slippery=True).unwrapped
    rows = ("SFFF", "FHFH", "FFFH", "HFFG")
    grid = GridWorld(rows, legend={"F": Cell(), "H": Cell(ends=True)}, slip=2 / 3)
    ours = (LEFT, DOWN, RIGHT, UP)  # its order of actions
    number = {place: k for k, (place, _) in enumerate(grid.states)}
    for state, actions in lake.P.items():
        here = number.get((state // 4, state % 4))
        if here is None or grid.mdp.terminal[here]:
            continue
        for action, outcomes in actions.items():
            expected = np.zeros(len(grid.states))
            gain = 0.0
            for chance, after, reward, ended in outcomes:
                there = number[after // 4, after % 4]
                expected[there] += chance
                gain += chance * reward
                assert grid.mdp.terminal[there] == ended
            np.testing.assert_allclose(grid.mdp.transitions[here, ours[action]], expected, atol=1e-12)
            assert grid.mdp.mean_rewards[here, ours[action]] == pytest.approx(gain)
    assert len(grid.states) == 16


@pytest.mark.parametrize(("layout", "steps"), [("corridor", 8), ("four-rooms", 20), ("key-door", 15), ("delivery", 14)])
def test_named_maps_have_the_shortest_ways_that_were_drawn(layout: str, steps: int) -> None:
    # corridor 8 cells; four rooms 10 down + 10 right, doors on the way; key-door 7 to the key, 4 to the door, 4 to the goal
    grid = GridWorld(layout)
    start = int(grid.mdp.start.argmax())
    distance, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for after in np.flatnonzero(grid.mdp.transitions[here].any(0)):
            if int(after) not in distance:
                distance[int(after)] = distance[here] + 1
                queue.append(int(after))
    assert min(d for s, d in distance.items() if grid.mdp.terminal[s]) == steps
    assert len(distance) == len(grid.states)  # every state can be reached


def test_the_optimum_of_a_map_by_hand() -> None:
    # eight steps to the goal: seven of -0.1, the last with the goal's reward
    grid = GridWorld("corridor", step_reward=-0.1)
    assert grid.mdp.start @ exact.optimum(grid.mdp).values == pytest.approx(0.2)
    best = exact.optimum(GridWorld("corridor").mdp, gamma=0.9)
    assert best.values[0] == pytest.approx(0.9**7) and best.policy[:-1, RIGHT].tolist() == [1.0] * 8
    # to the coin two cells to the right and back (4 steps), down the left side past two more coins to the goal (14 steps);
    # the fourth coin lies too far off: 1 + 3 * 0.1 - 18 * 0.01
    delivery = GridWorld("delivery", step_reward=-0.01)
    assert delivery.mdp.start @ exact.optimum(delivery.mdp).values == pytest.approx(1.12)


def test_pictures_tell_states_apart() -> None:
    grid = GridWorld("key-door", pixels=True)
    assert grid.observation.shape == (32, 32, 3) and grid.observation.dtype == torch.uint8
    world, one = grid.open(2), torch.tensor([0])
    seen, _ = world.reset(one, one)
    assert seen.dtype == torch.uint8 and seen.shape == (1, 32, 32, 3)
    assert len({p.numpy().tobytes() for p in world.pictures}) == len(grid.states)
    before = world.render(0)
    assert before is not None and before.dtype == np.uint8 and before.shape == (256, 256, 3)
    world.step(one, torch.tensor([DOWN]))
    after = world.render(0)
    assert after is not None and (before != after).any(-1).any(1).nonzero()[0].min() >= 32  # only the agent's two cells changed
    assert world.render(1) is None  # not begun


def test_the_picture_shows_the_agent_where_it_is() -> None:
    grid = GridWorld(("S.", "#G"))
    picture = grid.draw(0)
    assert picture[16, 16].tolist() == [31, 111, 235]  # the agent's blue
    assert picture[48, 48].tolist() == [47, 158, 68] and picture[48, 16].tolist() == [52, 58, 70]  # goal, wall


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "four-room"}, "no layout 'four-room'; did you mean 'four-rooms'"),
        ({"layout": ("S.", "..G")}, "row 2 of the map has 3 cells, row 1 has 2"),
        ({"layout": ("S.", ".?")}, "row 2 of the map has the letter '\\?'; the legend knows"),
        ({"layout": ("..", ".G")}, "the map has no start"),
        ({"layout": ()}, "the map is empty"),
        ({"layout": ("SGQ",), "legend": {"Q": Cell(needs="k")}}, "'Q' needs 'k', which nobody takes; known: K, o"),
        ({"slip": 1.5}, "slip must be between 0 and 1"),
        ({"tile": 1}, "tile must be at least 2"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"step_reward": float("nan")}, "step_reward must be finite"),
        ({"legend": {"KK": Cell()}}, "single letters"),
    ],
)
def test_one_line_for_a_map_that_cannot_be_read(fields: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        GridWorld(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{"start": True, "ends": True}, {"wall": True, "reward": 1.0}, {"ends": True, "once": True}, {"reward": float("inf")},
     {"colour": "red"}],
)  # fmt: skip
def test_cells_that_contradict_themselves(fields: dict) -> None:
    with pytest.raises(PlanError):
        Cell(**fields)


def test_too_many_things_to_take() -> None:
    with pytest.raises(PlanError, match="more than 20000 states; every cell that can be taken doubles them"):
        _ = GridWorld(("S" + "o" * 12, "o" * 12 + "G")).states


def test_a_plan_holds_it() -> None:
    grid = GridWorld(("S.t", "..G"), legend={"t": Cell(reward=0.5, once=True)}, slip=0.1, pixels=True)
    back = from_tree(yaml.safe_load(yaml.safe_dump(to_tree(grid))))
    assert back == grid and hash(back) == hash(grid) and back.mdp.rewards.tolist() == grid.mdp.rewards.tolist()
    assert all(from_tree(to_tree(GridWorld(name))) == GridWorld(name) for name in LAYOUTS)
    assert hash(GridWorld(slip=0.1)) != hash(GridWorld())
