"""Checks that run in killable processes, for parsers that hang or crash on hostile text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.rewards.child import Target, shared_pool
from guerdon.rewards.lanes import run_side_by_side
from guerdon.rewards.verifiers.verifier import Checked
from guerdon.rewards.worker import Call


def check_in_processes(target: Target, outputs: Sequence[str], tasks: Sequence[Mapping[str, Any]], limit: float) -> list[Checked]:
    """One call per output, ``function(output, **task)``, of a function of guerdon's own; what goes wrong in a call stays in it.

    Args:
        target: The function; it returns a dict of numbers with "total".
        outputs: [B] texts.
        tasks: [B] plain data.
        limit: Seconds per call; a call that is late costs its process, and its row is not checked.
    """
    pool = shared_pool(target)
    calls: list[Call] = [([output], dict(task), None) for output, task in zip(outputs, tasks, strict=True)]
    found = run_side_by_side(pool, calls, limit, pool.size)
    return [Checked(total, parts, reason) for ((total, parts, reason),) in found]
