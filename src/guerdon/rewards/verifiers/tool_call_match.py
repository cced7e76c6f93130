"""How alike two lists of calls are: exactly equal or not, and by degrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from guerdon.rewards.verifiers.tool_call_text import Call


class Likeness(NamedTuple):
    """How alike two lists of calls are; every number in [0, 1].

    Attributes:
        exact: 1 where they are the same.
        graded: The share of what could be got right that is right.
        names: Names shared by both lists / names of both.
        keys: Share of the wanted calls that have a partner, each counted with the share of argument names that both have.
        values: Share of the wanted arguments whose value is right in the partner.
    """

    exact: float
    graded: float
    names: float
    keys: float
    values: float


def likeness(wanted: Sequence[Call], made: Sequence[Call], in_order: bool = False) -> Likeness:
    """Compares calls as ToolRL does (arXiv:2504.13958), in [0, 1] where its reward is in [-3, 3].

    ``graded = (names + sum over pairs of (keys + values)) / (1 + sum over wanted calls of (1 + number of arguments))``, where
    ``names`` and, for a pair, ``keys`` are shared / all names (as multisets, as in its code; the paper has sets), and
    ``values`` counts the arguments of the wanted call that the other has with the same value. Calls are paired by name so
    that the sum is largest. The paper asks for this best assignment; its code takes for each wanted call in turn the best one
    left, which can be less.

    Args:
        wanted: The right calls.
        made: The calls to judge.
        in_order: Whether order counts: then only pairs that do not cross are allowed, and shared names are the longest common
            subsequence.

    >>> f = Call("f", {"x": "1", "y": "2"})
    >>> likeness([f], [Call("f", {"x": "1"})])  # names 1, keys 1/2, values 1 of 2: (1 + 1/2 + 1) / (1 + 1 + 2)
    Likeness(exact=0.0, graded=0.625, names=1.0, keys=0.5, values=0.5)
    """
    same = [c.key for c in wanted] == [c.key for c in made] if in_order else _bag(wanted) == _bag(made)
    if not wanted:
        return Likeness(*[float(same)] * 5)
    if in_order:
        shared = _best_in_order([[1.0 if w.name == m.name else 0.0 for m in made] for w in wanted])
        pairs = _best_in_order([[_pair_score(w, m) for m in made] for w in wanted])
        common = float(len(shared))
    else:
        common = float((Counter(c.name for c in wanted) & Counter(c.name for c in made)).total())
        pairs = _best(wanted, made)
    names = common / (len(wanted) + len(made) - common)
    keys = sum(_jaccard(wanted[i].arguments, made[j].arguments) for i, j in pairs)
    values = sum(_right(wanted[i], made[j]) for i, j in pairs)
    arguments = sum(len(c.arguments) for c in wanted)
    graded = (names + keys + values) / (1 + len(wanted) + arguments)
    return Likeness(
        float(same),
        1.0 if same else graded,
        names,
        keys / len(wanted),
        values / arguments if arguments else float(len(pairs) == len(wanted)),
    )


def _bag(calls: Sequence[Call]) -> Counter[object]:
    return Counter(c.key for c in calls)


def _jaccard(a: Collection[str], b: Collection[str]) -> float:
    """Shared / all names; 1 where there are none."""
    shared = len(set(a) & set(b))
    return shared / (len(a) + len(b) - shared) if a or b else 1.0


def _right(wanted: Call, made: Call) -> int:
    return sum(made.arguments.get(k) == v for k, v in wanted.arguments.items())


def _pair_score(wanted: Call, made: Call) -> float:
    """What a pair adds; 0 for calls that may not be paired."""
    return _jaccard(wanted.arguments, made.arguments) + _right(wanted, made) if wanted.name == made.name else 0.0


def _best(wanted: Sequence[Call], made: Sequence[Call]) -> list[tuple[int, int]]:
    """The pairs with the largest sum; names do not mix, so each is a problem of its own."""
    pairs = []
    for name in dict.fromkeys(c.name for c in wanted):
        rows = [i for i, c in enumerate(wanted) if c.name == name]
        columns = [j for j, c in enumerate(made) if c.name == name]
        scores = [[_pair_score(wanted[i], made[j]) for j in columns] for i in rows]
        pairs += [(rows[i], columns[j]) for i, j in assign(scores)]
    return [(i, j) for i, j in pairs if _pair_score(wanted[i], made[j]) > 0]


def assign(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, with the largest sum of scores; cubic in time.

    The Hungarian method with potentials: rows join one by one along the cheapest augmenting path.

    Args:
        scores: [R][C] none below 0.

    >>> sorted(assign([[2.0, 1.9], [1.9, 0.0]]))
    [(0, 1), (1, 0)]
    """
    if not scores or not scores[0]:
        return []
    if len(scores) > len(scores[0]):
        return [(i, j) for j, i in assign([list(column) for column in zip(*scores, strict=True)])]
    columns = len(scores[0])
    u, v = [0.0] * (len(scores) + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)  # row of each column, from 1; column 0 holds the row that joins
    for row in range(1, len(scores) + 1):
        owner[0], at = row, 0
        least, before, done = [float("inf")] * (columns + 1), [0] * (columns + 1), [False] * (columns + 1)
        while owner[at]:
            done[at] = True
            step, nearest = float("inf"), 0
            for j in range(1, columns + 1):
                if done[j]:
                    continue
                cost = -scores[owner[at] - 1][j - 1] - u[owner[at]] - v[j]
                if cost < least[j]:
                    least[j], before[j] = cost, at
                if least[j] < step:
                    step, nearest = least[j], j
            for j in range(columns + 1):
                if done[j]:
                    u[owner[j]] += step
                    v[j] -= step
                else:
                    least[j] -= step
            at = nearest
        while at:
            owner[at] = owner[before[at]]
            at = before[at]
    return [(row - 1, j - 1) for j, row in enumerate(owner) if j and row]


def _best_in_order(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs that do not cross, with the largest sum of scores; pairs of score 0 are left out."""
    rows, columns = len(scores), len(scores[0]) if scores else 0
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows):
        for j in range(columns):
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + scores[i][j])
    pairs, i, j = [], rows, columns
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs
