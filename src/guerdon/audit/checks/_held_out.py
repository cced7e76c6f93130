"""The check against over-optimisation: the training reward against a held-out one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guerdon.audit.checks._base import Level, SeriesCheck
from guerdon.audit.checks._divergence import Divergence, divergence
from guerdon.audit.formats import count, number
from guerdon.audit.series import Floats, Moment, Series


@dataclass(frozen=True)
class HeldOutDivergence(SeriesCheck):
    """The reward that is trained on rises while a held-out reward falls: the policy exploits the reward.

    Every evaluation is compared with the best held-out one before it, singly and averaged over 2, 4 and 8 evaluations. Told
    where, in two evaluations in a row (or clearly in one), the held-out reward is below that best by more than the bound, by a
    fifth of what had been gained and by 0.3 of the spread between answers, while the training reward is above. The best of many
    noisy readings looks better than it is, and every look is another chance to be fooled, so that the bound grows with the
    number of evaluations: ``sqrt(errors^2 + 7 log(i / 8))`` standard errors at the i-th. On simulated clean runs it is wrong in
    at most about 1 % of runs.

    Args:
        errors: Standard errors of the difference needed within the first eight evaluations. They come from the spread between
            answers, and never count less than the scatter between evaluations; where no spread is logged, from that scatter
            alone (then seven evaluations are needed).

    Source: the effect is that of arXiv:2210.10760 (gold against proxy reward).
    """

    errors: float = 3.0

    of = "evaluations"
    patience = 2
    strong = 1.5
    about = "a held-out reward that falls while the training reward rises"
    advice = "Use the checkpoint of the best held-out reward; then strengthen the KL term, stop earlier, or improve the reward."

    def divergence(self, s: Series) -> Divergence:
        """The comparisons behind the severity."""
        return divergence(s, self.errors)

    def severity(self, s: Series) -> Floats:
        return self.divergence(s).level

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        d, i = self.divergence(s), m.at
        start = s["held_out/mean"][0]
        if m.kind == "ended":
            now = {"held-out reward now": float(s["held_out/mean"][i]), "training reward now": float(s["proxy/mean"][i])}
            return "info", "The held-out reward has recovered.", now
        evidence = {
            "best held-out reward": float(d.held_then[i]), "at draw": int(s.steps[d.best[i]]),
            "held-out reward now": float(d.held_now[i]), "training reward then": float(d.proxy_then[i]),
            "training reward now": float(d.proxy_now[i]), "fall in standard errors": float(d.errors[i]),
            "needed": float(d.bound[i]), "evaluations averaged": int(d.window[i]),
        }  # fmt: skip
        below = ", below where it started" if d.held_now[i] < start else ""
        rose = f"the training reward rose from {number(d.proxy_then[i])} to {number(d.proxy_now[i])}"
        fell = f"the held-out reward fell from {number(d.held_then[i])} to {number(d.held_now[i])}{below}"
        return "error", f"Since draw {count(s.steps[d.best[i]])} {rose} while {fell}.", evidence
