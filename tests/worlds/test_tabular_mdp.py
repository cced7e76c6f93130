"""MDP: arrays are checked, in one line that names the place."""

from pathlib import Path

import numpy as np
import pytest

from guerdon.core import DataError, PlanError
from guerdon.worlds import MDP

P = np.array([[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [[0.0] * 3] * 2])
R = np.arange(6.0).reshape(3, 2)
START, TERMINAL = np.array([1.0, 0.0, 0.0]), np.array([False, False, True])


def changed(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    array = np.array(array)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((P[:, :, :2], R, START, TERMINAL), r"transitions must be \[S, A, S\], got \[3, 2, 2\]"),
        ((changed(P, (1, 0, 1), 0.7), R, START, TERMINAL), "after action 0 in state 1 sum to 0.7"),
        (
            (changed(changed(P, (0, 0, 0), -0.5), (0, 0, 1), 1.5), R, START, TERMINAL),
            "after action 0 in state 0 are not all at least 0",
        ),
        ((changed(P, (0, 1, 2), np.nan), R, START, TERMINAL), "after action 1 in state 0"),
        ((P, R[:2], START, TERMINAL), r"rewards must be \[3, 2\] or \[3, 2, 3\], got \[2, 2\]"),
        ((P, changed(R, (1, 1), np.inf), START, TERMINAL), "rewards of state 1 are not all finite"),
        ((P, R, START[:2], TERMINAL), "start must have an entry per state"),
        ((P, R, [0.5, 0.4, 0.0], TERMINAL), "start must be probabilities that sum to 1, got a sum of 0.9"),
        ((P, R, [0.5, 0.0, 0.5], TERMINAL), "begin in state 2, which is terminal"),
        ((P, R, START, TERMINAL[:1]), "terminal must have an entry per state"),
        (([[[1.0], [0.5, 0.5]]], R, START, TERMINAL), "arrays of numbers with rows of equal length"),
    ],
)
def test_one_line_for_numbers_that_make_no_mdp(arrays: tuple, message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        MDP(*arrays)
    assert "\n" not in str(caught.value)


def test_nothing_comes_after_a_terminal_state() -> None:
    mdp = MDP(changed(P, (2, 0, 0), 1.0), R, START, TERMINAL)
    assert not mdp.transitions[2].any() and not mdp.rewards[2].any()
    assert R[2].any()  # the caller's array is left alone


def test_mean_rewards_weigh_what_may_follow() -> None:
    r = np.zeros((3, 2, 3))
    r[0, 0] = [4.0, 2.0, 100.0]  # half 4, half 2; what cannot follow does not count
    assert MDP(P, r, START, TERMINAL).mean_rewards[0].tolist() == [3.0, 0.0]


def test_a_file_holds_the_same_mdp(tmp_path: Path) -> None:
    mdp = MDP(P, R, START, TERMINAL)
    mdp.save(tmp_path / "mdp.npz")
    back = MDP.load(tmp_path / "mdp.npz")
    for name in ("transitions", "rewards", "start", "terminal"):
        np.testing.assert_array_equal(getattr(back, name), getattr(mdp, name))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        MDP.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("nothing of the kind")
    with pytest.raises(DataError, match=r"text\.npz: is not an \.npz file of plain arrays"):
        MDP.load(tmp_path / "text.npz")
    np.savez(tmp_path / "part.npz", transitions=P, rewards=R)
    with pytest.raises(DataError, match="has no array 'start'; it holds transitions, rewards"):
        MDP.load(tmp_path / "part.npz")
    np.save(tmp_path / "one.npy", P)
    with pytest.raises(DataError, match=r"is not an \.npz file of plain arrays"):
        MDP.load(tmp_path / "one.npy")
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "pickled.npz", transitions=objects, rewards=R, start=START, terminal=TERMINAL)
    with pytest.raises(DataError, match=r"is not an \.npz file of plain arrays"):
        MDP.load(tmp_path / "pickled.npz")
