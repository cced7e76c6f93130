"""kill -9 in every phase, twice in one run: after resuming, weights and events are those of a run that was never stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guerdon.testing import tiny_lm

DRIVER = Path(__file__).with_name("kill_driver.py")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    tiny_lm(dtype="float32").save(folder / "model")
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder / "model"), str(folder)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["sample", "reward", "update", "checkpoint", "renamed", "event"])
def test_a_run_killed_twice_is_the_run_that_was_not(cases, phase):
    whole, killed = cases["whole"], cases[phase]
    assert whole["status"] == 0
    assert killed["status"] == [-9, -9, 0]
    assert {k: killed[k] for k in ("weights", "events", "lines")} == {k: whole[k] for k in ("weights", "events", "lines")}
