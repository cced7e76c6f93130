"""The same world of its own, made by bubblewrap (``bwrap``). Standard library only: ``finish`` runs inside the sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

WORLD = "/.world"  # where the root is mounted once more, to be entered by chroot
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC = 1, 2, 4, 8, 32, 4096, 16384  # flags of mount
# A mount's flags as statvfs gives them -> as mount takes them. In a user namespace they may not be taken off.
KEPT = {1: RDONLY, 2: NOSUID, 4: NODEV, 8: NOEXEC, 1024: 1024, 2048: 2048, 4096: 1 << 21}
SET_PDEATHSIG = 1  # of prctl
SYS_ADMIN = 21  # number of a capability
NEEDS = ("CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SETPCAP")  # what `finish` and the drop of privileges take


def privileged() -> bool:
    """Whether this process is root and may make namespaces without a user namespace around them."""
    if os.geteuid() != 0:
        return False
    with open("/proc/self/status") as f:
        held = next((line.split()[1] for line in f if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> SYS_ADMIN & 1)


@functools.cache
def version() -> tuple[int, ...]:
    """The version of bwrap, () where there is none.

    Raises:
        OSError: where it cannot be run.
    """
    import re
    import shutil
    import subprocess  # here, as what runs inside should start fast

    if shutil.which("bwrap") is None:
        return ()
    told = subprocess.run(["bwrap", "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20).stdout
    return tuple(int(n) for n in re.findall(r"\d+", told))


def command(
    layout: Any,
    argv: Sequence[str],
    *,
    uid: int | None,
    environment: Mapping[str, str] | None = None,
    hostname: str = "sandbox",
) -> list[str]:
    """The command line that starts ``argv`` as the first process of a world; its first act must be ``finish``.

    Open files that are passed on (``pass_fds``) stay open. The outer process only waits: it ends with the inner one's exit code,
    and is killed with ``end``. It does not end with us: what bwrap offers for this ends it with the *thread* that started it.
    So the process inside should end when its connection to us does.

    Args:
        layout: Has the attributes of a ``Layout``.
        argv: Program and arguments; the program is in the layout.
        uid: Who the first process will become, so that the scratch folder is open to it; None stays this user.
        environment: All that is seen of the environment.
        hostname: Name of the machine as seen inside.
    """
    known = version()
    found = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    needs = list(NEEDS)
    if not privileged():
        found += ["--unshare-user"]
    elif uid is not None:
        needs += ["CAP_SETUID", "CAP_SETGID"]
    found += [word for name in needs for word in ("--cap-add", name)]
    found += ["--hostname", hostname, "--new-session", "--as-pid-1", *(["--clearenv"] if known >= (0, 5) else [])]
    found += [word for name, text in (environment or {}).items() for word in ("--setenv", name, text)]
    # Folders that bwrap makes unasked above a mount are closed to other users.
    places = [*layout.read, *layout.devices, *(place for _, place in layout.links), layout.scratch, WORLD + "/."]
    for folder in sorted({f for place in places for f in _above(place)}):
        found += ["--dir", folder]
    for path in layout.read:
        found += ["--ro-bind", path, path]
    for path in layout.devices:
        found += ["--dev-bind", path, path]
    for target, place in layout.links:
        found += ["--symlink", target, place]
    if uid is not None:
        found += ["--perms", "1777"]
    if known >= (0, 7):
        found += ["--size", str(layout.scratch_bytes)]
    found += ["--tmpfs", layout.scratch, "--remount-ro", "/", "--chdir", layout.scratch]
    return [*found, "--", *argv]


def end(outer: int) -> None:
    """Kill the outer process and all inside, for both kinds of world.

    The kernel sends a signal on a parent's death only if the parent might have sent it, and bwrap, started by root, has given up
    its right to signal other users. So where the first process inside became one, killing bwrap alone would leave it running.
    """
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(outer, signal.SIGSTOP)  # so that no child is made after we looked
        with open(f"/proc/{outer}/task/{outer}/children") as f:
            for first in f.read().split():
                os.kill(int(first), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(outer, signal.SIGKILL)


def _above(path: str) -> list[str]:
    """All folders above a path but the root.

    >>> _above("/usr/lib/x")
    ['/usr', '/usr/lib']
    """
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]


def finish(layout: Any, uid: int | None) -> int | None:
    """What bwrap leaves to do, before privileges are dropped.

    Ask to die with the outer process; limit the size of the scratch folder and the number of its files; protect the devices; move
    the root below the namespace's own by chroot, since who is in a chroot cannot make a user namespace, whatever else it may.

    Returns:
        The user to drop to afterwards: ``uid``, or None where there is a user namespace, which has no other user.

    Raises:
        OSError: naming the step that failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(step: str, name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments):
            code = ctypes.get_errno()
            raise OSError(code, f"{step}: {os.strerror(code)}")

    if uid is not None:
        try:
            os.setegid(uid)  # on the way there anyway
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise OSError(e.errno, f"group {uid}: {e.strerror}") from None
            uid = None  # not an id of this user namespace
    call("death signal", "prctl", SET_PDEATHSIG, *(ctypes.c_ulong(n) for n in (signal.SIGKILL, 0, 0, 0)))
    sizes = f"size={layout.scratch_bytes},nr_inodes={layout.scratch_files + 1}".encode()
    scratch = os.fsencode(layout.scratch)
    call("limits of the scratch folder", "mount", None, scratch, None, ctypes.c_ulong(REMOUNT | NOSUID | NODEV), sizes)
    for path in layout.devices:  # bwrap binds them writable: their owner could take them from the whole machine by chmod
        old = os.statvfs(path).f_flag
        flags = REMOUNT | BIND | RDONLY | NOSUID | NOEXEC
        for seen, new in KEPT.items():
            flags |= new if old & seen else 0
        call(f"read-only {path}", "mount", None, os.fsencode(path), None, ctypes.c_ulong(flags), None)
    call("the root below itself", "mount", b"/", WORLD.encode(), None, ctypes.c_ulong(BIND | REC), None)
    os.chroot(WORLD)
    os.chdir(layout.scratch)
    return uid


@functools.cache
def why_not(layout: Any = None) -> str:
    """Why bubblewrap makes no world here, in one line; "" where it does. Tried once, by starting this interpreter in one.

    Args:
        layout: What to show (hashable); that of this interpreter if None.
    """
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux"
    import subprocess

    if layout is None:
        from guerdon.rewards.sandbox.layout import python_layout

        layout = python_layout()
    try:
        known = version()
        if not known:
            return "bubblewrap is not installed (no program 'bwrap'; most systems call the package bubblewrap)"
        if known < (0, 4) or (privileged() and known < (0, 5)):
            return f"bubblewrap {'.'.join(map(str, known))} is too old (0.4, for root 0.5)"
        with open(__file__) as f:
            argv = [sys.executable, "-I", "-S", "-B", "-c", f.read(), layout.scratch, str(layout.scratch_bytes), *layout.devices]
        argv = command(layout, argv, uid=None)
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"bubblewrap cannot be tried: {e}"
    if done.returncode == 0:
        return ""
    return done.stderr.strip().rpartition("\n")[2] or f"bubblewrap: the trial ended with code {done.returncode}"


def _trial() -> None:
    finish(SimpleNamespace(scratch=sys.argv[1], scratch_bytes=int(sys.argv[2]), scratch_files=4, devices=sys.argv[3:]), None)
    assert os.getpid() == 1 and os.listdir(".") == []


if __name__ == "__main__":
    try:
        _trial()
    except OSError as e:
        sys.exit(f"bubblewrap: {e.strerror or e}")
