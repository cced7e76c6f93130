"""Pictures of an evaluation: a grid of its first samples in the run's folder, and what is measured of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.audit.pictures import frames_of, frames_shown, grid, share_beyond, told
from guerdon.core import RewardOutput, Rollout
from guerdon.core.files import replacing
from guerdon.run.plan import Evaluation

SHOWN = 12  # samples of an evaluation, always the same ones: the first
FOLDER = "pictures"

Measures = Sequence[Callable[[Rollout], Mapping[str, float]]]


def write_pictures(
    folder: Path, step: int, rollout: Rollout, *, proxy: RewardOutput | None = None, held_out: RewardOutput | None = None,
    keep: Sequence[int] = (), shown: int = SHOWN,
) -> dict[str, Any] | None:  # fmt: skip
    """Write ``pictures/step-NNNNNN.png`` with the first rows of an evaluation; what the events say of it.

    Nothing that goes wrong with pictures is an error of the run: the entry has a ``reason`` instead of a ``file``.

    Args:
        folder: Of the run.
        step: Draws done.
        rollout: What was sampled.
        proxy: Training reward of the rows.
        held_out: Held-out reward of the rows.
        keep: Steps whose grids stay besides this one's; other files are deleted.
        shown: How many samples.

    Returns:
        None where the outputs are no pictures.
    """
    frames = [frames_of(x) for x in rollout.outputs[:shown]]
    known = [f for f in frames if f is not None]
    if not known:
        return None
    cells, source = cells_of(rollout.contexts, frames)
    missing = ["" if f is not None and bool(torch.isfinite(f).all()) else "its values are not finite" if f is not None
               else f"no picture: {told(x)[:80]}" for f, x in zip(frames, rollout.outputs[:shown], strict=True)]  # fmt: skip
    samples = [{"context": told(rollout.contexts[k]), "reward": score(proxy, k), "held_out": score(held_out, k),
                "reason": missing[k] or reason(proxy, k)} for k in range(len(frames))]  # fmt: skip
    entry: dict[str, Any] = {"samples": samples, "source": source, "reason": ""}
    try:
        drawn = grid(cells)
        name = name_of(step)
        (folder / FOLDER).mkdir(exist_ok=True)
        with replacing(folder / name) as f:
            f.write(drawn.png)
    except (OSError, ValueError) as e:
        return {**entry, "reason": f"not written: {getattr(e, 'strerror', None) or e}"}
    finite = [torch.nan_to_num(f, nan=0.0) for f in known]
    tidy(folder / FOLDER, {step, *keep})
    return {
        **entry, "file": name, "width": drawn.width, "height": drawn.height, "gap": drawn.gap, "columns": drawn.columns,
        "span": drawn.span, "sharp": drawn.sharp, "beyond": sum(map(share_beyond, finite)) / len(finite),
    }  # fmt: skip


def name_of(step: int) -> str:
    """Where the grid of a step lies in the run's folder.

    >>> name_of(40)
    'pictures/step-000040.png'
    """
    return f"{FOLDER}/step-{step:06d}.png"


def cells_of(contexts: Sequence[Any], frames: Sequence[Tensor | None]) -> tuple[list[list[Tensor]], bool]:
    """The cells of every sample, equally many (grey where a picture is missing), and whether the first is what is edited."""
    size = next(f.shape[1:] for f in frames if f is not None)
    grey = torch.zeros(size)
    rows = [[] if f is None else frames_shown(f) for f in frames]
    before = [frames_of(getattr(c, "source", None)) for c in contexts[: len(frames)]]
    source = any(b is not None for b in before)
    if source:
        rows = [[grey if b is None else b[0], *row] for b, row in zip(before, rows, strict=True)]
    span = max(map(len, rows))
    return [row + [grey] * (span - len(row)) for row in rows], source


def score(reward: RewardOutput | None, row: int) -> float | None:
    """A row's total, None where it could not be scored."""
    return float(reward.total[row]) if reward is not None and bool(reward.ok[row]) else None


def reason(reward: RewardOutput | None, row: int) -> str:
    """Why a row could not be scored."""
    return "" if reward is None or bool(reward.ok[row]) else f"not scored: {reward.reason[row]}"


def tidy(folder: Path, keep: set[int]) -> None:
    """Delete grids of other steps."""
    for file in folder.glob("step-*.png"):
        number = file.stem.removeprefix("step-")
        if number.isdigit() and int(number) not in keep:
            file.unlink(missing_ok=True)


def opened_measures(evaluation: Evaluation | None) -> Measures:
    """The measures of a plan's evaluation, with the real data they name: read once, before anything is written.

    Raises:
        DataError: where the data cannot be read.
    """
    specs = evaluation.measures if evaluation is not None else ()
    return [m.open() if callable(getattr(m, "open", None)) else m for m in specs]


def measured(measures: Measures, rollout: Rollout) -> dict[str, float]:
    """The finite figures that measures give of an evaluation's samples.

    >>> measured([lambda rollout: {"a": 1, "b": float("nan")}], None)
    {'a': 1.0}
    """
    figures = [(str(k), float(v)) for measure in measures for k, v in measure(rollout).items()]
    return {k: v for k, v in figures if math.isfinite(v)}
