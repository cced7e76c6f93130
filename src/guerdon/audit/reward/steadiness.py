"""Probes of what should never change a score: asking again, the order of rows, their company, the order of two outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from guerdon.audit.reward.bench import TOLERANCE, Bench, ProbeResult, skipped
from guerdon.audit.reward.estimates import Resampler


@dataclass(frozen=True)
class RepeatProbe:
    """The same rows again, or in another order, or each one alone: none of it may change a score."""

    name: str = "same row twice"
    how: Literal["again", "shuffled", "alone"] = "again"
    group: str = "determinism"

    @property
    def about(self) -> str:
        """What is done."""
        words = {"again": "the same rows a second time", "shuffled": "rows in another order", "alone": "each row by itself"}
        return words[self.how]

    def measure(self, bench: Bench) -> ProbeResult:
        scope = getattr(bench.reward, "scope", "sample")
        if scope != "sample" and self.how == "alone":
            return skipped(self, f"its scope is {scope!r}: a row's score may depend on the others")
        rows = np.flatnonzero(np.isfinite(bench.score))
        if self.how == "shuffled":
            rows = np.random.default_rng([bench.seed, 3]).permutation(rows)
        if self.how == "alone":
            rows = rows[:: max(1, len(rows) // 32)][:32]
            new = np.concatenate([bench.again([i], [bench.outputs[i]]) for i in rows.tolist()]) if len(rows) else np.zeros(0)
        else:
            new = bench.again(rows.tolist(), [bench.outputs[i] for i in rows])
        if not len(rows):
            return skipped(self, "no row could be scored")
        change = np.where(np.isfinite(new), new - bench.score[rows], np.inf)
        largest, allowed = (
            float(np.abs(change).max()),
            TOLERANCE * max(bench.spread, 1e-12) + 1e-6 * float(np.abs(bench.score[rows]).max()),
        )
        moved = (np.abs(change) > allowed).astype(float)
        raised = Resampler(bench.cluster[rows], seed=bench.seed).mean(moved, share=True)
        return ProbeResult(
            self.name,
            self.group,
            self.about,
            "unstable" if largest > allowed else "still",
            len(rows),
            raised=raised,
            largest=largest,
            spread=bench.spread,
            failed=int((~np.isfinite(new)).sum()),
        )


@dataclass(frozen=True)
class PositionProbe:
    """For rewards that see the outputs of a context together: is the same one preferred when they change places?"""

    name: str = "order of the two outputs"
    group: str = "position"
    about: str = "the two outputs of a context change places"

    def measure(self, bench: Bench) -> ProbeResult:
        if getattr(bench.reward, "scope", "sample") == "sample":
            return skipped(self, "the reward scores rows one by one")
        if not len(bench.pairs):
            return skipped(self, "no comparison has both sides among the probed rows")
        one, other = [], []
        for i, j in bench.pairs:
            one.append(bench.again([i, j], [bench.outputs[i], bench.outputs[j]]))
            other.append(bench.again([j, i], [bench.outputs[j], bench.outputs[i]])[::-1])
        a, b = (np.diff(np.stack(v), axis=1)[:, 0] for v in (one, other))
        known = np.isfinite(a) & np.isfinite(b)
        if not known.any():
            return skipped(self, "no pair could be scored in both orders")
        small = TOLERANCE * bench.scale
        same = (np.where(np.abs(a) < small, 0, np.sign(a)) == np.where(np.abs(b) < small, 0, np.sign(b)))[known].astype(float)
        resampler = Resampler(bench.cluster[bench.pairs[known, 0]], seed=bench.seed)
        consistent = resampler.mean(same, share=True)
        gain = (b - a)[known] / 2  # how much being first is worth: score as first minus score as second
        return ProbeResult(
            self.name,
            self.group,
            self.about,
            "inconsistent" if consistent.hi < 1 and consistent.value < 0.95 else "still",
            int(known.sum()),
            resampler.mean(gain / (bench.spread or 1.0)),
            resampler.mean(gain / bench.scale),
            consistent,
            float(np.abs(a - b)[known].max()),
            bench.spread,
            int((~known).sum()),
        )
