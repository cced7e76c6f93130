"""The progress bar of a run: reward or return, KL, time left. One sink among others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from guerdon.audit.formats import number
from guerdon.run.events import Sink
from guerdon.run.live import Run
from guerdon.run.plan import Plan

FIGURES = (("return", "episode/return"), ("reward", "reward/mean"), ("held-out", "held_out/mean"), ("KL", "kl"))


@contextmanager
def bar(plan: Plan, live: Run) -> Iterator[Sink]:
    """A bar on stderr that follows the run's events."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
               TextColumn("{task.fields[figures]}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task = progress.add_task(plan.name, total=plan.steps, completed=live.step, figures="starting")
        shown: dict[str, str] = {}

        def sink(event: Mapping[str, Any]) -> None:
            metrics = event.get("metrics") or {}
            for name, key in FIGURES:
                if metrics.get(key) is not None and (event["event"] == "draw" or key == "held_out/mean"):
                    shown[name] = f"{name} {number(metrics[key]) if name == 'return' else f'{metrics[key]:.3f}'}"
            if event["event"] == "finding" and event.get("level") != "info":
                progress.console.print(f"[yellow]step {event['step']}[/]: {event['message']}", highlight=False)
            progress.update(task, completed=event["step"], figures="  ".join(shown.values()) or "sampling")

        yield sink
