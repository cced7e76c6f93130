"""The example scripts run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
def test_from_comparisons_to_a_policy(tmp_path: Path, cache_dir: Path) -> None:
    script = EXAMPLES / "feedback_to_policy.py"
    done = subprocess.run([sys.executable, script, "--tiny"], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "right on " in done.stdout
    assert "protected: not measured." in done.stdout  # four draws are too few to tell, and it says so
    pages = [tmp_path / "runs/example" / p for p in ("report.html", "reward/report.html", "protected/report.html")]
    assert all(p.stat().st_size > 10_000 for p in pages)


def test_verifiers(tmp_path: Path) -> None:
    script = EXAMPLES / "verifiers.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [(line[:16].strip(), line[18:29].strip(), line[29:].split()[0]) for line in done.stdout.splitlines()[2:]]
    assert sorted(total for *_, total in rows) == ["0.00"] * 6 + ["0.50"] * 2 + ["0.67"] + ["1.00"] * 4
    assert {what for _, what, total in rows if total == "0.00"} == {"exits", "lies", "hangs", "deletes", "wrong", "chat"}
