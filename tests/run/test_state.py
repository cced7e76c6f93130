"""Checkpoints on disk: exact, complete or absent, and clear about a full disk."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from torch import nn

from guerdon.core.errors import RunError
from guerdon.run import state as state_module
from guerdon.run.events import EventLog, read_events
from guerdon.run.state import load_module_state, load_state, module_state, save_state

TREE = {"a": torch.tensor([1.5, float("inf")]), "b": {"c": [1, 0.1 + 0.2, None, True, "x"], "d": torch.arange(3)}, "e": {}}


def test_a_state_comes_back_bit_for_bit(tmp_path):
    save_state(tmp_path / "s", TREE)
    again = load_state(tmp_path / "s")
    assert torch.equal(again["a"], TREE["a"]) and again["b"]["c"] == TREE["b"]["c"] and again["e"] == {}
    assert again["b"]["d"].dtype == torch.int64


def test_shared_tensors_and_overwriting(tmp_path):
    x = torch.ones(4)
    save_state(tmp_path / "s", {"x": x, "y": x, "view": x[:2]})
    save_state(tmp_path / "s", {"x": x * 2})
    assert set(load_state(tmp_path / "s")) == {"x"}
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_what_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(TypeError, match="'/a/0' holds a set"):
        save_state(tmp_path / "s", {"a": [set()]})


@pytest.mark.parametrize("where", ["save_file", "replace"])
def test_a_full_disk_costs_nothing_that_was_there(tmp_path, monkeypatch, where):
    save_state(tmp_path / "s", TREE)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((state_module, "save_file") if where == "save_file" else (state_module.os, "replace")), full)
    with pytest.raises(RunError, match="disk is full; the last complete checkpoint is intact"):
        save_state(tmp_path / "t", {"x": torch.zeros(2)})
    monkeypatch.undo()
    assert torch.equal(load_state(tmp_path / "s")["a"], TREE["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    save_state(tmp_path / "s", TREE)
    file = tmp_path / "s" / "tensors.safetensors"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-4])
    else:
        (tmp_path / "s" / "state.json").write_text("{")
    with pytest.raises(RunError, match="not a complete checkpoint"):
        load_state(tmp_path / "s")


def test_module_state_holds_what_training_may_change():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    module[2].weight = module[0].weight
    module[1].weight.requires_grad_(False)
    state = module_state(module)
    assert "1.weight" not in state and "1.running_mean" in state and ("0.weight" in state) != ("2.weight" in state)
    other = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    other[2].weight = other[0].weight
    other[1].weight.requires_grad_(False)
    load_module_state(other, state)
    assert torch.equal(other[2].weight, module[0].weight)
    with pytest.raises(RunError, match="another model"):
        load_module_state(nn.Linear(2, 2), state)


def test_events_are_cut_back_and_written_again(tmp_path):
    log = EventLog(tmp_path / "e.jsonl")
    log.write("draw", 1, metrics={"a": float("nan"), "b": 1.0})
    offset = log.offset
    log.write("draw", 2, metrics={})
    log.close()
    with open(tmp_path / "e.jsonl", "ab") as f:
        f.write(b'{"event": "dr')
    assert [e["step"] for e in read_events(tmp_path / "e.jsonl")] == [1, 2]
    again = EventLog(tmp_path / "e.jsonl", offset=offset)
    again.write("end", 1)
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [e["event"] for e in lines] == ["draw", "end"] and lines[0]["metrics"] == {"a": None, "b": 1.0}


def test_a_full_disk_under_the_events_is_one_line(tmp_path):
    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    log = EventLog(tmp_path / "e.jsonl")
    log.close()
    log.file = Full()
    with pytest.raises(RunError, match="event not written: No space left"):
        log.write("draw", 1)
