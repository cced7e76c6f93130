"""kill -9 in every phase, twice in one run: after resuming, weights and events are those of a run that was never stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guerdon.testing import tiny_lm

DRIVER = Path(__file__).with_name("kill_driver.py")


def cases(folder, which):
    tiny_lm(dtype="float32").save(folder / "model")
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder / "model"), str(folder), which], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    return cases(tmp_path_factory.mktemp("policies"), "policy")


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    return cases(tmp_path_factory.mktemp("rewards"), "reward")


def check(found, phase):
    whole, killed = found["whole"], found[phase]
    assert whole["status"] == 0
    assert killed["status"] == [-9, -9, 0]
    assert {k: killed[k] for k in ("weights", "events", "lines")} == {k: whole[k] for k in ("weights", "events", "lines")}


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["sample", "reward", "update", "checkpoint", "renamed", "event"])
def test_a_run_killed_twice_is_the_run_that_was_not(policies, phase):
    check(policies, phase)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["reward", "update"])
def test_so_it_is_where_the_reward_learns_too(rewards, phase):
    """Half of the verdicts were in the journal; or some of the reward's networks had moved and others not."""
    check(rewards, phase)
