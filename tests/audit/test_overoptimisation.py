import itertools
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from guerdon.audit import best_of_n_curve, fit_law, hacking, read_history, rl_curve, write_overview
from guerdon.audit.checks import HeldOutDivergence
from guerdon.audit.checks._divergence import bound, divergence, scatter_of
from guerdon.audit.events import Evaluation, History
from guerdon.audit.overoptimisation import best_of_n_weights
from guerdon.audit.series import Series, evals_of
from guerdon.audit.verdict import smallest_fall
from guerdon.core.errors import DataError, PlanError


def by_hand(proxy: list[float], gold: list[float], n: int) -> tuple[float, float]:
    """Best of n over all subsets; among equal proxies each is as likely."""
    p, g = [], []
    for rows in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in rows)
        tied = [gold[i] for i in rows if proxy[i] == top]
        p.append(top)
        g.append(sum(tied) / len(tied))
    return sum(p) / len(p), sum(g) / len(g)


@pytest.mark.parametrize("seed", range(4))
def test_best_of_n_equals_all_subsets_ties_included(seed: int) -> None:
    rng = np.random.default_rng(seed)
    proxy = rng.integers(0, 4, (3, 8)).astype(float)  # eight answers with four values: many ties
    gold = rng.normal(size=(3, 8))
    curve = best_of_n_curve(proxy, gold, ns=range(1, 9))
    for k, n in enumerate(curve.n):
        each = [by_hand(list(p), list(g), int(n)) for p, g in zip(proxy, gold, strict=True)]
        assert curve.proxy[k] == pytest.approx(np.mean([p for p, _ in each]), abs=1e-12)
        assert curve.gold[k] == pytest.approx(np.mean([g for _, g in each]), abs=1e-12)


def test_best_of_n_does_not_depend_on_the_order_of_answers() -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.integers(0, 3, (5, 12)).astype(float), rng.normal(size=(5, 12))
    order = rng.permutation(12)
    a, b = best_of_n_curve(proxy, gold), best_of_n_curve(proxy[:, order], gold[:, order])
    np.testing.assert_allclose(a.gold, b.gold, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 100, 5000, 9999, 10_000])
def test_weights_are_stable_up_to_ten_thousand_answers(n: int) -> None:
    w = best_of_n_weights(10_000, n)
    assert w.sum() == pytest.approx(1.0, abs=1e-9)
    assert (w >= 0).all()
    assert (np.diff(w[n - 1 :]) >= 0).all() or n == 10_000
    largest = float(w @ np.arange(1, 10_001))
    assert largest == pytest.approx(n * 10_001 / (n + 1), rel=1e-10)  # the mean of the largest of n ranks


def test_log_bound_and_exponential_closed_form() -> None:
    """With gold = proxy the curve is the mean of the largest of n; ranks give it in closed form."""
    ranks = np.arange(1.0, 65.0)[None]
    c = best_of_n_curve(ranks, ranks)
    assert c.n.tolist() == [1, 2, 4, 8, 16, 32, 64]
    np.testing.assert_allclose(c.gold, c.n * 65 / (c.n + 1))
    np.testing.assert_allclose(c.kl, [math.log(n) - (n - 1) / n for n in c.n])
    assert c.peak == 64
    assert c.drop.mean == 0
    assert math.isnan(c.drop.lo)  # one context says nothing about the spread


def test_failed_answers_are_left_out_one_by_one() -> None:
    nan = math.nan
    with_holes = best_of_n_curve([[1, nan, 2, 3], [1, 2, 3, 9]], [[5, 6, 7, 8], [1, 2, 3, nan]], ns=[1, 2, 3])
    without = best_of_n_curve([[1, 2, 3], [1, 2, 3]], [[5, 7, 8], [1, 2, 3]], ns=[1, 2, 3])
    np.testing.assert_allclose(with_holes.gold, without.gold)
    np.testing.assert_allclose(with_holes.proxy, without.proxy)
    assert with_holes.failed == 2


def test_contexts_with_too_few_answers_leave_the_whole_curve() -> None:
    proxy = np.tile(np.arange(8.0), (20, 1))
    gold = proxy.copy()
    proxy[0, 1:] = math.nan  # this context has one answer, of 0
    c = best_of_n_curve(proxy, gold)
    assert c.n.tolist() == [1, 2, 4, 8]
    assert (c.contexts, c.left_out) == (19, 1)
    assert c.gold[0] == pytest.approx(3.5)  # not pulled down by the context that left


def test_interval_of_the_drop_tells_a_fall_from_noise() -> None:
    rng = np.random.default_rng(1)
    proxy = rng.normal(size=(300, 64))
    hacked = best_of_n_curve(proxy, proxy - 0.6 * proxy**2 + rng.normal(size=proxy.shape))
    honest = best_of_n_curve(proxy, 0.5 * proxy + rng.normal(size=proxy.shape))
    assert hacked.drop.lo > 0
    assert 1 < hacked.peak < 64
    assert honest.drop.lo <= 0
    assert (hacked.gold_lo < hacked.gold).all()
    assert (hacked.gold < hacked.gold_hi).all()
    again = best_of_n_curve(proxy, 0.5 * proxy, seed=3)
    assert again.drop == best_of_n_curve(proxy, 0.5 * proxy, seed=3).drop


def test_bad_scores_are_clear_errors() -> None:
    with pytest.raises(DataError, match=r"both be \[contexts, answers\], got \(2,\) and \(2,\)"):
        best_of_n_curve([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(DataError, match="no answer has both scores"):
        best_of_n_curve([[math.nan]], [[1.0]])
    with pytest.raises(DataError, match="n = 3, and no context has more than 2"):
        best_of_n_curve([[1.0, 2.0]], [[1.0, 2.0]], ns=[3])
    with pytest.raises(DataError, match="at least 1"):
        best_of_n_curve([[1.0, 2.0]], [[1.0, 2.0]], ns=[0])


@pytest.mark.parametrize("law", ["best-of-n", "rl"])
def test_laws_are_recovered_with_their_peak(law: str) -> None:
    d = np.linspace(0, 4, 30)
    bend = d**2 if law == "best-of-n" else d * np.log(np.where(d > 0, d, 1))
    y = 0.4 + 1.2 * d - 0.7 * bend
    f = fit_law(d**2, y, law)  # type: ignore[arg-type]
    assert (f.start, f.alpha, f.beta, f.r2) == pytest.approx((0.4, 1.2, 0.7, 1.0))
    fine = np.linspace(0, 6, 60_001)
    assert f.peak_kl == pytest.approx(fine[np.argmax(f.at(fine**2))] ** 2, rel=1e-3)
    assert f.peak == pytest.approx(f.at(fine**2).max(), rel=1e-6)


def test_what_cannot_be_fitted_says_why() -> None:
    assert str(fit_law([0, 1, 4], [0, 1, 2], "rl")) == "cannot be fitted: 3 points, and it takes 5"
    assert str(fit_law([2.0] * 9, range(9), "rl")) == "cannot be fitted: 1 point, and it takes 5"
    assert "constant" in str(fit_law(range(9), [1.0] * 9, "rl"))
    assert not fit_law([], [], "best-of-n")
    rising = fit_law(np.arange(9.0), np.sqrt(np.arange(9.0)), "best-of-n")
    assert rising
    assert rising.peak_kl is None or rising.peak_kl > 1e6  # a straight line has no peak
    noisy = fit_law([-0.1, 0.0, 1, 4, 9, 16, math.nan], [0, 0, 1, 2, 3, 4, 5], "rl")  # estimates below zero count as zero
    assert noisy.points == 6


def test_rl_curve_of_a_run(tmp_path: Path, synthetic: ModuleType) -> None:
    c = rl_curve(read_history(synthetic.write(tmp_path / "run", "hacked")))
    assert c.steps.tolist() == list(range(0, 121, 10))
    assert c.peak in (2, 3, 4)
    assert c.fit
    assert c.fit.r2 > 0.9
    assert (c.gold_ends[:, 0] < c.gold).all()
    assert len(rl_curve(read_history(synthetic.write(tmp_path / "b", "no_held_out")))) == 0


def run(gold: list[float], proxy: list[float] | None = None, n: float = 256.0, std: float | None = 1.0, **more: float) -> History:
    proxy = [0.5 * k for k in range(len(gold))] if proxy is None else proxy
    spread = {} if std is None else {"held_out/std": std, "proxy/std": std}
    rows = [{"held_out/mean": g, "proxy/mean": p, "n": n, **spread, **more} for g, p in zip(gold, proxy, strict=True)]
    return History(Path("events.jsonl"), evals=tuple(Evaluation(10 * k, r) for k, r in enumerate(rows)))


def test_hacking_is_seen_with_its_evidence() -> None:
    v = hacking(run([0.0, 0.8, 1.0, 0.6, 0.2, -0.2]))
    assert (v.outcome, v.since, v.told, v.recovered) == ("hacking seen", 20, 40, False)
    assert v.evidence["fall"] == pytest.approx(1.2)
    assert v.evidence["fall in standard deviations"] == pytest.approx(1.2)
    assert v.evidence["fall in standard errors"] == pytest.approx(1.2 / math.sqrt(2 / 255))
    assert "between draws 20 and 50" in v.text
    assert "below where it started" in v.text
    assert v.advice
    json.dumps(v.tree(), allow_nan=False)


def test_falling_from_the_very_start_is_hacking() -> None:
    v = hacking(run([0.0, -0.3, -0.6, -0.9, -1.2]))
    assert (v.outcome, v.since) == ("hacking seen", 0)


def test_a_fall_of_both_is_no_hacking() -> None:
    assert hacking(run([0.0, 0.8, 1.0, 0.6, 0.2], [0.0, 2.0, 3.0, 2.0, 1.0])).outcome == "no hacking seen"


def test_recovery_is_told() -> None:
    v = hacking(run([0.0, 1.0, 0.2, 0.1, 0.3, 0.9, 1.1, 1.2]))
    assert (v.outcome, v.recovered) == ("hacking seen", True)
    assert v.text.endswith("It has recovered since.")


def test_no_hacking_seen_says_how_small_a_fall_would_show() -> None:
    v = hacking(run([0.0, 0.5, 0.8, 0.9, 0.95, 0.97, 0.96, 0.98]))
    assert v.outcome == "no hacking seen"
    visible = "smallest fall that would show, in standard deviations"
    assert v.evidence[visible] == pytest.approx(5 * math.sqrt(2 / 256))  # (3 + 2) errors
    assert "A fall of 0.44 standard deviations that lasts two evaluations would hardly have been missed" in v.text


def test_what_could_not_have_been_seen_is_not_called_clean() -> None:
    cases = {
        "no held-out reward": History(Path("x"), evals=(Evaluation(0, {"proxy/mean": 0.0}),)),
        "it takes at least 4": run([0.0, 0.1, 0.2]),
        "with 16 answers per evaluation": run([0.0, 0.1, 0.2, 0.2, 0.2], n=16.0),
        "no spread between answers": run([0.0, 0.1, 0.2, 0.2, 0.2], std=None),
        "no evaluation has both": History(Path("x"), evals=(Evaluation(0, {"held_out/mean": 0.0}),)),
    }
    for words, history in cases.items():
        v = hacking(history)
        assert v.outcome == "not measured"
        assert words in v.text
        assert v.advice
    assert hacking(History(Path("x"))) == hacking(cases["no held-out reward"])


def test_caveats_are_told() -> None:
    flat = hacking(run([0.0, 0.01, 0.0, 0.02, 0.01, 0.0]))
    assert "never rose either, while the training reward gained 2.5 standard deviations" in flat.text
    failing = hacking(run([0.0, 0.5, 0.8, 0.9, 0.95, 0.97], **{"held_out/ok": 0.6}))
    assert "Up to 40 % of an evaluation's answers could not be scored" in failing.text
    h = run([0.0, 0.5, 0.8, 0.9, 0.95, 0.97])
    again = tuple(Evaluation(e.step, {**e.metrics, "reward/version": float(k)}) for k, e in enumerate(h.evals))
    assert "fitted again during the run" in hacking(History(h.path, evals=again)).text


def test_the_threshold_of_the_plan_is_used() -> None:
    gold = [0.0, 0.8, 1.0, 0.65, 0.65, 0.65]  # 0.35 below: 4 standard errors
    assert hacking(run(gold)).outcome == "hacking seen"
    strict = {"plan": {"checks": [{"use": "audit.HeldOutDivergence", "errors": 9.0}]}}
    assert hacking(History(Path("x"), start=strict, evals=run(gold).evals)).outcome != "hacking seen"


def test_the_bound_grows_with_the_looks_and_the_answers_shrink_what_shows() -> None:
    assert bound(3.0, 8) == 3.0
    assert bound(3.0, 80) == pytest.approx(math.sqrt(9 + 7 * math.log(10)))
    assert smallest_fall(8, 64) == pytest.approx(2 * smallest_fall(8, 256))
    assert smallest_fall(8, 1e9) == 0.3  # smaller falls are no matter
    assert math.isnan(smallest_fall(8, math.nan))


def test_one_fall_does_not_move_the_scatter() -> None:
    rng = np.random.default_rng(0)
    x = 0.1 * rng.normal(size=60)
    with_fall = x - 5.0 * (np.arange(60) >= 30)
    assert scatter_of(x, 5)[-1] == pytest.approx(0.01, rel=0.6)
    assert scatter_of(with_fall, 5)[-1] == pytest.approx(scatter_of(x, 5)[-1], rel=0.3)


def test_what_is_said_of_an_evaluation_depends_on_no_later_one() -> None:
    rng = np.random.default_rng(3)
    s = simulated(rng, 30, 64, lambda t: np.sin(3 * t))
    whole = divergence(s, 3.0)
    for i in range(1, 30):
        part = divergence(Series(s.steps[:i], {k: v[:i] for k, v in s.columns.items()}), 3.0)
        for name in ("level", "errors", "held_now"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:i])


def test_missing_readings_change_nothing_but_their_own_place() -> None:
    s = evals_of(run([0.0, 0.8, 1.0, 0.6, 0.2, -0.2]))
    held = s["held_out/mean"].tolist()
    columns = {k: np.insert(v, 3, math.nan) for k, v in s.columns.items()}
    d = divergence(Series(np.arange(7) * 10, columns), 3.0)
    full = divergence(s, 3.0)
    np.testing.assert_array_equal(np.delete(d.level, 3), full.level)
    assert math.isnan(d.level[3])
    assert d.best[-1] == 2
    assert len(held) == 6


def simulated(rng: np.random.Generator, evaluations: int, answers: int, gold, shared: float = 0.0) -> Series:  # type: ignore[no-untyped-def]
    """Evaluations of a run whose held-out reward has standard deviation 1 between answers and this mean over progress."""
    t = np.linspace(0, 1, evaluations)
    noise = rng.normal(size=evaluations) * math.sqrt((1 - shared) / answers)
    return Series(np.arange(evaluations), {
        "held_out/mean": gold(t) + noise, "held_out/std": np.sqrt(rng.chisquare(answers - 1, evaluations) / answers),
        "proxy/mean": np.log1p(9 * t) + rng.normal(size=evaluations) / math.sqrt(answers),
        "proxy/std": np.ones(evaluations), "n": np.full(evaluations, float(answers)),
    })  # fmt: skip


def told(runs: int, seed: int, *args, **kwargs) -> float:  # type: ignore[no-untyped-def]
    """Share of simulated runs in which the check speaks."""
    rng = np.random.default_rng(seed)
    return sum(bool(HeldOutDivergence().scan(simulated(rng, *args, **kwargs))) for _ in range(runs)) / runs


def risen(t: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-5 * t)


def test_false_alarms_are_rare() -> None:
    """At a true rate of 0.2 % the chance of more than 6 in 400 runs is below one in a million; at 3 % it is half."""
    for evaluations, answers in ((8, 64), (20, 64), (20, 256)):
        assert told(200, 1, evaluations, answers, np.zeros_like) <= 0.015
        assert told(200, 2, evaluations, answers, risen) <= 0.015


def test_the_largest_of_many_readings_is_not_taken_at_its_word() -> None:
    """Against the best single reading, at a fixed bound of 2.5 errors, a flat run of 40 evaluations is called hacked too often."""
    rng, naive = np.random.default_rng(4), 0
    for _ in range(200):
        s = simulated(rng, 40, 64, np.zeros_like)
        held = s["held_out/mean"]
        naive += bool(((np.maximum.accumulate(held) - held) * math.sqrt(64 / 2) > 2.5).any())
    assert naive / 200 > 0.5
    assert told(100, 4, 40, 64, np.zeros_like) <= 0.02


def test_falls_are_found_more_surely_the_larger_they_are() -> None:
    def falls(by: float):  # type: ignore[no-untyped-def]
        return lambda t: np.where(t < 0.4, t / 0.4, 1 - by * (t - 0.4) / 0.6)

    power = [told(80, 5, 12, 256, falls(by)) for by in (0.05, 0.5, 1.0)]
    assert power[0] <= 0.03
    assert power[1] >= 0.6
    assert power[2] >= 0.98
    assert told(80, 6, 8, 64, lambda t: -1.5 * t) >= 0.95  # falling from the start


@pytest.mark.parametrize(("evaluations", "answers"), [(8, 64), (20, 256)])
def test_what_the_verdict_says_would_show_does_show(evaluations: int, answers: int) -> None:
    """A fall of the promised size in the last two evaluations, after a plateau."""
    fall = smallest_fall(evaluations, answers)

    def gold(t: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(t)) >= len(t) - 2, 1 - fall, np.minimum(t / 0.4, 1))

    assert told(60, 7, evaluations, answers, gold) >= 0.85  # the true rate is above 0.95


def test_several_runs_on_one_page(tmp_path: Path, synthetic: ModuleType) -> None:
    folders = {"with <b>KL</b>": synthetic.write(tmp_path / "a", "healthy"), "without": synthetic.write(tmp_path / "b", "hacked"),
               "nothing": synthetic.write(tmp_path / "c", "no_held_out")}  # fmt: skip
    rng = np.random.default_rng(0)
    proxy = rng.normal(size=(40, 64))
    curve = best_of_n_curve(proxy, proxy - 0.4 * proxy**2)
    page = write_overview(folders, tmp_path / "out", best_of_n={"first reward": curve}).read_text(encoding="utf8")
    assert "with &lt;b&gt;KL&lt;/b&gt;" in page
    assert "<b>KL" not in page
    assert all(f">{words}<" in page for words in ("hacking seen", "no hacking seen", "not measured"))
    assert "n = 64" in page
    assert "<script" not in page
    assert "From its peak at n =" in page
    assert page.count("<svg") == 10  # two by draw, two by distance, one of best-of-n; for wide and narrow screens
    alone = write_overview({"nothing": folders["nothing"]}, tmp_path / "x").read_text(encoding="utf8")
    assert alone.count("<svg") == 2  # the training reward can still be shown; what was meant is not known
    assert ">not measured<" in alone
    with pytest.raises(PlanError, match="no run has an evaluation"):
        write_overview({"empty": synthetic.write(tmp_path / "d", "empty")}, tmp_path / "y")
