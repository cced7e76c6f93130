"""Published systems, each as a claim that can be run: one file a system, in a folder a family.

A file holds the reference, the system as a plain function that gives a Plan (import it, change it, ``guerdon cp`` it), and
``SYSTEM``, with the study that shows the claim. ``get("par")`` finds one; ``guerdon reproduce par`` runs its study.
"""

from __future__ import annotations

from guerdon.systems._find import Found, families, find, get, names
from guerdon.systems._system import Paper, System

__all__ = ["Found", "Paper", "System", "families", "find", "get", "names"]
