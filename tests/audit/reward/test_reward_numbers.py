import gzip
import json
import math
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from guerdon.audit import Scored, audit_reward
from guerdon.audit.reward.estimates import Resampler, effective, share_interval
from guerdon.core import Comparison, DataError
from guerdon.core.calibration import fit_temperature


def pair(first: str, second: str, label: float = 1.0, context: str = "q", **info: str) -> Comparison:
    return Comparison(context=context, first=first, second=second, label=label, info=info)


def eight() -> tuple[list[Comparison], list[float], list[float]]:
    """Eight pairs with all the special cases, small enough to count by hand."""
    pairs = [
        pair("longer", "x", 1.0, "a", subset="one"),  #      right, preferred longer
        pair("x", "longer", 1.0, "a", subset="one"),  #      wrong, preferred shorter
        pair("long", "x", 0.0, "b", subset="one"),  #        right, preferred shorter
        pair("aa", "bb", 1.0, "c", subset="two"),  #         right, equal lengths
        pair("aaa", "b", 0.8, "d", subset="two"),  #         equal scores: one half, preferred longer; weight 0.6
        pair("aaa", "b", 0.5, "e", subset="two"),  #         a label tie
        pair("aaaa", "b", 1.0, "f", subset="two"),  #        the second side failed
        pair("a", "bbb", 0.0, "g", subset="three"),  #       right, preferred longer
    ]
    return pairs, [2, 1, 0, 3, 1, 5, 1, 0], [1, 2, 1, 1, 1, 1, math.nan, 2]


def test_accuracy_and_its_tie_rules_by_hand() -> None:
    pairs, first, second = eight()
    a = audit_reward(Scored.of(first, second, pairs))
    assert (a.pairs, a.contexts, a.label_ties, a.judged, a.score_ties) == (8, 7, 1, 6, 1)
    assert a.accuracy.value == pytest.approx((1 + 0 + 1 + 1 + 0.5 + 1) / 6)
    assert a.weighted.value == pytest.approx((1 + 0 + 1 + 1 + 0.6 * 0.5 + 1) / 5.6)
    assert a.accuracy.clusters == 5  # a, b, c, d, g
    assert (a.accuracy.lo, a.accuracy.hi) == share_interval(a.accuracy.value, 5)  # few contexts
    assert a.failed == (1, 14)  # both pairs of context a have the same two rows
    assert a.failures == {"score is nan": 1}
    assert a.gap == np.median([1, 1, 1, 2, 0, 2])


def test_baselines_and_balance_by_hand() -> None:
    pairs, first, second = eight()
    a = audit_reward(Scored.of(first, second, pairs))
    assert a.baselines["longer"].value == pytest.approx((1 + 0 + 0 + 0.5 + 1 + 1) / 6)
    assert a.baselines["shorter"].value == pytest.approx(1 - a.baselines["longer"].value)
    assert a.baselines["first"].value == pytest.approx(4 / 6)
    assert a.baselines["constant"].value == 0.5
    assert a.against_length.value == pytest.approx(a.accuracy.value - a.baselines["longer"].value)
    b = a.balance
    assert (b.longer.value, b.shorter.value, b.equal) == (pytest.approx(2.5 / 3), 0.5, 1)
    assert b.balanced.value == pytest.approx((2.5 / 3 + 0.5) / 2)
    assert b.drop.value == pytest.approx(b.balanced.value - 3.5 / 5)
    assert b.agreement.value == pytest.approx((1 + 1 + 0 + 0.5 + 1) / 5)
    t = fit_temperature([1, -1, -1, 2, 0, -2], [1, 1, 0, 1, 0.8, 0])
    expected = [1 / (1 + math.exp(-d / t)) for d in (1, 1, -1, 0, 2)]
    assert b.excess.value == pytest.approx(np.mean(expected) - 3 / 5)
    assert [(bin.lo, bin.hi, bin.accuracy.n) for bin in a.by_length] == [(-5, -3, 2), (0, 0, 1), (2, 5, 3)]


def test_subsets_by_column_and_by_function() -> None:
    pairs, first, second = eight()
    scored = Scored.of(first, second, pairs)
    assert [(s.column, s.name, s.accuracy.n) for s in audit_reward(scored).subsets] == [
        ("subset", "one", 3), ("subset", "three", 1), ("subset", "two", 2),
    ]  # fmt: skip
    by_context = audit_reward(scored, subsets=lambda c: c.context if c.context < "c" else None).subsets
    assert [(s.name, s.accuracy.value) for s in by_context] == [("a", 0.5), ("b", 1.0)]
    with pytest.raises(DataError, match="did you mean 'subset'"):
        audit_reward(scored, subsets=("subsett",))


def test_calibration_by_hand() -> None:
    log3 = math.log(3)  # probability 3/4
    pairs = [pair("a", "b", label, context=str(k)) for k, label in enumerate([1.0, 1.0, 0.0, 0.5])]
    c = audit_reward(Scored.of([log3, log3, log3, 0.0], [0.0] * 4, pairs)).calibration
    assert c is not None
    assert c.n == 4
    assert c.brier == pytest.approx((2 * 0.25**2 + 0.75**2 + 0) / 4)
    assert c.brier_half == pytest.approx(3 * 0.25 / 4)
    assert c.log_loss == pytest.approx(-(2 * math.log(0.75) + math.log(0.25) + math.log(0.5)) / 4)
    assert c.ece == pytest.approx(3 / 4 * abs(0.75 - 2 / 3))
    assert c.gap.value == pytest.approx((3 * 0.75 - 2) / 4)
    cold = audit_reward(Scored.of([log3] * 3 + [0.0], [0.0] * 4, pairs), temperature=log3 / math.log(2)).calibration
    assert cold is not None
    assert cold.ece == pytest.approx(0.0, abs=1e-12)  # at probability 2/3 it keeps what it says


def test_the_order_of_sides_means_nothing(made: ModuleType) -> None:
    scored = made.bradley_terry(3, 120, 2)
    swapped = Scored.of(scored.score[:, 1], scored.score[:, 0], [c.swapped() for c in scored.comparisons])
    a, b = audit_reward(scored), audit_reward(swapped)
    assert a.accuracy == b.accuracy
    assert a.balance == b.balance
    assert a.calibration is not None and b.calibration is not None
    assert a.calibration.ece_equal_mass == pytest.approx(b.calibration.ece_equal_mass, abs=1e-12)
    assert [e.value for e in a.correlation] == pytest.approx([e.value for e in b.correlation], rel=1e-9)


def test_same_seed_same_numbers(made: ModuleType) -> None:
    a, b = (audit_reward(made.bradley_terry(5, 100), seed=1) for _ in range(2))
    assert a.accuracy == b.accuracy and a.against_length == b.against_length and a.calibration is not None
    assert b.calibration is not None and a.calibration.limit == b.calibration.limit


def test_correlation_by_hand() -> None:
    pairs = [pair("a", "bb", context="p"), pair("aaaa", "bbb", context="r")]
    c = audit_reward(Scored.of([1, 3], [2, 5], pairs)).correlation
    # lengths 1 2 4 3, scores 1 2 3 5: ranks 1 2 4 3 and 1 2 3 4
    assert c.overall.value == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert c.within.value == pytest.approx((1 - 1) / 2)  # one context agrees, one disagrees
    assert c.explained.value == pytest.approx(np.corrcoef([1, 2, 4, 3], [1, 2, 3, 5])[0, 1] ** 2)


def test_spearman_equals_scipy(made: ModuleType) -> None:
    stats = pytest.importorskip("scipy.stats")
    g = np.random.default_rng(0)
    pairs = [pair("x" * int(a), "y" * int(b), context=str(k)) for k, (a, b) in enumerate(g.integers(1, 9, (60, 2)))]
    scores = g.integers(0, 5, (60, 2)).astype(float)  # many ties
    found = audit_reward(Scored.of(scores[:, 0], scores[:, 1], pairs)).correlation.overall
    rows = {(c.context, o): (s, len(o)) for c, pair_scores in zip(pairs, scores, strict=True)
            for o, s in zip((c.first, c.second), pair_scores, strict=True)}  # fmt: skip
    assert found.value == pytest.approx(stats.spearmanr(*zip(*rows.values(), strict=True)).statistic)


def test_words_as_unit() -> None:
    pairs = [pair("a b c", "abcdefgh", context=str(k)) for k in range(3)]
    assert audit_reward(Scored.of([1] * 3, [0] * 3, pairs), unit="words").baselines["longer"].value == 1.0
    assert audit_reward(Scored.of([1] * 3, [0] * 3, pairs)).baselines["longer"].value == 0.0


def test_clustered_interval_is_wider_than_an_independent_one() -> None:
    cluster = np.repeat(np.arange(50), 8)
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 50), 8).astype(float)  # eight copies of fifty coins
    wide, narrow = Resampler(cluster).mean(values, share=True), Resampler(np.arange(400)).mean(values, share=True)
    assert (wide.hi - wide.lo) == pytest.approx(math.sqrt(8) * (narrow.hi - narrow.lo), rel=0.1)
    assert effective(values, Resampler(cluster)) == pytest.approx(50, rel=0.05)


def test_intervals_cover(made: ModuleType) -> None:
    """The truth lies in 95 of 100 intervals, also where pairs come in threes."""
    inside = 0
    for seed in range(200):
        g = np.random.default_rng(seed)
        share = np.repeat(g.beta(6, 2.5, 40), 3)  # contexts differ; the mean is 6 / 8.5
        e = Resampler(np.repeat(np.arange(40), 3), 400, seed).mean((g.random(120) < share).astype(float), share=True)
        inside += e.lo <= 6 / 8.5 <= e.hi
    assert 180 <= inside <= 199


def test_a_calibrated_reward_raises_no_alarm(made: ModuleType) -> None:
    found = Counter(
        c
        for seed in range(12)
        for c in made.checks(audit_reward(made.bradley_terry(seed, 300, 1 + seed % 2), seed=seed).findings)
    )
    assert sum(found.values()) <= 1, found


def test_planted_faults_are_found(made: ModuleType) -> None:
    pairs = made.pairs_of(300)
    length = Scored.of([len(c.first) for c in pairs], [len(c.second) for c in pairs], pairs)
    found = audit_reward(length)
    assert made.checks(found.findings) >= {"NotBetterThanLength", "LengthShortcut", "Overconfident"}
    assert found.balance.agreement.value == 1.0 and found.against_length.value == 0.0
    assert audit_reward(length, subsets=()).findings[0].evidence["scores the longer side higher"] == "100 %"

    assert made.checks(audit_reward(made.bradley_terry(1, scale=4.0)).findings) == {"Overconfident"}
    shy = audit_reward(made.bradley_terry(1, scale=0.2)).findings
    assert made.checks(shy) == set() and made.checks(shy, "info") == {"Underconfident"}
    assert made.checks(audit_reward(made.bradley_terry(2, 800, flip=lambda s: s == 3)).findings) >= {"SubsetBelowChance"}
    wrong = audit_reward(made.bradley_terry(2, flip=lambda s: True)).findings
    assert wrong[0].level == "error" and "NotBetterThanChance" in made.checks(wrong, "error")


def test_length_that_people_like_is_told_but_no_fault(made: ModuleType) -> None:
    """Half of the quality is length: a reward that is right about it is unbalanced, one that counts it twice is at fault."""
    levels = []
    for weight in (1.0, 2.5):
        g = np.random.default_rng(7)
        length, other = g.integers(20, 200, (600, 2)), g.normal(0, 1.2, (600, 2))
        truth, claim = other + 0.012 * length, other + weight * 0.012 * length
        label = (g.random(600) < 1 / (1 + np.exp(truth[:, 1] - truth[:, 0]))).astype(float)
        pairs = [pair("x" * a, "y" * b, float(v), str(k)) for k, ((a, b), v) in enumerate(zip(length, label, strict=True))]
        audit = audit_reward(Scored.of(claim[:, 0], claim[:, 1], pairs))
        levels += [f.level for f in audit.findings if f.check == "LengthShortcut"]
    assert levels == ["info", "warning"]


def test_too_few_pairs_are_no_fault(made: ModuleType) -> None:
    found = audit_reward(made.bradley_terry(1, 5)).findings
    assert made.checks(found) == set()
    assert made.checks(found, "info") >= {"NotBetterThanChance"}


def test_constant_and_failing(made: ModuleType) -> None:
    pairs = made.pairs_of(40)
    constant = audit_reward(Scored.of([1.0] * 40, [1.0] * 40, pairs))
    assert constant.accuracy.value == 0.5 and "ConstantReward" in made.checks(constant.findings, "error")
    dead = audit_reward(Scored.of([math.nan] * 40, [math.nan] * 40, pairs))
    assert dead.judged == 0 and math.isnan(dead.accuracy.value) and made.checks(dead.findings, "error") == {"FailingReward"}
    some = audit_reward(Scored.of([math.nan] + [1.0] * 39, [0.0] * 40, pairs))
    assert [f.level for f in some.findings if f.check == "FailingReward"] == ["warning"]


def test_uncertainty_that_misleads(made: ModuleType) -> None:
    scored = made.bradley_terry(4, 600)
    right = np.sign(scored.delta) == np.sign(scored.label - 0.5)
    size = np.abs(scored.delta)[:, None]

    def told(std: np.ndarray) -> set[str]:
        return made.checks(audit_reward(Scored.of(scored.score[:, 0], scored.score[:, 1], scored.comparisons, std=std)).findings)

    honest, upside_down = np.where(right, 0.1, 1.0)[:, None], np.where(right, 1.0, 0.1)[:, None]
    assert told(np.repeat(honest * size, 2, 1)) == set()
    assert told(np.repeat(upside_down * size, 2, 1)) == {"MisleadingUncertainty"}


def test_outputs_that_are_no_text() -> None:
    pairs = [Comparison(context=k, first=[k, 1], second=[k, 2]) for k in range(30)]
    a = audit_reward(Scored.of(np.arange(30) + 1, np.zeros(30), pairs))
    assert a.accuracy.value == 1.0 and a.balance.balanced.n == 0 and a.baselines["longer"].n == 0 and a.by_length == ()


def test_bad_arguments(made: ModuleType) -> None:
    scored = made.bradley_terry(0, 4)
    with pytest.raises(DataError, match="temperature must be above 0"):
        audit_reward(scored, temperature=0)
    with pytest.raises(DataError, match="unit must be"):
        audit_reward(scored, unit="tokens")  # type: ignore[arg-type]


def test_length_baseline_on_human_comparisons(shared_data: Path) -> None:
    path = shared_data / "preferences" / "autoj_pairwise_human.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf8") as file:
        rows = [json.loads(line) for line in file]
    pairs = [
        pair(r["response 1"], r["response 2"], {0: 1.0, 1: 0.0, 2: 0.5}[r["label"]], r["prompt"], scenario=r["scenario"])
        for r in rows
    ]
    g = np.random.default_rng(0)
    a = audit_reward(Scored.of(g.normal(size=len(rows)), g.normal(size=len(rows)), pairs))
    assert (a.label_ties, len(a.subsets)) == (373, 58)
    assert a.baselines["longer"].value == pytest.approx(0.718, abs=0.005)
    assert {f.check for f in a.findings} >= {"NotBetterThanChance", "NotBetterThanLength"}
