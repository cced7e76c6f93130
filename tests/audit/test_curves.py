"""Statistics over seeds: numbers worked out by hand, equality with scipy, and how often intervals hold the truth."""

import math

import numpy as np
import pytest
from scipy.stats import trim_mean

from guerdon.audit.across_seeds import aggregate, choices, difference, normalised, probability_of_improvement, student
from guerdon.audit.interquartile import iqm, middle
from guerdon.audit.side_by_side import compare_returns
from guerdon.core.errors import DataError


# ---------------------------------------------------------------- the interquartile mean
@pytest.mark.parametrize("n", [4, 8, 12, 40])
def test_iqm_is_the_trimmed_mean_where_a_quarter_is_a_whole_number(n):
    x = np.random.default_rng(n).normal(size=(3, n))
    assert iqm(x) == pytest.approx(trim_mean(x, 0.25, axis=-1), abs=1e-12)


@pytest.mark.parametrize(("x", "expected"), [
    ([7.0], 7.0),
    ([1.0, 2.0], 1.5),
    ([0.0, 3.0, 90.0], (0.25 * 0 + 3 + 0.25 * 90) / 1.5),  # 3/4 to 9/4 of three shares: 1/4 of the first, all of the second, 1/4 of the third
    ([4.0, 0.0, 1.0, 2.0, 3.0, 5.0], (0.5 * 1 + 2 + 3 + 0.5 * 4) / 3),
    ([1.0, math.nan, 2.0, 4.0, 9.0], 3.0),  # of the four that are known
])  # fmt: skip
def test_iqm_by_hand(x, expected):
    assert float(iqm(x)) == pytest.approx(expected)


def test_iqm_of_nothing_is_nan():
    assert np.isnan(iqm([[math.nan, math.nan]])).all()


def test_weights_count_repeats():
    x, times = np.array([5.0, 1.0, 3.0, 8.0]), np.array([2, 0, 3, 1])
    assert float(iqm(x, times)) == pytest.approx(float(iqm(np.repeat(x, times))))
    assert float(middle(np.array([1.0, 3.0]), np.array([1.0, 3.0]))) == 3.0  # 1 3 3 3


# ---------------------------------------------------------------- intervals
def test_the_same_scores_give_the_same_interval_and_other_seeds_another():
    x = [1.0, 4.0, 2.0, 8.0, 5.0]
    assert aggregate(x) == aggregate(x)
    assert aggregate(x, resamples=200) != aggregate(x, resamples=200, seed=1)


def test_a_resample_takes_as_many_runs_of_every_task_as_there_are():
    drawn = choices([3, 5], 400)
    assert [d.shape for d in drawn] == [(400, 3), (400, 5)]
    assert sorted(np.unique(drawn[1])) == [0, 1, 2, 3, 4]
    # Each run is drawn with probability 1/5: 2000 draws, standard deviation 18.
    assert abs(np.bincount(drawn[1].ravel()) - 400).max() < 80


def test_the_interval_of_two_runs_is_between_them():
    # Resamples of (0, 1): 00, 01, 10, 11, whose IQM is 0, 1/2, 1/2, 1 with probability 1/4, 1/2, 1/4: both ends are beyond 2.5 %.
    found = aggregate([0.0, 1.0])
    assert found == (0.5, 0.0, 1.0, 2)


def test_strata_keep_tasks_apart():
    """Tasks whose runs agree have no spread to resample, however far apart the tasks are."""
    found = aggregate({"easy": [100.0, 100.0, 100.0], "hard": [0.0, 0.0, 0.0]})
    assert (found.lo, found.mean, found.hi) == (50.0, 50.0, 50.0)


def test_paired_differences_forget_what_the_runs_share():
    a = np.array([10.0, 200.0, 3000.0, 47.0])
    assert difference(a, a + 1, paired=True)[:3] == pytest.approx((1.0, 1.0, 1.0))
    apart = difference(a, a + 1)
    assert apart.lo < -100 < 100 < apart.hi


def test_a_pair_with_a_missing_half_is_left_out():
    assert difference([1.0, math.nan, 3.0, 5.0], [2.0, 9.0, math.nan, 6.0], paired=True) == (1.0, 1.0, 1.0, 2)


def test_probability_of_improvement_by_hand():
    # Task one: 2 > 1 yes, 0 > 1 no, 2 = 2 a half, 0 > 2 no: 1.5 / 4. Task two: all four better. Their mean: 0.6875.
    found = probability_of_improvement({"one": [1.0, 2.0], "two": [0.0, 0.0]}, {"one": [2.0, 0.0], "two": [1.0, 1.0]})
    assert found.mean == 0.6875
    assert found.lo == 0.5  # all of task one lost
    assert found.hi == pytest.approx((1 + 1) / 2)  # 1 against 2 only


def test_normalised_scores():
    found = normalised(
        {"pole": [22.0, 261.0, 500.0], "arm": [-500.0, -80.0]}, {"pole": 22.0, "arm": -500.0}, {"pole": 500.0, "arm": -80.0}
    )
    assert {k: v.tolist() for k, v in found.items()} == {"pole": [0.0, 0.5, 1.0], "arm": [0.0, 1.0]}


def test_what_cannot_be_compared_is_named():
    with pytest.raises(DataError, match="no run of 'arm' has a score"):
        aggregate({"pole": [1.0], "arm": [math.nan]})
    with pytest.raises(DataError, match="different tasks cannot be compared: pole and arm"):
        difference({"pole": [1.0, 2.0]}, {"arm": [1.0, 2.0]})
    with pytest.raises(DataError, match="equally many, got 2 and 1"):
        difference([1.0, 2.0], [1.0], paired=True)


def test_one_run_has_no_interval():
    found = aggregate([3.0])
    assert found.mean == 3.0
    assert math.isnan(found.lo)


def test_students_quantile():
    from scipy.stats import t

    for freedom in (1, 4, 9, 16, 30, 200):
        assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-3)
    assert student(9, 0.9) == pytest.approx(t.ppf(0.95, 9), rel=5e-3)


def coverage(n, scores, truth, expand=False, repeats=400):
    """How often the 95 % interval of n seeds holds the true interquartile mean."""
    hits = 0
    for k in range(repeats):
        found = aggregate(scores[k], resamples=500, seed=k, expand=expand)
        hits += found.lo <= truth <= found.hi
    assert len(scores[0]) == n
    return hits / repeats


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_the_interval_of_ten_seeds_holds_the_truth(kind):
    rng = np.random.default_rng(5)
    u = (np.arange(40_000) + 0.5) / 40_000
    truth = 0.0 if kind == "normal" else float(-np.log1p(-u)[10_000:30_000].mean())
    scores = getattr(rng, "standard_" + kind)((400, 10))
    assert 0.90 <= coverage(10, scores, truth) <= 0.97


def test_five_seeds_are_few_and_the_wider_interval_says_so():
    scores = np.random.default_rng(6).normal(size=(400, 5))
    plain, wide = coverage(5, scores, 0.0), coverage(5, scores, 0.0, expand=True)
    assert plain < 0.94
    assert 0.91 <= wide <= 0.97


# ---------------------------------------------------------------- side by side
def test_compare_returns_by_hand():
    a = [np.concatenate([np.zeros(90), np.full(10, v)]) for v in (100.0, 200.0, 300.0, 400.0)]
    b = [np.concatenate([np.zeros(45), np.full(5, v)]) for v in (90.0, 200.0, 310.0, 400.0)]
    found = compare_returns(a, b)
    assert found.ends_a == (100.0, 200.0, 300.0, 400.0)
    assert (found.a.mean, found.b.mean, found.difference.mean) == (250.0, 255.0, 5.0)
    assert found.relative().mean == 0.02
    assert found.relative().lo < 0 < found.relative().hi
    assert found.pooled_a.mean == pytest.approx(float(iqm(np.repeat([100.0, 200.0, 300.0, 400.0], 10))))
    assert found.improvement.mean == (0 + 1.5 + 3 + 3.5) / 16  # 90 beats none; 200 beats one and ties with one; ...
    assert not found.as_good(0.05)  # four seeds as different as these show nothing within 5 %


def test_the_last_tenth_by_steps_is_not_that_by_episodes():
    returns, ends = [10.0] * 90 + [100.0] * 10, [*range(10, 910, 10), *range(910, 1010, 10)]
    short = [np.array(returns)] * 2
    assert compare_returns(short, short, ends_a=[ends] * 2, ends_b=[ends] * 2, budget=2000, last=0.6).a.mean == pytest.approx(
        np.mean(returns[80:])  # those that ended after step 800
    )
    with pytest.raises(DataError, match="no episode ended in the last 10% of 2000 steps"):
        compare_returns(short, short, ends_a=[ends] * 2, ends_b=[ends] * 2, budget=2000)


def test_negative_returns_are_compared_by_their_size():
    a, b = [np.full(10, -80.0)] * 3, [np.full(10, -82.0)] * 3
    found = compare_returns(a, b)
    assert found.relative().lo == pytest.approx(-0.025)
    assert found.as_good(0.05)
    assert not found.as_good(0.02)


def test_pooled_intervals_draw_whole_seeds():
    """A thousand episodes of three seeds are three readings, not three thousand."""
    rng = np.random.default_rng(0)
    a = [level + rng.normal(size=1000) for level in (0.0, 50.0, 100.0)]
    found = compare_returns(a, a)
    assert found.pooled_a.hi - found.pooled_a.lo > 90
    assert found.pooled_a.n == 3


@pytest.mark.parametrize(("change", "words"), [
    ({"ends_a": [[1]]}, "ends_a, ends_b and budget go together"),
    ({"a": [[]]}, "run 1 of a: no episode"),
    ({"a": [[math.nan]]}, "not finite"),
    ({"paired": True, "b": [[1.0], [2.0]]}, "equally many, got 1 and 2"),
])  # fmt: skip
def test_bad_input_is_named(change, words):
    with pytest.raises(DataError, match=words):
        compare_returns(**{"a": [[1.0]], "b": [[1.0]], **change})
