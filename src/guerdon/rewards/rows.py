"""Between rows and a RewardOutput: what functions said of each row, and what the journal keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.core import RewardOutput, Rollout
from guerdon.rewards.worker import Verdict, reason_of, verdict


def assemble(verdicts: Sequence[Verdict]) -> RewardOutput:
    """One RewardOutput from a verdict ``[total, parts, reason]`` per row; a part that a row does not name is 0 there.

    >>> assemble([[1.5, {"short": 0.5}, ""], [0.0, {}, "timed out after 5 s"]]).reason
    ['', 'timed out after 5 s']
    """
    names = dict.fromkeys(name for v in verdicts for name in v[1])
    return RewardOutput(
        total=torch.tensor([v[0] for v in verdicts], dtype=torch.get_default_dtype()),
        ok=torch.tensor([not v[2] for v in verdicts], dtype=torch.bool),
        reason=[v[2] for v in verdicts],
        parts={n: torch.tensor([v[1].get(n, 0.0) for v in verdicts], dtype=torch.get_default_dtype()) for n in names},
    ).checked()


def each(rollout: Rollout, score: Callable[[Any, int], Any]) -> RewardOutput:
    """``score(output, row)`` for every row: a number, or a dict of named parts with "total". An exception fails its row only."""
    found = []
    for k in range(len(rollout)):
        output = rollout.outputs[k]
        try:
            found.append(verdict(score(output, k)))
        except Exception as e:  # noqa: BLE001  failure is a value, with its reason
            found.append([0.0, {}, reason_of(e)])
    return assemble(found)


def text_of(output: Any) -> str:
    """The output, where it is a text."""
    if not isinstance(output, str):
        raise TypeError(f"expected a text, got {type(output).__name__}")
    return output


def to_records(output: RewardOutput) -> list[dict[str, Any]]:
    """Every row as plain data that ``from_records`` turns back into the same bits."""
    dense = {"step": output.step, "std": output.std, **{f"part/{n}": v for n, v in output.parts.items()}}
    columns = {n: v.tolist() for n, v in {"total": output.total, **dense}.items() if v is not None}
    kind = str(output.total.dtype).removeprefix("torch.")
    return [
        {"ok": ok, "reason": reason, "dtype": kind, **{n: v[k] for n, v in columns.items()}}
        for k, (ok, reason) in enumerate(zip(output.ok.tolist(), output.reason, strict=True))
    ]


def from_records(records: Sequence[Mapping[str, Any]], steps: int) -> RewardOutput:
    """One RewardOutput from rows that ``to_records`` wrote, in any order and from several calls."""
    dtype = getattr(torch, records[0]["dtype"]) if records else torch.get_default_dtype()
    names = dict.fromkeys(n for r in records for n in r if n in ("total", "step", "std") or n.startswith("part/"))

    def column(name: str) -> Tensor:
        values = [r.get(name) for r in records]
        if not any(isinstance(v, list) for v in values):
            return torch.tensor([0.0 if v is None else v for v in values], dtype=dtype)
        rows = [(v if isinstance(v, list) else [])[:steps] for v in values]
        return torch.tensor([[*row, *[0.0] * (steps - len(row))] for row in rows], dtype=dtype)

    columns = {n: column(n) for n in names}
    return RewardOutput(
        total=columns["total"],
        ok=torch.tensor([bool(r["ok"]) for r in records]),
        reason=[r["reason"] for r in records],
        step=columns.get("step"),
        std=columns.get("std"),
        parts={n.removeprefix("part/"): v for n, v in columns.items() if n.startswith("part/")},
    )
