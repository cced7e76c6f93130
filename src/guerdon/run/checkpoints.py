"""Checkpoints of a run: named by step, complete or absent, the last two and the best kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from guerdon.core.errors import RunError
from guerdon.run.evaluate import best_step
from guerdon.run.state import load_state, save_state

if TYPE_CHECKING:
    from guerdon.run.live import Run


def steps_of(folder: Path) -> list[int]:
    """Steps with a complete checkpoint, ascending."""
    return sorted(int(p.name[5:]) for p in (folder / "checkpoints").glob("step-*") if (p / "state.json").exists())


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / "checkpoints" / f"step-{step:06d}"


def write_checkpoint(run: Run, *, keep: int = 2) -> None:
    """The event first, so that the offset in the state covers it; then the state; then old ones go."""
    assert run.folder is not None
    path = path_of(run.folder, run.step)
    run.events.write("checkpoint", run.step, path=str(path.relative_to(run.folder)), best=best_step(run) == run.step)
    run.events.sync()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(path, run.state_dict())
    keeping = {*steps_of(run.folder)[-keep:], best_step(run)}
    for step in steps_of(run.folder):
        if step not in keeping:
            shutil.rmtree(path_of(run.folder, step), ignore_errors=True)


def resume(run: Run, folder: Path) -> int:
    """Load the last checkpoint; returns the offset at which the events go on, 0 without any.

    A damaged last checkpoint is passed over in favour of the one before.
    """
    for leftover in (folder / "checkpoints").glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    candidates = steps_of(folder)
    for k, candidate in enumerate(reversed(candidates)):
        try:
            state = load_state(path_of(folder, candidate))
        except RunError:
            if k == len(candidates) - 1:
                raise
            continue
        run.load_state_dict(state)
        return int(state["events"])
    return 0
