"""What came of a run: before and after, for people and for programs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

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
        best = _summary(result.folder).get("best_step")
        kept = [e for e in result.evaluations if e["step"] == best]
        return result.evaluations[0]["metrics"], (kept or result.evaluations)[-1]["metrics"]
    return (dict(result.history[0]), dict(result.history[-1])) if result.history else ({}, {})


NAMES = {"episode/return": "return",
         "held_out/mean": "held-out reward", "proxy/mean": "reward", "reward/mean": "reward", "kl": "KL to the start (nats)",
         "distinct_2": "distinct-2", "length": "length"}  # fmt: skip


def report(results: Sequence[Result], *, as_json: bool) -> None:
    """What came of it: one run before and after, several as mean and interval."""
    if as_json:
        found = [facts(r) for r in results]
        together = {k: dict(zip(("mean", "half"), interval(v), strict=True)) for k, v in _together(results).items()}
        emit(found[0] if len(found) == 1 else {"runs": found, "after": together})
        return
    if len(results) == 1:
        first, last = before_after(results[0])
        rows = [(NAMES[k], _figure(first.get(k)), _figure(last[k])) for k in NAMES if _worth(k, last)]
        show(table(("", "before", "after"), rows))
    else:
        both = {k: interval(v) for k, v in _together(results).items()}
        rows = [(NAMES[k], _figure(middle), f"± {_figure(half)}") for k, (middle, half) in both.items()]
        show(table(("", f"mean of {len(results)} seeds", "95 %"), rows))
    for result in results:
        folder = result.folder
        assert folder is not None
        show(f"{folder}: {result.ended}. {_summary(folder).get('verdict', {}).get('text', '')}".rstrip())
        show(f"  report {folder / 'report.html'}, policy {folder / 'policy'}")


def _summary(folder: Path | None) -> dict[str, Any]:
    """What summary.json says of a run."""
    if folder is None or not (folder / "summary.json").exists():
        return {}
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf8"))
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Figures under each other, the first column their names."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _together(results: Sequence[Result]) -> dict[str, list[float]]:
    """name -> its value at the end of every run that has one."""
    ends = [before_after(r)[1] for r in results]
    return {k: v for k in NAMES if (v := [float(e[k]) for e in ends if _worth(k, e)])}


def _worth(name: str, metrics: Mapping[str, Any]) -> bool:
    """Whether a figure is known, and is not the return under another name."""
    value, gain = metrics.get(name), metrics.get("episode/return")
    same = name in ("proxy/mean", "reward/mean") and gain is not None and value is not None and math.isclose(value, gain)
    return value is not None and not same


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


# 97.5 % quantiles of Student's t, by degrees of freedom from 1.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)  # fmt: skip


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}".replace("-0.000", "0.000") if abs(value) < 100 else f"{value:.4g}"
