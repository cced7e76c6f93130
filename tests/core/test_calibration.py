"""Calibration: numbers by hand, closed forms, and scikit-learn's and scipy's own answers where they are installed."""

import math

import pytest
import torch

from guerdon.core import DataError
from guerdon.core.calibration import brier, confidence, ece, fit_temperature, log_loss, reliability

GENERATOR = torch.Generator().manual_seed(3)
P = torch.rand(500, generator=GENERATOR, dtype=torch.double)
Y = (torch.rand(500, generator=GENERATOR, dtype=torch.double) < P**2).double()


def test_reliability_by_hand():
    r = reliability([0.0, 0.5, 0.5, 1.0, 0.9], [0, 1, 0, 1, 1], bins=2)
    assert r.edges.tolist() == [0, 0.5, 1]
    assert r.count.tolist() == [3, 2]  # a bin holds its upper border
    assert r.predicted.tolist() == pytest.approx([1 / 3, 0.95])
    assert r.observed.tolist() == pytest.approx([1 / 3, 1])
    assert r.error == pytest.approx(0.4 * 0.05)


def test_empty_bins_stay_and_count_nothing():
    r = reliability([0.05, 0.95], [0, 1], bins=10)
    assert r.count.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert r.error == pytest.approx(0.05)
    assert math.isnan(reliability([], [], bins=3).error)


def test_ece_of_a_loop():
    expected = 0.0
    for k in range(10):
        inside = (k / 10 < P) & ((k + 1) / 10 >= P)
        expected += float((P[inside].mean() - Y[inside].mean()).abs() * inside.sum() / len(P))
    assert ece(P, Y) == pytest.approx(expected, abs=1e-12)


def test_adaptive_bins_hold_equal_counts():
    r = reliability(P, Y, bins=10, adaptive=True)
    assert sum(r.count.tolist()) == 500
    assert max(r.count.tolist()) - min(r.count.tolist()) <= 2
    equal = reliability([0.3] * 8, [1, 0] * 4, bins=4, adaptive=True)
    assert equal.error == pytest.approx(0.2)
    assert equal.count.sum() == 8


def test_beside_scikit_learn():
    metrics, calibration = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.calibration")
    assert brier(P, Y) == pytest.approx(metrics.brier_score_loss(Y, P), abs=1e-12)
    delta = torch.logit(P)
    assert log_loss(delta, Y) == pytest.approx(metrics.log_loss(Y, P), abs=1e-9)
    observed, predicted = calibration.calibration_curve(Y, P, n_bins=10)
    r = reliability(P, Y)
    assert r.observed.tolist() == pytest.approx(observed.tolist(), abs=1e-12)
    assert r.predicted.tolist() == pytest.approx(predicted.tolist(), abs=1e-12)


def test_log_loss_does_not_round_to_infinity():
    assert log_loss([1000.0], [0]) == pytest.approx(1000)
    assert log_loss([0.0, 0.0], [1, 0.5]) == pytest.approx(math.log(2))


@pytest.mark.parametrize("truth", [0.05, 0.7, 3.0, 40.0])
def test_temperature_is_found_again_and_is_the_minimum(truth):
    delta = torch.linspace(-3, 3, 41, dtype=torch.double) * truth
    label = torch.sigmoid(delta / truth)  # soft labels: the minimum is at the truth exactly
    found = fit_temperature(delta, label)
    assert found == pytest.approx(truth, rel=1e-9)
    assert all(log_loss(delta, label, found * f) > log_loss(delta, label, found) for f in (0.999, 1.001))


def test_temperature_beside_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    delta = torch.logit(P)
    best = optimize.minimize_scalar(lambda t: log_loss(delta, Y, t), bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(delta, Y) == pytest.approx(best.x, abs=1e-5)


def test_temperature_at_its_ends():
    assert fit_temperature([1.0, 2.0], [1, 1]) == pytest.approx(1e-6)
    assert fit_temperature([1.0, 2.0], [0, 0]) == pytest.approx(1e6)
    assert fit_temperature([0.0, 0.0], [1, 0]) == fit_temperature([], []) == 1
    swapped = fit_temperature([-1.0] * 10, [0] * 8 + [1] * 2)
    assert swapped == pytest.approx(fit_temperature([1.0] * 10, [1] * 8 + [0] * 2), rel=1e-12)


def test_confidence_does_not_depend_on_which_is_first():
    both = [sorted(zip(*(v.tolist() for v in confidence(p, y)), strict=True)) for p, y in ((P, Y), (1 - P, 1 - Y))]
    assert [x for pair in both[0] for x in pair] == pytest.approx([x for pair in both[1] for x in pair])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: brier([0.5], [0, 1]), "one length"),
        (lambda: brier([1.5], [1]), r"in \[0, 1\]"),
        (lambda: ece([0.5], [2]), "label"),
        (lambda: log_loss([float("nan")], [1]), "finite"),
        (lambda: reliability([0.5], [1], bins=0), "one bin"),
    ],
)
def test_what_does_not_fit_says_so(call, says):
    with pytest.raises(DataError, match=says):
        call()
