r"""Every attack and every look-alike at every level, as root and as a normal user.

The attacks are data: ``tests/rewards/sandbox/attacks``. What counts as an effect is in ``effects.py`` beside them: files outside
scratch, servers reached, secrets that got out, processes that live on, changes to guerdon's process or to a bystander, files left
in scratch, shared memory left, time beyond the limit and 3 s. After each attack an honest program must pass and a wrong one fail,
in the same lane and against the same test. A cell whose level says that it cannot stop a kind is counted too: it shows that the
attacks are real.

As root, three users are tried: root; root with an interpreter that every user can read (one below /root is bound to a folder that
is open); a normal user (65534). All runs in process and mount namespaces of its own, so that what succeeds hits only them.

Outcome: ``results/sandbox_attacks.md`` and ``.json``: level / user -> kind -> runs, passed, with an effect, whether claimed.

Run: python benchmarks/sandbox_attacks.py --out benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SUITE = Path(__file__).resolve().parents[1] / "tests" / "rewards" / "sandbox"
KINDS = ("escape", "forge", "hang", "fork", "memory", "output", "files", "parent", "peek", "survive")
LEVELS = ("bubblewrap", "namespaces", "landlock", "rlimits")
USERS = {"root": ["--uid", "0"], "root, open interpreter": ["--uid", "0", "--open"], "user": ["--uid", "65534"]}


def cell(level: str, who: list[str], lanes: int) -> list[dict[str, Any]]:
    """What the level says of itself, then the results."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o777)
        out = Path(folder) / "out.jsonl"
        options = ["--level", level, "--honest", "--lanes", str(lanes), "--out", str(out)]
        command = [sys.executable, str(SUITE / "as_user.py"), *who, str(SUITE / "harness.py"), *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={**os.environ, "TMPDIR": folder}, check=False)
        if not out.exists():
            return [{"missing": (done.stdout + done.stderr).strip()[-300:]}]
        return [json.loads(line) for line in out.read_text().splitlines()]


def table(results: list[dict[str, Any]], stops: list[str]) -> dict[str, Any]:
    found = {}
    for kind in dict.fromkeys(r["kind"] for r in results):
        rows = [r for r in results if r["kind"] == kind]
        found[kind] = {
            "runs": len(rows),
            "passed": sum("PASSED" in r["effects"] for r in rows),
            "with an effect": sum(bool(r["effects"]) for r in rows),
            "claimed": kind in stops or kind not in KINDS,
            "which": sorted(r["name"] for r in rows if r["effects"]),
        }  # fmt: skip
    return found


def page(cells: dict[str, Any], system: dict[str, Any]) -> str:
    """The table for people."""
    names = [n for level in LEVELS for n in cells if n.startswith(level + " /") and "kinds" in cells[n] and cells[n]["kinds"]]
    lines = [
        "# Attacks on the sandbox",
        "",
        "Runs with an effect of all runs, by `benchmarks/sandbox_attacks.py` "
        f"(Linux {system['kernel'].split('-')[0]}, Python {system['python']}, {system['processors']} processors). "
        "In brackets: the level says that it does not stop this kind there. A forged pass counts as an effect; the last row are "
        "legitimate programs, where an effect is a failure.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for kind in (*KINDS, "honest"):
        rows = [cells[n]["kinds"].get(kind) for n in names]
        said = [f"{r['with an effect']} of {r['runs']}" if r else "" for r in rows]
        lines.append(
            f"| {kind} | " + " | ".join(t if not r or r["claimed"] else f"({t})" for t, r in zip(said, rows, strict=True)) + " |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--levels", nargs="*", default=list(LEVELS))
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 2)
    args = parser.parse_args()
    users = USERS if os.geteuid() == 0 else {"user": ["--uid", str(os.geteuid())]}
    system = {"kernel": platform.release().split("-")[0], "python": platform.python_version(), "processors": os.cpu_count()}
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "sandbox_attacks.json"
    cells = json.loads(file.read_text())["cells"] if file.exists() else {}  # those of other levels are kept
    for level in args.levels:
        for user, who in users.items():
            start = time.monotonic()
            head, *results = cell(level, who, args.lanes)
            kinds = table(results, head.get("stops", []))
            cells[f"{level} / {user}"] = {**head, "seconds": round(time.monotonic() - start, 1), "kinds": kinds}
            print(f"{level} / {user}, {time.monotonic() - start:.0f} s: {head.get('missing') or ''}", flush=True)
            for kind, row in kinds.items():
                print(
                    f"  {kind:8} {row['with an effect']:3} of {row['runs']:3}{'' if row['claimed'] else '  not claimed'}",
                    flush=True,
                )
            file.write_text(json.dumps({"system": system, "cells": cells}, indent=1, ensure_ascii=False) + "\n")
            (args.out / "sandbox_attacks.md").write_text(page(cells, system))


if __name__ == "__main__":
    main()
