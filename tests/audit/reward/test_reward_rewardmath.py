import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from guerdon.audit.suites import aggregate, math_prm, one_to_many, rewardmath
from guerdon.core import DataError

ROOT = Path(__file__).parents[3]
# Ranks of column 0 with ties against it: 1, 3, 2, 4; for it: 1, 1, 2, 4.
SCORES = [[9, 1, 2, 3], [5, 5, 5, 1], [4, 6, 1, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("ties", "accuracy", "mrr", "pairwise"),
    [
        ("against", 1 / 4, (1 + 1 / 3 + 1 / 2 + 1 / 4) / 4, (3 + 1 + 2 + 0) / 12),
        ("for", 2 / 4, (1 + 1 + 1 / 2 + 1 / 4) / 4, (3 + 3 + 2 + 0) / 12),
        ("random", (1 + 1 / 3) / 4, (1 + (1 + 1 / 2 + 1 / 3) / 3 + 1 / 2 + 1 / 4) / 4, (3 + 2 + 2 + 0) / 12),
    ],
)
def test_one_to_many_by_hand(ties: str, accuracy: float, mrr: float, pairwise: float) -> None:
    found = one_to_many(SCORES, ties=ties)  # type: ignore[arg-type]
    assert [e.value for e in found[:3]] == pytest.approx([accuracy, mrr, pairwise])
    assert (found.problems, found.failed, found.tied) == (4, 0, 1)


def test_the_correct_column_may_differ() -> None:
    moved = [[1, 9, 2, 3], [5, 5, 5, 1], [4, 6, 1, 1], [1, 2, 3, 0]]
    assert one_to_many(moved, [1, 0, 0, 3])[:3] == one_to_many(SCORES)[:3]
    assert one_to_many(moved, -1).accuracy.value == 0.0


def test_random_ties_are_the_mean_over_orders() -> None:
    g = np.random.default_rng(0)
    scores = g.integers(0, 3, (30, 5)).astype(float)
    exact = one_to_many(scores, ties="random")
    drawn = [one_to_many(scores + 1e-6 * g.normal(size=scores.shape)) for _ in range(300)]
    for k in range(3):
        assert exact[k].value == pytest.approx(np.mean([d[k].value for d in drawn]), abs=0.015)


def test_failures_are_left_out_and_counted() -> None:
    found = one_to_many([*SCORES, [1, math.nan, 0, 0]])
    assert (found.problems, found.failed) == (4, 1) and found[:3] == one_to_many(SCORES)[:3]
    with pytest.raises(DataError, match="two or more answers"):
        one_to_many([1, 2])
    with pytest.raises(DataError, match="column from 0 to 3"):
        one_to_many(SCORES, 4)
    with pytest.raises(DataError, match="did you mean 'random'"):
        one_to_many(SCORES, ties="randon")  # type: ignore[arg-type]


def test_aggregations_by_hand() -> None:
    steps = [0.5, 0.2, 0.9]
    expected = {"min": 0.2, "max": 0.9, "product": 0.09, "geometric mean": 0.09 ** (1 / 3), "mean": 1.6 / 3, "last": 0.9}
    for how, value in expected.items():
        assert aggregate(steps, how) == pytest.approx(value)  # type: ignore[arg-type]
    assert aggregate(steps, "mean logit") == pytest.approx((0 + math.log(0.25) + math.log(9)) / 3)
    assert math.isnan(aggregate([], "min"))
    with pytest.raises(DataError, match="unknown aggregation"):
        aggregate(steps, "median")  # type: ignore[arg-type]


def stand_in(path: Path) -> Path:
    """Two problems, three solutions each, one model of numbers and one of steps."""
    records = [
        {"problem": "p", "score": {"plain": [3, 1, 2], "steps": [[0.9, 0.9], [0.95], [0.5]]}},
        {"problem": "q", "score": {"plain": [1, 1, 0], "steps": [[0.8], [0.9, 0.1], [0.7, 0.8]]}},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_a_file_of_scores(tmp_path: Path) -> None:
    found = {(m.name, m.aggregation): m for m in rewardmath(stand_in(tmp_path / "scores.jsonl"))}
    assert len(found) == 9  # one, seven aggregations, and the number of steps
    assert found["steps", "fewest steps"].found.accuracy.value == pytest.approx((0 + 1) / 2)  # steps 2 1 1 and 1 2 2
    assert found["plain", ""].found.accuracy.value == 0.5 and found["plain", ""].published is None
    assert found["steps", "product"].found.accuracy.value == 0.5  # 0.81 < 0.95 in p
    assert found["steps", "min"].found.mrr.value == 0.75  # 0.9 < 0.95 in p
    assert found["steps", "max"].found.tied == 1  # 0.8 twice in q


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = stand_in(tmp_path / "scores.jsonl")
    good = path.read_text()
    for bad, words in (("{", "scores.jsonl:3: not JSON"), ('{"score": {"plain": [1, 2]}}', "same models"), ("[1]", "expected an object"),
                       ('{"score": {"plain": 1, "steps": []}}', "must be a list")):  # fmt: skip
        path.write_text(good + bad + "\n")
        with pytest.raises(DataError, match=words):
            rewardmath(path)
    with pytest.raises(DataError, match="cannot be read"):
        rewardmath(tmp_path / "nothing.jsonl")
    path.write_text(json.dumps({"problem_id": 1, "solution_type": "chosen", "output": {"step_scores": [1]}}))
    with pytest.raises(DataError, match="needs one chosen and one rejected"):
        math_prm(path)


def test_twelve_reward_models_match_the_authors_program(shared_data: Path) -> None:
    """To the rounding of their print, wherever the stored scores kept all digits and all records that theirs have."""
    models = rewardmath(shared_data / "reward_bench" / "rewardmath_scores_12_reward_models.jsonl.gz")
    assert len({m.name for m in models}) == 12
    apart = set()
    for m in (m for m in models if m.aggregation != "fewest steps"):
        assert m.found.problems == 483
        assert m.published is not None
        ours = (100 * m.found.accuracy.value, 100 * m.found.mrr.value)
        if ours != pytest.approx(m.published, abs=5.1e-4):
            apart.add((m.name, m.aggregation))
            assert m.found.tied > 0
    # Their file of gpt4o repeats two problems; step scores were stored to five digits, so that some near ties became ties.
    assert apart <= {("gpt4o", ""), *((n, how) for n in ("Math_Shepherd", "ReasonEval_7B") for how in ("min", "max", "last"))}
    for m in models:
        if (m.name, m.aggregation) in apart and m.aggregation != "max":
            assert (100 * m.found.accuracy.value, 100 * m.found.mrr.value) == pytest.approx(m.published, abs=0.13)


def test_math_prm_matches_the_authors_program(shared_data: Path) -> None:
    models = math_prm(shared_data / "reward_bench" / "rewardbench_math_prm_steps_math_shepherd.jsonl.gz")
    assert {m.found.problems for m in models} == {447}
    for m in models:
        if m.published:
            assert 100 * m.found.accuracy.value == pytest.approx(m.published[0], abs=5.1e-4)
    assert sum(m.published is not None for m in models) == 6
    product, fewest = (next(m.found.accuracy for m in models if m.aggregation == a) for a in ("product", "fewest steps"))
    assert fewest.lo < product.value < fewest.hi  # on these pairs the product does no better than counting steps


def test_the_example_prints_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rewardmath.py", str(stand_in(tmp_path / "scores.jsonl")), "--markdown"])
    runpy.run_path(str(ROOT / "examples" / "rewardmath.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "| plain | – | 50.00" in out and "2 problems" in out
