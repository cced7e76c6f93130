"""What is expensive to make and fully determined by its recipe is made once and kept in a folder named after the recipe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from guerdon.core.files import cache_folder

RECIPE = "guerdon.json"  # written last: a folder without it is not finished
_STALE = 24 * 3600.0  # seconds after which a leftover of a killed process is cleared away


def recipe_key(recipe: Mapping[str, Any]) -> str:
    """16 hex digits that change with any value of the recipe, and with nothing else.

    >>> recipe_key({"a": 1, "b": 2}) == recipe_key({"b": 2, "a": 1}) != recipe_key({"a": 1, "b": 3})
    True
    """
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def cached(name: str, recipe: Mapping[str, Any], make: Callable[[], Callable[[Path], Mapping[str, Any]]]) -> Path:
    """The folder that the recipe describes, made now when the cache lacks it.

    A folder is written under a temporary name and renamed when complete, so at any moment it is there as a whole or not at
    all. Two processes that make the same thing at once both succeed; the second to finish drops its own copy.

    Args:
        name: First part of the folder's name, for people who look into the cache.
        recipe: Everything that determines the content, as plain values.
        make: Does the long work and returns a function that writes files into an empty folder and returns notes (seconds,
            versions) to be kept beside the recipe. Nothing is on disk before the long work is over.
    """
    root = cache_folder() / "base"
    final = root / f"{name}-{recipe_key(recipe)}"
    if (final / RECIPE).is_file():
        return final
    write = make()
    root.mkdir(parents=True, exist_ok=True)
    _clear_stale(root)
    part = Path(tempfile.mkdtemp(prefix=f".part-{name}-", dir=root))
    try:
        notes = write(part)
        (part / RECIPE).write_text(json.dumps({"recipe": recipe, **notes}, indent=2) + "\n", encoding="utf-8")
        part.chmod(0o755)  # mkdtemp makes it private
        _publish(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _publish(part: Path, final: Path) -> None:
    if final.exists() and not (final / RECIPE).is_file():  # someone deleted files in it by hand
        shutil.rmtree(final, ignore_errors=True)
    try:
        os.rename(part, final)
    except OSError:  # a folder that is not empty cannot be replaced: another process was faster
        if not (final / RECIPE).is_file():
            raise


def _clear_stale(root: Path) -> None:
    for leftover in root.glob(".part-*"):
        try:
            old = time.time() - leftover.stat().st_mtime > _STALE
        except FileNotFoundError:  # its owner has just renamed it
            continue
        if old:
            shutil.rmtree(leftover, ignore_errors=True)
