"""Verdicts on disk: found again, exact, and safe against torn lines."""

import json
from pathlib import Path

import pytest
import torch

from guerdon.core import DataError, Episode, RewardOutput, Rollout
from guerdon.rewards import Journal, Scorer, load_reward, recorded
from guerdon.rewards.journal import contents


def rows(*outputs: str) -> Rollout:
    return recorded([f"q{k // 2}" for k in range(len(outputs))], list(outputs))


class Counted:
    """Counts the rows it sees; awkward numbers, parts, dense rewards and failures."""

    differentiable = False

    def __init__(self, scope: str = "sample"):
        self.scope = scope
        self.seen: list[str] = []

    def __call__(self, rollout: Rollout) -> RewardOutput:
        self.seen += rollout.outputs
        total = torch.tensor([len(o) / 3 for o in rollout.outputs], dtype=torch.double)
        ok = torch.tensor([o != "bad" for o in rollout.outputs])
        step = torch.stack([torch.linspace(0, 1 / 7, rollout.steps, dtype=torch.double) * t for t in total])
        return RewardOutput(
            total, ok, ["" if k else "no good" for k in ok], step, {"p": total.exp(), "d": step * 0.1}, total * 0.01
        ).checked()


def identical(a: RewardOutput, b: RewardOutput) -> bool:
    pairs = [(a.total, b.total), (a.ok, b.ok), (a.step, b.step), (a.std, b.std), *((a.parts[k], b.parts[k]) for k in a.parts)]
    return all(torch.equal(x, y) and x.dtype == y.dtype for x, y in pairs) and list(a.reason) == list(b.reason)


def test_the_same_bits_without_a_second_look(tmp_path: Path) -> None:
    rollout = rows("a", "bb", "bad", "dddd").replace(mask=torch.ones(4, 5, dtype=torch.bool), actions=torch.zeros(4, 5))
    reward = Counted()
    direct = reward(rollout)
    for hits in (0, 4):
        reward.seen.clear()
        with Journal(tmp_path / "j.jsonl") as journal, Scorer(reward, journal=journal) as scorer:
            assert identical(scorer.score(rollout), direct)
            assert journal.hits == hits
            assert len(journal) == 4
            assert len(reward.seen) == 4 - hits


def test_only_what_is_new_is_scored(tmp_path: Path) -> None:
    reward = Counted()
    with Journal(tmp_path / "j.jsonl") as journal, Scorer(reward, journal=journal) as scorer:
        scorer.score(rows("a", "bb", "ccc", "d"))
        reward.seen.clear()
        assert identical(scorer.score(rows("a", "xx", "ccc", "y")), Counted()(rows("a", "xx", "ccc", "y")))
        assert reward.seen == ["xx", "y"]
        moved = rows("a", "bb").replace(uid=torch.tensor([7, 8]))  # the same output of another row is not the same verdict
        scorer.score(moved)
        assert reward.seen == ["xx", "y", "a", "bb"]


@pytest.mark.parametrize(("scope", "again"), [("group", ["ccc", "x"]), ("batch", ["a", "bb", "ccc", "x"])])
def test_rows_scored_together_stay_together(tmp_path: Path, scope: str, again: list[str]) -> None:
    reward = Counted(scope)
    with Journal(tmp_path / "j.jsonl") as journal, Scorer(reward, journal=journal) as scorer:
        scorer.score(rows("a", "bb", "ccc", "d"))
        reward.seen.clear()
        scorer.score(rows("a", "bb", "ccc", "x"))  # the second group changed
    assert reward.seen == again


@pytest.mark.parametrize("torn", [1, 10, 60])
def test_a_torn_last_line_counts_as_not_written(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal, Scorer(Counted(), journal=journal) as scorer:
        first = scorer.score(rows("a", "bb", "ccc", "d"))
    path.write_bytes(path.read_bytes()[:-torn])
    for new in (["d"], []):  # and the line written in its place is whole
        reward = Counted()
        with Journal(path) as journal, Scorer(reward, journal=journal) as scorer:
            assert identical(scorer.score(rows("a", "bb", "ccc", "d")), first)
            assert reward.seen == new
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal, Scorer(Counted(), journal=journal) as scorer:
        scorer.score(rows("a", "bb"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\xff{\n" + lines[0] + b"[]\n" + lines[1])
    with Journal(path) as journal:
        assert len(journal) == 2


def test_another_reward_or_other_code_is_asked_anew(tmp_path: Path) -> None:
    code, path = tmp_path / "code.py", tmp_path / "j.jsonl"
    for k in (1, 2):
        code.write_text(f"def f(output): return {k}.0 + len(output) {'#' * k}\n")
        with Journal(path) as journal, Scorer(load_reward("code.py:f", tmp_path), journal=journal) as scorer:
            assert scorer.score(rows("a", "bb")).total.tolist() == [k + 1, k + 2]
            assert journal.hits == 0


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened as a journal"):
        Journal(tmp_path)


def test_episodes_are_told_apart_by_every_number():
    """Their repr is a summary, and a verdict must not be found for another episode."""
    one, two = (Episode(torch.tensor([[0.0], [x]]), torch.tensor([1]), torch.tensor([1.0])) for x in (1.0, 1.0 + 1e-6))
    assert repr(one) == repr(two)
    first, second = (contents(Counted(), recorded(["start"], [e]))[0] for e in (one, two))
    assert first != second
