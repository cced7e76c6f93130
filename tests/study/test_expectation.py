"""The rule that gives a verdict: by hand, and what must hold whatever the results are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.core.errors import PlanError
from guerdon.study import Expect, verdict_of
from guerdon.study.expectation import judge_all

BETTER = [1.0, 2.0, 3.0, 4.0]  # less 0, 1, 2, 2: differences 1, 1, 1, 2; mean 1.25, deviation 0.5, t(0.975; 3) = 3.1824,
WORSE = [0.0, 1.0, 2.0, 2.0]  # half width 3.1824 * 0.5 / 2 = 0.7956: from 0.4544 to 2.0456


def verdict(expect, arm=BETTER, than=WORSE):
    return expect.judge(arm, than).verdict


def test_a_gain_by_hand():
    judged = Expect("a", "higher", "b", by=1.25).judge(BETTER, WORSE)
    assert (judged.effect, judged.low, judged.high) == pytest.approx((1.25, 0.4544, 2.0456), abs=1e-4)
    assert judged.verdict == "reproduced"  # as large as was stated counts
    assert verdict(Expect("a", "higher", "b", by=1.26)) == "partly"  # above zero, and smaller
    assert verdict(Expect("a", "lower", "b", by=0.1)) == "not reproduced"
    assert verdict(Expect("b", "lower", "a", by=1.25), WORSE, BETTER) == "reproduced"
    assert verdict(Expect("b", "lower", "a", by=1.26), WORSE, BETTER) == "partly"


def test_a_large_mean_with_a_wide_interval_is_nothing():
    # Differences 0, 10: mean 5, deviation 7.07, t(0.975; 1) = 12.7: half width 63.5
    assert verdict(Expect("a", "higher", "b", by=1.0), [0.0, 10.0], [0.0, 0.0]) == "not reproduced"


def test_no_worse_by_hand():
    # WORSE less BETTER: mean -1.25, from -2.0456 to -0.4544
    assert verdict(Expect("b", "higher", "a", by=-2.05), WORSE, BETTER) == "reproduced"
    assert verdict(Expect("b", "higher", "a", by=-2.04), WORSE, BETTER) == "not reproduced"  # the mean alone would be
    assert verdict(Expect("a", "lower", "b", by=-2.05)) == "reproduced"
    assert verdict(Expect("a", "lower", "b", by=-2.04)) == "not reproduced"


def test_a_share_by_hand():
    # 9, 8, 10 against 0.8 times 10: 1, 0, 2; mean 1, deviation 1, half width 4.3027 / sqrt(3) = 2.48: zero is inside
    arm, than = [9.0, 8.0, 10.0], [10.0, 10.0, 10.0]
    assert verdict(Expect("a", "higher", "b", by=0, times=0.8), arm, than) == "not reproduced"
    assert verdict(Expect("a", "higher", "b", by=0, times=0.6), arm, than) == "reproduced"  # 3, 2, 4: from 0.52
    assert verdict(Expect("a", "lower", "b", by=0, times=1.2), arm, than) == "reproduced"  # -3, -4, -2: up to -0.52
    assert verdict(Expect("a", "higher", "b", by=3.5, times=0.6), arm, than) == "not reproduced"  # the mean is 3


def test_equal_arms_reproduce_nothing():
    assert verdict(Expect("a", "higher", "b", by=1e-9), [1.0, 2.0], [1.0, 2.0]) == "not reproduced"
    assert verdict(Expect("a", "higher", "b", by=-0.1), [1.0, 2.0], [1.0, 2.0]) == "reproduced"  # but are no worse


def test_a_number_that_is_none_is_no_verdict_for_it():
    assert verdict(Expect("a", "higher", "b", by=0.1), [1.0, float("nan"), 2.0], [0.0, 0.0, 0.0]) == "not reproduced"
    assert verdict(Expect("a", "higher", "b", by=-0.1), [1.0, float("inf"), 2.0], [0.0, 0.0, 0.0]) == "not reproduced"


def test_the_worst_expectation_decides():
    results = {n: [{"x": v, "y": -v} for v in values] for n, values in {"a": BETTER, "b": WORSE}.items()}
    gain, small, lost = (Expect("a", "higher", "b", by=1.0), Expect("a", "higher", "b", by=2.0),
                         Expect("a", "higher", "b", by=1.0, metric="y"))  # fmt: skip
    assert verdict_of(judge_all([gain], "x", results)) == "reproduced"
    assert verdict_of(judge_all([gain, small], "x", results)) == "partly"
    assert verdict_of(judge_all([lost, small, gain], "x", results)) == "not reproduced"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("a", "highr", "b", 0.1), "did you mean 'higher'?"),
        (("a", "higher", "a", 0.1), "compared with itself"),
        (("a", "higher", "b", float("nan")), "must be finite"),
        (("a", "higher", "b", 0), "0 would count any"),
    ],
)
def test_what_could_not_be_an_expectation(words, complaint):
    with pytest.raises(PlanError, match=complaint):
        Expect(*words)


def test_results_must_be_paired():
    for arm, than in (([1.0, 2.0], [1.0]), ([1.0], [1.0])):
        with pytest.raises(PlanError, match="at least two paired"):
            Expect("a", "higher", "b", by=1.0).judge(arm, than)


def test_a_metric_that_is_not_there_is_named():
    with pytest.raises(PlanError, match=r"arm 'a' measured no 'gold'; did you mean 'golds'\?"):
        judge_all([Expect("a", "higher", "b", by=1.0)], "gold", {"a": [{"golds": 1.0}] * 2, "b": [{"gold": 1.0}] * 2})


def test_in_words():
    assert str(Expect("a", "higher", "b", by=0.1, metric="kl")) == "kl of a higher than b by at least 0.1"
    assert str(Expect("a", "higher", "b", by=-0.1)) == "a not lower than b by more than 0.1"
    assert str(Expect("a", "lower", "b", by=0, times=1.5)) == "a not higher than 1.5 times b"


# ---------------------------------------------------------------- whatever the results are
number = st.floats(-1e3, 1e3)
pairs = st.lists(st.tuples(number, number), min_size=2, max_size=8)
gains = st.builds(Expect, st.just("a"), st.sampled_from(["higher", "lower"]), st.just("b"), by=st.floats(1e-6, 100))
others = st.builds(
    Expect, st.just("a"), st.sampled_from(["higher", "lower"]), st.just("b"), by=st.floats(-100, -1e-6), times=st.floats(0.5, 2)
)


@given(pairs, gains)
def test_a_gain_never_holds_both_ways(results, expect):
    arm, than = map(list, zip(*results, strict=True))
    found, exchanged = expect.judge(arm, than).verdict, expect.swapped().judge(than, arm).verdict
    assert "not reproduced" in (found, exchanged)


@given(pairs, gains, st.lists(others, max_size=3))
def test_a_study_never_holds_both_ways(results, gain, more):
    rows = {"a": [{"x": a} for a, _ in results], "b": [{"x": b} for _, b in results]}
    found = verdict_of(judge_all([gain, *more], "x", rows))
    exchanged = verdict_of(judge_all([e.swapped() for e in (gain, *more)], "x", rows))
    assert found == "not reproduced" or exchanged == "not reproduced"


@given(pairs, gains, st.floats(0, 10))
def test_a_larger_size_that_counts_is_never_easier(results, expect, more):
    arm, than = map(list, zip(*results, strict=True))
    harder = Expect("a", expect.direction, "b", by=expect.by + more)
    order = ["reproduced", "partly", "not reproduced"]
    assert order.index(expect.judge(arm, than).verdict) <= order.index(harder.judge(arm, than).verdict)


@given(pairs, gains, number)
def test_what_both_arms_share_at_a_seed_cancels(results, expect, common):
    """Pairing: whatever a seed does to both arms does not count."""
    arm, than = map(list, zip(*results, strict=True))
    shift = [common * k for k in range(len(arm))]
    before = expect.judge(arm, than)
    after = expect.judge([a + s for a, s in zip(arm, shift, strict=True)], [b + s for b, s in zip(than, shift, strict=True)])
    assert after.effect == pytest.approx(before.effect, abs=1e-6)
    assert after.low == pytest.approx(before.low, abs=1e-3)
