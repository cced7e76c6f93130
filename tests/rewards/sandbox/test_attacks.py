"""Attacks and look-alikes at every level, as root and as a normal user. The complete matrix: benchmarks/sandbox_attacks.py."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
KINDS = ("escape", "forge", "hang", "fork", "memory", "output", "files", "parent", "peek", "survive")
LEVELS = ("bubblewrap", "namespaces", "landlock", "rlimits")
USERS = ("root", "user")
CELLS = [(level, user) for level in LEVELS for user in USERS]
SOME = 6  # attacks of each kind in a cell; the cells take different ones
CANNOT = 77

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the attacks look at /proc")


def identity(user: str) -> int:
    if user == "root":
        if os.geteuid() != 0:
            pytest.skip("only root can test what root gets")
        return 0
    return 65534 if os.geteuid() == 0 else os.geteuid()


def run(cache: Path, level: str, user: str, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the level says of itself, and the results; run once for all tests, also where these run in several processes."""
    kept = cache / f"attacks-{level}-{user}{''.join(options)}.jsonl"
    with open(f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            folder = tempfile.mkdtemp(prefix="guerdon-attacks-out-")
            os.chmod(folder, 0o777)  # the other user writes there
            try:
                out = Path(folder) / "out.jsonl"
                command = [
                    "as_user.py",
                    "--uid",
                    str(identity(user)),
                    str(HERE / "harness.py"),
                    "--level",
                    level,
                    "--out",
                    str(out),
                    *options,
                ]
                done = subprocess.run(
                    [sys.executable, str(HERE / command[0]), *command[1:]],
                    capture_output=True,
                    text=True,
                    timeout=280,
                    cwd="/",
                    env={**os.environ, "TMPDIR": folder},
                    check=False,
                )
                if done.returncode == CANNOT:
                    kept.write_text(json.dumps({"missing": done.stdout.strip()}) + "\n")
                else:
                    assert done.returncode == 0 and out.exists(), done.stdout + done.stderr
                    shutil.copy(out, kept)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    head, *results = map(json.loads, kept.read_text().splitlines())
    if "missing" in head:
        pytest.skip(head["missing"])
    return head, results


def cell(cache: Path, level: str, user: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    turn = CELLS.index((level, user))
    return run(cache, level, user, "--honest", "--lanes", "3", "--some", str(SOME), "--turn", str(turn))


def report(results: list[dict[str, Any]]) -> str:
    return "\n".join(f"{r['kind']}, {r['name']}: {'; '.join(r['effects'])}" for r in results if r["effects"])


def test_the_best_level_quickly(cache_dir: Path) -> None:
    user = "root" if os.geteuid() == 0 else "user"
    head, results = run(cache_dir, "best", user, "--honest", "--some", "1", "--turn", "1")
    assert not report([r for r in results if r["kind"] not in KINDS or r["kind"] in head["stops"]])
    assert len(results) >= len(head["stops"]) + 2


@pytest.mark.slow
@pytest.mark.parametrize(("level", "user"), CELLS)
@pytest.mark.parametrize("kind", KINDS)
def test_attacks(cache_dir: Path, level: str, user: str, kind: str) -> None:
    head, results = cell(cache_dir, level, user)
    of_kind = [r for r in results if r["kind"] == kind]
    if kind not in head["stops"]:
        hit = sum(bool(r["effects"]) for r in of_kind)
        pytest.skip(f"{level} says that it does not stop {kind} here: {hit} of {len(of_kind)} attacks had an effect")
    assert not report(of_kind)
    assert len(of_kind) >= (SOME if head["private"] else 1)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "user"), CELLS)
def test_look_alikes_pass_and_nothing_is_left(cache_dir: Path, level: str, user: str) -> None:
    head, results = cell(cache_dir, level, user)
    rest = [r for r in results if r["kind"] not in KINDS]
    assert not report([r for r in rest if r["kind"] == "honest" or head["stops"] == list(KINDS)])
    assert sum(r["kind"] == "honest" for r in rest) >= 2 * SOME


@pytest.mark.slow
@pytest.mark.parametrize("user", USERS)
def test_the_attacks_are_real(cache_dir: Path, user: str) -> None:
    """Where a level leaves a door open, most attacks go through it: so it is the level that stops them elsewhere."""
    head, results = cell(cache_dir, "rlimits", user)
    if not head["private"] or "escape" in head["stops"]:
        pytest.skip("no open door here")
    through = [bool(r["effects"]) for r in results if r["kind"] == "escape"]
    assert sum(through) >= SOME / 2
