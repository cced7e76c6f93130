"""Checks of what learned rewards and preference losses do to a policy: uncertainty, displacement, one part that takes over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.audit.checks._base import SURE, Level, SeriesCheck
from guerdon.audit.formats import number, percent
from guerdon.audit.series import Floats, Moment, Series, against_start, trailing
from guerdon.core.errors import PlanError


@dataclass(frozen=True)
class LikelihoodDisplacement(SeriesCheck):
    """Preferred answers become less likely: the loss is served by pushing the others down faster.

    The gap between the two sides grows, as it should, while the log-prob of the preferred side falls below the reference's. The
    probability that leaves both goes to answers nobody compared.

    Args:
        limit: Nats per trajectory by which the preferred side has fallen, by the mean over ``window`` draws: at 5, preferred
            answers are on average 150 times less likely than under the reference.
        window: Draws looked at.

    Source: arXiv:2410.08847.
    """

    limit: float = 5.0
    window: int = 5

    reads = ("displacement/*",)
    about = "preferred answers that become less likely"
    advice = (
        "Add a likelihood term on the preferred answers, lower the learning rate or raise `beta`; leave out pairs whose two "
        "answers are nearly the same, which displace most."
    )

    def severity(self, s: Series) -> Floats:
        chosen, gap = s[_side(s, "chosen")], s[_side(s, "gap")]
        mean = trailing(chosen, self.window)
        spread = np.maximum(trailing(chosen**2, self.window) - mean**2, 0.0)
        level = np.maximum(-mean / self.limit, 0.0)
        unsure = (-mean < SURE * np.sqrt(spread / self.window)) | ~(trailing(gap, self.window, least=1) > 0)
        return np.where((level >= 1) & unsure, 0.9, level)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        chosen, rejected, gap = (
            float(trailing(s[_side(s, k)], self.window, least=1)[m.at]) for k in ("chosen", "rejected", "gap")
        )
        evidence = {
            "preferred answers, nats": chosen, "others, nats": rejected, "gap, nats": gap, "limit, nats": -self.limit,
        }  # fmt: skip
        if m.kind == "ended":
            return "info", f"Preferred answers are back at {number(chosen)} nats of their log-prob under the reference.", evidence
        return (
            "warning",
            f"Preferred answers have lost {number(-chosen)} nats of log-prob while the gap to the others grew to {number(gap)}: "
            "the likelihood goes elsewhere.",
            evidence,
        )


def _side(s: Series, side: str) -> str:
    """The column of a learner's figure; the first learner by name where there are several."""
    names = sorted(k for k in s.columns if k.startswith("displacement/") and k.rpartition(".")[2].rpartition("/")[2] == side)
    return names[0] if names else f"displacement/policy.{side}"


@dataclass(frozen=True)
class UncertaintyGrowth(SeriesCheck):
    """The reward becomes unsure of what the policy writes: it goes where the reward's members disagree.

    Told where the mean uncertainty has grown by ``factor`` and is no longer small against what sets answers apart.

    Args:
        factor: Larger than at the start by this factor.
        share: Of the reward's standard deviation between answers at the start.
        window: Draws compared at the beginning and now.

    Source: ensembles that disagree as a sign of over-optimisation, arXiv:2310.02743.
    """

    factor: float = 2.0
    share: float = 0.5
    window: int = 5

    reads = ("reward/uncertainty", "reward/std")
    about = "a reward that grows unsure of the policy's answers"
    advice = "Subtract some of it from the reward (`transforms.Pessimism`), and collect feedback on what the policy writes now."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor <= 1:
            raise PlanError(f"UncertaintyGrowth: factor must be above 1, got {self.factor}")

    def severity(self, s: Series) -> Floats:
        base, now, noise = against_start(s["reward/uncertainty"], self.window)
        spread = against_start(s["reward/std"], self.window).base
        if not base > 0:
            return np.full(len(s), math.nan)
        level = now / (self.factor * base)
        if spread > 0:
            level = np.minimum(level, now / (self.share * spread))
        return np.where((level >= 1) & (now - base < SURE * noise), 0.9, level)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        base, now, _ = against_start(s["reward/uncertainty"], self.window)
        spread, there = against_start(s["reward/std"], self.window).base, float(now[m.at])
        evidence = {"uncertainty at the start": base, "uncertainty now": there, "spread of the reward at the start": spread}
        if m.kind == "ended":
            return "info", f"The reward is sure of its answers again, to {number(there)}.", evidence
        of = f", {percent(there / spread)} of what set answers apart at the start" if spread > 0 else ""
        return "warning", f"The reward's uncertainty has grown {number(there / base, 2)}-fold, to {number(there)}{of}.", evidence


@dataclass(frozen=True)
class OnePart(SeriesCheck):
    """Nearly all of the gain in reward comes from one part of a mixture: worth knowing, not wrong by itself.

    The parts' weights are found from the log: a weighted sum of the parts' means gives the mean reward exactly, or else nothing
    is said (parts that only inform, a worst case of several).

    Args:
        share: Of the gain.
        window: Draws compared at the beginning and now.
    """

    share: float = 0.8
    window: int = 5

    reads = ("reward/mean", "reward/std", "part/*")
    about = "a gain that comes from one part of the reward alone"
    patience = 3
    advice = "Read answers from before and after with that part in mind; if it is not what you want, lower or bound its weight."

    def _shares(self, s: Series) -> tuple[list[str], Floats, Floats]:
        """(parts, [parts, N] share of the gain that is sure, [N] gain); shares are NaN where the gain is not clear."""
        names = sorted(k for k in s.columns if k.startswith("part/") and "/" not in k[5:] and (np.nan_to_num(s[k]) != 0).any())
        nothing = np.full((len(names), len(s)), math.nan)
        weights = _weights(s, names, 2 * self.window + len(names))
        if len(names) < 2 or weights is None:
            return names, nothing, np.full(len(s), math.nan)
        base, now, noise = against_start(s["reward/mean"], self.window)
        gain, spread = now - base, against_start(s["reward/std"], self.window).base
        clear = (gain > SURE * noise) & (gain > 0.5 * np.nan_to_num(spread))
        rest = [against_start(s["reward/mean"] - w * s[k], self.window) for w, k in zip(weights, names, strict=True)]
        sums = np.stack([w * s[k] for w, k in zip(weights, names, strict=True)]).sum(0)
        exact = trailing((np.abs(sums - s["reward/mean"]) <= _TOLERANCE * (1 + np.abs(s["reward/mean"]))).astype(float), 1) == 1
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.stack([1 - (r.now - r.base + SURE * r.noise) / gain for r in rest])  # the others gained at most the rest
        shares[:, ~(clear & exact)] = math.nan
        shares[:, : 2 * self.window + len(names) - 1] = math.nan  # not before the weights are known
        return names, shares, gain

    def severity(self, s: Series) -> Floats:
        names, shares, _ = self._shares(s)
        if not len(names) or not np.isfinite(shares).any():
            return np.full(len(s), math.nan)
        return np.where(np.isfinite(shares).all(0), np.nan_to_num(shares, nan=-math.inf).max(0), math.nan) / self.share

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        names, shares, gain = self._shares(s)
        k = int(np.argmax(shares[:, m.at]))
        most, name = float(shares[k, m.at]), names[k][5:]
        each = {f"from {n[5:]}, at least": percent(float(v)) for n, v in zip(names, shares[:, m.at], strict=True) if v > 0}
        evidence: dict[str, Any] = {"gain in reward": float(gain[m.at])} | each
        if m.kind == "ended":
            return "info", "The gain in reward comes from several of its parts again.", evidence
        whole = "All" if most >= 1 else f"At least {percent(most)}"
        return "info", f"{whole} of the gain in reward comes from one part, {name}.", evidence


_TOLERANCE = 1e-4


def _weights(s: Series, names: list[str], least: int) -> Floats | None:
    """Weights with which the parts add up to the reward, from the first ``least`` draws that know all; None without any."""
    if len(names) < 2:
        return None
    columns = np.stack([s[k] for k in names], 1)
    known = np.flatnonzero(np.isfinite(columns).all(1) & np.isfinite(s["reward/mean"]))[:least]
    if len(known) < least:
        return None
    weights, _, rank, _ = np.linalg.lstsq(columns[known], s["reward/mean"][known], rcond=1e-9)
    return np.asarray(weights, dtype=np.float64) if rank == len(names) else None
