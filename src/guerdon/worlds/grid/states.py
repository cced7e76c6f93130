"""From a map to an MDP: a state is a cell and what has been taken so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.core.errors import PlanError, nearest
from guerdon.worlds.grid.cell import Cell
from guerdon.worlds.mdp import MDP

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
MOST_STATES = 20_000

Place = tuple[int, int]
State = tuple[Place, frozenset[Place]]


@dataclass(frozen=True)
class Grid:
    """A checked map.

    Args:
        rows: Its text.
        legend: letter -> its meaning.
    """

    rows: tuple[str, ...]
    legend: Mapping[str, Cell]

    def __post_init__(self) -> None:
        if not self.rows or not self.rows[0]:
            raise PlanError("GridWorld: the map is empty")
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.rows[0]):
                raise PlanError(f"GridWorld: row {number} of the map has {len(row)} cells, row 1 has {len(self.rows[0])}")
            for letter in row:
                if letter not in self.legend:
                    known = "".join(sorted(self.legend))
                    raise PlanError(f"GridWorld: row {number} of the map has the letter {letter!r}; the legend knows {known!r}")
        letters = {letter for row in self.rows for letter in row}
        for letter in sorted(letters):
            for key in self.legend[letter].needs:
                if key not in self.legend or not self.legend[key].once:
                    takes = [k for k, cell in self.legend.items() if cell.once]
                    raise PlanError(f"GridWorld: {letter!r} needs {key!r}, which nobody takes; {nearest(key, takes)}")
        if not self.starts:
            raise PlanError("GridWorld: the map has no start ('S' unless the legend says otherwise)")

    @property
    def starts(self) -> list[Place]:
        return self.places([letter for letter, cell in self.legend.items() if cell.start])

    def places(self, letters: Collection[str]) -> list[Place]:
        """(row, column) of every cell with one of the letters."""
        return [(y, x) for y, row in enumerate(self.rows) for x, letter in enumerate(row) if letter in letters]

    def cell(self, place: Place) -> Cell:
        return self.legend[self.rows[place[0]][place[1]]]

    def after(self, state: State, move: Place) -> State:
        """Where a move leads, walls and locks considered."""
        (y, x), taken = state
        target = (y + move[0], x + move[1])
        if not (0 <= target[0] < len(self.rows) and 0 <= target[1] < len(self.rows[0])) or not self.opened(
            self.cell(target), taken
        ):
            target = (y, x)
        return target, taken | {target} if self.cell(target).once else taken

    def opened(self, cell: Cell, taken: frozenset[Place]) -> bool:
        """Whether a cell can be entered by someone who has taken that much."""
        return not cell.wall and (not cell.needs or taken.issuperset(self.places(cell.needs)))

    def reward(self, before: State, after: State) -> float:
        """Of the cell a step ends in; what has been taken before gives no more."""
        cell = self.cell(after[0])
        return 0.0 if cell.once and after[0] in before[1] else cell.reward


def reachable(grid: Grid, moves: Sequence[Place]) -> list[State]:
    """All states that can be reached from a start, in order of (number of things taken, which, row, column).

    Raises:
        PlanError: for more than ``MOST_STATES``.
    """
    found: set[State] = {(place, frozenset()) for place in grid.starts}
    frontier = list(found)
    while frontier:
        state = frontier.pop()
        if grid.cell(state[0]).ends:
            continue
        for move in moves:
            new = grid.after(state, move)
            if new not in found:
                found.add(new)
                frontier.append(new)
        if len(found) > MOST_STATES:
            raise PlanError(f"GridWorld: more than {MOST_STATES} states; every cell that can be taken doubles them")
    return sorted(found, key=lambda s: (len(s[1]), sorted(s[1]), s[0]))


def mdp_of(grid: Grid, states: Sequence[State], moves: Sequence[Place], slip: float, step_reward: float) -> MDP:
    """The MDP over ``states``: a move goes where it should, or with probability ``slip`` to its left or right, half each."""
    number = {state: k for k, state in enumerate(states)}
    p = np.zeros((len(states), len(moves), len(states)))
    r = np.zeros_like(p)
    terminal = np.array([grid.cell(place).ends for place, _ in states])
    for k, state in enumerate(states):
        if terminal[k]:
            continue
        for a, move in enumerate(moves):
            for towards, chance in slips(move, slip):
                after = grid.after(state, towards)
                p[k, a, number[after]] += chance
                r[k, a, number[after]] = step_reward + grid.reward(state, after)
    start = np.zeros(len(states))
    for place in grid.starts:
        start[number[place, frozenset()]] = 1 / len(grid.starts)
    return MDP(p, r, start, terminal)


def slips(move: Place, slip: float) -> list[tuple[Place, float]]:
    """[(move, probability)] of what a chosen move becomes.

    >>> slips((0, 1), 0.2)
    [((0, 1), 0.8), ((1, 0), 0.1), ((-1, 0), 0.1)]
    """
    if not slip or move == (0, 0):
        return [(move, 1.0)]
    y, x = move
    return [(move, 1 - slip), ((x, -y), slip / 2), ((-x, y), slip / 2)]
