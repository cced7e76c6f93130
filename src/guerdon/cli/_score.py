"""``guerdon score``: a reward over a file of outputs."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import emit, note, show

if TYPE_CHECKING:
    from guerdon.core import RewardOutput, Rollout

CHUNK = 256  # rows in memory at once
SPELLINGS = "file.py:name, rewards.Name, a YAML file, {use: rewards.Name, ...}, the folder of a learned reward, or hf:ORG/NAME."


def score(
    reward: Annotated[str, typer.Argument(help=SPELLINGS)],
    data: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file with a column output, completion or text.")],
    out: Annotated[Path | None, typer.Option(help="Write the rows to this file (JSON lines) instead of stdout.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score the first N rows only.", min=1)] = None,
    column: Annotated[str | None, typer.Option(help="The column that holds the outputs.")] = None,
    workers: Annotated[int, typer.Option(help="Calls at once.", min=1)] = 2,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds before a call counts as hung (60; learned rewards: any).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Score a file of outputs: total, parts, uncertainty and failures of every row, and a summary.

    The other columns (answer, tests ...) are there for rewards that ask for them by name.
    """
    from guerdon.cli._reward import read_reward, time_limit
    from guerdon.core.errors import RewardError
    from guerdon.rewards import Scorer

    summary, found = Summary(), read_reward(reward)
    seconds = time_limit(found) if timeout is None else timeout
    with _writer(out) as write, Scorer(found, workers=workers, timeout=seconds) as scorer:
        for places, rollout in _chunks(data, limit, column, scorer.scope):
            output = scorer.score(rollout)
            for row in _records(places, output):
                summary.add(row)
                write(row)
            if out is not None and sys.stderr.isatty():
                print(f"\r{summary.rows} rows", end="", file=sys.stderr)
    facts = summary.facts()
    if as_json:
        emit(facts) if out is not None else note(json.dumps(facts, ensure_ascii=False))
    else:
        (show if out is not None else note)(summary.text(out))
    if not summary.ok:
        raise RewardError(f"all {summary.rows} rows failed, most with: {summary.failures.most_common(1)[0][0]}")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon score reward.py:reward answers.jsonl --out scored.jsonl")(score)


def _chunks(data: Path, limit: int | None, column: str | None, scope: str) -> Iterator[tuple[list[int], Rollout]]:
    """Rows as rollouts of about ``CHUNK`` rows that split nothing which must be scored together.

    Raises:
        DataError: for a row without the columns, or a group in two places of the file.
    """
    from guerdon.cli._rows import read_rows
    from guerdon.core.errors import DataError

    done: set[int] = set()
    part: list[tuple[int, Any, dict[str, Any], Any]] = []
    place: dict[str, str] = {}
    for count, (number, row) in enumerate(read_rows(data)):
        if limit is not None and count >= limit:
            break
        context, output = _columns(row, f"{data}:{number}", column, place)
        ends = len(part) >= CHUNK and scope != "batch"
        if scope == "group" and (not part or context != part[-1][3]):
            if hash(repr(context)) in done:
                raise DataError(f"{data}:{number}: this reward compares answers to one prompt, so they must follow each other")
            done.add(hash(repr(context)))
        elif scope == "group":
            ends = False
        if ends:
            yield _rollout(part)
            part = []
        part.append((number, output, row, context))
    if part:
        yield _rollout(part)


def _columns(row: dict[str, Any], where: str, column: str | None, place: dict[str, str]) -> tuple[Any, Any]:
    """What was asked and what was answered; the columns are those of the first row."""
    from guerdon.cli._rows import CONTEXTS, OUTPUTS, as_output, pick

    if not place:
        place["output"] = pick(row, OUTPUTS, where, column)
        place["context"] = next((c for c in CONTEXTS if c in row), "")
    pick(row, (), where, place["output"])
    return row.get(place["context"], ""), as_output(row[place["output"]])


def _rollout(part: list[tuple[int, Any, dict[str, Any], Any]]) -> tuple[list[int], Rollout]:
    from guerdon.rewards import recorded

    names = {name: None for _, _, row, _ in part for name in row}
    info = {name: [row.get(name) for _, _, row, _ in part] for name in names}
    return [n for n, *_ in part], recorded([c for *_, c in part], [o for _, o, *_ in part], info)


def _records(places: list[int], output: RewardOutput) -> Iterator[dict[str, Any]]:
    for k, place in enumerate(places):
        ok = bool(output.ok[k])
        yield {
            "line": place, "ok": ok, "total": float(output.total[k]) + 0.0 if ok else None,
            "parts": {n: v[k].tolist() for n, v in output.parts.items()} if ok else {},
            "std": float(output.std[k]) if ok and output.std is not None else None, "reason": output.reason[k],
        }  # fmt: skip


@contextmanager
def _writer(out: Path | None) -> Iterator[Any]:
    """Writes rows to stdout, or to a file that appears when all is done."""
    if out is None:
        yield lambda row: print(json.dumps(row, ensure_ascii=False))
        return
    if not out.resolve().parent.is_dir():
        raise Stop(f"{out}: no folder {out.parent} to write it into")
    from guerdon.core.files import replacing

    with replacing(out) as f:
        yield lambda row: f.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf8", "replace"))


@dataclass
class Summary:
    """Figures that need no row to be kept."""

    rows: int = 0
    ok: int = 0
    mean: float = 0.0
    square: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    parts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        self.rows += 1
        if not row["ok"]:
            self.failures[row["reason"][:200] if len(self.failures) < 1000 else "other reasons"] += 1
            return
        self.ok += 1
        total = row["total"]
        change = total - self.mean
        self.mean += change / self.ok
        self.square += change * (total - self.mean)
        self.low, self.high = min(self.low, total), max(self.high, total)
        for name, value in row["parts"].items():
            self.parts[name] += value if isinstance(value, float) else math.fsum(value)  # type: ignore[assignment]

    def facts(self) -> dict[str, Any]:
        known = self.ok > 0
        return {
            "rows": self.rows, "ok": self.ok, "mean": self.mean if known else None,
            "std": math.sqrt(self.square / self.ok) if known else None, "min": self.low if known else None,
            "max": self.high if known else None, "parts": {n: v / self.ok for n, v in self.parts.items()},
            "failures": dict(self.failures.most_common(20)),
        }  # fmt: skip

    def text(self, out: Path | None) -> str:
        facts = self.facts()
        lines = [f"{self.ok} of {self.rows} rows scored"]
        if self.ok:
            lines[0] += f": mean {facts['mean']:.4g}, std {facts['std']:.4g}, from {facts['min']:.4g} to {facts['max']:.4g}"
            lines += [f"  {name}: mean {value:.4g}" for name, value in facts["parts"].items()]
        lines += [f"  {count} failed: {reason}" for reason, count in self.failures.most_common(5)]
        return "\n".join(lines + ([f"rows in {out}"] if out else []))
