"""Named layouts of point mazes; ``PointMaze`` says what the characters mean."""

from __future__ import annotations

LAYOUTS: dict[str, tuple[str, ...]] = {
    # The walls of D4RL's mazes (arXiv:2004.07219), by which results are compared.
    "u": (
        "#####",
        "#S..#",
        "###.#",
        "#G..#",
        "#####",
    ),
    "open": (
        "#######",
        "#S....#",
        "#.....#",
        "#....G#",
        "#######",
    ),
    "medium": (
        "########",
        "#S.##..#",
        "#..#...#",
        "##...###",
        "#..#...#",
        "#.#..#.#",
        "#...#.G#",
        "########",
    ),
    "large": (
        "############",
        "#S...#.....#",
        "#.##.#.#.#.#",
        "#......#...#",
        "#.####.###.#",
        "#..#.#.....#",
        "##.#.#.#.###",
        "#..#...#.G.#",
        "############",
    ),
    # One obstacle in the middle: past it on the left or on the right.
    "two-routes": (
        "#########",
        "#...G...#",
        "#.......#",
        "#..###..#",
        "#..###..#",
        "#.......#",
        "#...S...#",
        "#########",
    ),
    # Three rows of obstacles and a finish line: 2 x 3 x 4 = 24 ways, after D3IL's "avoiding" (arXiv:2402.14606).
    "avoiding": (
        "GGGGGGG",
        ".......",
        ".X.X.X.",
        ".......",
        "..X.X..",
        ".......",
        "...X...",
        ".......",
        "...S...",
    ),
    # The straight way to the goal is a dead end.
    "deceptive": (
        "###########",
        "#....G....#",
        "#.........#",
        "#.#######.#",
        "#.#.....#.#",
        "#.#.....#.#",
        "#.........#",
        "#....S....#",
        "###########",
    ),
    # Two goals as far away as each other.
    "two-goals": (
        "#########",
        "#1.....2#",
        "#.......#",
        "#.......#",
        "#...S...#",
        "#########",
    ),
    # Two goals behind many corners; with a small goal_radius, a search problem.
    "hard": (
        "#############",
        "#1.#....#...#",
        "#..#.##.#.#.#",
        "#.##.##...#.#",
        "#....#..###.#",
        "####.#.##...#",
        "#......#..#2#",
        "#.####.#.####",
        "#....#.#....#",
        "#S...#......#",
        "#############",
    ),
}  # fmt: skip
