"""What ``reproduce`` does: decides where its record may lie, runs the study, and writes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.cli._main import INTERNAL, Stop
from guerdon.cli._output import note
from guerdon.core.errors import RunError
from guerdon.core.files import cache_folder
from guerdon.study import Budget, Outcome, run_study
from guerdon.study.book import Progress
from guerdon.systems import Found, System, read_record, record_of, verdict_record, write_record
from guerdon.systems._provenance import checkout, source_hash

TRIALS = "trials.jsonl"


@dataclass(frozen=True)
class Order:
    """What the command was asked for."""

    found: Found
    system: System
    budget: str = "default"
    seeds: int | None = None
    pilot: bool = False
    workers: int | None = None
    out: Path | None = None
    fresh: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        Budget(self.budget)  # type: ignore[arg-type]  # says which there are

    @property
    def count(self) -> int:
        """How many seeds it will be."""
        return self.seeds or (2 if self.budget == "tiny" else self.system.study.seeds)

    @property
    def lesser(self) -> str:
        """Why what comes of it must not take the place of a verdict; "" where it may."""
        if self.budget == "tiny":
            return "a tiny run"
        return "a pilot" if self.pilot else ""

    def words(self) -> list[str]:
        """The options that make the same call again."""
        given = {"--budget": None if self.budget == "default" else self.budget, "--seeds": self.seeds, "--workers": self.workers,
                 "--out": self.out}  # fmt: skip
        words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
        return words + (["--pilot"] if self.pilot else [])

    def place(self) -> Path:
        """The record's file: what was asked for, the project's own folder for a full run in its checkout, or among the runs."""
        name = f"{self.found.id}.json"
        if self.out is not None:
            return self.out / name
        here, root = Path.cwd().resolve(), checkout()
        fewer = self.count < self.system.study.seeds and self.budget != "tiny"
        if root is not None and here.is_relative_to(root) and self.found.family and not (self.lesser or fewer):
            folder = root / "reproductions" / ("long" if self.budget == "long" else "")
            return (folder if here != root else folder.relative_to(root)) / name
        parts = ["" if self.found.family else "own", self.budget.replace("default", ""), "pilot" if self.pilot else "",
                 f"{self.count}-seeds" if fewer else ""]  # fmt: skip
        return Path("runs/reproduce", "-".join(p for p in parts if p), name)


def carry_out(order: Order) -> tuple[dict[str, Any], Path, Path]:
    """The whole command: (record, its file, its picture)."""
    from guerdon.cli._folder import held

    path = order.place()
    _protect(order, path)
    kept = _kept(order)
    if order.fresh:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True, exist_ok=True)
    _clear_stale(kept)
    with held(kept):
        outcome = _run(order, kept / TRIALS)
        record = _same_code(record_of(order.found, order.system, outcome), kept)
        path = _free(path, record, order)
        write_record(record, path)
        from guerdon.study.picture import draw

        picture = draw(record, path.with_suffix(".svg"))
        if not outcome.failed:
            shutil.rmtree(kept)
    return record, path, picture


def _run(order: Order, trials: Path) -> Outcome:
    study, budget = order.system.study, Budget(order.budget)  # type: ignore[arg-type]
    arms = study.arms_at(budget)
    note(f"{order.found.id}: {len(arms)} arms x {order.count} paired seeds, {order.budget} budget", quiet=order.quiet)
    past = verdict_record(order.found.id) if order.found.family and order.budget == "default" and not order.pilot else None
    if past is not None:
        took = f"{past['seconds'] / 60:.1f} minutes with {past['workers']} at once"
        note(f"for the record that is kept this took {took}", quiet=order.quiet)
    if trials.exists():
        ended = sum(b'"arm": ""' not in line for line in trials.read_bytes().splitlines())  # the warm starts are no trial
        note(f"going on: {ended} trials of an interrupted call are kept (--fresh forgets them)", quiet=order.quiet)
    try:
        with _bar(order.found.id, order.quiet) as progress:
            return run_study(
                study, budget=budget, seeds=order.seeds, pilot=order.pilot, source=order.found.source, workers=order.workers,
                kept=trials, progress=progress,
            )  # fmt: skip
    except RunError as e:  # the arms' fault, not that of what was typed
        raise Stop(f"{order.found.id}: no verdict: {e}", INTERNAL) from None


@contextmanager
def _bar(name: str, quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr with the last trial and the time left; a trial that fails is told at once."""
    if quiet:
        yield None
        return
    from rich import progress as bars
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[last]}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with bars.Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None, last="warm starts")

        def tell(done: int, total: int, trial: Any) -> None:
            what = f"{trial.task.arm} of seed {trial.task.seed}" if trial.task.arm else "warm starts"
            if not trial.ok:
                progress.console.print(f"{what} failed: {trial.reason}", markup=False, highlight=False)
            progress.update(task, completed=done, total=total, last=f"{what}, {trial.seconds:.0f} s")

        yield tell


def _kept(order: Order) -> Path:
    """Where the trials of an interrupted call lie: for this study, budget and code, and for no other."""
    what = "pilot" if order.pilot else order.budget
    return cache_folder() / "studies" / f"{order.found.id}-{what}-{source_hash(order.found.path)}"


def _same_code(record: dict[str, Any], kept: Path) -> dict[str, Any]:
    """The record, marked where the code changed while the study ran: it is then of no commit."""
    if kept.name.endswith(record["source"]):
        return record
    note("the code changed while the study ran; the record says so (its commit ends in -dirty)")
    return {**record, "commit": f"{record['commit'].removesuffix('-dirty')}-dirty"}


def _clear_stale(kept: Path) -> None:
    """Trials of the same study with other code, which nobody went on with for a month, take up room only."""
    for other in kept.parent.glob(f"{kept.name.rpartition('-')[0]}-*"):
        if other != kept and time.time() - other.stat().st_mtime > 30 * 24 * 3600:
            shutil.rmtree(other, ignore_errors=True)


# ---------------------------------------------------------------- what must not be lost
def _protect(order: Order, path: Path) -> None:
    """Refuses, before anything runs, what could not be written, or would put less in the place of a verdict."""
    above = next(p for p in path.absolute().parents if p.exists())
    if not above.is_dir():
        raise Stop(f"{path}: {above} is a file, expected a folder")
    if not path.exists():
        return
    old = read_record(path)
    why = order.lesser
    if not why and order.count < len(old["seeds"]):
        why = f"a run of {order.count} seeds"
    if not why and old["family"] and not order.found.family:
        why = "a run of a file of your own"
    if why and old["verdict"] is not None:
        held = f"the verdict {old['verdict']!r} over {len(old['seeds'])} seeds"
        raise Stop(f"{path} holds {held}, and {why} does not replace it; choose another place: --out FOLDER")


def _free(path: Path, record: dict[str, Any], order: Order) -> Path:
    """The record's place; beside it where trials failed and a verdict is there already."""
    if not path.exists():
        return path
    old = read_record(path)
    if old["verdict"] is None:
        return path
    if record["verdict"] is None:
        return path.with_name(f"{order.found.id}-failed.json")
    note(f"{path} held the verdict {old['verdict']!r} and is replaced", quiet=order.quiet)
    return path
