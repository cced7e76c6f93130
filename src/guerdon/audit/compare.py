"""Two runs side by side: how their results differ, with intervals, and how their plans do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guerdon.audit.events import Evaluation, History, read_history
from guerdon.audit.formats import decimals_of, duration, fixed, interval
from guerdon.audit.measures import Interval
from guerdon.audit.outcome import Change, Of, change, difference_of

_ROWS: tuple[tuple[Of, str, str], ...] = (
    ("return", "return", ""),
    ("held_out", "held-out reward", ""), ("reward", "reward", ""), ("kl", "KL to the reference", "nats per sample"),
    ("entropy", "entropy", "nats per step"), ("distinct_2", "distinct-2", ""), ("length", "length", "steps"),
)  # fmt: skip

_ATOM = re.compile(r"[a-z_]+(\.[A-Za-z_]\w*)+")  # rooms.Name


@dataclass(frozen=True)
class Row:
    """One quantity at the end of both runs.

    Args:
        name: What it is.
        unit: Its unit, "" for none.
        a: In the first run, None where unknown.
        b: In the second run.
        difference: ``b - a``.
        lo: Lower end of the 95 % interval of the difference, None where unknown.
        hi: Upper end.
        method: How the interval was found.
    """

    name: str
    unit: str
    a: float | None
    b: float | None
    difference: float | None
    lo: float | None = None
    hi: float | None = None
    method: str = ""

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.lo is not None and self.hi is not None and (self.lo > 0 or self.hi < 0)


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side: ``str()`` is a text for people, ``tree()`` one for programs.

    Args:
        a: Name of the first run.
        b: Name of the second run.
        rows: Quantities at the end of both.
        plan: (key, value in a, value in b) where the plans differ, as text; "–" where a plan lacks the key.
        notes: What a reader should know before trusting the differences.
    """

    a: str
    b: str
    rows: tuple[Row, ...]
    plan: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...] = ()

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": 1, "a": self.a, "b": self.b, "rows": [{**vars(r), "clear": r.clear} for r in self.rows],
                "plan": [{"key": k, "a": x, "b": y} for k, x, y in self.plan], "notes": list(self.notes)}  # fmt: skip

    def json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.tree(), indent=1, ensure_ascii=False, allow_nan=False)

    def tables(self) -> list[Table]:
        """The tables, for a rich console."""
        results = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for name, right in (("", False), (self.a, True), (self.b, True), ("difference", True), ("95 % interval", True)):
            results.add_column(Text(name), justify="right" if right else "left", overflow="fold")
        for r in self.rows:
            results.add_row(Text(f"{r.name}{f' ({r.unit})' if r.unit else ''}"), *_cells(r))
        plans = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for name in ("plan", self.a, self.b):
            plans.add_column(Text(name), overflow="fold")
        for k, x, y in self.plan:
            plans.add_row(Text(k), Text(x), Text(y))
        return [results, *([plans] if self.plan else [])]

    def __str__(self) -> str:
        console = Console(width=110, color_system=None, force_terminal=False)
        with console.capture() as captured:
            for table in self.tables():
                console.print(table)
            for note in self.notes:
                console.print(Text(note))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")


def _cells(r: Row) -> tuple[Text, ...]:
    if r.name == "time at work":
        return Text(duration(r.a)), Text(duration(r.b)), Text(""), Text("")
    half = (r.hi - r.lo) / 2 if r.lo is not None and r.hi is not None else math.nan
    d = decimals_of(half, *(v for v in (r.a, r.b) if v is not None))
    ends = interval(r.lo, r.hi, d)
    return Text(fixed(r.a, d)), Text(fixed(r.b, d)), Text(fixed(r.difference, d, sign=True)), Text(ends)


def compare(run_a: str | Path, run_b: str | Path) -> Comparison:
    """The results of two runs at their ends, the differences with 95 % intervals, and where their plans differ.

    Rewards are compared over the last evaluations' samples: by a bootstrap (paired where the contexts are the same) if all
    samples were kept, else from their spread. Intervals cover the spread between answers, not between seeds of training.

    Args:
        run_a: Folder of the first run.
        run_b: Folder of the second run.

    Raises:
        DataError: where a folder has no events.jsonl.
    """
    a, b = read_history(run_a), read_history(run_b)
    rows = [r for of, name, unit in _ROWS if (r := _row(a, b, of, name, unit))]
    steps = [float(v[-1]) if len(v := h.metric("env/steps")[1]) else None for h in (a, b)]
    if steps[0] is not None and steps[1] is not None:
        rows.append(Row("environment steps", "", steps[0], steps[1], steps[1] - steps[0]))
    rows.append(Row("draws", "", a.draws, b.draws, b.draws - a.draws))
    rows.append(Row("time at work", "seconds", a.elapsed, b.elapsed, b.elapsed - a.elapsed))
    plans = [flat(h.start.get("plan")) for h in (a, b)]
    plan = tuple((k, plans[0].get(k, "–"), plans[1].get(k, "–")) for k in differing(plans) if k != "name")
    names = [h.path.resolve().parent.name for h in (a, b)]
    return Comparison(names[0], names[1], tuple(rows), plan, tuple(_notes(a, b, plan)))


def _row(a: History, b: History, of: Of, name: str, unit: str) -> Row | None:
    x, y = change(a, of), change(b, of)
    if not x and not y:
        return None
    last = [_last(h, of) for h in (a, b)]
    found, method = Interval(math.nan, math.nan, math.nan, 0), ""
    if last[0] and last[1] and x.source == y.source == "evaluation":
        found, method = difference_of(last[0], last[1], of)
    ends = (_end(x), _end(y))
    gap = ends[1] - ends[0] if ends[0] is not None and ends[1] is not None else None
    lo, hi = (v if math.isfinite(v) else None for v in (found.lo, found.hi))
    return Row(name, unit, ends[0], ends[1], gap, lo, hi, method)


def _last(h: History, of: Of) -> Evaluation | None:
    name = {"reward": "proxy/mean", "held_out": "held_out/mean", "return": "episode/return"}.get(of, of)
    return next((e for e in reversed(h.evals) if name in e.metrics), None)


def _end(c: Change) -> float | None:
    return c.after.mean if c and math.isfinite(c.after.mean) else None


def _notes(a: History, b: History, plan: Sequence[tuple[str, str, str]]) -> list[str]:
    notes = []
    keys = {k.split(".")[0] for k, _, _ in plan}
    if "reward" in keys:
        notes.append("The runs were trained on different rewards: compare the held-out ones.")
    if "evaluation" in keys:
        notes.append("The two runs were evaluated differently.")
    for h in (a, b):
        if h.end is None:
            notes.append(f"{h.path.resolve().parent.name} has not ended; its latest numbers are shown.")
    return notes


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """A plan's leaves by dotted key, as text; an atom without arguments and one with none given are the same.

    >>> flat({"reward": "rewards.Sentiment", "learners": {"policy": {"use": "run.Train", "lr": 0.1}}, "steps": 5})
    {'reward': 'rewards.Sentiment', 'learners.policy': 'run.Train', 'learners.policy.lr': '0.1', 'steps': '5'}
    """
    out: dict[str, str] = {}
    if isinstance(tree, Mapping):
        for k, v in tree.items():
            out |= flat(v, prefix if k == "use" else f"{prefix}.{k}" if prefix else str(k))
    elif isinstance(tree, list | tuple):
        if all(not isinstance(v, Mapping | list | tuple) and not _ATOM.fullmatch(str(v)) for v in tree):
            out[prefix] = ", ".join(map(str, tree))[:200]
        else:
            for i, v in enumerate(tree):
                out |= flat(v, f"{prefix}.{i}")
    elif tree is not None and prefix:
        out[prefix] = str(tree)[:200]
    return out


def differing(trees: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys whose values are not the same everywhere, in order of appearance."""
    keys = list(dict.fromkeys(k for t in trees for k in t))
    return [k for k in keys if len({t.get(k) for t in trees}) > 1]
