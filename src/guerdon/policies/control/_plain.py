"""Bodies, heads and spaces as plain data and back: only guerdon's own small specs, by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from guerdon.core.errors import ModelError, PlanError, nearest
from guerdon.core.world import Box, Discrete


def to_plain(value: Any) -> Any:
    """A spec as JSON can hold it; None for one that is not guerdon's.

    >>> to_plain(Box((2,), -1.0, math.inf))
    {'use': 'Box', 'shape': [2], 'low': -1.0, 'high': 'inf', 'number': 'float32'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if _specs().get(type(value).__name__) is not type(value):
            return None
        return {"use": type(value).__name__} | {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no infinity


def from_plain(tree: Any, where: str) -> Any:
    """What ``to_plain`` wrote.

    >>> from_plain({"use": "Discrete", "n": 3}, "config.json: action")
    Discrete(n=3)

    Raises:
        ModelError: naming the place, for an unknown name or key, or a value that does not fit.
    """
    if isinstance(tree, list):
        return tuple(from_plain(v, where) for v in tree)
    if not isinstance(tree, Mapping):
        return float(tree) if tree in ("inf", "-inf") else tree
    name = str(tree.get("use"))
    if name not in _specs():
        raise ModelError(f"{where}: {name!r} is not a body, head or space; {nearest(name, _specs())}")
    given = {k: from_plain(v, f"{where}.{k}") for k, v in tree.items() if k != "use"}
    known = [f.name for f in dataclasses.fields(_specs()[name])]
    if unknown := [k for k in given if k not in known]:
        raise ModelError(f"{where}: {name} has no {unknown[0]!r}; {nearest(unknown[0], known)}")
    try:
        return _specs()[name](**given)
    except (PlanError, TypeError, ValueError) as e:
        raise ModelError(f"{where}: {e}") from None


@cache
def _specs() -> dict[str, type]:
    from guerdon import policies

    public = [getattr(policies, n) for n in policies.__all__]
    return {c.__name__: c for c in (*public, Box, Discrete) if isinstance(c, type) and dataclasses.is_dataclass(c)}
