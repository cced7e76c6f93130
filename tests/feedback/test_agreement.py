"""Agreement: by hand, against the krippendorff package and scikit-learn, and on people who labelled the same pairs."""

import gzip
import json
import math
from collections import Counter

import krippendorff
import numpy as np
import pytest

from guerdon.core import DataError
from guerdon.feedback import (
    Comparison,
    agreement,
    alpha_interval,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    newcombe,
    pairwise_agreement,
    percent_agreement,
    votes_of,
    wilson,
)

METRICS = ("nominal", "ordinal", "interval", "ratio")
NAN = math.nan
PANDALM = {"1": 1.0, "2": 0.0, "0": 0.5}


def table(seed, annotators=5, units=40, values=(0.0, 1.0, 2.5, 4.0), missing=0.3):
    """Noisy labels with gaps; some units have one label or none."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(values), size=units)
    noisy = np.where(rng.random((annotators, units)) < 0.4, rng.integers(len(values), size=(annotators, units)), truth)
    labels = np.asarray(values)[noisy]
    labels[rng.random(labels.shape) < missing] = NAN
    labels[:, 0] = NAN
    labels[1:, 1] = NAN
    return labels


def peer(labels, metric):
    return krippendorff.alpha(reliability_data=labels, level_of_measurement=metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(6))
def test_alpha_equals_the_package(metric, seed):
    labels = table(seed, annotators=2 + seed, values=(0.0, 1.0, 2.5, 4.0) if seed % 2 else (1.0, 2.0, 3.0, 4.0, 5.0, 9.0))
    assert abs(krippendorff_alpha(labels, metric) - peer(labels, metric)) < 1e-9


def test_alpha_of_krippendorffs_own_example():
    """Four observers, twelve units, five values (Computing Krippendorff's alpha-reliability, 2011, part C)."""
    n = NAN
    labels = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, n, n, n],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, n, 3],
        [n, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, n],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, n],
    ]
    found = {m: round(krippendorff_alpha(labels, m), 3) for m in METRICS}
    assert found == {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849, "ratio": 0.797}


def test_alpha_at_its_ends():
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]], "interval") == 1.0
    # Two units of opposite labels: n_0 = n_1 = 2, D_o = 1, D_e = 2 * 2 * 2 / (4 * 3) = 2/3.
    assert math.isclose(krippendorff_alpha([[0, 1], [1, 0]]), 1 - 3 / 2)
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]]))  # one value: chance would agree as well
    assert math.isnan(krippendorff_alpha([[1, NAN], [NAN, 2]]))  # nobody shares a unit
    rng = np.random.default_rng(0)
    assert abs(krippendorff_alpha(rng.integers(3, size=(3, 20000)).astype(float))) < 0.02
    # Metrics of order do not mind a growing transformation of ranks, interval does not mind a shift, ratio a factor.
    labels = table(1)
    assert math.isclose(krippendorff_alpha(labels, "ordinal"), krippendorff_alpha(np.exp(labels), "ordinal"))
    assert math.isclose(krippendorff_alpha(labels, "interval"), krippendorff_alpha(3 * labels - 7, "interval"))
    assert math.isclose(krippendorff_alpha(labels, "ratio"), krippendorff_alpha(5 * labels, "ratio"))


def test_alpha_says_what_it_needs():
    with pytest.raises(DataError, match="unknown metric 'nominl'; did you mean 'nominal'"):
        krippendorff_alpha([[1, 2]], "nominl")
    with pytest.raises(DataError, match=r"shape \[annotators, units\], got \(2,\)"):
        krippendorff_alpha([1, 2])
    with pytest.raises(DataError, match="must be numbers"):
        krippendorff_alpha([["good", "bad"]])
    with pytest.raises(DataError, match="finite"):
        krippendorff_alpha([[math.inf, 1], [1, 1]])


@pytest.mark.parametrize("metric", METRICS)
def test_bootstrap_resamples_whole_units(metric):
    labels = table(3, units=60)
    found = alpha_interval(labels, metric, resamples=200, seed=5)
    kept = labels[:, (~np.isnan(labels)).sum(0) >= 2]
    rng = np.random.default_rng(5)
    by_hand = [krippendorff_alpha(kept[:, rng.integers(0, kept.shape[1], kept.shape[1])], metric) for _ in range(200)]
    assert np.allclose([found.lo, found.hi], np.quantile(by_hand, [0.025, 0.975]), atol=1e-12)
    assert found.lo < found.alpha < found.hi and found.units == kept.shape[1]


def test_the_interval_covers_what_many_units_give():
    rng = np.random.default_rng(1)

    def people(units):
        truth = rng.integers(2, size=units)
        return np.where(rng.random((3, units)) < 0.2, 1 - truth, truth).astype(float)

    # Each is right with 0.8: any two agree with 0.68, by chance with a half, so alpha tends to 1 - 0.32 / 0.5 = 0.36.
    assert abs(krippendorff_alpha(people(200_000)) - 0.36) < 0.005
    found = [alpha_interval(people(100), resamples=150, seed=k) for k in range(150)]
    inside = [i.lo <= 0.36 <= i.hi for i in found]
    assert 0.88 <= np.mean(inside) <= 0.99  # 95 % but for the error of 150 trials and of the method


# ---------------------------------------------------------------- kappas
@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(3))
def test_cohen_kappa_equals_scikit_learn(weights, seed):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    a, b = table(seed, annotators=2, units=80)
    both = ~(np.isnan(a) | np.isnan(b))
    expected = metrics.cohen_kappa_score(
        (2 * a[both]).astype(int), (2 * b[both]).astype(int), weights=None if weights == "none" else weights
    )
    assert math.isclose(cohen_kappa(a, b, weights), expected, abs_tol=1e-12)


def test_cohen_kappa_by_hand_and_at_its_ends():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement 0.7, by chance 0.5.
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert math.isclose(cohen_kappa(a, b), 0.4)
    assert math.isnan(cohen_kappa([1, 1], [1, 1])) and math.isnan(cohen_kappa([NAN], [1]))
    with pytest.raises(DataError, match="got 2 and 1 labels"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(DataError, match="did you mean 'linear'"):
        cohen_kappa([1], [1], "linea")


def test_fleiss_kappa_of_fourteen_raters():
    """Ten subjects, five categories, fourteen raters: the worked example of the statistic gives 0.210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    labels = np.array([[k for k, n in enumerate(row) for _ in range(n)] for row in counts], dtype=float).T
    assert round(fleiss_kappa(labels), 3) == 0.210
    with pytest.raises(DataError, match="got 1 to 2"):
        fleiss_kappa([[1, 2], [1, NAN]])


def test_agreement_of_pairs_of_annotators():
    labels = table(2)
    found = pairwise_agreement(labels)
    for i in range(5):
        for j in range(5):
            both = ~(np.isnan(labels[i]) | np.isnan(labels[j]))
            assert math.isclose(found[i, j], (labels[i] == labels[j])[both].mean())
    assert percent_agreement([[1, 1, 2], [1, 2, NAN], [1, NAN, NAN]]) == 3 / 4  # three of three, none of one
    assert math.isnan(percent_agreement([[1, 2]])) and math.isnan(pairwise_agreement([[1, NAN], [NAN, 1]])[0, 1])


# ---------------------------------------------------------------- shares
def test_wilson_solves_its_equation():
    for hits, n in ((0, 10), (3, 10), (10, 10), (700, 1000)):
        found = wilson(hits, n)
        for end in (found.lo, found.hi):
            if 0 < end < 1:
                assert math.isclose(abs(hits / n - end), 1.959963984540054 * math.sqrt(end * (1 - end) / n), rel_tol=1e-9)
        assert 0 <= found.lo <= hits / n <= found.hi <= 1
    assert wilson(0, 0)[1:] == (0.0, 1.0, 0)


def test_newcombe_is_symmetric():
    a, b = wilson(9, 10), wilson(3, 10)
    gap, lo, hi = newcombe(a, b)
    assert newcombe(b, a) == (-gap, -hi, -lo) and lo < gap < hi


# ---------------------------------------------------------------- comparisons
def say(annotator, context, label, turned=False):
    c = Comparison(context=context, first="x", second="y", label=label, annotator=annotator)
    return c.swapped() if turned else c


def test_the_order_of_presentation_does_not_matter():
    labels = np.round(2 * np.random.default_rng(0).random((3, 50))) / 2
    names = ("ann", "bob", "cat")
    said = [say(names[a], f"q{u}", labels[a, u]) for u in range(50) for a in range(3)]
    turned = [c if k % 3 == 0 or k % 2 else c.swapped() for k, c in enumerate(said)]  # the first of each unit as it was
    assert np.array_equal(votes_of(turned).labels, labels)
    assert agreement(said, resamples=10) == agreement(turned, resamples=10)
    found = agreement(said, resamples=10)
    assert abs(found.nominal.alpha - peer(labels, "nominal")) < 1e-9
    assert abs(found.ordinal.alpha - peer(labels, "ordinal")) < 1e-9
    assert found.votes == 150 and found.percent == percent_agreement(labels)


def test_the_last_vote_counts_and_unnamed_votes_are_different_persons():
    votes = votes_of([say("ann", "q", 1.0), say("", "q", 0.0), say("", "q", 0.5), say("ann", "q", 0.0, turned=False)])
    assert votes.annotators == ("ann", "unnamed-1", "unnamed-2") and votes.repeated == 1
    assert votes.labels[:, 0].tolist() == [0.0, 0.0, 0.5]
    chat = [{"role": "user", "content": "hi"}]
    a = Comparison(context=chat, first=[{"role": "assistant", "content": "x"}], second=[{"role": "assistant", "content": "y"}])
    assert len(votes_of([a, a.swapped(), a.replace(context="hi")]).pairs) == 2


def test_the_outlier_is_named():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=400)
    said = []
    for name, p in (("ann", 0.1), ("bob", 0.1), ("cat", 0.12), ("dan", 0.4)):
        wrong = rng.random(400) < p
        said += [say(name, f"q{u}", float(truth[u] != wrong[u]), turned=u % 2 == 1) for u in range(400)]
    found = agreement(said, resamples=20)
    assert found.outliers == ["dan"]
    assert abs(found.with_others["dan"].share - 0.6) < 0.1
    # All alike: nobody stands out.
    alike = [say(n, f"q{u}", float(truth[u] != (rng.random() < 0.2))) for u in range(400) for n in ("ann", "bob", "cat", "dan")]
    assert agreement(alike, resamples=20).outliers == []


def test_nothing_said_is_no_agreement():
    found = agreement([])
    assert math.isnan(found.nominal.alpha) and found.votes == 0 and found.outliers == []


# ---------------------------------------------------------------- people
def pandalm(folder):
    with gzip.open(folder / "preferences" / "pandalm_testset_3annotators.jsonl.gz", "rt", encoding="utf8") as f:
        return [json.loads(line) for line in f]


def test_pandalm_equals_the_package(shared_data):
    rows = pandalm(shared_data)
    labels = np.array([[PANDALM[str(r[f"annotator{k}"])] for r in rows] for k in (1, 2, 3)])
    for metric in METRICS:
        assert abs(krippendorff_alpha(labels, metric) - peer(labels, metric)) < 1e-6
    assert round(krippendorff_alpha(labels), 4) == 0.8642
    assert round(krippendorff_alpha(labels, "ordinal"), 4) == 0.8775
    assert round(percent_agreement(labels), 4) == 0.9199


def test_pandalm_records_are_the_same_table(shared_data):
    rows = pandalm(shared_data)
    said = [
        Comparison(
            context=f"{r['instruction']}\n{r['input']}\n{r['idx']}",  # 136 rows repeat a pair; their numbers keep them apart
            first=r["response1"], second=r["response2"], label=PANDALM[str(r[f"annotator{k}"])], annotator=f"annotator{k}",
        )
        for r in rows for k in (1, 2, 3)
    ]  # fmt: skip
    found = agreement(said, resamples=100)
    labels = np.array([[PANDALM[str(r[f"annotator{k}"])] for r in rows] for k in (1, 2, 3)])
    assert abs(found.nominal.alpha - peer(labels, "nominal")) < 1e-6
    assert abs(found.ordinal.alpha - peer(labels, "ordinal")) < 1e-6
    assert found.votes == 2997 and found.outliers == []
    assert all(p.lo > 0.9 for p in found.with_others.values())


def test_autoj_label_shares(shared_data):
    with gzip.open(shared_data / "preferences" / "autoj_pairwise_human.jsonl.gz", "rt", encoding="utf8") as f:
        labels = Counter(json.loads(line)["label"] for line in f)
    assert labels == {0: 520, 1: 499, 2: 373}  # first, second, tie
