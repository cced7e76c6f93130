"""PointMaze: walls, rewards, routes and noise against positions worked out by hand; forks to the last bit."""

from __future__ import annotations

import json
import math
from itertools import product

import numpy as np
import pytest
import torch

from guerdon.core import PlanError
from guerdon.core.streams import Stream, mix
from guerdon.core.world import World, WorldSpec
from guerdon.run.spec import from_tree, to_tree
from guerdon.worlds import PointMaze, waypoint_expert
from guerdon.worlds._maze_layouts import LAYOUTS
from guerdon.worlds._maze_world import OpenMaze

ONE = torch.tensor([0])


def at(maze: PointMaze, *position: float, velocity: tuple[float, float] = (0.0, 0.0)) -> OpenMaze:
    """An open maze of one slot, with the point at a place of our choice."""
    world = maze.open(1)
    world.reset(ONE, ONE)
    assert world.restore(ONE, [{**world.snapshot(ONE)[0], "position": list(position), "velocity": list(velocity)}]) == [""]
    return world


def pushed(world: OpenMaze, *push: float) -> list[float]:
    """Where the point is after a step."""
    world.step(ONE, torch.tensor([push]))
    return world.position[0].tolist()


BLOCK = PointMaze(("...", ".#.", "..G"), speed=1.0)  # a wall in the middle: the square from (1, 1) to (2, 2)
GATE = PointMaze((".#.", "#..", "..G"), speed=1.0)  # cell (0, 0) touches (1, 1) in one point, between two walls


@pytest.mark.parametrize(
    ("maze", "start", "push", "end"),
    [
        (BLOCK, (0.5, 0.5), (0.3, 0.2), (0.8, 0.7)),  # nothing in the way
        (BLOCK, (0.5, 1.5), (1.0, 0.0), (0.999, 1.5)),  # straight into the wall, at the largest speed
        (BLOCK, (0.5, 1.5), (1.0, 0.25), (0.999, 1.75)),  # slides along it: x stops, y goes on
        (BLOCK, (2.5, 1.5), (-1.0, -0.25), (2.001, 1.25)),  # from the other side
        (BLOCK, (1.5, 0.5), (0.25, 1.0), (1.75, 0.999)),  # from above
        (BLOCK, (0.5, 0.5), (-1.0, -1.0), (0.001, 0.001)),  # outside is wall too, in both directions at once
        (BLOCK, (0.8, 0.7), (0.4, 0.5), (1.2, 0.999)),  # x reaches 1 after 1/2, y after 3/5: in (1, 0) then, on top of the wall
        (BLOCK, (0.8, 0.7), (0.4, 0.9), (0.999, 1.6)),  # y reaches 1 after 1/3: in (0, 1) then, left of the wall
        (BLOCK, (0.8, 1.7), (0.4, 0.5), (0.999, 2.2)),  # x meets the wall after 1/2 and stops, though y is below it after 3/5
        (GATE, (0.9, 0.9), (0.5, 0.5), (0.999, 0.999)),  # no way through between two walls
    ],
)
def test_a_step_by_hand(maze: PointMaze, start: tuple[float, float], push: tuple[float, float], end: tuple[float, float]) -> None:
    assert pushed(at(maze, *start), *push) == pytest.approx(end, abs=1e-6)


def test_a_point_that_leans_on_a_wall_stays_and_leaves() -> None:
    world = at(BLOCK, 0.5, 1.5)
    assert pushed(world, 1.0, 0.0) == pushed(world, 1.0, 0.0) == pytest.approx([0.999, 1.5])
    assert pushed(world, -0.25, 0.0) == pytest.approx([0.749, 1.5])


def test_pushes_saturate() -> None:
    assert pushed(at(PointMaze("open", speed=0.5), 3.5, 2.5), 7.0, -0.5) == pytest.approx([4.0, 2.25])


def by_small_steps(rows: tuple[str, ...], start: np.ndarray, shift: np.ndarray, parts: int = 1000) -> list[float]:
    """The same move in small parts, an axis stopped for good where it would enter a wall: slow, and without any geometry."""
    p, left = start.tolist(), (shift / parts).tolist()
    for _ in range(parts):
        for axis in (0, 1):
            q = list(p)
            q[axis] += left[axis]
            if rows[math.floor(q[1])][math.floor(q[0])] == "#":
                left[axis] = 0.0
            else:
                p = q
    return p


def test_no_point_passes_a_wall_at_full_speed() -> None:
    maze = PointMaze("medium", speed=1.0, horizon=None, terminates=False)
    world = maze.open(32)
    slots = torch.arange(32)
    world.reset(slots, slots)
    pushes = 2 * Stream(mix(torch.arange(32), "test")).uniform(400).reshape(32, 200, 2) - 1
    pushes[:, ::3] = pushes[:, ::3].sign()  # every third as hard as possible
    hits = 0
    for t in range(200):
        before = world.position.copy()
        world.step(slots, pushes[:, t])
        assert not world.grid.solid[world.grid.cell(world.position)].any()
        if t % 10 == 0:
            for k in range(8):
                expected = by_small_steps(LAYOUTS["medium"], before[k], pushes[k, t].numpy())
                assert world.position[k].tolist() == pytest.approx(expected, abs=3e-3)
                hits += bool(np.abs(world.position[k] - before[k] - pushes[k, t].numpy()).max() > 0.01)
    assert hits > 40  # walls were met


def test_inertia_by_hand() -> None:
    world = at(PointMaze("open", speed=0.2, inertia=0.5), 1.5, 1.5)
    # v = 0.5 v + 0.5 * 0.2: 0.1, then 0.15, then 0.175; without a push 0.0875
    assert [pushed(world, 1.0, 0.0)[0] for _ in range(3)] == pytest.approx([1.6, 1.75, 1.925])
    seen = world.step(ONE, torch.zeros(1, 2)).observation[0]
    assert world.position[0, 0] == pytest.approx(2.0125)
    assert seen.tolist() == pytest.approx([(2.0125 - 3.5) / 3.5, (1.5 - 2.5) / 3.5, 0.0875 / 0.2, 0.0])
    wall = at(PointMaze("open", speed=0.2, inertia=0.5), 1.05, 1.5, velocity=(-0.2, 0.1))
    wall.step(ONE, torch.tensor([[-1.0, 0.0]]))
    assert wall.velocity[0].tolist() == pytest.approx([0.0, 0.05])  # the wall takes the velocity into it, and no other


DEADLY = PointMaze(("...X..", "......", "...G.."), speed=1.0, crash=-2.0)


@pytest.mark.parametrize(
    ("start", "push", "end"),
    [
        ((2.5, 0.5), (1.0, 0.0), (2.999, 0.5)),
        ((2.6, 0.5), (0.8, 0.4), (2.999, 0.7)),  # touches after half the step, and stays where it is then
        ((3.2, 1.3), (0.3, -0.4), (3.425, 1.001)),  # from below: after 3/4 of the step
    ],
)
def test_an_obstacle_ends_the_episode_where_it_is_touched(
    start: tuple[float, float], push: tuple[float, float], end: tuple[float, float]
) -> None:
    world = at(DEADLY, *start)
    told = world.step(ONE, torch.tensor([push]))
    assert world.position[0].tolist() == pytest.approx(end, abs=1e-6)
    assert (told.reward.tolist(), told.terminated.tolist(), told.truncated.tolist()) == ([-2.0], [True], [False])


def test_reward_at_the_goal_once_or_for_every_step() -> None:
    once = at(PointMaze("u", speed=1.0), 2.5, 3.5)
    told = once.step(ONE, torch.tensor([[-1.0, 0.0]]))
    assert (told.reward.item(), told.terminated.item()) == (1.0, True)
    stays = at(PointMaze("u", speed=1.0, terminates=False, horizon=3), 2.5, 3.5)
    told = [stays.step(ONE, torch.tensor([[push, 0.0]])) for push in (-1.0, 0.0, 1.0)]
    assert [t.reward.item() for t in told] == [1.0, 1.0, 0.0]
    assert [t.truncated.item() for t in told] == [False, False, True]
    assert not any(t.terminated.item() for t in told)


def test_distances_by_hand() -> None:
    maze = PointMaze("u")
    # from the middle of (1, 1): two cells right, two down, two left; from (1.75, 1.5) a quarter less; beside the goal's middle 0.25
    seen = torch.tensor([[-1.0, -1.0], [-0.75, -1.0], [-0.75, 1.0]]) / 2.5
    assert maze.distance(seen).tolist() == pytest.approx([6.0, 5.75, 0.25])
    edge = torch.tensor([[-1.0, -0.5 + 1e-5]]) / 2.5  # leaning on the wall below (1, 1), and rounded into it
    assert maze.distance(edge).item() == pytest.approx(5.0 + (1 + 0.25) ** 0.5, abs=2e-3)  # over the middle of (2, 1)
    # around the block: from the middle of (0, 0) down and right, no cut across the corner of the wall
    assert BLOCK.distance(torch.tensor([[-1.0, -1.0]]) / 1.5).tolist() == pytest.approx([4.0])
    # open ground, from (1, 1) to the goal at (5, 3): two diagonal steps and two straight ones
    assert PointMaze("open").distance(torch.tensor([[-2.0, -1.0]]) / 3.5).tolist() == pytest.approx([2 * 2**0.5 + 2])


@pytest.mark.parametrize(("kind", "start"), [("straight", 2.0), ("path", 6.0)])
def test_progress_adds_up_to_the_distance(kind: str, start: float) -> None:
    maze = PointMaze("u", reward=kind, spread=0.0)  # type: ignore[arg-type]
    episode = waypoint_expert(maze, [5], noise=0.4)[0]
    last = maze.positions(episode.observations[-1])
    left = (last - torch.tensor([1.5, 3.5])).norm()
    assert episode.rewards is not None and episode.terminated
    assert episode.rewards.sum().item() == pytest.approx(start - left.item() + 1.0, abs=1e-5)


def test_noise_is_the_episodes_own_stream() -> None:
    maze = PointMaze("open", noise=0.2, speed=0.1, spread=0.0, horizon=None, terminates=False)
    world = at(maze, 3.5, 2.5)
    z = Stream(mix(ONE, "noise")).normal(2 * 150)[0].reshape(150, 2).numpy()
    place = np.array([3.5, 2.5])
    for t in range(150):  # more than the steps whose noise is drawn together
        place = np.clip(place + 0.1 * np.clip(0.2 * z[t], -1, 1), [1.001, 1.001], [5.999, 3.999])
        assert pushed(world, 0.0, 0.0) == pytest.approx(place, abs=1e-9)


FULL = PointMaze("two-goals", noise=0.3, inertia=0.4, goal="drawn", reward="path", horizon=120, terminates=False)


def test_an_episode_does_not_depend_on_its_slot_or_company() -> None:
    actions = Stream(mix(torch.arange(5), "act")).uniform(200).reshape(5, 100, 2).float()
    alone = []
    for k in range(5):
        world = FULL.open(1)
        first, _ = world.reset(ONE, torch.tensor([k + 10]))
        alone.append([first[0], *[world.step(ONE, actions[k : k + 1, t]).observation[0] for t in range(100)]])
    world = FULL.open(7)
    slots = torch.tensor([6, 2, 4, 0, 3])
    world.reset(torch.arange(7), torch.arange(7))
    seen = [world.reset(slots, torch.arange(5) + 10)[0]]
    for t in range(100):
        order = torch.arange(5).roll(t)  # slots are named in another order every time
        told = world.step(slots[order], actions[order, t])
        seen.append(told.observation[order.argsort()])
    assert torch.equal(torch.stack(seen, 1), torch.stack([torch.stack(a) for a in alone]))


def test_a_snapshot_is_a_fork_to_the_last_bit() -> None:
    world = FULL.open(3)
    slots = torch.arange(3)
    world.reset(slots, slots)
    push = torch.tensor([[0.7, -0.3]] * 3)
    for _ in range(70):
        world.step(slots, push)
    saved = json.loads(json.dumps(world.snapshot(slots)))  # plain data
    other = FULL.open(6)
    assert other.restore(torch.tensor([5, 1, 3]), saved) == ["", "", ""]
    assert other.restore(torch.tensor([0, 2]), [saved[1], saved[1]]) == ["", ""]
    for _ in range(50):
        a, b = world.step(slots, -push), other.step(torch.tensor([5, 1, 3, 0, 2]), -push[:1].expand(5, 2))
        for x, y in ((a.observation, b.observation), (a.reward, b.reward), (a.truncated, b.truncated)):
            assert torch.equal(y, x[[0, 1, 2, 1, 1]])
    assert a.truncated.all()


def test_a_state_of_another_maze_is_refused_with_a_reason() -> None:
    u, large = PointMaze("u").open(2), PointMaze("large", horizon=None).open(2)
    large.reset(torch.arange(2), torch.arange(2))
    far = {**large.snapshot(ONE)[0], "position": [9.5, 7.5]}
    wall = {**far, "position": [2.5, 2.5]}
    assert u.restore(torch.arange(2), [far, wall]) == [
        "the saved position (9.5, 7.5) is outside the maze",
        "the saved position (2.5, 2.5) is in a wall of this maze",
    ]
    assert u.restore(ONE, [{"seed": 1}]) == ["the saved state has no 'goal'"]
    assert u.step(ONE, torch.zeros(1, 2)).failed == ["the episode has ended; reset the slot"]


def test_a_broken_action_breaks_its_slot_only() -> None:
    maze = PointMaze("open", spread=0.0)
    world = maze.open(3)
    slots = torch.arange(3)
    world.reset(slots, slots)
    told = world.step(slots, torch.tensor([[1.0, 0.0], [float("nan"), 0.0], [0.0, 1.0]]))
    assert told.failed == ["", "the action is not finite", ""]
    assert maze.positions(told.observation).tolist() == [pytest.approx(p) for p in ([1.75, 1.5], [1.5, 1.5], [1.5, 1.75])]
    assert not told.terminated.any() and not told.truncated.any()
    assert world.step(slots, torch.zeros(3, 2)).failed == ["", "the episode has ended; reset the slot", ""]
    world.reset(slots[1:2], ONE)
    assert world.step(slots, torch.zeros(3, 2)).failed == ["", "", ""]


def test_where_episodes_start() -> None:
    world = PointMaze(("S.S", "..G"), spread=0.4).open(400)
    world.reset(torch.arange(400), torch.arange(400))
    left = world.position[:, 0] < 1
    assert 160 < left.sum() < 240  # either of two cells
    off = world.position - np.where(left[:, None], [0.5, 0.5], [2.5, 0.5])
    assert np.abs(off).max() <= 0.4 and np.abs(off).max(0).min() > 0.38 and np.abs(off.mean(0)).max() < 0.05
    anywhere = PointMaze(("...", ".#G"), spread=0.0).open(100)
    anywhere.reset(torch.arange(100), torch.arange(100))
    assert {tuple(p) for p in anywhere.position.tolist()} == {(0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (0.5, 1.5)}


def test_which_goal_counts() -> None:
    def reached(goal: str, x: float) -> float:
        world = at(PointMaze("two-goals", goal=goal, speed=1.0, spread=0.0), x, 2.5)
        return world.step(ONE, torch.tensor([[0.0, -1.0]])).reward.item()

    assert [reached("any", 1.5), reached("any", 7.5), reached("1", 1.5), reached("2", 1.5), reached("2", 7.5)] == [1, 1, 1, 0, 1]
    assert PointMaze("two-goals", goal=2) == PointMaze("two-goals", goal="2")  # type: ignore[arg-type]
    drawn = PointMaze("two-goals", goal="drawn", speed=1.0)
    world = drawn.open(50)
    seen, _ = world.reset(torch.arange(50), torch.arange(50))
    middle = torch.tensor([[1.5, 1.5], [7.5, 1.5]])[torch.from_numpy(world.wanted)]
    assert torch.allclose(seen[:, 2:], (middle - torch.tensor([4.5, 3.0])) / 4.5)
    assert 15 < world.wanted.sum() < 35
    for k in (int(world.wanted.argmin()), int(world.wanted.argmax())):  # an episode of each
        own = world.snapshot(torch.tensor([k]))[0]
        one = drawn.open(1)
        paid = []
        for x in (1.5, 7.5):
            one.restore(ONE, [{**own, "position": [x, 2.5]}])
            paid.append(one.step(ONE, torch.tensor([[0.0, -1.0]])).reward.item())
        assert paid == ([1.0, 0.0] if own["goal"] == 0 else [0.0, 1.0])


def test_a_small_goal_is_a_disc() -> None:
    maze = PointMaze("u", goal_radius=0.2)
    assert at(maze, 1.5, 3.74).step(ONE, torch.tensor([[0.0, -0.2]])).reward.item() == 1.0  # 0.19 below the middle
    assert at(maze, 1.5, 3.74).step(ONE, torch.tensor([[0.1, -0.1]])).reward.item() == 0.0  # hypot(0.025, 0.215) = 0.216


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_walked(name: str) -> None:
    maze = PointMaze(name)
    assert isinstance(maze, WorldSpec) and isinstance(maze.open(1), World)
    assert from_tree(to_tree(maze), PointMaze, "world", None) == maze
    for heavy in (0.0, 0.7):
        episodes = waypoint_expert(PointMaze(name, inertia=heavy), range(12))
        assert all(e.terminated and e.rewards is not None and e.rewards.sum() == 1 for e in episodes)
        assert torch.cat([e.observations for e in episodes]).abs().max() <= 1


def test_the_twenty_four_routes() -> None:
    maze = PointMaze("avoiding")
    assert maze.gaps == (4, 3, 2)
    walked = []
    for route in product(range(4), range(3), range(2)):
        episode = waypoint_expert(maze, [7], route=route, noise=0.05)[0]
        assert episode.terminated and episode.rewards is not None and episode.rewards.sum() == 1
        walked.append(maze.route(episode.observations))
    assert walked == list(product(range(4), range(3), range(2)))
    assert maze.route(episode.observations[:3]) == (-1, -1, -1)  # not there yet
    assert {maze.route(e.observations)[1:] for e in waypoint_expert(maze, range(8), route=(-1, 2, 0))} == {(2, 0)}


def test_a_deceptive_layout_deceives() -> None:
    """Whoever goes straight up to the goal ends behind the wall; the shortest way is another."""
    maze = PointMaze("deceptive", spread=0.0)
    world = at(maze, 5.5, 7.4)
    for _ in range(40):
        pushed(world, 0.0, -1.0)
    assert world.position[0].tolist() == pytest.approx([5.5, 4.001])
    assert world.grid.straight(world.position, np.array([-1]))[0] == pytest.approx(2.501)  # nearer than at the start, 6
    around = maze.distance(torch.tensor([[0.0, (4.001 - 4.5) / 5.5]])).item()
    assert around > maze.distance(torch.tensor([[0.0, (7.5 - 4.5) / 5.5]])).item() > 6


def test_pictures_show_the_point() -> None:
    maze = PointMaze("medium", pixels=32)
    world = maze.open(40)
    seen, _ = world.reset(torch.arange(40), torch.arange(40))
    assert (seen.shape, seen.dtype, maze.observation.shape) == ((40, 32, 32, 3), torch.uint8, (32, 32, 3))
    told = world.step(torch.arange(40), torch.ones(40, 2))
    empty = torch.from_numpy(world._camera.backgrounds[-1])  # type: ignore[union-attr]
    empty = empty[3:-3, 3:-3] if len(empty) == 38 else empty[2:-2, 2:-2]
    changed = (told.observation.double() - empty.double()).abs().sum(-1)
    pixel = torch.arange(32) + 0.5
    centre = torch.stack([(changed.sum(1) * pixel).sum(1), (changed.sum(2) * pixel).sum(1)], 1) / changed.sum((1, 2))[:, None]
    assert (centre / 4 - torch.from_numpy(world.position)).abs().max() < 0.1  # 4 pixels per cell: found to 0.4 pixels


def test_render_shows_walls_goal_trail_and_point() -> None:
    world = at(PointMaze("u", spread=0.0), 1.5, 1.5)
    for _ in range(4):
        pushed(world, 1.0, 0.0)  # to (2.5, 1.5)
    image = world.render(0)
    assert (image.shape, image.dtype) == ((180, 180, 3), np.uint8)
    at_point, on_trail, wall, goal = image[54, 90], image[54, 72], image[90, 60], image[126, 54]
    assert at_point[2] > 1.5 * at_point[0] and on_trail[2] > 1.3 * on_trail[0]  # blue
    assert wall.max() < 100 and goal[1] > 1.3 * goal[0]  # dark, green


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layout": "avoidin"}, "there is no layout 'avoidin'; did you mean 'avoiding'?"),
        ({"layout": ("S.", "G")}, "row 1: 1 characters, expected 2 as in row 0"),
        ({"layout": ("S.", "gG")}, "row 1, column 0: 'g'; expected one of # . X S G 1..9"),
        ({"layout": ("S.", "..")}, "no goal; mark one with G"),
        ({"layout": ("S#G",)}, "no way leads from S to G"),
        ({"layout": ("SXG",)}, "no way leads from S to G"),
        ({"layout": ()}, "it has no cells"),
        ({"goal": "2"}, "PointMaze.goal '2'; known: G, any, drawn"),
        ({"reward": "dense"}, "PointMaze.reward 'dense'; known: path, sparse, straight"),
        ({"speed": 1.5}, r"speed must be in \(0, 1\] cells per step, got 1.5"),
        ({"inertia": 1.0}, r"inertia must be in \[0, 1\), got 1.0"),
        ({"spread": 0.5}, "spread must be in"),
        ({"noise": -0.1}, "noise must be at least 0"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"goal_radius": 0.0}, "goal_radius must be above 0"),
        ({"pixels": 4}, "pixels must be 0"),
    ],
)
def test_what_is_no_maze_is_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        PointMaze(**fields)  # type: ignore[arg-type]


def test_the_expert_walks_as_badly_as_it_is_told_to() -> None:
    maze = PointMaze("medium")
    good, noisy, wild, slow = (
        waypoint_expert(maze, range(20), **how)
        for how in ({}, {"noise": 0.6}, {"random": 0.5}, {"pace": 0.5})  # type: ignore[arg-type]
    )
    steps = [sum(len(e) for e in each) / 20 for each in (good, noisy, wild, slow)]
    assert steps[0] < 35 < 1.2 * steps[0] < min(steps[1:3]) and steps[3] == pytest.approx(2 * steps[0], rel=0.06)
    starts = [torch.stack([e.observations[0] for e in each]) for each in (good, noisy, wild, slow)]
    assert all(torch.equal(s, starts[0]) for s in starts)  # the same episodes' seeds: pairs to compare
    again = waypoint_expert(maze, [7, 3], noise=0.6)
    assert torch.equal(again[0].actions, noisy[7].actions) and torch.equal(again[1].observations, noisy[3].observations)
    share = torch.cat([e.actions for e in wild])
    assert share.abs().max() <= 1 and share.dtype == torch.float32
    cut = waypoint_expert(maze, [0], steps=5)[0]
    assert (len(cut), cut.terminated, cut.observations.shape) == (5, False, (6, 2))


def test_the_expert_goes_to_the_goal_it_is_told() -> None:
    maze = PointMaze("two-goals", terminates=True)
    for goal, x in (("1", 1.5), ("2", 7.5)):
        ends = torch.stack([maze.positions(e.observations[-1]) for e in waypoint_expert(maze, range(6), goal=goal)])
        assert (ends[:, 0] - x).abs().max() <= 0.5
    with pytest.raises(PlanError, match="no goal '3' in the layout; it has 1, 2"):
        waypoint_expert(maze, [0], goal="3")
    with pytest.raises(PlanError, match="a route of this maze names 3 gaps"):
        waypoint_expert(PointMaze("avoiding"), [0], route=(1,))
    with pytest.raises(PlanError, match=r"have the gaps 0 \.\. 3, got 4"):
        waypoint_expert(PointMaze("avoiding"), [0], route=(4, 0, 0))
    with pytest.raises(PlanError, match="no way leads to the goal by the route"):
        waypoint_expert(PointMaze("medium"), [0], route=(1, 0, 0, 0, 0))
    with pytest.raises(PlanError, match="the maze has no horizon"):
        waypoint_expert(PointMaze("u", horizon=None), [0])
