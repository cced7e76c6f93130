"""What came of a run: before and after, for people and for programs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

from guerdon.cli._output import emit, show
from guerdon.run import Result


def facts(result: Result) -> dict[str, Any]:
    """A run for programs."""
    folder = result.folder
    assert folder is not None
    first, last = before_after(result)
    return {"folder": str(folder), "ended": result.ended, "draws": len(result.history), "before": first, "after": last,
            "report": str(folder / "report.html"), "policy": str(folder / "policy")}  # fmt: skip


def before_after(result: Result) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics before the first update, and of the policy that was kept; from the draws where nothing was evaluated."""
    if result.evaluations:
        summary = json.loads((result.folder / "summary.json").read_text(encoding="utf8")) if result.folder else {}
        kept = [e for e in result.evaluations if e["step"] == summary.get("best_step")]
        return result.evaluations[0]["metrics"], (kept or result.evaluations)[-1]["metrics"]
    return (dict(result.history[0]), dict(result.history[-1])) if result.history else ({}, {})


NAMES = {"held_out/mean": "held-out reward", "proxy/mean": "reward", "reward/mean": "reward", "kl": "KL to the start (nats)",
         "distinct_2": "distinct-2", "length": "length"}  # fmt: skip


def report(results: Sequence[Result], *, as_json: bool) -> None:
    """What came of it: one run before and after, several as mean and interval."""
    if as_json:
        found = [facts(r) for r in results]
        together = {k: dict(zip(("mean", "half"), interval(v), strict=True)) for k, v in _together(results).items()}
        emit(found[0] if len(found) == 1 else {"runs": found, "after": together})
        return
    for result in results if len(results) == 1 else ():
        first, last = before_after(result)
        for key, name in NAMES.items():
            if last.get(key) is not None:
                show(f"{name:<24}{_figure(first.get(key))} -> {_figure(last[key])}")
    if len(results) > 1:
        for key, values in _together(results).items():
            middle, half = interval(values)
            show(f"{NAMES[key]:<24}{middle:.4g} ± {half:.2g}  (95 % over {len(values)} seeds)")
    for result in results:
        show(f"{result.ended}: {result.folder}/report.html")


def _together(results: Sequence[Result]) -> dict[str, list[float]]:
    """name -> its value at the end of every run that has one."""
    ends = [before_after(r)[1] for r in results]
    return {k: v for k in NAMES if (v := [float(e[k]) for e in ends if e.get(k) is not None])}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval over seeds, by Student's t.

    >>> interval([1.0, 2.0, 3.0])                     # 4.303 * 1 / sqrt(3)
    (2.0, 2.484)
    """
    n = len(values)
    if n < 2:
        return statistics.fmean(values), math.nan
    quantile = _T[min(n - 1, len(_T)) - 1]
    return statistics.fmean(values), round(quantile * statistics.stdev(values) / math.sqrt(n), 12)


_T = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)  # 97.5 %, by freedom


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
