"""Reading events.jsonl, the truth of a run, into arrays: in one pass, with bounded memory, whatever state the file is in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.table import Table
from guerdon.core.errors import DataError
from guerdon.core.protocols import Finding

Floats = NDArray[np.float64]

MAX_LINE = 1 << 24  # bytes of one event; a longer line is skipped and counted
MAX_TEXT = 4000  # characters kept of one sampled text
MAX_ROWS = 64  # sampled rows kept per event
MAX_EVALS = 4000
MAX_FINDINGS = 500
MAX_REASONS = 40  # distinct reasons of failures told apart
OTHER = "other reasons"


@dataclass(frozen=True)
class Sample:
    """One sampled row, as text.

    Args:
        context: What was asked.
        output: What the policy answered.
        reward: Training reward, None where it was not scored.
        held_out: Held-out reward, None where there is none.
        parts: Named components of the reward.
        ok: False where the reward failed.
        reason: Why it failed.
        hidden: Characters of ``output`` that were not kept.
    """

    context: str
    output: str
    reward: float | None = None
    held_out: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    ok: bool = True
    reason: str = ""
    hidden: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the same contexts every time. ``samples`` are kept for the first, the best and the last few."""

    step: int
    metrics: Mapping[str, float]
    samples: tuple[Sample, ...] = ()


class Strip(NamedTuple):
    """Pictures of one evaluated episode, or why there are none.

    Attributes:
        file: Path within the run's folder, "" where there are none.
        seed: The start it began in.
        gain: Its return, None where unknown.
        length: Its steps.
        ended: By itself, rather than cut off.
        at: The step of each picture.
        reason: Why there are none.
    """

    file: str
    seed: int
    gain: float | None
    length: int
    ended: bool
    at: tuple[int, ...] = ()
    reason: str = ""


class Frames(NamedTuple):
    """The strips of one evaluation; ``best``: it was the best so far."""

    step: int
    best: bool
    strips: tuple[Strip, ...]


class Pictured(NamedTuple):
    """What is known of one sample of a grid, beside its picture.

    Attributes:
        context: What was asked, as text.
        reward: Training reward, None where it was not scored.
        held_out: Held-out reward, None where there is none.
        reason: Why it was not scored, or has no picture.
    """

    context: str
    reward: float | None
    held_out: float | None
    reason: str = ""


class Grid(NamedTuple):
    """The first samples of one evaluation, in one picture.

    Attributes:
        step: Draws done.
        best: It was the best evaluation so far.
        file: Path within the run's folder, "" where there is none.
        size: (width, height) of a cell in pixels.
        gap: Pixels between cells.
        columns: Cells of a line.
        span: Cells of a sample.
        source: Whether the first cell of each sample is the picture it was to edit.
        sharp: Cells are so small that they are better shown with hard edges.
        beyond: Share of the values outside [-1, 1], which were cut.
        samples: What is known of each, in the order of the cells.
        reason: Why there is no picture.
    """

    step: int
    best: bool
    file: str
    size: tuple[int, int]
    gap: int
    columns: int
    span: int
    source: bool
    sharp: bool
    beyond: float
    samples: tuple[Pictured, ...]
    reason: str = ""


class Checkpoint(NamedTuple):
    """A saved state."""

    step: int
    path: str
    best: bool


@dataclass(frozen=True)
class History:
    """What happened in a run, from its events.

    Args:
        path: The file.
        start: Fields of the ``start`` event (the latest one, for a resumed run); empty where there is none.
        end: Fields of the ``end`` event; None where the run has not ended.
        steps: [N] draws done, increasing. Steps that a resumed run did again count once, as they were done last.
        time: [N] unix seconds of each draw.
        metrics: name -> [N], NaN where a draw has no such number.
        seconds: phase -> [N] seconds.
        failures: reason -> rows that could not be scored.
        evals: Evaluations by increasing step.
        samples: The first and the last rows shown from training draws.
        findings: What the checks reported during the run.
        checkpoints: Saved states, the latest 100.
        frames: Strips of pictures: of the first, the best and the last evaluation that has some.
        grids: Grids of samples: likewise.
        began: Unix seconds of the first event, NaN where unknown.
        elapsed: Seconds the run was at work; pauses between being stopped and resumed do not count.
        restarts: How often the run was resumed.
        unread: Lines that could not be read (a torn last line, damage).
    """

    path: Path
    start: Mapping[str, Any] = field(default_factory=dict)
    end: Mapping[str, Any] | None = None
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    time: Floats = field(default_factory=lambda: np.zeros(0))
    metrics: Mapping[str, Floats] = field(default_factory=dict)
    seconds: Mapping[str, Floats] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    evals: tuple[Evaluation, ...] = ()
    samples: tuple[Evaluation, ...] = ()
    findings: tuple[Finding, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    frames: tuple[Frames, ...] = ()
    grids: tuple[Grid, ...] = ()
    began: float = math.nan
    elapsed: float = 0.0
    restarts: int = 0
    unread: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def draws(self) -> int:
        """Draws done; more than ``len`` where a very long run was thinned."""
        return int(self.steps[-1]) if len(self.steps) else 0

    def metric(self, name: str) -> tuple[NDArray[np.int64], Floats]:
        """(steps, values) of the draws that have a finite number of this name."""
        values = self.metrics.get(name)
        if values is None:
            return np.zeros(0, np.int64), np.zeros(0)
        known = np.isfinite(values)
        return self.steps[known], values[known]

    def evaluated(self, name: str) -> tuple[NDArray[np.int64], Floats]:
        """(steps, values) of the evaluations that have a number of this name."""
        pairs = [(e.step, e.metrics[name]) for e in self.evals if name in e.metrics]
        return np.array([s for s, _ in pairs], dtype=np.int64), np.array([v for _, v in pairs], dtype=float)


def read_history(path: str | Path) -> History:
    """The history of a run, from its folder or its events.jsonl.

    A line that is not valid JSON is skipped and counted; unknown events and missing fields are no error. Where a resumed run
    did some steps again, the later ones count.

    Raises:
        DataError: where there is no such file.
    """
    file = Path(path)
    file = file / "events.jsonl" if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected the events.jsonl of a run's folder")
    reader = _Reader()
    for event in _lines(file, reader):
        reader.take(event)
    return reader.history(file)


def _lines(file: Path, reader: _Reader) -> Iterator[dict[str, Any]]:
    with open(file, "rb") as f:
        while line := f.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while (rest := f.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                reader.unread += 1
                continue
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                reader.unread += 1
                continue
            if isinstance(event, dict):
                yield event
            else:
                reader.unread += 1


class _Reader:
    """Events in the order of the file, folded into what ``History`` needs."""

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.end: dict[str, Any] | None = None
        self.table = Table()
        self.evals: list[Evaluation] = []
        self.best: Evaluation | None = None  # by the held-out reward, of those whose texts were dropped
        self.shown: list[Evaluation] = []
        self.findings: list[Finding] = []
        self.checkpoints: list[Checkpoint] = []
        self.frames: list[Frames] = []
        self.grids: list[Grid] = []
        self.reasons: set[str] = set()
        self.began = self.last_time = math.nan
        self.elapsed = 0.0
        self.starts = self.unread = 0

    def take(self, event: Mapping[str, Any]) -> None:
        kind, step, time = event.get("event"), as_step(event.get("step")), as_number(event.get("time"))
        if time is not None:
            if kind != "start" and math.isfinite(self.last_time):
                self.elapsed += max(0.0, time - self.last_time)
            self.began = time if math.isnan(self.began) else self.began
            self.last_time = time
        handle = getattr(self, f"_{kind}", None) if kind in _KINDS else None
        if handle is not None:
            handle(step, event)

    def _start(self, step: int | None, event: Mapping[str, Any]) -> None:
        self.starts += 1
        self.start, self.end = {**self.start, **event}, None
        self._forget(step or 0, keep=True)

    def _end(self, step: int | None, event: Mapping[str, Any]) -> None:
        self.end = dict(event)

    def _draw(self, step: int | None, event: Mapping[str, Any]) -> None:
        step = self.table.last + 1 if step is None else step
        if step <= self.table.last:  # resumed without a start event
            self._forget(step, keep=False)
        row = _numbers(event.get("metrics"))
        row |= {f"seconds/{k}": v for k, v in _numbers(event.get("seconds")).items()}
        for reason, n in _numbers(event.get("failures")).items():
            name = "failures/" + self._reason(reason)
            row[name] = row.get(name, 0.0) + n
        time = as_number(event.get("time"))
        self.table.add(step, {"time": math.nan if time is None else time, **row})

    def _reason(self, reason: str) -> str:
        reason = reason.strip()[:200] or "no reason given"
        if reason not in self.reasons and len(self.reasons) >= MAX_REASONS:
            return OTHER
        self.reasons.add(reason)
        return reason

    def _eval(self, step: int | None, event: Mapping[str, Any]) -> None:
        step = max(self.table.last, 0) if step is None else step
        self.evals = [e for e in self.evals if e.step < step] if self.evals and self.evals[-1].step >= step else self.evals
        self.evals.append(Evaluation(step, _numbers(event.get("metrics")), read_samples(event.get("samples"))))
        if len(self.evals) > 4:  # texts of the first, the last three and the best by the held-out reward are enough
            e = self.evals[-4]
            if e.samples and _held_out(e) > (_held_out(self.best) if self.best else -math.inf):
                self.best = e
            self.evals[-4] = Evaluation(e.step, e.metrics)
        if len(self.evals) > MAX_EVALS:
            del self.evals[1:-4:2]

    def _samples(self, step: int | None, event: Mapping[str, Any]) -> None:
        new = Evaluation(max(self.table.last, 0) if step is None else step, {}, read_samples(event.get("samples")))
        if new.samples:
            self.shown = [*self.shown[:1], new]

    def _finding(self, step: int | None, event: Mapping[str, Any]) -> None:
        level = event.get("level")
        level = level if level in ("info", "warning", "error") else "warning"
        evidence = event.get("evidence")
        finding = Finding(
            check=str(event.get("check") or "check")[:80], level=cast(Literal["info", "warning", "error"], level),
            message=str(event.get("message") or "")[:1000], step=step,
            evidence={str(k)[:80]: _short(v) for k, v in list(evidence.items())[:20]} if isinstance(evidence, dict) else {},
            advice=str(event.get("advice") or "")[:1000],
        )  # fmt: skip
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)

    def _checkpoint(self, step: int | None, event: Mapping[str, Any]) -> None:
        self.checkpoints.append(Checkpoint(step or 0, str(event.get("path") or ""), bool(event.get("best"))))
        del self.checkpoints[:-100]

    def _frames(self, step: int | None, event: Mapping[str, Any]) -> None:
        strips = event.get("strips")
        found = tuple(_strip(s) for s in strips[:8] if isinstance(s, Mapping)) if isinstance(strips, list) else ()
        if not found:
            return
        self.frames.append(Frames(step or 0, event.get("best") is True, found))
        if len(self.frames) > MAX_EVALS:
            del self.frames[1:-4:2]

    def _pictures(self, step: int | None, event: Mapping[str, Any]) -> None:
        self.grids.append(_grid(step or 0, event))
        if len(self.grids) > MAX_EVALS:
            del self.grids[1:-4:2]

    def _forget(self, step: int, *, keep: bool) -> None:
        """Drop what lies behind ``step`` (and ``step`` itself unless ``keep``): it was done, or is being done, again."""
        first = step + 1 if keep else step
        if keep and step == 0:
            first = 0  # a new run in the same folder
        self.table.cut(first)
        self.evals = [e for e in self.evals if e.step < first]
        self.best = self.best if self.best and self.best.step < first else None
        self.shown = [e for e in self.shown if e.step < first]
        self.findings = [f for f in self.findings if f.step is None or f.step < first]
        self.checkpoints = [c for c in self.checkpoints if c.step < first]
        self.frames = [f for f in self.frames if f.step < first]
        self.grids = [g for g in self.grids if g.step < first]

    def history(self, file: Path) -> History:
        columns = self.table.columns()
        n = len(self.table)
        part = {p: {k[len(p) :]: v for k, v in columns.items() if k.startswith(p)} for p in ("seconds/", "failures/")}
        failures = {k: round(float(np.nansum(v))) for k, v in part["failures/"].items()}
        return History(
            path=file, start=self.start, end=self.end, steps=self.table.steps(), time=columns.pop("time", np.full(n, math.nan)),
            metrics={k: v for k, v in columns.items() if not k.startswith(("seconds/", "failures/"))},
            seconds=part["seconds/"], failures=dict(sorted(failures.items(), key=lambda kv: (kv[0] == OTHER, -kv[1], kv[0]))),
            evals=tuple(self.best if self.best and e.step == self.best.step else e for e in self.evals),
            samples=tuple(self.shown), findings=tuple(self.findings),
            checkpoints=tuple(self.checkpoints), frames=_kept(self.frames), grids=_kept(self.grids),
            began=self.began, elapsed=self.elapsed,
            restarts=max(0, self.starts - 1), unread=self.unread,
        )  # fmt: skip


_P = TypeVar("_P", Frames, Grid)
_KINDS = frozenset({"start", "draw", "eval", "samples", "finding", "checkpoint", "frames", "pictures", "end"})


def _kept(shown: list[_P]) -> tuple[_P, ...]:
    """The first, the best and the last: those whose pictures a run keeps."""
    best = next((k for k in range(len(shown) - 1, -1, -1) if shown[k].best), 0)
    return tuple(shown[k] for k in sorted({0, best, len(shown) - 1})) if shown else ()


def as_number(x: Any) -> float | None:
    """A finite number, or None.

    >>> as_number(True), as_number("1"), as_number(float("inf")), as_number(2)
    (1.0, None, None, 2.0)
    """
    if not isinstance(x, int | float):
        return None
    try:
        value = float(x)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def as_step(x: Any) -> int | None:
    """A number of draws, or None."""
    value = as_number(x)
    return int(value) if value is not None and 0 <= value < 2**62 else None


def as_text(x: Any) -> str:
    """Any context or output as text: strings as they are, the rest as JSON."""
    return x if isinstance(x, str) else "" if x is None else json.dumps(x, ensure_ascii=False, default=str)


def read_samples(rows: Any) -> tuple[Sample, ...]:
    """Sampled rows of an event, their texts cut to ``MAX_TEXT`` characters."""
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return ()
    return tuple(_sample(r) for r in rows[:MAX_ROWS] if isinstance(r, Mapping))


def _sample(row: Mapping[str, Any]) -> Sample:
    context, output = as_text(row.get("context")), as_text(row.get("output"))
    return Sample(
        context[:MAX_TEXT], output[:MAX_TEXT], as_number(row.get("reward")), as_number(row.get("held_out")),
        dict(list(_numbers(row.get("parts")).items())[:20]), row.get("ok") is not False, as_text(row.get("reason"))[:300],
        max(0, len(output) - MAX_TEXT),
    )  # fmt: skip


def _strip(row: Mapping[str, Any]) -> Strip:
    at = row.get("at")
    steps = tuple(s for s in (as_step(v) for v in at[:32]) if s is not None) if isinstance(at, list) else ()
    return Strip(
        as_text(row.get("file"))[:200], as_step(row.get("seed")) or 0, as_number(row.get("return")),
        as_step(row.get("length")) or 0, row.get("ended") is True, steps, as_text(row.get("reason"))[:300],
    )  # fmt: skip


def _grid(step: int, event: Mapping[str, Any]) -> Grid:
    def whole(name: str, least: int, most: int = 4096) -> int:
        return min(most, max(least, as_step(event.get(name)) or 0))

    rows = event.get("samples")
    listed = [r for r in rows[:MAX_ROWS] if isinstance(r, Mapping)] if isinstance(rows, list) else []
    samples = tuple(
        Pictured(as_text(r.get("context"))[:600], as_number(r.get("reward")), as_number(r.get("held_out")),
                 as_text(r.get("reason"))[:300])
        for r in listed
    )  # fmt: skip
    return Grid(
        step, event.get("best") is True, as_text(event.get("file"))[:200], (whole("width", 1), whole("height", 1)),
        whole("gap", 0, 64), whole("columns", 1, 512), whole("span", 1, 512), event.get("source") is True,
        event.get("sharp") is True, as_number(event.get("beyond")) or 0.0, samples, as_text(event.get("reason"))[:300],
    )  # fmt: skip


def _numbers(x: Any) -> dict[str, float]:
    if not isinstance(x, Mapping):
        return {}
    return {str(k)[:200]: v for k, raw in x.items() if (v := as_number(raw)) is not None}


def _held_out(e: Evaluation) -> float:
    return e.metrics.get("held_out/mean", -math.inf)


def _short(x: Any) -> Any:
    return x if isinstance(x, bool) or as_number(x) is not None else as_text(x)[:400]
