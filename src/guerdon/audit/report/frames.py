"""Frame strips on the page: pictures of the same episodes' starts before training, at the best and at the end."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from guerdon.audit.events import Frames, History, Strip
from guerdon.audit.formats import count, number, plural, visible

TEXT_LIMIT = 300_000  # characters of all pictures on a page
_NAME = re.compile(r"frames/[A-Za-z0-9_.-]+\.png")


@dataclass(frozen=True)
class Shown:
    """One strip on the page.

    Args:
        when: Before training, at the best, at the end.
        facts: Return, length and end in words.
        style: CSS variables with the picture; "" where there is none.
        cells: (position of the frame in the picture, step) of each.
        reason: Why there is no picture.
        about: Alternative text.
        pixelated: The frames are so small that they are better shown with hard edges.
    """

    when: str
    facts: str
    style: Markup = Markup("")
    cells: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    about: str = ""
    pixelated: bool = False


@dataclass(frozen=True)
class Episodes:
    """The strips that begin in one start."""

    name: str
    strips: tuple[Shown, ...]


def strips_of(history: History, folder: Path) -> tuple[list[Episodes], str]:
    """(episodes by start, a sentence on them); nothing where the run has no strips.

    The last evaluation comes first when room is given away, then the first, then the best.
    """
    frames = list(history.frames)
    if not frames:
        return [], ""
    reasons = {s.reason for f in frames for s in f.strips if s.reason}
    if all(s.reason for f in frames for s in f.strips):
        return [], f"There are no pictures of episodes: {visible('; '.join(sorted(reasons))[:400])}."
    room, found = TEXT_LIMIT, {}
    for f in sorted(frames, key=lambda f: (f is not frames[-1], f is not frames[0])):
        for k, s in enumerate(f.strips):
            shown = _shown(f, s, folder, _when(f, frames), room)
            room -= len(shown.style)
            found[f.step, k] = shown
    rows = max(len(f.strips) for f in frames)
    seeds = [next(f.strips[k].seed for f in frames if k < len(f.strips)) for k in range(rows)]
    out = [
        Episodes(f"Start {k + 1}, seed {seeds[k]}", tuple(found[f.step, k] for f in frames if (f.step, k) in found))
        for k in range(rows)
    ]
    same = "the same starts" if rows > 1 else "the same start"
    return out, f"The first {plural(rows, 'episode')} of the evaluations, not chosen; {same} each time."


def _when(f: Frames, frames: Sequence[Frames]) -> str:
    at = "Before training" if f.step == 0 else f"After {plural(f.step, 'draw')}"
    best = next((g for g in reversed(frames) if g.best), None)
    if f is best and len(frames) > 1 and f.step > 0:
        return f"{at}, the best evaluation"
    return at


def _shown(f: Frames, s: Strip, folder: Path, when: str, room: int) -> Shown:
    gain = f"return {number(s.gain)}, " if s.gain is not None else ""
    facts = f"{gain}{plural(s.length, 'step')}, {'ended by itself' if s.ended else 'cut off at a limit'}"
    if s.reason:
        return Shown(when, facts, reason=visible(s.reason))
    png = _read(folder, s.file)
    size = png_size(png) if len(png) < TEXT_LIMIT else None
    if size is None or not s.at:
        return Shown(when, facts, reason="its pictures are not in the run's folder")
    text = base64.b64encode(png).decode()
    if len(text) > room:
        return Shown(when, facts, reason=f"its pictures are in {s.file}; they would make this page too large")
    n = len(s.at)
    width, height = size[0] / n, size[1]
    style = Markup("--n: {}; --ratio: {:.0f} / {:.0f}; --strip: url(data:image/png;base64,{})").format(n, width, height, text)
    cells = tuple((f"{100 * k / (n - 1):.3f}%" if n > 1 else "0", count(t)) for k, t in enumerate(s.at))
    return Shown(when, facts, style, cells, about=f"{n} pictures of the episode: {facts}", pixelated=max(width, height) < 90)


def _read(folder: Path, name: str) -> bytes:
    """A strip's file, if it is one of the run's own."""
    if not _NAME.fullmatch(name):
        return b""
    try:
        with open(folder / name, "rb") as f:
            return f.read(TEXT_LIMIT)
    except OSError:
        return b""


def png_size(png: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG; None for what is none."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        return None
    width, height = struct.unpack(">II", png[16:24])
    return (width, height) if 0 < width < 20_000 and 0 < height < 20_000 else None
