"""Giving up what a process may do, for good. Standard library only: this file runs inside the sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import stat
import sys
from collections.abc import Iterable

FIRST, LAST = 61184, 65519  # ids for short-lived use, without an entry in passwd
APART = 61  # between the ids of two processes that started one after the other; more than one of them has lanes
DAC_READ_SEARCH, SETGID, SETUID, SETPCAP = 2, 6, 7, 8  # numbers of capabilities
VERSION = 0x20080522  # of the capability calls: two words of 32 bits for each set
SET_PDEATHSIG, GET_PDEATHSIG, GET_DUMPABLE, SET_DUMPABLE, SET_KEEPCAPS = 1, 2, 3, 4, 8  # of prctl
CAPBSET_READ, CAPBSET_DROP, SET_SECUREBITS, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS, CAP_AMBIENT = 23, 24, 28, 38, 39, 47
AMBIENT_IS_SET, AMBIENT_CLEAR_ALL = 1, 4
NO_ROOT = 0b11 | 0x20 | 0xC0  # uid 0 means nothing; capabilities neither kept nor made ambient; none of it can be undone
KEEP_CAPS = 0x10  # a change of user takes none


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, a: int = 0, b: int = 0) -> int:
    return int(_libc().prctl(option, *(ctypes.c_ulong(n) for n in (a, b, 0, 0))))


def _failed(step: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{step}: {os.strerror(code)}")


def capabilities() -> dict[str, int]:
    """The sets of this process as bit masks: "effective", "permitted", "inheritable"; all 0 where the system has none."""
    names = [n for n, _ in _Sets._fields_]
    if not sys.platform.startswith("linux"):
        return dict.fromkeys(names, 0)
    sets = (_Sets * 2)()
    if _libc().capget(ctypes.byref(_Header(VERSION, 0)), ctypes.byref(sets)):
        raise _failed("capget")
    return {n: getattr(sets[0], n) | getattr(sets[1], n) << 32 for n in names}


def _mapped(number: int) -> bool:
    """Whether an id exists in this user namespace, for users and for groups."""
    for kind in ("uid_map", "gid_map"):
        try:
            with open(f"/proc/self/{kind}") as f:
                ranges = [[int(n) for n in line.split()] for line in f]
        except OSError:
            continue
        if not any(inside <= number < inside + count for inside, _, count in ranges):
            return False
    return True


def sandbox_identity(lane: int = 0) -> int | None:
    """The user and group id that a lane of the sandbox drops to; None where this process cannot change its own.

    Processes and lanes get ids of their own without asking each other: a number from the process id, plus the lane.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return None
    held = capabilities()["effective"]
    if not (held >> SETUID & 1 and held >> SETGID & 1):
        return None
    import pwd

    taken = {entry.pw_uid for entry in pwd.getpwall()}
    for step in range(LAST - FIRST + 1):
        number = FIRST + (os.getpid() * APART + lane + step) % (LAST - FIRST + 1)
        if number not in taken and _mapped(number):
            return number
    return None


def readable_by(uid: int, paths: Iterable[str], *, ancestors: bool = True) -> bool:
    """Whether the permission bits let a user (with a group of the same number) read these paths.

    Args:
        uid: The user.
        paths: Files to read, folders to enter and list.
        ancestors: Whether all folders above must let it pass too; not where the sandbox makes them anew.
    """

    def allowed(path: str, need: int) -> bool:
        found = os.stat(path)
        shift = 6 if found.st_uid == uid else 3 if found.st_gid == uid else 0
        return found.st_mode >> shift & need == need

    for path in paths:
        try:
            need = 5 if stat.S_ISDIR(os.stat(path).st_mode) else 4
            # Both the path as it is written and what its links lead to.
            starts = (os.path.abspath(path), os.path.realpath(path)) if ancestors else ()
            above = {folder for start in starts for folder in _above(start)}
            if not allowed(path, need) or not all(allowed(p, 1) for p in above):
                return False
        except OSError:
            return False
    return True


def _above(path: str) -> list[str]:
    """All folders above a path."""
    found = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        found.append(path)
    return found


def can_read_all() -> bool:
    """Whether this process could keep the right to read any file beyond a change of user."""
    return bool(sys.platform.startswith("linux") and capabilities()["effective"] >> DAC_READ_SEARCH & 1)


def drop(uid: int | None, *, read_all: bool = False) -> None:
    """Give up every privilege of this process, which must have one thread: identity, groups, capabilities, setuid programs.

    It can no longer be traced by its equals, and leaves no core. A signal asked for on the parent's death stays asked for.

    Args:
        uid: User and group to become; None stays the same user (also 0, then without any of root's capabilities).
        read_all: Keep one right: to read whatever the permission bits say, until another program is executed. For an interpreter
            in a folder that only root can read.

    Raises:
        OSError: where something is left that should be gone.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        if uid is not None:
            os.setgroups([])
            os.setregid(uid, uid)
            os.setreuid(uid, uid)
        return
    farewell = ctypes.c_int()
    _libc().prctl(GET_PDEATHSIG, ctypes.byref(farewell), 0, 0, 0)
    parent = os.getppid()
    bounded = bool(capabilities()["effective"] >> SETPCAP & 1)
    if bounded:
        if _prctl(SET_SECUREBITS, NO_ROOT | (KEEP_CAPS if read_all else 0)):
            raise _failed("securebits")
        for number in range(64):
            if _prctl(CAPBSET_READ, number) == 1 and _prctl(CAPBSET_DROP, number):
                raise _failed(f"bounding set, capability {number}")
    kept = 1 << DAC_READ_SEARCH if read_all else 0
    if uid is None:
        with contextlib.suppress(PermissionError):  # a normal user keeps its groups
            os.setgroups([])
    else:
        if kept and not bounded and _prctl(SET_KEEPCAPS, 1):
            raise _failed("keep capabilities")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _prctl(CAP_AMBIENT, AMBIENT_CLEAR_ALL)  # fails where there is no ambient set yet
    if _capset(kept):
        raise _failed("capset")
    if _prctl(SET_NO_NEW_PRIVS, 1):
        raise _failed("no_new_privs")
    if _prctl(SET_DUMPABLE, 0):
        raise _failed("dumpable")
    if farewell.value:  # a change of user has cleared it
        _prctl(SET_PDEATHSIG, farewell.value)
        if os.getppid() != parent:
            os._exit(1)
    _verify(uid, bounded, kept)


def _capset(mask: int) -> int:
    """Hold these capabilities and no others; hand none on."""
    sets = (_Sets * 2)(*(_Sets(mask >> shift & 0xFFFFFFFF, mask >> shift & 0xFFFFFFFF, 0) for shift in (0, 32)))
    return int(_libc().capset(ctypes.byref(_Header(VERSION, 0)), ctypes.byref(sets)))


def _verify(uid: int | None, bounded: bool, kept: int) -> None:
    left = [name for name, mask in capabilities().items() if mask & ~kept]
    left += ["ambient" for n in range(64) if _prctl(CAP_AMBIENT, AMBIENT_IS_SET, n) == 1][:1]
    left += ["bounding" for n in range(64) if bounded and _prctl(CAPBSET_READ, n) == 1][:1]
    if left:
        raise OSError(f"capabilities are left: {', '.join(left)}")
    if uid is not None and (os.getresuid() != (uid,) * 3 or os.getresgid() != (uid,) * 3 or set(os.getgroups()) - {uid}):
        raise OSError(f"still user {os.getresuid()}, group {os.getresgid()}, groups {os.getgroups()}, expected {uid}")
    if uid:
        try:
            os.setuid(0)
        except PermissionError:
            pass
        else:
            raise OSError("user 0 can be had again")
    if _prctl(GET_NO_NEW_PRIVS) != 1 or _prctl(GET_DUMPABLE) != 0:
        raise OSError("no_new_privs and dumpable are not as set")
