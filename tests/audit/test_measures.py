import math

import numpy as np
import pytest
import torch

from guerdon.audit.measures import (
    bootstrap,
    bootstrap_difference,
    distinct_n,
    duplicates,
    entropy,
    lengths,
    normal_interval,
    self_repetition,
    token_count,
)


def test_distinct_by_hand() -> None:
    rows = [[1, 2, 1], [1, 2]]  # unigrams 1 2 1 1 2; bigrams 12 21 12, which do not cross rows
    assert distinct_n(rows, 1) == 2 / 5
    assert distinct_n(rows, 2) == 2 / 3
    assert distinct_n([torch.tensor([1, 2, 1]), torch.tensor([1, 2])], 2) == 2 / 3


def test_distinct_at_equal_token_count() -> None:
    few, many = [["a", "b", "c", "d"]], [["a", "b", "c", "d"], ["a", "b", "c", "d"]]
    assert distinct_n(few, 1) == 1
    assert distinct_n(many, 1) == 0.5
    n = min(token_count(few), token_count(many))
    assert distinct_n(few, 1, tokens=n) == distinct_n(many, 1, tokens=n) == 1
    assert distinct_n(many, 2, tokens=6) == 3 / 4  # ab bc cd | ab, the second row cut after two tokens


def test_distinct_of_nothing_is_unknown_not_zero() -> None:
    assert math.isnan(distinct_n([], 1))
    assert math.isnan(distinct_n([[1]], 2))
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        distinct_n([[1]], 0)


def test_other_measures_by_hand() -> None:
    assert self_repetition([[1, 2, 1, 2, 1], [3]], n=2) == 0.5  # 12 21 12 21: two repeats of four; [3] has no pair
    assert duplicates([[1], [1], [2], [1]]) == 0.5
    assert entropy([[1, 1, 2, 2]]) == pytest.approx(math.log(2))
    assert entropy([[1, 1, 1, 2]]) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert lengths([[1] * 4, [1] * 2]) == (3.0, math.sqrt(2), 2, 3.0, 4)


def test_bootstrap_covers_as_often_as_it_says() -> None:
    """Of 200 intervals for samples of 40, about 95 in 100 hold the true mean; 88 % would be found out (p < 1e-4)."""
    rng = np.random.default_rng(5)
    inside = 0
    for k in range(200):
        i = bootstrap(rng.normal(1.0, 2.0, 40), resamples=400, seed=k)
        inside += i.lo <= 1.0 <= i.hi
    assert 0.89 <= inside / 200 <= 0.985


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    x = np.random.default_rng(0).normal(3, 1, 400)
    a, b = bootstrap(x), normal_interval(float(x.mean()), float(x.std()), 400)
    assert a.mean == pytest.approx(b.mean)
    assert a.lo == pytest.approx(b.lo, abs=0.02)
    assert a.hi == pytest.approx(b.hi, abs=0.02)


def test_pairing_removes_what_rows_share() -> None:
    rng = np.random.default_rng(1)
    level = rng.normal(0, 10, 50)
    a, b = level, level + 1 + rng.normal(0, 0.1, 50)
    paired, apart = bootstrap_difference(a, b, paired=True), bootstrap_difference(a, b)
    assert 0.95 < paired.lo < paired.hi < 1.05
    assert apart.lo < 0 < apart.hi
    with pytest.raises(ValueError, match="equally many, got 2 and 1"):
        bootstrap_difference([1, 2], [1], paired=True)


def test_bootstrap_leaves_nan_out_and_repeats_itself() -> None:
    assert bootstrap([1.0, math.nan, 3.0]).n == 2
    assert bootstrap([1.0, 2.0, 5.0]) == bootstrap([1.0, 2.0, 5.0])
    assert math.isnan(bootstrap([]).mean)
