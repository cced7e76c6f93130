"""Which papers a plan's parts come from, read from their docstrings."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from guerdon.run.plan import Plan
from guerdon.run.spec import Lazy, resolve

_ARXIV = re.compile(r"(?:([A-Z][^().:;,]{1,60}?) )?\(?arXiv:(\d{4}\.\d{4,5})")


def references_of(plan: Plan) -> list[dict[str, str]]:
    """``[{"title", "arxiv", "used_for"}]`` of all atoms in the plan, each paper once."""
    found: dict[str, dict[str, str]] = {}
    for atom in _atoms(vars(plan)):
        kind = getattr(resolve(atom.use), "__self__", Lazy) if isinstance(atom, Lazy) else type(atom)
        for title, number in _ARXIV.findall(kind.__doc__ or ""):
            found.setdefault(number, {"title": title.strip(), "arxiv": number, "used_for": kind.__name__})
    return list(found.values())


def _atoms(value: Any) -> list[Any]:
    if isinstance(value, Lazy):
        return [value, *_atoms(dict(value.kwargs))]
    if isinstance(value, dict):
        return [a for v in value.values() for a in _atoms(v)]
    if isinstance(value, list | tuple):
        return [a for v in value for a in _atoms(v)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [value, *(a for f in dataclasses.fields(value) for a in _atoms(getattr(value, f.name)))]
    return []
