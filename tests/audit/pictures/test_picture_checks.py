"""Whether it is told that samples leave the data or become alike; and that nothing is told where they do not."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from guerdon.audit import KLBudget, OffData, SampleCollapse, default_checks
from guerdon.audit.series import Series
from guerdon.core.errors import PlanError


def series(n=64.0, every=10, **columns):
    """Evaluations with these columns; ``out``, ``ratio``, ``near``, ``any`` and ``vendi`` are short for what the measures log."""
    names = {"out": "off_data/outside", "ratio": "off_data/ratio", "proxy": "proxy/mean", "std": "proxy/std",
             "near": "diversity/pairwise", "any": "diversity/pairwise_all", "vendi": "diversity/vendi"}  # fmt: skip
    rows = max(len(v) for v in columns.values())
    found = {names[k]: np.array(v, dtype=float) for k, v in columns.items()} | {"n": np.full(rows, n)}
    return Series(every * np.arange(rows), found)


def told(findings):
    return [(f.level, f.step) for f in findings]


# ---------------------------------------------------------------- leaving the data
def test_leaving_the_data_while_the_reward_rises():
    s = series(out=[0.02, 0.1, 0.5, 0.98], ratio=[1.0, 1.2, 2.1, 4.0], proxy=[0.1, 0.5, 0.9, 1.2], std=[0.2] * 4)
    first, second = OffData().scan(s)
    assert told([first, second]) == [("error", 20), ("error", 30)]
    # (0.5 - 0.02) / 0.2 = 2.4 times the threshold, (0.98 - 0.02) / 0.2 = 4.8 times
    assert first.message == (
        "While the training reward rose from 0.100 to 0.900, the samples left the data: 50 % of them lie outside the region of 99 % "
        "of real pictures (2.0 % at the start), and their distance to real ones is 2.10 times the usual (1.00 at the start)."
    )
    assert first.evidence["training reward now"] == 0.9
    assert "KL" in first.advice
    assert "went still further from" in second.message


def test_a_little_outside_is_a_warning_when_seen_twice():
    s = series(
        out=[0.02, 0.1, 0.3, 0.1, 0.3, 0.3], ratio=[1.0, 1.2, 1.4, 1.2, 1.4, 1.4], proxy=[0.1, 0.5, 0.9, 1, 1, 1], std=[0.2] * 6
    )
    assert told(OffData().scan(s)) == [("warning", 50)]


def test_a_base_policy_off_the_data_is_measured_from_its_own_start():
    stays = series(out=[0.6, 0.65, 0.55, 0.7], ratio=[2.0, 2.1, 1.9, 2.3], proxy=[0.1, 0.4, 0.6, 0.8], std=[0.1] * 4)
    assert OffData().scan(stays) == []
    all_outside = series(out=[1.0, 1.0, 1.0], ratio=[2.0, 3.0, 6.5], proxy=[0.1, 0.4, 0.6], std=[0.1] * 3)
    assert told(OffData().scan(all_outside)) == [("error", 20)]  # 6.5 is 3.25 times the start's 2


def test_a_reward_that_does_not_rise_makes_it_a_warning():
    s = series(out=[0.02, 0.9], ratio=[1.0, 4.0], proxy=[0.5, 0.4], std=[0.2] * 2)
    (found,) = OffData().scan(s)
    assert found.level == "warning"
    assert found.message.startswith("The samples left the data")
    assert found.message.endswith("The training reward did not rise meanwhile (from 0.500 to 0.400).")
    assert [f.level for f in OffData().scan(series(out=[0.02, 0.9], ratio=[1.0, 4.0]))] == ["warning"]  # no reward at all


def test_coming_back_is_told():
    s = series(out=[0.02, 0.9, 0.9, 0.02, 0.02], ratio=[1.0, 4.0, 4.0, 1.0, 1.0], proxy=[0.1, 0.5, 0.6, 0.6, 0.6], std=[0.1] * 5)
    assert told(OffData().scan(s)) == [("error", 10), ("info", 40)]


def test_few_samples_need_more_to_be_told():
    # at 16 samples three standard errors of a share of 0.3 are more than the threshold of 0.2, at 64 they are less
    few, many = (series(n, out=[0.01, 0.3, 0.3], proxy=[0.1, 0.5, 0.5], std=[0.1] * 3) for n in (16.0, 64.0))
    assert OffData().scan(few) == []
    assert told(OffData().scan(many)) == [("warning", 20)]
    assert OffData().scan(series(4.0, out=[0.0, 1.0])) == []  # four samples say nothing


@pytest.mark.parametrize("base", [0.01, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("n", [16, 64, 256])
def test_a_policy_that_stays_in_the_data_gives_none(base, n):
    """Shares of fresh samples at every evaluation (worse than the same noise each time), twenty of them, a hundred runs."""
    rng = np.random.default_rng(n)
    runs = 0
    for _ in range(100):
        s = series(float(n), out=rng.binomial(n, base, 20) / n, ratio=1 + base + rng.normal(0, 0.1, 20),
                   proxy=np.linspace(0, 3, 20), std=[0.3] * 20)  # fmt: skip
        runs += bool(OffData().scan(s))
    assert runs <= 1


def test_a_run_that_is_going_on_hears_of_it_once():
    evaluations = [{"step": 10 * k, "metrics": {"off_data/outside": o, "proxy/mean": k, "proxy/std": 0.1, "n": 64.0}}
                   for k, o in enumerate((0.0, 0.0, 0.6, 0.7))]  # fmt: skip
    heard = []
    for step in range(1, 40):
        seen = [e for e in evaluations if e["step"] < step]
        heard += [(f.check, step) for f in OffData()(None, SimpleNamespace(step=step, evaluations=seen, history=[]))]
    assert heard == [("OffData", 21)]


# ---------------------------------------------------------------- becoming alike
def test_samples_that_become_alike():
    s = series(near=[0.4, 0.35, 0.18, 0.03], any=[0.5, 0.5, 0.45, 0.4], vendi=[9.0, 8.5, 6.0, 4.0])
    first, second = SampleCollapse().scan(s)
    assert told([first, second]) == [("warning", 20), ("error", 30)]
    assert first.message == (
        "The samples have become alike: the distance between samples of one caption is at 45 % of its start and they count for "
        "6.00 different ones, at first for 9.00."
    )


def test_vendi_is_counted_beyond_the_first_sample():
    # 3 of 9 are left; beyond the first, 2 of 8: a quarter
    assert told(SampleCollapse().scan(series(vendi=[9.0, 3.0]))) == [("warning", 10)]
    assert told(SampleCollapse().scan(series(vendi=[9.0, 1.5]))) == [("error", 10)]
    assert SampleCollapse().scan(series(vendi=[9.0, 6.0])) == []
    assert SampleCollapse(fraction=0.2).scan(series(vendi=[9.0, 6.0])) != []


def test_only_what_was_lost_is_told():
    (found,) = SampleCollapse().scan(series(near=[0.4, 0.9], vendi=[9.0, 3.0]))
    assert found.message == "The samples have become alike: they count for 3.00 different ones, at first for 9.00."


def test_distances_among_all_serve_where_no_caption_has_two():
    (found,) = SampleCollapse().scan(series(any=[0.5, 0.1]))
    assert "the distance between samples is at 20 % of its start" in found.message


def test_nothing_to_lose_and_nothing_known_is_no_collapse():
    for s in (series(near=[0.0, 0.0, 0.0]), series(vendi=[1.0, 1.0]), series(near=[0.4]), series(4.0, near=[0.4, 0.0]),
              series(proxy=[1.0, 2.0])):  # fmt: skip
        assert SampleCollapse().scan(s) == []
        assert not SampleCollapse().judged(s)


def test_growing_diversity_is_no_finding():
    assert SampleCollapse().scan(series(near=[0.2, 0.4, 0.6], vendi=[3.0, 5.0, 9.0])) == []


# ---------------------------------------------------------------- the distance from the reference
def test_the_kl_of_pictures_is_judged_by_dimension():
    steps = np.arange(1, 7)
    kl = Series(steps, {"kl": np.full(6, 300.0), "kl_dim": np.full(6, 0.03)})
    assert KLBudget().scan(kl) == []  # fifty nats are little among thousands of numbers
    (found,) = KLBudget().scan(Series(steps, {"kl": np.full(6, 900.0), "kl_dim": np.full(6, 0.12)}))
    assert found.message == "The KL to the reference is over budget at 900 nats per sample, 0.120 per number and step."
    assert found.evidence["limit per number and step"] == 0.1


# ---------------------------------------------------------------- both
def test_they_are_default_checks_with_thresholds():
    assert {"OffData", "SampleCollapse"} < {type(c).__name__ for c in default_checks()}
    for bad in (
        lambda: OffData(outside=1.0),
        lambda: OffData(distance=1.0),
        lambda: SampleCollapse(fraction=1.0),
        lambda: OffData(0),
    ):
        with pytest.raises(PlanError):
            bad()


def test_missing_numbers_do_no_harm():
    s = series(out=[math.nan, 0.02, math.nan, 0.9], ratio=[math.nan] * 4, near=[math.nan, 0.4, 0.1, math.nan])
    assert told(OffData().scan(s)) == [("warning", 30)]
    assert told(SampleCollapse().scan(s)) == [("warning", 20)]
