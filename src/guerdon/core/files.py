"""Where guerdon keeps what is expensive to make, and how it replaces a file."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def cache_folder() -> Path:
    """``$GUERDON_CACHE``, or guerdon's folder among the user's caches.

    That is ``~/Library/Caches/guerdon`` on macOS, ``%LOCALAPPDATA%/guerdon/cache`` on Windows, and elsewhere
    ``$XDG_CACHE_HOME/guerdon`` or ``~/.cache/guerdon``.
    """
    if own := os.environ.get("GUERDON_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "guerdon"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "guerdon" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guerdon"


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends, whole and on the disk; an error leaves all as it was.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp(), "a.txt")
    >>> with replacing(target) as f:
    ...     _ = f.write(b"new")
    >>> target.read_bytes(), len(list(target.parent.iterdir()))
    (b'new', 1)
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replace a file's content by a text in UTF-8, whole and on the disk; lone surrogates become question marks."""
    with replacing(path) as f:
        f.write(text.encode("utf8", "replace"))


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``path`` when the block ends; an error leaves all as it was.

    >>> target = Path(tempfile.mkdtemp(), "model")
    >>> with replacing_folder(target) as new:
    ...     _ = (new / "weights").write_text("1")
    >>> [p.name for p in target.iterdir()], [p.name for p in target.parent.iterdir()]
    (['weights'], ['model'])
    """
    folder = Path(path).expanduser().resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        new, old = Path(place, "new"), Path(place, "old")
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
