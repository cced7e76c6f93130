"""The check against over-optimisation: the training reward against a held-out one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.audit.checks._base import Level, SeriesCheck
from guerdon.audit.formats import number
from guerdon.audit.series import (
    Floats,
    Moment,
    Series,
)


@dataclass(frozen=True)
class HeldOutDivergence(SeriesCheck):
    """The reward that is trained on rises while a held-out reward falls: the policy exploits the reward.

    Every evaluation is compared with the best held-out one before it. Told where, in two evaluations in a row, the held-out
    reward is below that best by more than ``errors`` standard errors and by a fifth of what had been gained (or of the spread
    between answers), while the training reward is above.

    Args:
        errors: Standard errors of the difference; from the spread between answers where it is logged, else from the scatter
            between evaluations (then five evaluations are needed).

    Source: the effect is that of arXiv:2210.10760 (gold against proxy reward).
    """

    errors: float = 2.5

    of = "evaluations"
    patience = 2
    strong = 2.0
    about = "a held-out reward that falls while the training reward rises"
    advice = "Use the checkpoint of the best held-out reward; then strengthen the KL term, stop earlier, or improve the reward."

    def _best(self, s: Series) -> np.ndarray[Any, np.dtype[np.int64]]:
        held = np.where(np.isfinite(s["held_out/mean"]), s["held_out/mean"], -math.inf)
        best = np.zeros(len(held), dtype=np.int64)
        for i in range(1, len(held)):
            best[i] = i if held[i] > held[best[i - 1]] else best[i - 1]
        return best

    def severity(self, s: Series) -> Floats:
        held, proxy, std, n = (s[k] for k in ("held_out/mean", "proxy/mean", "held_out/std", "n"))
        best = self._best(s)
        drop, gain = held[best] - held, proxy - proxy[best]
        error = np.sqrt((std**2 + std[best] ** 2) / n)
        error = np.where(np.isfinite(error), error, _scatter(held))
        scale = np.fmax(held[best] - held[0], np.nan_to_num(std[best], nan=0.0)) if len(held) else drop
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.minimum(drop / (self.errors * error), np.where(scale > 0, drop / (0.2 * scale), math.inf))
        # At the best one itself nothing has fallen; where the training reward fell too, it is not an exploit.
        level = np.where((drop <= 0) | (gain <= 0), 0.0, level)
        return np.where(np.isfinite(held) & np.isfinite(proxy), level, math.nan)

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        held, proxy, b = s["held_out/mean"], s["proxy/mean"], int(self._best(s)[m.at])
        evidence = {
            "best held-out reward": float(held[b]), "at draw": int(s.steps[b]), "held-out reward now": float(held[m.at]),
            "training reward then": float(proxy[b]), "training reward now": float(proxy[m.at]),
        }  # fmt: skip
        if m.kind == "ended":
            return "info", "The held-out reward has recovered.", evidence
        level: Level = "error" if held[m.at] < held[0] else "warning"
        start = ", below where it started" if level == "error" else ""
        rose = f"the training reward rose from {number(proxy[b])} to {number(proxy[m.at])}"
        fell = f"the held-out reward fell from {number(held[b])} to {number(held[m.at])}{start}"
        return level, f"Since draw {s.steps[b]} {rose} while {fell}.", evidence


def _scatter(x: Floats) -> Floats:
    """[N] standard error of a difference of two entries, from second differences so far (a trend leaves none); NaN before five.

    >>> _scatter(np.array([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()
    [nan, nan, nan, nan, 0.0]
    """
    out = np.full(len(x), math.nan)
    second = np.diff(x, 2) ** 2  # variance 6 sigma^2 where the entries scatter by sigma
    for i in range(4, len(x)):
        known = second[: i - 1][np.isfinite(second[: i - 1])]
        if len(known) >= 3:
            out[i] = math.sqrt(2 * float(known.mean()) / 6)
    return out
