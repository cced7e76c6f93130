"""Specs of policies as plain data and back, and the files of a saved policy: only guerdon's own small specs, by name."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from guerdon.core.errors import ModelError, PlanError, nearest
from guerdon.core.hub import line_of
from guerdon.core.world import Box, Discrete

FORMAT = 1  # of config.json
_INFINITE = ("inf", "-inf")


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
    if value in _INFINITE and isinstance(value, str):
        return {"text": value}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no infinity


def from_plain(tree: Any, where: str, what: str = "a spec of guerdon.policies") -> Any:
    """What ``to_plain`` wrote; ``what`` says in messages which specs are expected.

    >>> from_plain({"use": "Discrete", "n": 3}, "config.json: action")
    Discrete(n=3)

    Raises:
        ModelError: naming the place, for an unknown name or key, or a value that does not fit.
    """
    if isinstance(tree, list):
        return tuple(from_plain(v, where, what) for v in tree)
    if not isinstance(tree, Mapping):
        return float(tree) if isinstance(tree, str) and tree in _INFINITE else tree
    if tree.get("text") in _INFINITE and len(tree) == 1:
        return tree["text"]
    name = str(tree.get("use"))
    if name not in _specs():
        raise ModelError(f"{where}: {name!r} is not {what}; {nearest(name, _specs())}")
    given = {k: from_plain(v, f"{where}.{k}", what) for k, v in tree.items() if k != "use"}
    known = {f.name: str(f.type) for f in dataclasses.fields(_specs()[name])}
    if unknown := [k for k in given if k not in known]:
        raise ModelError(f"{where}: {name} has no {unknown[0]!r}; {nearest(unknown[0], known)}")
    for key, value in given.items():
        if not _is_a(known[key], value):
            raise ModelError(f"{where}: {name}: {key} is {value!r}, expected {known[key]}")
    try:
        return _specs()[name](**given)
    except (PlanError, TypeError, ValueError) as e:
        raise ModelError(f"{where}: {e}") from None


def _is_a(kind: str, value: Any) -> bool:
    """Whether a value is what a field's annotation asks for; annotations other than of plain values are not looked at."""
    if kind.startswith("tuple[") and kind.endswith(", ...]"):
        return isinstance(value, tuple) and all(_is_a(kind[6:-6], v) for v in value)
    types = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}.get(kind)
    return types is None or (isinstance(value, types) and (kind == "bool" or not isinstance(value, bool)))


def read_config(folder: Path, name: str, made_by: str, whose: str) -> dict[str, Any]:
    """The config.json of a saved policy.

    Args:
        folder: Where it is.
        name: What messages call the folder.
        made_by: What its key ``guerdon`` must say.
        whose: Which kind of policy that is, in words.

    Raises:
        ModelError: where it cannot be read, or is another kind's.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ModelError(f"{name}: config.json cannot be read: {line_of(e)}") from None
    if not isinstance(config, dict) or config.get("guerdon") != made_by:
        raise ModelError(f"{name}: config.json is not that of {whose}")
    if config.get("format") != FORMAT:
        raise ModelError(f"{name}: config.json has format {config.get('format')!r}, expected {FORMAT}")
    if config.get("dtype") not in ("float32", "float64"):
        raise ModelError(f"{name}: config.json: dtype is {config.get('dtype')!r}, expected float32 or float64")
    return config


@cache
def _specs() -> dict[str, type]:
    from guerdon import policies

    public = [getattr(policies, n) for n in policies.__all__]
    return {c.__name__: c for c in (*public, Box, Discrete) if isinstance(c, type) and dataclasses.is_dataclass(c)}
