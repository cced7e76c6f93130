"""Checks of pictures: whether samples leave the data, and whether they become alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.audit.checks._base import SURE, Level, SeriesCheck
from guerdon.audit.formats import number, percent
from guerdon.audit.series import Floats, Moment, Series
from guerdon.core.errors import PlanError

REAL = 0.01  # of real pictures lie outside, by how the limit is set
FEWEST = 8  # samples that an evaluation must have


@dataclass(frozen=True)
class OffData(SeriesCheck):
    """Samples leave the data: the cheapest way to a reward that was only ever right about real pictures.

    Reads what ``OffDataDistance`` logs with every evaluation. Both thresholds are counted from where the run started, because a
    base policy is never quite on the data: its own share outside (at least the 1 % of real pictures) and its own distance (at
    least the usual distance of real pictures). An evaluation of n samples scatters, so the share must also have grown by more
    than three standard errors: by 0.15 from a start of 1 % at 64 samples, by 0.4 at 16. Told where two evaluations in a row
    are above a threshold, or one half as far again; as an error where the training reward rose meanwhile and twice a threshold
    is exceeded, as a warning otherwise. A policy that stays near its start is below both thresholds whatever its reward does:
    in simulated runs of twenty evaluations fewer than 1 % were told of, wherever they started.

    Args:
        outside: Share of samples outside the data, beyond that at the start. A fifth: one picture in five that nobody would
            have drawn is what a reader notices in a grid.
        distance: Times the distance at the start, by the mean over samples.
    """

    outside: float = 0.2
    distance: float = 2.0

    of = "evaluations"
    patience = 2
    strong = 1.5
    reads = ("off_data/outside", "off_data/ratio")
    about = "samples that leave the data"
    advice = (
        "Use an earlier checkpoint, or the best evaluation by a held-out reward (`keep_best`); then add or strengthen a KL term "
        "(`transforms.TokenKL`, `objectives.KL`), stop earlier (`stop: {kl: ...}`), or give the reward examples of such samples "
        "as failures."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outside >= 1:
            raise PlanError(f"OffData: outside must be below 1, got {self.outside}")
        if self.distance <= 1:
            raise PlanError(f"OffData: distance must be above 1, got {self.distance}")

    def severity(self, s: Series) -> Floats:
        out, ratio = s["off_data/outside"], s["off_data/ratio"]
        share = np.full(len(s), math.nan)
        known = np.flatnonzero(np.isfinite(out))
        if len(known) > 1:
            n = np.where(np.isfinite(s["n"]), s["n"], 64.0)
            base, many = max(float(out[known[0]]), REAL), float(n[known[0]])
            grown = out - base
            error = np.sqrt(_variance(base, many) + _variance(out, n))
            share = np.where(np.isfinite(out), np.minimum(grown / self.outside, grown / (SURE * error)), math.nan)
            share = np.where(n < FEWEST, math.nan, share)
            share[: known[0] + 1] = math.nan
        far = np.full(len(s), math.nan)
        known = np.flatnonzero(np.isfinite(ratio))
        if len(known) > 1:
            base = max(float(ratio[known[0]]), 1.0)
            far = (ratio / base - 1) / (self.distance - 1)
            far[: known[0] + 1] = math.nan
        return np.fmax(share, far)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        out, ratio, proxy = s["off_data/outside"], s["off_data/ratio"], s["proxy/mean"]
        start, i = _first(s, "off_data/outside", "off_data/ratio"), m.at
        evidence: dict[str, Any] = {}
        if math.isfinite(out[i]):
            evidence |= {"outside the data": percent(out[i]), "outside at the start": percent(out[start]),
                         "of real pictures": percent(REAL)}  # fmt: skip
        evidence |= {"distance, real pictures = 1": float(ratio[i]), "distance at the start": float(ratio[start]),
                     "training reward at the start": float(proxy[start]), "training reward now": float(proxy[i])}  # fmt: skip
        if m.kind == "ended":
            return "info", f"The samples are back near the data: {_where(out[i], ratio[i])}.", evidence
        rose = _rose(s, start, i)
        gain = f"from {number(proxy[start])} to {number(proxy[i])}"
        head = f"While the training reward rose {gain}, the samples" if rose else "The samples"
        went = "went still further from" if m.kind == "grew" else "left"
        message = f"{head} {went} the data: {_where(out[i], ratio[i], out[start], ratio[start])}."
        if not rose and np.isfinite(proxy[[start, i]]).all():
            message += f" The training reward did not rise meanwhile ({gain})."
        grave = rose and float(self.severity(s)[i]) >= 2
        return "error" if grave else "warning", message, evidence


@dataclass(frozen=True)
class SampleCollapse(SeriesCheck):
    """Samples have become alike: one picture for each caption, or one for all.

    Reads what ``PairwiseDistance`` and ``Vendi`` log with every evaluation, and takes the worse of the two: the mean distance of
    samples of one caption (of all, where no caption has two), and the number of different samples beyond the first,
    ``Vendi - 1``. Both are measured on the same contexts and noise every time, so that a change is the policy's. Half of the
    start's diversity is lost to no scatter of eight or more samples, and is what separates a policy that became cleaner (the
    noise of a base model is diversity, too) from one that repeats itself. A warning; an error where nine tenths are lost.

    Args:
        fraction: Lost of what was there at the start.
    """

    fraction: float = 0.5

    of = "evaluations"
    reads = ("diversity/pairwise", "diversity/pairwise_all", "diversity/vendi")
    about = "samples that become alike"
    advice = (
        "Strengthen the KL term, stop earlier, or use an earlier checkpoint; look at the grids for which picture is repeated, "
        "and at what the reward says of it."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fraction >= 1:
            raise PlanError(f"SampleCollapse: fraction must be below 1, got {self.fraction}")

    def kept(self, s: Series) -> tuple[Floats, Floats]:
        """[N] share of the start's distance and of its ``Vendi - 1`` that is left; NaN where unknown."""
        near = s[s.known("diversity/pairwise", "diversity/pairwise_all") or "diversity/pairwise"]
        return _of_start(near, s["n"]), _of_start(s["diversity/vendi"] - 1, s["n"])

    def severity(self, s: Series) -> Floats:
        left = np.fmin(*self.kept(s))
        # On a log scale, so that losing half of what is left counts as growth however little that is.
        return np.where(np.isfinite(left), np.log(np.clip(left, 1e-9, 1)) / math.log1p(-self.fraction), math.nan)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        name = s.known("diversity/pairwise", "diversity/pairwise_all") or "diversity/pairwise"
        of = "samples of one caption" if name == "diversity/pairwise" else "samples"
        near, vendi = (float(x[m.at]) for x in self.kept(s))
        start, now, scores = _first(s, name, "diversity/vendi"), m.at, s["diversity/vendi"]
        evidence: dict[str, Any] = {
            "distance at the start": float(s[name][start]), "distance now": float(s[name][now]),
            "Vendi score at the start": float(scores[start]), "Vendi score now": float(scores[now]),
        }  # fmt: skip
        lost = [math.isfinite(x) and (x < 1 or m.kind == "ended") for x in (near, vendi)]
        parts = [f"the distance between {of} is at {percent(near)} of its start"] if lost[0] else []
        if lost[1]:
            parts.append(
                f"they count for {number(float(scores[now]))} different ones, at first for {number(float(scores[start]))}"
            )
        if m.kind == "ended":
            return "info", f"The samples differ again: {' and '.join(parts)}.", evidence
        level: Level = "error" if min(x for x in (near, vendi) if math.isfinite(x)) <= 0.1 else "warning"
        return level, f"The samples have become alike: {' and '.join(parts)}.", evidence


def _variance(share: Any, n: Any) -> Any:
    """Of a share among n, from one more sample of either kind, so that 0 of 8 is not certain."""
    p = (share * n + 1) / (n + 2)
    return p * (1 - p) / n


def _first(s: Series, *names: str) -> int:
    """Where the first of these has its first reading."""
    return min((int(np.flatnonzero(np.isfinite(s[n]))[0]) for n in names if s.known(n)), default=0)


def _of_start(x: Floats, n: Floats) -> Floats:
    """A column by its first reading; NaN there, and where there were too few samples or there is nothing to lose."""
    known = np.flatnonzero(np.isfinite(x))
    if len(known) < 2 or not x[known[0]] > 1e-6:
        return np.full(len(x), math.nan)
    out = np.where(n < FEWEST, math.nan, np.maximum(x, 0.0) / x[known[0]])
    out[: known[0] + 1] = math.nan
    return out


def _rose(s: Series, start: int, i: int) -> bool:
    """Whether the training reward is above its start by more than its own error."""
    proxy, std, n = s["proxy/mean"], s["proxy/std"], s["n"]
    with np.errstate(invalid="ignore"):
        error = math.sqrt(np.nan_to_num((std[start] ** 2 / n[start]) + (std[i] ** 2 / n[i])))
    return bool(proxy[i] - proxy[start] > error)


def _where(outside: float, ratio: float, outside_then: float = math.nan, ratio_then: float = math.nan) -> str:
    """Where samples lie, and lay at the start, in words."""
    parts = []
    if math.isfinite(outside):
        then = f" ({percent(outside_then)} at the start)" if math.isfinite(outside_then) else ""
        parts.append(f"{percent(outside)} of them lie outside the region of 99 % of real pictures{then}")
    if math.isfinite(ratio):
        then = f" ({number(ratio_then)} at the start)" if math.isfinite(ratio_then) else ""
        parts.append(f"their distance to real ones is {number(ratio)} times the usual{then}")
    return ", and ".join(parts)
