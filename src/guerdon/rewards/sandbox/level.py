"""How well this machine can confine a program, and what that leaves open."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from guerdon.core import RewardError
from guerdon.rewards.sandbox import bubblewrap, landlock, namespaces, privileges, seccomp
from guerdon.rewards.sandbox.layout import python_layout

# What hostile programs try, in the words of docs/concepts/threat-model.md.
KINDS = ("escape", "forge", "hang", "fork", "memory", "output", "files", "parent", "peek", "survive")
NAMES = ("bubblewrap", "namespaces", "landlock", "rlimits")  # the best first


@dataclass(frozen=True)
class Level:
    """One way to confine programs, on this machine and for this user.

    Args:
        name: "bubblewrap", "namespaces", "landlock" (with seccomp), or "rlimits".
        missing: Why it cannot be had here; "" where it can.
        stops: Kinds of attack that it stops.
        note: What weakens it here; "" where nothing does.
    """

    name: str
    missing: str
    stops: frozenset[str]
    note: str = ""

    @property
    def open_to(self) -> list[str]:
        """Kinds of attack that it cannot stop."""
        return [k for k in KINDS if k not in self.stops]


@functools.cache
def levels() -> tuple[Level, ...]:
    """All levels, the best first, with what is missing for those that cannot be had."""
    checks: dict[str, Callable[[], str]] = {
        "bubblewrap": bubblewrap.why_not,
        "namespaces": namespaces.why_not,
        "landlock": _landlock,
        "rlimits": lambda: "" if os.name == "posix" else "needs a POSIX system",
    }
    return tuple(_level(name, checks[name]()) for name in NAMES)


def level_named(name: str | None) -> Level:
    """A level by its name; None: the best of this machine.

    Raises:
        RewardError: for an unknown name, or a level that cannot be had here.
    """
    found = [lv for lv in levels() if lv.name == name or (name is None and not lv.missing)]
    if not found:
        raise RewardError(f"no level {name!r} of the sandbox; one of {', '.join(NAMES)}" if name else "no sandbox on this system")
    if found[0].missing:
        raise RewardError(f"the sandbox has no level {name!r} here: {found[0].missing}")
    return found[0]


def _own_user() -> bool:
    """Whether programs run as a user of their own where they see the machine's own files."""
    uid = privileges.sandbox_identity()
    return uid is not None and (privileges.can_read_all() or privileges.readable_by(uid, python_layout().read))


def _landlock() -> str:
    return landlock.why_not() or seccomp.why_not()


def _level(name: str, missing: str) -> Level:
    everything = frozenset(KINDS)
    if name == "rlimits":
        stops = everything - {"escape", "memory", "peek", "survive"}
        note = "programs read files, reach the network, and share memory"
        if not _own_user():
            stops -= {"forge", "parent"}  # they are our equals, and can write into our memory
        elif not privileges.readable_by(privileges.FIRST, python_layout().read):
            note += "; as the interpreter lies where only root can read, they read every file"
        if os.geteuid() == 0 and not _own_user():
            stops -= {"fork"}  # no limit on threads holds for user 0
            note += "; they stay user 0, without its capabilities"
        if sys.platform == "darwin":
            stops -= {"fork"}
        return Level(name, missing, stops, note)
    if name == "landlock":
        abi = landlock.abi()
        bare = os.geteuid() == 0 and not _own_user()  # the limit on threads does not hold for user 0
        return Level(name, missing, everything - {"fork"} if bare else everything, f"Landlock ABI {abi}" if 0 < abi < 3 else "")
    return Level(name, missing, everything, "" if not seccomp.why_not() else f"no filter of system calls: {seccomp.why_not()}")
