"""The base of all checks: a severity over steps, told when it begins, doubles and ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from guerdon.audit.series import (
    Floats,
    Moment,
    Series,
    draws_so_far,
    episodes,
    evals_so_far,
)
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Finding

Level = Literal["info", "warning", "error"]
SURE = 3.0  # standard errors


@dataclass(frozen=True)
class SeriesCheck:
    """Base: a severity over steps (1: at the threshold), its moments, and words for them."""

    reads: ClassVar[tuple[str, ...]] = ()
    of: ClassVar[Literal["draws", "evaluations"]] = "draws"
    patience: ClassVar[int] = 1
    strong: ClassVar[float] = math.inf
    about: ClassVar[str] = ""
    advice: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise PlanError(f"{type(self).__name__}: {f.name} must be a number above 0, got {value!r}")

    def severity(self, s: Series) -> Floats:
        """[N], 1 at the threshold, NaN where nothing can be said yet."""
        raise NotImplementedError

    def words(self, s: Series, m: Moment) -> tuple[Level, str, dict[str, Any]]:
        """Level, message and evidence of a moment."""
        raise NotImplementedError

    def scan(self, s: Series) -> list[Finding]:
        """Everything this check has to say about a run so far; what it says of a step depends on no later one."""
        if not len(s):
            return []
        out = []
        for m in episodes(self.severity(s), patience=self.patience, strong=self.strong):
            level, message, evidence = self.words(s, m)
            clean = {k: v for k, v in evidence.items() if not (isinstance(v, float) and math.isnan(v))}
            if m.kind == "ended":
                level = "info"
            advice = "" if m.kind == "ended" else self.advise(s, m)
            out.append(Finding(type(self).__name__, level, message, int(s.steps[m.at]), clean, advice))
        return out

    def advise(self, s: Series, m: Moment) -> str:
        return self.advice

    def judged(self, s: Series) -> bool:
        """Whether there was enough to judge by."""
        return bool(len(s)) and bool(np.isfinite(self.severity(s)).any())

    def __call__(self, batch: Any, run: Any) -> list[Finding]:
        """What is new with the latest draw of ``run``, which offers ``step`` and ``history`` (metrics of all draws)."""
        if self.of == "evaluations":
            past = getattr(run, "evaluations", ())  # made after the previous draw was checked
            if not past or past[-1]["step"] != run.step - 1:
                return []
            s = evals_so_far(past)
        elif not run.history:
            return []
        else:
            s = draws_so_far(run.history, run.step, self.reads)
        return [f for f in self.scan(s) if f.step == int(s.steps[-1])]
