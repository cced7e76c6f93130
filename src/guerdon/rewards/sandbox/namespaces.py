"""A world of its own by the kernel's namespaces. Standard library only: this file runs inside the sandbox.

Files: a new root in memory that shows only the layout, read-only. Network: no interface but a loopback that is down. Processes:
those inside see only each other, the first of them cannot be killed by the others, and its end is the end of all.
"""

from __future__ import annotations

import ctypes
import functools
import os
import select
import signal
import sys
from types import SimpleNamespace
from typing import Any

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
# A mount's flags as statvfs gives them -> as mount takes them. In a user namespace they may not be taken off.
KEPT = {1: RDONLY, 2: NOSUID, 4: NODEV, 8: NOEXEC, 1024: 1024, 2048: 2048, 4096: 1 << 21}
DETACH = 2  # of umount2
SYS_ADMIN = 21  # number of a capability
SET_PDEATHSIG = 1  # of prctl


def _call(step: str, name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{step}: {os.strerror(code)}")


def _mount(step: str, source: str | None, place: str, kind: str | None, flags: int, data: str | None = None) -> None:
    text = [None if t is None else os.fsencode(t) for t in (source, place, kind, data)]
    _call(step, "mount", text[0], text[1], text[2], ctypes.c_ulong(flags), text[3])


def privileged() -> bool:
    """Whether this process is root and may make namespaces without a user namespace around them."""
    if os.geteuid() != 0:
        return False
    with open("/proc/self/status") as f:
        held = next((line.split()[1] for line in f if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> SYS_ADMIN & 1)


def enter(layout: Any, uid: int | None, *, hostname: str = "sandbox") -> int | None:
    """Go on in a new world, as its first process.

    The process that calls this (one thread) becomes the outer one: it only waits for the first process inside, ends with its
    exit code (128 + n for signal n), and takes it along when killed. Only the inner one returns. Its open files stay open.

    Args:
        layout: Has the attributes of a ``Layout``.
        uid: Who the first process will become, so that the scratch folder is open to it; None stays this user.
        hostname: Name of the machine as seen inside.

    Returns:
        The user to drop to afterwards: ``uid``, or None where there is a user namespace, which has no other user.

    Raises:
        OSError: naming the step that failed; what was mounted is gone with the process.
    """
    alone = privileged()
    spaces = NEWPID | NEWNET | NEWIPC | NEWUTS
    if alone:
        _call("unshare", "unshare", spaces)
    else:
        uid, me, group = None, os.geteuid(), os.getegid()
        _call("unshare with a user namespace", "unshare", spaces | NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{me} {me} 1"), ("gid_map", f"{group} {group} 1")):
            try:
                with open(f"/proc/self/{name}", "w") as f:
                    f.write(text)
            except OSError as e:
                raise OSError(e.errno, f"{name} of the user namespace: {e.strerror}") from None
    _become_first()
    _call("unshare mounts", "unshare", NEWNS)
    ctypes.CDLL(None).unshare(NEWCGROUP)  # not in every kernel; nothing inside can see cgroups
    name_bytes = hostname.encode()
    _call("hostname", "sethostname", name_bytes, len(name_bytes))
    _build(layout, uid)
    return uid


def _become_first() -> None:
    """Fork; the parent stays behind to wait, the child is the first process of the new world."""
    from_outer, to_inner = os.pipe()
    first = os.fork()
    if first:
        _wait_for(first, keep=to_inner)
    os.close(to_inner)
    os.setsid()
    _call("death signal", "prctl", SET_PDEATHSIG, *(ctypes.c_ulong(n) for n in (signal.SIGKILL, 0, 0, 0)))
    if select.select([from_outer], [], [], 0)[0]:  # the parent, which is out of sight here, died before we asked
        os._exit(1)
    os.close(from_outer)


def _wait_for(first: int, keep: int) -> None:
    """Be the outer process. It keeps its rights: the kernel sends the signal of its death only if it might have sent it."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number < signal.SIGRTMIN:
            signal.signal(number, signal.SIG_DFL)
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) != keep:
            try:
                os.close(int(entry))
            except OSError:  # the folder that was listed
                continue
    _, status = os.waitpid(first, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _build(layout: Any, uid: int | None) -> None:
    """Make the root, show in it what the layout names, and leave the host's file system.

    The host's root moves to /old, where the sources of the mounts are found, and is let go at the end. The new root stays a
    folder below the namespace's own, entered by chroot: who is in a chroot cannot make a user namespace, whatever else it may.
    """
    umask = os.umask(0o022)
    _mount("private mounts", None, "/", None, REC | PRIVATE)
    base = "/tmp" if os.path.isdir("/tmp") else "/usr"
    _mount("root", "tmpfs", base, "tmpfs", NOSUID | NODEV, "mode=0755,size=64k,nr_inodes=8")
    os.chdir(base)
    os.mkdir("new")
    os.mkdir("old")
    _call("pivot_root", "pivot_root", b".", b"old")
    os.chdir("/")
    _mount("new root", "tmpfs", "/new", "tmpfs", NOSUID | NODEV, "mode=0755,size=1m,nr_inodes=4096")
    for path in layout.read:
        _show(path, NOSUID | NODEV)
    for path in layout.devices:
        _show(path, NOSUID | NOEXEC)
    for target, place in layout.links:
        os.makedirs("/new" + os.path.dirname(place), exist_ok=True)
        os.symlink(target, "/new" + place)
    scratch = "/new" + layout.scratch
    os.makedirs(scratch, exist_ok=True)
    mode = "0700" if uid is None else "1777"  # a program cannot take away a folder that is not its own
    data = f"mode={mode},size={layout.scratch_bytes},nr_inodes={layout.scratch_files + 1}"
    _mount("scratch", "tmpfs", scratch, "tmpfs", NOSUID | NODEV, data)
    _call("leave the old root", "umount2", b"/old", DETACH)
    os.rmdir("/old")
    for place in ("/new", "/"):
        _mount("read-only root", None, place, None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)
    os.chroot("/new")
    os.chdir(layout.scratch)
    os.umask(umask)
    if not os.statvfs("/").f_flag & RDONLY:
        raise OSError("the new root is not read-only")


def _show(path: str, flags: int) -> None:
    """Mount a path of the host, with all that is mounted below it, read-only at the same place of the new root."""
    source, place = "/old" + path, "/new" + path
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(f"show {path}", source, place, None, BIND | REC)
    for mounted in _mounts_at(place):
        try:
            old = os.statvfs(mounted).f_flag
        except FileNotFoundError:  # out of sight, below another mount
            continue
        wanted = REMOUNT | BIND | RDONLY | flags
        for seen, new in KEPT.items():
            wanted |= new if old & seen else 0
        _mount(f"read-only {path}", None, mounted, None, wanted)


def _mounts_at(place: str) -> list[str]:
    """Mount points at and below a folder."""
    with open("/old/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        found = [line.split()[4] for line in f]
    for octal, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        found = [p.replace(octal, char) for p in found]
    return [p for p in found if p == place or p.startswith(place + "/")]


@functools.cache
def why_not() -> str:
    """Why no world of its own can be made here, in one line; "" where it can. Tried once, in a process of its own."""
    if not sys.platform.startswith("linux"):
        return "namespaces need Linux"
    import subprocess  # here, as what runs inside should start fast

    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", __file__], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"namespaces cannot be tried: {e}"
    if done.returncode == 0:
        return ""
    return done.stderr.strip().rpartition("\n")[2] or f"namespaces: the trial ended with code {done.returncode}"


def _trial() -> None:
    library = os.path.realpath(os.path.dirname(os.__file__))
    devices = [d for d in ("/dev/null", "/dev/urandom") if os.path.exists(d)]
    enter(SimpleNamespace(read=[library], links=[], devices=devices, scratch="/s", scratch_bytes=1 << 16, scratch_files=4), None)
    with open("/dev/null", "wb") as f:
        f.write(b"x")
    assert os.getpid() == 1 and os.listdir("/s") == [] and not os.path.exists("/etc")


if __name__ == "__main__":
    try:
        _trial()
    except OSError as e:
        sys.exit(f"namespaces: {e.strerror or e}")
