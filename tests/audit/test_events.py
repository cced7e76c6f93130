import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from guerdon.audit import read_history
from guerdon.audit.events import MAX_LINE, MAX_REASONS, OTHER
from guerdon.audit.table import Table
from guerdon.core.errors import DataError


def write(path: Path, *events: object) -> Path:
    path.write_text("".join(e if isinstance(e, str) else json.dumps(e) + "\n" for e in events), encoding="utf8")
    return path


def draw(step: int, reward: float, **more: object) -> dict:
    return {"event": "draw", "step": step, "time": 100.0 + step, "metrics": {"reward/mean": reward}, **more}


def test_reads_what_was_written(tmp_path: Path, synthetic: ModuleType) -> None:
    h = read_history(synthetic.write(tmp_path / "run", "healthy"))
    assert h.steps.tolist() == list(range(1, 121))
    assert h.draws == 120
    assert [e.step for e in h.evals] == list(range(0, 121, 10))
    assert h.evals[0].samples[1].context == "The old man"
    assert h.evals[5].samples == ()
    assert h.evals[-1].samples
    assert h.end == {**h.end, "reason": "finished"}
    assert set(h.seconds) == {"sample", "reward", "reference", "update", "credit", "evaluate"}
    assert 270 < h.elapsed < 330
    assert h.restarts == 0
    assert h.unread == 0


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events\.jsonl: no such file"):
        read_history(tmp_path)


def test_a_torn_last_line_and_damage_are_counted_not_fatal(tmp_path: Path) -> None:
    good = json.dumps(draw(1, 0.5)) + "\n"
    path = write(tmp_path / "e.jsonl", good, "[1, 2]\n", "\n", '{"event": "draw", "st', )  # fmt: skip
    h = read_history(path)
    assert h.steps.tolist() == [1]
    assert h.unread == 2
    assert h.end is None


def test_a_line_too_long_is_skipped_whole(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"event": "x", "a": "' + b"x" * (2 * MAX_LINE + 5) + b'"}\n' + json.dumps(draw(3, 0.5)).encode() + b"\n")
    h = read_history(path)
    assert h.unread == 1
    assert h.steps.tolist() == [3]


def test_missing_and_wrong_fields(tmp_path: Path) -> None:
    events = [
        {"event": "draw"}, {"event": "draw", "step": 2, "metrics": {"reward/mean": None, "kl": "high", "x": True, "y": 10**400}},
        {"event": "draw", "step": 3, "metrics": [1], "failures": "many", "seconds": {"sample": 1}}, {"event": 7}, {"step": 1}, {},
        {"event": "eval", "metrics": {"proxy/mean": 1}, "samples": [{"context": {"a": 1}, "output": None}, 5]},
        {"event": "finding"}, {"event": "end"}, {"event": "__init__"}, {"event": "history"},
    ]  # fmt: skip
    h = read_history(write(tmp_path / "e.jsonl", *events))
    assert h.steps.tolist() == [0, 2, 3]
    assert list(h.metrics) == ["x"]
    assert math.isnan(h.metrics["x"][2])
    assert h.evals[0].step == 3
    assert h.evals[0].samples[0].context == '{"a": 1}'
    assert len(h.evals[0].samples) == 1
    assert h.findings[0].level == "warning"
    assert h.end is not None


def test_resumed_run_counts_a_step_once_as_it_was_done_last(tmp_path: Path) -> None:
    events = [
        {"event": "start", "step": 0, "time": 100.0, "plan": {"a": 1}, "seed": 3}, draw(1, 0.1), draw(2, 0.2),
        {"event": "eval", "step": 2, "metrics": {"proxy/mean": 5.0}}, draw(3, 0.3, failures={"late": 9}),
        {"event": "finding", "step": 3, "check": "KLBudget", "level": "warning", "message": "x"},
        {"event": "start", "step": 2, "time": 5000.0, "plan": {"a": 1}},  # killed, resumed from the checkpoint of step 2
        draw(3, 0.9), draw(4, 1.0),
    ]  # fmt: skip
    for e in events[7:]:
        e["time"] += 4900.0
    h = read_history(write(tmp_path / "e.jsonl", *events))
    assert h.steps.tolist() == [1, 2, 3, 4]
    assert h.metrics["reward/mean"].tolist() == [0.1, 0.2, 0.9, 1.0]
    assert h.failures == {}
    assert h.findings == ()
    assert [e.step for e in h.evals] == [2]
    assert h.restarts == 1
    assert h.start["seed"] == 3
    assert h.elapsed == pytest.approx(3 + 4)  # the pause does not count as work


def test_steps_that_go_back_without_a_start_event(tmp_path: Path) -> None:
    """The loop cuts the file at the checkpoint and goes on; a copy that was not cut reads the same."""
    h = read_history(write(tmp_path / "e.jsonl", draw(1, 0.1), draw(2, 0.2), draw(3, 0.3), draw(2, 0.7), draw(3, 0.8)))
    assert h.metrics["reward/mean"].tolist() == [0.1, 0.7, 0.8]


def test_a_new_run_in_the_same_folder_replaces_the_old(tmp_path: Path) -> None:
    start = {"event": "start", "step": 0, "time": 1.0}
    h = read_history(
        write(tmp_path / "e.jsonl", start, {"event": "eval", "step": 0, "metrics": {"proxy/mean": 1}}, draw(1, 0.1), start)
    )
    assert len(h) == 0
    assert h.evals == ()


def test_failures_are_summed_by_reason_and_reasons_bounded(tmp_path: Path) -> None:
    events = [draw(k + 1, 0.0, failures={f"reason {k}": 1, "timed out": 2}) for k in range(MAX_REASONS + 10)]
    h = read_history(write(tmp_path / "e.jsonl", *events))
    n = MAX_REASONS + 10
    assert sum(h.failures.values()) == 3 * n
    assert h.failures["timed out"] == 2 * n
    assert next(iter(h.failures)) == "timed out"
    assert list(h.failures)[-1] == OTHER
    assert h.failures[OTHER] == n - (MAX_REASONS - 1)
    assert len(h.failures) == MAX_REASONS + 1


def test_a_very_long_table_is_halved_and_keeps_means_and_totals() -> None:
    table = Table(limit=8)
    for k in range(1, 10):
        table.add(k, {"reward": float(k), "failures/x": 1.0} | ({"kl": 1.0} if k > 6 else {}))
    assert table.steps().tolist() == [2, 4, 6, 8, 9]
    columns = table.columns()
    assert columns["reward"].tolist() == [1.5, 3.5, 5.5, 7.5, 9.0]
    assert np.nansum(columns["failures/x"]) == 9
    assert np.isnan(columns["kl"][:3]).all()
    assert columns["kl"][3:].tolist() == [1.0, 1.0]


def test_lone_surrogates_and_long_texts(tmp_path: Path) -> None:
    rows = [{"context": "\ud800", "output": "y" * 10_000}]
    h = read_history(write(tmp_path / "e.jsonl", {"event": "eval", "step": 0, "metrics": {}, "samples": rows}))
    assert len(h.evals[0].samples[0].output) == 4000
    assert h.evals[0].samples[0].hidden == 6000
