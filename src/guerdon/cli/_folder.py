"""A run's folder: made so that it holds all it needs, found again, and held by one process at a time."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guerdon.cli._main import Stop

LOCK = ".lock"
PATHS = ("path", "path_or_name", "file", "files", "store")  # keys whose relative paths begin beside the plan


def snapshot(tree: Any, beside: Path, folder: Path, *, copy: bool = True) -> tuple[Any, dict[Path, Path]]:
    """The plan's tree as it is in the run's folder: user code copied there, other files named by absolute paths.

    Args:
        tree: Plain data of a plan.
        beside: Folder of the plan, where relative paths begin.
        folder: The run's folder.
        copy: False: only say what the tree would be.

    Returns:
        The new tree, and where each copied file came from (copy -> original).
    """
    places: dict[Path, str] = {}  # folder of user code -> its name inside the run's folder
    copied: dict[Path, Path] = {}

    def code(text: str) -> str:
        path, _, name = text.rpartition(":")
        original = (beside / path).resolve()
        if not original.is_file():
            return f"{original}:{name}"  # loading it says what is wrong
        place = places.setdefault(original.parent, f"code{f'-{len(places) + 1}' if places else ''}")
        for source in [original, *_imported(original, set())]:
            target = folder / place / source.relative_to(original.parent)
            copied[target.resolve()] = source
            if copy:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        return f"{place}/{original.name}:{name}"

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {k: walk(v, str(k)) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v, key) for v in value]
        if isinstance(value, str) and ".py:" in value and "\n" not in value:
            return code(value)
        if isinstance(value, str) and key in PATHS and value and (beside / value).exists():
            return str((beside / value).resolve())
        return value

    return walk(tree), copied


def _imported(file: Path, seen: set[Path]) -> Iterator[Path]:
    """Files beside ``file`` that it imports, and what those import."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):
        return  # loading it says what is wrong
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and n.level == 0]
    for name in names:
        top = file.parent / name.split(".")[0]
        found = sorted(top.rglob("*.py")) if (top / "__init__.py").is_file() else [top.with_suffix(".py")]
        for neighbour in found:
            if neighbour.is_file() and neighbour not in seen:
                seen.add(neighbour)
                yield neighbour
                yield from _imported(neighbour, seen)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """A new run's folder, held by this process. Where the run ends without a checkpoint, all that was made goes again.

    Raises:
        Stop: where the folder holds something that is not a run's.
    """
    if folder.exists() and not (folder / LOCK).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Stop(f"{folder} exists and is not a run; choose another place: --out FOLDER or --name NAME")
    new = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        if (folder / "events.jsonl").exists():
            raise Stop(f"{folder} holds a run since a moment ago; go on: guerdon train --resume {folder}")
        for leftover in folder.iterdir():  # of a process that was killed before it began
            if leftover.name != LOCK:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            yield
        finally:
            if not any(folder.glob("checkpoints/step-*/state.json")):
                shutil.rmtree(folder, ignore_errors=True)
                for parent in new[1:]:
                    if not any(parent.iterdir()):
                        parent.rmdir()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder."""
    with open(folder / LOCK, "a", encoding="utf8") as f:
        try:
            import fcntl
        except ImportError:  # not on this system: nothing keeps others out
            yield
            return
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Stop(f"{folder}: another process is at work on this run") from None
        yield


def is_finished(folder: Path) -> bool:
    """Whether the last event of a run is its end."""
    try:
        with open(folder / "events.jsonl", "rb") as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - 4096))
            last = f.read().splitlines()[-1]
        return json.loads(last).get("event") == "end"
    except (OSError, IndexError, ValueError):
        return False


def members(folder: Path) -> list[Path]:
    """The runs in a folder: itself, or one for each seed, in order."""
    seeds = [p for p in folder.glob("seed-*") if (p / "plan.yaml").exists() and p.name[5:].isdigit()]
    return sorted(seeds, key=lambda p: int(p.name[5:])) or [folder]


def newest_unfinished(out: Path) -> Path:
    """The run under ``out`` that was last written to and has not ended; of several seeds, the folder that holds them."""
    events = [*out.glob("*/events.jsonl"), *out.glob("*/seed-*/events.jsonl")]
    for file in sorted(events, key=lambda p: p.stat().st_mtime, reverse=True):
        if not is_finished(file.parent):
            return file.parent.parent if file.parent.parent != out else file.parent
    raise Stop(f"{out}: no unfinished run here{'' if out.is_dir() else ' (no such folder)'}; name it: guerdon train --resume RUN")
