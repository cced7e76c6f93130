"""Which code a record was made with."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def checkout() -> Path | None:
    """The checkout that this code runs from; None for an installed package."""
    root = PACKAGE.parents[1]
    return root if PACKAGE.parent.name == "src" and (root / "pyproject.toml").is_file() else None


def source_hash(file: Path) -> str:
    """16 hex digits that change with any line of guerdon's code, or of the file."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def commit_of(files: Iterable[Path] = ()) -> str:
    """The commit that guerdon's code is at, ``-dirty`` where it (or one of the files) differs from it; "" without one."""
    root = checkout()
    if root is None:
        return ""
    with suppress(OSError, subprocess.SubprocessError):  # no git, or no repository: nothing to tell
        head = _git(root, "rev-parse", "HEAD")
        _git(root, "ls-files", "--error-unmatch", str(PACKAGE / "__init__.py"))  # not some repository further out
        inside = [str(f.resolve()) for f in files if f.resolve().is_relative_to(root)]
        changed = _git(root, "status", "--porcelain", "--untracked-files=all", "--", str(PACKAGE), *inside)
        return f"{head}-dirty" if changed else head
    return ""


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
