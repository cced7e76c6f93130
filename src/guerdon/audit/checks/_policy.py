"""Checks of the policy: how far it went, and what it lost on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.audit.checks._base import SURE, Level, SeriesCheck
from guerdon.audit.formats import number, percent
from guerdon.audit.series import Floats, Moment, Series, against_start, trailing, trailing_median
from guerdon.core.errors import PlanError


@dataclass(frozen=True)
class KLBudget(SeriesCheck):
    """The policy has moved far from its reference, where a learned reward was never tested.

    Args:
        limit: Nats per sample, by the median over five draws. Choosing the best of n answers costs at most
            ``log n - (n - 1) / n`` nats: 10 nats are beyond the best of fifty thousand.
        step_limit: Nats per step: at 1, every step is on average 2.7 times as likely as under the reference.
        dim_limit: Nats per number and step, where a step chooses many numbers at once (the denoising of pictures): at 0.1,
            each is moved by 0.45 of its own noise, ``sqrt(2 * 0.1)``. It then stands in place of the other two, because fifty
            nats are little among thousands of numbers.
    """

    limit: float = 50.0
    step_limit: float = 1.0
    dim_limit: float = 0.1

    reads = ("kl", "kl_step", "kl_dim")
    about = "a KL beyond its budget"
    advice = (
        "Strengthen the KL term, lower the learning rate, or stop earlier (`stop: {kl: ...}`); read the samples after training."
    )

    def severity(self, s: Series) -> Floats:
        if s.known("kl_dim"):
            return trailing_median(s["kl_dim"], 5, 3) / self.dim_limit
        return np.fmax(trailing_median(s["kl"], 5, 3) / self.limit, trailing_median(s["kl_step"], 5, 3) / self.step_limit)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        kl, per_step, per_dim = (float(trailing_median(s[n], 5, 1)[m.at]) for n in self.reads)
        wide = math.isfinite(per_dim)
        evidence = {"KL per sample, nats": kl} | (
            {"KL per number and step, nats": per_dim, "limit per number and step": self.dim_limit} if wide else
            {"limit per sample": self.limit, "KL per step, nats": per_step, "limit per step": self.step_limit}
        )  # fmt: skip
        if m.kind == "ended":
            return "info", f"The KL to the reference is back within its budget, at {number(kl)} nats per sample.", evidence
        grew = "has doubled to" if m.kind == "grew" else "is over budget at"
        step = f"{number(per_dim)} per number and step" if wide else f"{number(per_step)} per step"
        return "warning", f"The KL to the reference {grew} {number(kl)} nats per sample, {step}.", evidence


@dataclass(frozen=True)
class EntropyCollapse(SeriesCheck):
    """The policy has almost stopped choosing: what it tries no longer varies.

    Args:
        fraction: Of the entropy it began with; at or below this it is told.
        window: Draws compared at the beginning and now.
    """

    fraction: float = 0.1
    window: int = 5

    reads = ("entropy",)
    about = "a collapse of the entropy"
    advice = "Add an entropy bonus or a stronger KL term, raise the sampling temperature, or lower the learning rate."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fraction >= 1:
            raise PlanError(f"{type(self).__name__}: fraction must be below 1, got {self.fraction}")

    def severity(self, s: Series) -> Floats:
        base, now, noise = against_start(s["entropy"], self.window)
        if not base > 0.02:  # nothing to lose
            return np.full(len(s), math.nan)
        ratio = np.minimum(self.fraction * base / np.maximum(now, 1e-9), 1e3)
        return np.where((ratio >= 1) & (base - now < SURE * noise), 0.9, ratio)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        base, now, _ = against_start(s["entropy"], self.window)
        left = float(now[m.at]) / base
        evidence = {"entropy at the start, nats per step": base, "entropy now": float(now[m.at]), "left": percent(left)}
        if m.kind == "ended":
            return "info", f"The entropy has recovered to {percent(left)} of its start.", evidence
        return "warning", f"The entropy has fallen to {percent(left)} of its start: the policy hardly varies any more.", evidence


@dataclass(frozen=True)
class LengthDrift(SeriesCheck):
    """Answers grow or shrink by a large factor: often the cheapest way to please a reward.

    Args:
        factor: Longer or shorter than at the start by this factor.
        window: Draws compared at the beginning and now.
    """

    factor: float = 2.0
    window: int = 5

    reads = ("length", "terminal")
    about = "drifting length"
    advice = "Read long and short answers side by side; if the reward likes length itself, take length out of it or limit it."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor <= 1:
            raise PlanError(f"LengthDrift: factor must be above 1, got {self.factor}")

    def severity(self, s: Series) -> Floats:
        base, now, noise = against_start(s["length"], self.window)
        if not base > 0:
            return np.full(len(s), math.nan)
        ratio = np.maximum(now / base, base / np.maximum(now, 1e-9)) / self.factor
        return np.where((ratio >= 1) & (np.abs(now - base) < SURE * noise), 0.9, ratio)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        base, now, _ = against_start(s["length"], self.window)
        length = float(now[m.at])
        ended, began = (
            float(x)
            for x in (trailing(s["terminal"], self.window, least=1)[m.at], against_start(s["terminal"], self.window).base)
        )
        evidence: dict[str, Any] = {"steps at the start": base, "steps now": length}
        if not math.isnan(ended) and not math.isnan(began):
            evidence |= {"ended by themselves at the start": percent(began), "ended by themselves now": percent(ended)}
        if m.kind == "ended":
            return "info", f"The length is back near its start, at {number(length)} steps.", evidence
        times = f"{number(length / base, 2)} times as long" if length > base else f"{percent(length / base)} as long"
        return "warning", f"Answers are {times} as at the start: {number(length)} steps instead of {number(base)}.", evidence


@dataclass(frozen=True)
class DiversityLoss(SeriesCheck):
    """Outputs become alike: the share of different word pairs (distinct-2) falls.

    Distinct-n falls by itself when answers grow, because more tokens are pooled. Where the log has no ``distinct_tokens``
    (the tokens it was counted over), what growth alone may cost is granted: ``start * (length ratio) ** -0.5``.

    Args:
        fraction: Lost of what was there at the start.
        window: Draws compared at the beginning and now.
    """

    fraction: float = 0.3
    window: int = 5

    reads = ("distinct_2", "distinct_1", "length", "distinct_tokens")
    about = "a loss of diversity"
    advice = (
        "Strengthen the KL term or add a diversity term; compare several strengths with `write_frontier` to see what each costs."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fraction >= 1:
            raise PlanError(f"{type(self).__name__}: fraction must be below 1, got {self.fraction}")

    def _lost(self, s: Series) -> tuple[str, float, Floats, Floats]:
        name = s.known("distinct_2", "distinct_1") or "distinct_2"
        base, now, noise = against_start(s[name], self.window)
        tokens = against_start(s[s.known("distinct_tokens", "length") or "length"], self.window)
        grown = np.fmax(np.nan_to_num(tokens.now / tokens.base, nan=1.0), 1.0)
        expected = base * grown**-0.5
        lost = 1 - now / expected
        unsure = (lost >= self.fraction) & (expected - now < SURE * noise)
        return name, base, now, np.where(unsure, 0.9 * self.fraction, lost)

    def severity(self, s: Series) -> Floats:
        _, _, now, lost = self._lost(s)
        # On a log scale, so that losing half of what is left counts as growth however little that is.
        return np.where(np.isfinite(now), np.log1p(-np.clip(lost, 0, 1 - 1e-9)) / math.log1p(-self.fraction), math.nan)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        name, base, now, _ = self._lost(s)
        label, kept = name.replace("_", "-"), float(now[m.at]) / base
        evidence = {f"{label} at the start": base, f"{label} now": float(now[m.at]), "kept": percent(kept)}
        if m.kind == "ended":
            return "info", f"Diversity has recovered to {percent(kept)} of its start.", evidence
        return "warning", f"Outputs have become alike: {label} is at {percent(kept)} of its start.", evidence
