"""Published systems, each as a claim that can be run: one file a system, in a folder a family.

A file holds the reference, the system as a plain function that gives a Plan (import it, change it, ``guerdon cp`` it), and
``SYSTEM``, with the study that shows the claim. ``get("par")`` finds one; ``guerdon reproduce par`` runs its study.
"""

from __future__ import annotations

from guerdon.systems._find import Found, families, find, get, names
from guerdon.systems._record import about_arm, judge_again, paper_tree, record_of
from guerdon.systems._summary import failures, signed, summary_of
from guerdon.systems._system import Paper, System
from guerdon.systems._verdicts import read_record, verdict_record, verdicts_folder, write_record

__all__ = [
    "Found", "Paper", "System", "about_arm", "failures", "families", "find", "get", "judge_again", "names", "paper_tree",
    "read_record", "record_of", "signed", "summary_of", "verdict_record", "verdicts_folder", "write_record",
]  # fmt: skip
