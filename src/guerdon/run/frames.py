"""Frame strips: a few evaluated episodes as pictures beside the events, for those who want to see what the policy does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guerdon.audit.replay import films
from guerdon.audit.strips import strip
from guerdon.core import Rollout, RunError
from guerdon.core.files import replacing
from guerdon.core.world import Episode, Start

SHOWN = 2  # episodes of an evaluation, always the same ones: the first


def write_frames(folder: Path, step: int, rollout: Rollout, keep: Sequence[int] = (), shown: int = SHOWN) -> list[dict[str, Any]]:
    """Write ``frames/step-NNNNNN-K.png`` for the first rows of an evaluation; what the events say of them.

    The recorded actions are acted again in a fresh world, so nothing is rendered while a policy acts. Nothing that goes wrong
    with pictures is an error of the run: the entry has a ``reason`` instead of a ``file``.

    Args:
        folder: Of the run.
        step: Draws done.
        rollout: Whole episodes from ``Start`` contexts; there are no strips of others.
        keep: Steps whose strips stay besides this one's; other files are deleted.
        shown: How many episodes.
    """
    rows = [(k, c, o) for k, (c, o) in enumerate(zip(rollout.contexts, rollout.outputs, strict=True))
            if isinstance(c, Start) and isinstance(o, Episode) and len(o)][:shown]  # fmt: skip
    strips = []
    broken = [str(f) for f in rollout.info.get("failed", [""] * len(rollout))]
    made = films([(start, episode) for _, start, episode in rows])
    for k, (row, start, episode) in enumerate(rows):
        gain = None if episode.rewards is None else float(episode.rewards.double().sum())
        found: dict[str, Any] = {
            "seed": start.seed,
            "return": gain,
            "length": len(episode),
            "ended": episode.terminated,
            "reason": "",
        }
        if why := f"the environment broke: {broken[row]}" if broken[row] else made[k].reason:
            strips.append({**found, "reason": why})
            continue
        try:
            png, width, height = strip(made[k].pictures)
            name = f"frames/step-{step:06d}-{k}.png"
            (folder / "frames").mkdir(exist_ok=True)
            with replacing(folder / name) as f:
                f.write(png)
        except (OSError, ValueError, ImportError, RunError) as e:
            strips.append({**found, "reason": f"not written: {getattr(e, 'strerror', None) or e}"})
            continue
        strips.append({**found, "file": name, "at": list(made[k].at), "width": width, "height": height})
    _tidy(folder / "frames", {step, *keep})
    return strips


def _tidy(folder: Path, keep: set[int]) -> None:
    """Delete strips of other steps."""
    for file in folder.glob("step-*.png"):
        number = file.name.split("-")[1]
        if number.isdigit() and int(number) not in keep:
            file.unlink(missing_ok=True)
