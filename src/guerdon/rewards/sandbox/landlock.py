"""Which files a process may reach, by Landlock: a Linux process can give up rights without being root (Linux 5.13 and later).

A ruleset is made once, by the process that forks, and holds for a process and all that it starts from the moment it is enforced.
What a kernel covers grows with its Landlock version; ``handled`` names it, so that nobody relies on what is not there. No version
stops a change of owner, mode, times or attributes of a file, nor the questions whether it exists and how large it is.
Runs in processes without guerdon, so the standard library only. See ``man 7 landlock``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls; the same numbers on x86-64 and arm64
RULE_PATH_BENEATH, ASK_VERSION, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 1, 1, 38, 39
QUIET = 0b101  # no audit records of what is refused, here and in nested rulesets (version 7)

# Rights to files as <linux/landlock.h> numbers them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << n for n in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15  # versions 2, 3 and 5
BIND_TCP, CONNECT_TCP = 1, 2
ABSTRACT_SOCKETS, SIGNALS = 1, 2

READ = READ_FILE | READ_DIR
WRITE = (
    READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER
)  # no device, socket, FIFO
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others are rights to folders

ADDED = {  # what a version of Landlock can refuse beside the ones before it
    1: ("read", "write", "execute", "ptrace"),
    3: ("truncate",),
    4: ("tcp",),
    5: ("device ioctl",),
    6: ("abstract sockets", "signals"),
}

_libc = ctypes.CDLL(None, use_errno=True)
_word = ctypes.c_ulong


def abi() -> int:
    """Version of the kernel's Landlock; 0 where there is none."""
    return max(0, _ask_version()) if sys.platform.startswith("linux") else 0


def why_not() -> str:
    """Why nothing can be enforced on this system; "" where it can."""
    if not sys.platform.startswith("linux"):
        return f"Landlock is a part of Linux; this is {sys.platform}"
    if _ask_version() > 0:
        return ""
    if ctypes.get_errno() == errno.EOPNOTSUPP:
        return "Landlock is switched off on this system (the kernel's boot option lsm= does not name it)"
    return f"the kernel offers no Landlock ({os.strerror(ctypes.get_errno())}); Linux 5.13 and later can"


def _ask_version() -> int:
    return _libc.syscall(_word(CREATE_RULESET), _word(0), _word(0), _word(ASK_VERSION))


def covered(version: int) -> frozenset[str]:
    """What a version of Landlock can refuse, by name.

    >>> sorted(covered(3))
    ['execute', 'ptrace', 'read', 'truncate', 'write']
    """
    return frozenset(name for since, names in ADDED.items() if since <= version for name in names)


class Ruleset:
    """Rights that a process keeps, ready to be enforced.

    Args:
        descriptor: The kernel's ruleset.
        version: The Landlock version that it was made for.
        handled: What is refused beside the rights that are granted: "read", "write", "execute", "ptrace" (of processes outside),
            "truncate", "tcp", "device ioctl", "abstract sockets", "signals" (both: of processes outside).
    """

    def __init__(self, descriptor: int, version: int, handled: frozenset[str]):
        self.descriptor, self.version, self.handled = descriptor, version, handled

    @classmethod
    def make(
        cls,
        read: Iterable[str] = (),
        execute: Iterable[str] = (),
        write: Iterable[str] = (),
        *,
        network: bool = False,
        isolate: bool = True,
        version: int = 0,
    ) -> Ruleset:
        """A ruleset of paths, each a file or a folder with all below it. Paths that are not there are left out.

        Args:
            read: May be read.
            execute: May be read and executed.
            write: May be read, written, made, moved and removed; no devices, sockets or pipes with a name are made. A folder that
                programs are run from as well is given in ``execute`` too.
            network: Leave TCP alone (refused from version 4 on; UDP in no version).
            isolate: Refuse signals to processes outside and their abstract sockets (version 6).
            version: As if the kernel had this version; by default the version it has.

        Raises:
            OSError: where the kernel offers no Landlock.
        """
        version = _usable(version)
        descriptor = _create(
            rights_of(version),
            BIND_TCP | CONNECT_TCP if version >= 4 and not network else 0,
            ABSTRACT_SOCKETS | SIGNALS if version >= 6 and isolate else 0,
            version,
        )
        for paths, rights in ((read, READ), (execute, READ | EXECUTE), (write, WRITE)):
            for path in paths:
                _grant(descriptor, path, rights & rights_of(version))
        left_alone = (("tcp",) if network else ()) + (() if isolate else ("abstract sockets", "signals"))
        return cls(descriptor, version, covered(version).difference(left_alone))

    @classmethod
    def scopes_only(cls, version: int = 0) -> Ruleset:
        """A ruleset that leaves files and network alone, for a child of a confined process: it can trace none outside, its parent
        among them, and from version 6 on signal none. In version 1 it cannot move files between folders either.
        """
        version = _usable(version)
        if version >= 6:
            descriptor = _create(0, 0, ABSTRACT_SOCKETS | SIGNALS, version)
        else:  # a ruleset must hold something: device files, which nobody makes, and moves, which each ruleset would refuse
            descriptor = _create(rights_of(version) & (MAKE_CHAR | REFER), 0, 0, version)
            _grant(descriptor, "/", rights_of(version) & REFER)
        return cls(descriptor, version, covered(version) & {"ptrace", "abstract sockets", "signals"})

    def enforce(self) -> None:
        """Hold this process, which has one thread, and all that it starts to the ruleset, for good.

        The ruleset is closed in this process: who holds it could add rights to it, for those that enforce it later.

        Raises:
            OSError: where the kernel refuses.
        """
        if _libc.prctl(PR_SET_NO_NEW_PRIVS, _word(1), _word(0), _word(0), _word(0)):
            raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
        if _libc.syscall(_word(RESTRICT_SELF), _word(self.descriptor), _word(QUIET if self.version >= 7 else 0)):
            raise OSError(ctypes.get_errno(), "the Landlock ruleset cannot be enforced")
        self.close()

    def close(self) -> None:
        """Free the kernel's ruleset in this process."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def rights_of(version: int) -> int:
    """All rights to files that a version knows."""
    return (1 << 13) - 1 | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | (IOCTL_DEV if version >= 5 else 0)


def _usable(version: int) -> int:
    if reason := why_not():
        raise OSError(errno.ENOSYS, reason)
    return min(version or abi(), abi())


def _create(files: int, tcp: int, scopes: int, version: int) -> int:
    packed = struct.pack("=QQQ", files, tcp, scopes)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    descriptor = _libc.syscall(_word(CREATE_RULESET), packed, _word(len(packed)), _word(0))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "no Landlock ruleset can be made")
    _libc.prctl(_word(PR_GET_NO_NEW_PRIVS), *[_word(0)] * 4)  # looks the function up once, for all children
    return descriptor


def _grant(descriptor: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # nothing to reach there
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_A_FILE
        rule = struct.pack("=Qi", rights, place)
        if rights and _libc.syscall(_word(ADD_RULE), _word(descriptor), _word(RULE_PATH_BENEATH), rule, _word(0)):
            raise OSError(ctypes.get_errno(), "no Landlock rule can be made", path)
    finally:
        os.close(place)
