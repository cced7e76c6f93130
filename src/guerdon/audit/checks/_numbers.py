"""Checks of the arithmetic: log-probs that disagree, gradients that are not finite."""

from __future__ import annotations

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
class LogpMismatch(SeriesCheck):
    """Sampler and trainer disagree on how likely the sampled steps were, so that importance ratios are wrong from the start.

    Args:
        limit: Mean |difference| of log-probs per step, in nats. Same weights in float32 give about 1e-5, in bfloat16 about 1e-2.
    """

    limit: float = 0.05

    reads = ("mismatch/mean", "mismatch/max")
    about = "log-probs on which sampler and trainer disagree"
    patience = 2
    strong = 4.0
    advice = (
        "Sample and train with the same template, temperature, top-p and number format; where the engines differ for good, "
        "correct with truncated importance weights."
    )

    def severity(self, s: Series) -> Floats:
        return s["mismatch/mean"] / self.limit

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        mean, most = float(s["mismatch/mean"][m.at]), float(s["mismatch/max"][m.at])
        evidence = {"mean difference, nats per step": mean, "largest difference": most, "limit of the mean": self.limit}
        if m.kind == "ended":
            return "info", f"Sampler and trainer agree again, to {number(mean)} nats per step.", evidence
        level: Level = "error" if mean >= 4 * self.limit else "warning"
        return level, f"Sampler and trainer disagree by {number(mean)} nats per step on average.", evidence


@dataclass(frozen=True)
class NotFinite(SeriesCheck):
    """Updates left out because their gradient was NaN or infinite."""

    reads = ("skipped/*",)
    about = "updates that were not finite"
    advice = "Lower the learning rate, clip rewards and ratios, or use a number format with more range."

    def severity(self, s: Series) -> Floats:
        columns = [v for k, v in s.columns.items() if k.startswith("skipped/") and k.endswith("not_finite")]
        return (np.nansum(columns, 0) > 0).astype(float) if columns else np.zeros(len(s))

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        if m.kind == "ended":
            return "info", "Gradients are finite again.", {}
        return "warning", "An update was left out because its gradient was not finite.", {}
