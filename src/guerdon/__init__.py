"""guerdon: turn feedback into rewards you can trust, and improve anything that generates against them.

The rooms: ``core`` (the types), ``feedback``, ``policies``, ``samplers``, ``rewards``, ``transforms``, ``selection``,
``advantages``, ``objectives``, ``run`` (plan and loop), ``audit``, ``tasks``, ``worlds`` (what a policy acts in), ``study``
(experiments that can fail), ``systems`` (published methods as such experiments), ``testing``. Names below load on first use,
so that ``import guerdon`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "Batch": "core",
    "Items": "core",
    "Pairs": "core",
    "PolicyOutput": "core",
    "RewardOutput": "core",
    "Rollout": "core",
    "Streams": "core",
    "GuerdonError": "core.errors",
    "Plan": "run",
    "Result": "run",
    "lazy": "run",
}
_ROOMS = (
    "advantages",
    "audit",
    "core",
    "feedback",
    "objectives",
    "policies",
    "rewards",
    "run",
    "samplers",
    "selection",
    "study",
    "systems",
    "tasks",
    "testing",
    "transforms",
    "worlds",
)
__all__ = ["__version__", *_LAZY, *_ROOMS]

if TYPE_CHECKING:
    from guerdon.core import Batch as Batch
    from guerdon.core import Items as Items
    from guerdon.core import Pairs as Pairs
    from guerdon.core import PolicyOutput as PolicyOutput
    from guerdon.core import RewardOutput as RewardOutput
    from guerdon.core import Rollout as Rollout
    from guerdon.core import Streams as Streams
    from guerdon.core.errors import GuerdonError as GuerdonError
    from guerdon.run import Plan as Plan
    from guerdon.run import Result as Result
    from guerdon.run import lazy as lazy


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"guerdon.{_LAZY[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"guerdon.{name}")
    raise AttributeError(f"module 'guerdon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
