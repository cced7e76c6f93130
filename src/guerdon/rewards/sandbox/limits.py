"""How much a program may use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from guerdon.core import PlanError


@dataclass(frozen=True)
class Limits:
    """How much one run of a program may use; what takes more is killed with all that it started.

    Args:
        cpu: Seconds of processor time, all threads together.
        wall: Seconds in all.
        memory: Bytes of address space beside what the interpreter itself takes.
        output: Bytes written to standard output and standard error, and of one value that a call returns.
        scratch: Bytes of all files in the scratch folder; one file may have as many.
        files: Files and folders in the scratch folder.
        open_files: Files open at the same time.
        threads: Threads beside the first; where ``processes`` are allowed, threads and processes together.
        processes: Processes beside the first. A Python program gets none unless asked for.

    Raises:
        PlanError: for a limit that is not above zero (``threads`` and ``processes`` may be zero).
    """

    cpu: float = 3.0
    wall: float = 6.0
    memory: int = 1 << 30
    output: int = 1 << 20
    scratch: int = 32 << 20
    files: int = 256
    open_files: int = 64
    threads: int = 64
    processes: int = 0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value < 0 or (value == 0 and f.name not in ("threads", "processes")):
                raise PlanError(f"Limits: {f.name} must be above 0, got {value}")
