"""Whether differences of scores can be read as probabilities, and whether stated uncertainty means anything."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.reward.estimates import NOTHING, Estimate, Floats, Resampler
from guerdon.core.calibration import Reliability, brier, ece, fit_temperature, log_loss, reliability

BINS, NULL_DRAWS, NULL_LEVEL = 10, 1000, 0.995


class Calibration(NamedTuple):
    """Stated probabilities against labels. Of each pair the side with the higher score counts: probabilities from 1/2 to 1.

    Attributes:
        n: Pairs.
        temperature: By which differences of scores were divided.
        fitted: Temperature that would suit these very pairs best.
        ece: Expected calibration error, ten bins of equal width.
        ece_equal_mass: The same with bins of equal count.
        expected: Mean of ``ece_equal_mass`` that sampling noise alone gives to these probabilities.
        limit: What sampling noise stays below in 995 of 1,000 cases.
        gap: Mean stated probability minus accuracy: above 0 where the reward is too sure.
        brier: Mean squared error; always saying 1/2 has ``brier_half``.
        log_loss: In nats; always saying 1/2 has log 2.
        brier_half: Brier score of always saying 1/2.
        table: Bins of equal width, from 1/2 on.
    """

    n: int
    temperature: float
    fitted: float
    ece: float
    ece_equal_mass: float
    expected: float
    limit: float
    gap: Estimate
    brier: float
    log_loss: float
    brier_half: float
    table: Reliability


class Third(NamedTuple):
    """Accuracy in a third of the pairs.

    Attributes:
        lo: Smallest uncertainty, as a multiple of the difference of scores.
        hi: Largest one.
        accuracy: Of the reward.
    """

    lo: float
    hi: float
    accuracy: Estimate


class Uncertainty(NamedTuple):
    """Accuracy from the most to the least certain third, and their difference.

    Attributes:
        thirds: By the standard deviation of the difference over its size.
        difference: Accuracy of the most certain third minus that of the least certain one.
    """

    thirds: tuple[Third, ...]
    difference: Estimate


def calibration(delta: Floats, label: Floats, temperature: float, resampler: Resampler, seed: int) -> Calibration | None:
    """Calibration of ``sigmoid(delta / temperature)``; None without pairs.

    A side that is not scored higher cannot be called right or wrong: where both scores are equal the label counts as 1/2.
    Noise is simulated: labels are drawn from the stated probabilities themselves, so that the reward is perfectly calibrated,
    and the error of each draw is what chance alone gives.

    Args:
        delta: [n] differences of scores.
        label: [n] P(first is better); 0.5 for ties.
        temperature: Above 0.
        resampler: Of these pairs.
        seed: Of the simulation.
    """
    if not len(delta):
        return None
    p = _sigmoid(np.abs(delta) / temperature)
    y = np.where(delta > 0, label, np.where(delta < 0, 1 - label, 0.5))
    generator = np.random.default_rng([seed, 1])
    null = _null(p, generator)
    return Calibration(
        len(delta),
        temperature,
        fit_temperature(delta, label),
        ece(p, y, BINS * 2),
        ece(p, y, BINS, adaptive=True),
        float(null.mean()),
        float(np.quantile(null, NULL_LEVEL)),
        resampler.mean(p - y, level=0.99),
        brier(p, y),
        log_loss(delta, label, temperature),
        float(((0.5 - y) ** 2).mean()),
        reliability(p, y, BINS * 2),
    )


def _null(p: Floats, generator: np.random.Generator) -> Floats:
    """[draws] error in bins of equal count for labels drawn from ``p``."""
    edges = reliability(p, np.zeros_like(p), BINS, adaptive=True).edges.numpy()
    place = np.searchsorted(edges[1:-1], p, side="left")
    bins = len(edges) - 1
    stated = np.bincount(place, p, bins)
    member = np.zeros((len(p), bins))
    member[np.arange(len(p)), place] = 1
    rows = max(1, 4_000_000 // len(p))
    parts = [
        (generator.random((min(rows, NULL_DRAWS - k), len(p))) < p).astype(float) @ member for k in range(0, NULL_DRAWS, rows)
    ]
    return np.asarray(np.abs(np.concatenate(parts) - stated).sum(1) / len(p))


def uncertainty(hits: Floats, delta: Floats, std: Floats, resampler: Resampler) -> Uncertainty | None:
    """Accuracy by thirds of stated uncertainty; None where there are fewer than nine pairs or nothing varies.

    Args:
        hits: [n] 1, 0 or 1/2.
        delta: [n] differences of scores.
        std: [n, 2] of the two scores, taken as independent: their difference has ``sqrt(std0^2 + std1^2)``.
        resampler: Of these pairs.
    """
    spread = np.sqrt((std**2).sum(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(spread > 0, spread / np.abs(delta), 0.0)
    if len(ratio) < 9 or np.ptp(np.nan_to_num(ratio, posinf=1e300)) == 0:
        return None
    order = np.argsort(ratio, kind="stable")
    masks: list[NDArray[np.bool_]] = []
    for part in np.array_split(order, 3):
        mask = np.zeros(len(ratio), dtype=bool)
        mask[part] = True
        masks.append(mask)
    thirds = tuple(Third(float(ratio[m].min()), float(ratio[m].max()), resampler.mean(hits, m, share=True)) for m in masks)
    sums = resampler.drawn(hits * masks[0], masks[0], hits * masks[2], masks[2])
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    value = thirds[0].accuracy.value - thirds[2].accuracy.value
    found = resampler.around(value, sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3], len(ratio), resampler.clusters, level=0.99)
    return Uncertainty(thirds, found if math.isfinite(value) else NOTHING)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))
