"""Where guerdon keeps what is expensive to make."""

from __future__ import annotations

import os
import sys
from pathlib import Path


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
