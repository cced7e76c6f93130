"""Stages: made once, found again by the plan's content, and whole after an interruption; and what ``import guerdon`` costs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from guerdon import advantages, objectives, rewards, samplers
from guerdon.core.errors import PlanError
from guerdon.policies import CausalLM
from guerdon.run import AdamW, Plan, Prompts, Train, lazy, stage
from guerdon.run import stage as stage_function
from guerdon.testing import tiny_lm


def test_a_stage_is_run_once(tmp_path):
    tiny_lm(dtype="float32").save(tmp_path / "model")
    plan = Plan(
        policy=lazy(CausalLM.from_pretrained, path_or_name=str(tmp_path / "model"), device="cpu"), source=Prompts(("1+1=", "2+2=")),
        sampler=samplers.Group(contexts=2, n=2, controls={"max_tokens": 4}), reward=rewards.Length(target=2, unit="character"),
        advantage=advantages.RLOO(), learners={"policy": Train(objectives.Reinforce(), AdamW(lr=1e-2))}, steps=2,
    )  # fmt: skip
    first = stage(plan, tmp_path / "stages")
    written = (first.folder / "events.jsonl").stat().st_mtime_ns
    again = stage(dataclasses.replace(plan, name="another"), tmp_path / "stages")
    assert again.folder == first.folder
    assert (again.folder / "events.jsonl").stat().st_mtime_ns == written
    assert again.history == list(first.history)
    for a, b in zip(first.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    other = stage(dataclasses.replace(plan, seed=1), tmp_path / "stages")
    assert other.folder != first.folder
    with pytest.raises(PlanError, match="live Python object"):
        stage_function(dataclasses.replace(plan, policy=tiny_lm()), tmp_path / "stages")


def test_importing_guerdon_is_quick_and_loads_no_torch():
    program = "import sys, time; t = time.perf_counter(); import guerdon; print(time.perf_counter() - t, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert float(out[0]) < 0.3
    assert out[1] == "False"
