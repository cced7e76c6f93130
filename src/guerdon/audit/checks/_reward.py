"""Checks of the reward: does it tell answers apart, and does it answer at all?"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.audit.checks._base import Level, SeriesCheck
from guerdon.audit.formats import number, percent
from guerdon.audit.series import (
    Floats,
    Moment,
    Series,
    trailing,
)
from guerdon.core.protocols import Finding


@dataclass(frozen=True)
class ConstantReward(SeriesCheck):
    """Every answer of a draw gets the same reward, draw after draw: there is nothing to learn from.

    Args:
        draws: Draws in a row before it is told.
    """

    draws: int = 3

    reads = ("reward/std", "reward/mean", "reward/ok")
    about = "a constant reward"

    def severity(self, s: Series) -> Floats:
        std, mean = s["reward/std"], s["reward/mean"]
        tolerance = 1e-6 * np.maximum(1.0, np.abs(mean))
        # The mean must stand still too: a draw of a single row has no spread of its own.
        still = np.concatenate([[True], ~(np.abs(np.diff(mean)) > tolerance[1:])])
        same = np.where(np.isfinite(std), ((std <= tolerance) & still).astype(float), math.nan)
        same[s["reward/ok"] == 0] = math.nan
        return trailing(same, self.draws)

    def _saturated(self, s: Series, m: Moment) -> bool:
        """The reward varied at first and the constant is the best it ever was: the task is solved, as far as it can tell."""
        mean, before = s["reward/mean"], s["reward/mean"][: max(0, m.since - self.draws + 1)]
        varied = s["reward/std"][: len(before)] > 0
        return bool(varied.any()) and bool(mean[m.at] >= np.nanmax(before))

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        value = float(s["reward/mean"][m.at])
        evidence = {"reward of every answer": value, "draws in a row": self.draws}
        if m.kind == "ended":
            return "info", "The reward tells answers apart again.", {}
        if self._saturated(s, m):
            return (
                "info",
                f"Every answer now gets the highest reward seen, {number(value)}: nothing more to learn here.",
                evidence,
            )
        return "warning", f"Every answer got the same reward, {number(value)}, in {self.draws} draws in a row.", evidence

    def advise(self, s: Series, m: Moment) -> str:
        if self._saturated(s, m):
            return "Stop here, or go on with harder contexts or a finer reward."
        return "Score a few answers by hand: the reward may not read the output at all, or every context may be too hard."


@dataclass(frozen=True)
class FailingReward(SeriesCheck):
    """Rows that could not be scored. They leave every loss and mean, so the policy learns only from what did not fail.

    Args:
        limit: Fraction of failed rows over five draws; half a draw is told at once.
    """

    limit: float = 0.1

    reads = ("reward/ok",)
    about = "answers that cannot be scored"
    advice = (
        "Read the reasons under Failures. What fails is left out of every mean, so the numbers describe only what could be "
        "scored: mend the reward, or give it more time."
    )

    def severity(self, s: Series) -> Floats:
        failed = 1 - s["reward/ok"]
        return np.fmax(
            trailing(failed, 5, least=3) / self.limit, np.where(failed >= 0.5, failed / min(self.limit, 0.5), math.nan)
        )

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        failed = 1 - s["reward/ok"]
        recent = float(trailing(failed, 5, least=1)[m.at])
        if m.kind == "ended":
            return "info", f"The reward scores {percent(1 - recent)} of rows again.", {"failed, last 5 draws": percent(recent)}
        level: Level = "error" if max(recent, failed[m.at]) >= 0.5 else "warning"
        evidence = {
            "failed, this draw": percent(float(failed[m.at])),
            "failed, last 5 draws": percent(recent),
            "limit": percent(self.limit),
        }
        return level, f"{percent(recent)} of rows could not be scored.", evidence

    def __call__(self, batch: Any, run: Any) -> list[Finding]:
        found = super().__call__(batch, run)
        reasons = getattr(getattr(batch, "raw", None), "reason", ())
        if not found or not reasons:
            return found
        top = Counter(r[:120] for r in reasons if r).most_common(3)
        return [Finding(f.check, f.level, f.message, f.step, {**f.evidence, **dict(top)}, f.advice) for f in found]


@dataclass(frozen=True)
class DeadGroups(SeriesCheck):
    """All answers to a context get the same reward, so that comparing them within the group teaches nothing.

    Args:
        limit: Fraction of such groups, by the mean over ``window`` draws.
        window: Draws looked at.
    """

    limit: float = 0.8
    window: int = 5

    reads = ("groups/dead",)
    about = "groups whose answers all get the same reward"
    advice = "Draw more answers per context, drop contexts that are always or never solved, or grade more finely."

    def severity(self, s: Series) -> Floats:
        return trailing(s["groups/dead"], self.window) / self.limit

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        dead = float(trailing(s["groups/dead"], self.window)[m.at])
        evidence = {"groups with equal rewards": percent(dead), "limit": percent(self.limit)}
        if m.kind == "ended":
            return "info", f"Rewards differ within {percent(1 - dead)} of groups again.", evidence
        return (
            "warning",
            f"In {percent(dead)} of groups all answers got the same reward: they cost compute and teach nothing.",
            evidence,
        )
