"""Student's interval against scipy, and by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from guerdon.study import interval
from guerdon.study.student import quantile, two_sided


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 7, 10, 29, 30, 99])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_quantiles_are_those_of_scipy(freedom, level):
    expected = stats.t.ppf((1 + level) / 2, freedom)
    assert quantile(level, freedom) == pytest.approx(expected, rel=1e-9)
    assert two_sided(expected, freedom) == pytest.approx(level, abs=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_the_interval_is_that_of_scipy(values):
    mean, low, high = interval(values)
    assert low <= mean <= high or math.isclose(low, high, abs_tol=1e-9)
    error = stats.sem(values)
    if error < 1e-9:
        return  # all the same; scipy gives nan
    expected = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=error)
    assert (low, high) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_by_hand():
    # 1, 2, 3: mean 2, deviation 1, t(0.975; 2) = 4.3027, half width 4.3027 / sqrt(3) = 2.4841
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-4)
    assert interval([5.0, 5.0]) == (5.0, 5.0, 5.0)
    assert interval([1.0]) == (1.0, -math.inf, math.inf)
