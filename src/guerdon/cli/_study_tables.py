"""A study's record as tables for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

MOST = 4  # metrics in a table; the record has all


def metrics_of(record: Mapping[str, Any]) -> list[str]:
    """What is shown of the arms: the study's metric, those of the expectations, then others as far as there is room."""
    first = [record["metric"], *(e["metric"] or record["metric"] for e in record["expectation"])]
    others = [m for arm in record["arms"].values() for m in arm["metrics"]]
    return list(dict.fromkeys([*first, *others]))[:MOST]


def arms_table(record: Mapping[str, Any]) -> Any:
    """Mean and standard deviation over the seeds, by arm; below, in what the arms differ."""
    from rich.table import Table

    metrics = metrics_of(record)
    set_somewhere = any(arm["setting"] for arm in record["arms"].values())
    about = "".join(f"\n{name}: {arm['about']}" for name, arm in record["arms"].items() if arm["about"])
    caption = f"mean ± standard deviation over seeds{about}"
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    table.add_column("arm", no_wrap=True)
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("seconds", justify="right")
    if set_somewhere:
        table.add_column("tuned to" if record["tuning"] else "with", overflow="fold")
    for name, arm in record["arms"].items():
        figures = [spread(arm["metrics"].get(m, [])) for m in metrics]
        setting = [", ".join(f"{k}={v}" for k, v in arm["setting"].items())] if set_somewhere else []
        seconds = f"{statistics.fmean(arm['seconds']):.0f}"
        table.add_row(name, *figures, seconds, *setting)
    return table


def expectation_table(record: Mapping[str, Any]) -> Any:
    """Each expectation with its effect, interval and verdict."""
    from rich.table import Table

    from guerdon.systems import signed

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("expected", "effect", "95 % interval", "verdict"):
        table.add_column(head)
    for e in record["expectation"]:
        interval = "–" if e["ci"] is None else f"{signed(e['ci'][0])} to {signed(e['ci'][1])}"
        table.add_row(e["text"], signed(e["effect"]), interval, e["verdict"] or "none")
    return table


def spread(values: list[float | None]) -> str:
    """Mean and standard deviation of what is there.

    >>> spread([1.0, 3.0]), spread([2.0, None]), spread([None])
    ('2 ± 1.4', '2', '–')
    """
    there = [v for v in values if v is not None]
    if not there:
        return "–"
    mean = f"{statistics.fmean(there):.3g}"
    return mean if len(there) < 2 else f"{mean} ± {statistics.stdev(there):.2g}"
