"""Runs a Python program as another user, in process and mount namespaces of its own, so that what it kills is its own.

    python as_user.py --uid UID [--open] SCRIPT ARGUMENTS ...

As root: UID 0 stays root, another becomes that user with no groups. An interpreter below a folder that only root may enter
(``/root/.pyenv``) is bound back to its own path, with an empty folder that everybody may enter above it; ``--open`` does so for root too.
As a normal user: UID must be one's own, and a user namespace is made around the others where the system lets one.
The program sees PRIVATE_PROCESSES=1 where it has processes of its own. Where a signal ends it, it is started again, thirty times at most.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

NEWNS, NEWIPC, NEWUSER, NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
BIND, REC, PRIVATE, NOSUID, NODEV, NOEXEC = 4096, 16384, 1 << 18, 2, 4, 8
libc = ctypes.CDLL(None, use_errno=True)
CANNOT = 77  # exit code


def cannot(step: str) -> None:
    code = ctypes.get_errno()
    print(f"cannot: {step}: {os.strerror(code)}", flush=True)
    sys.exit(CANNOT)


def mount(source: str, place: str, kind: str, flags: int, data: str = "") -> None:
    if libc.mount(source.encode(), place.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        cannot(f"mount {kind or source} on {place}")


def needed(script: str) -> list[str]:
    """Folders that the program reads."""
    import sysconfig

    found = {
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(os.path.realpath(sys.executable)),
        sysconfig.get_path("stdlib"),
        *filter(None, sys.path),
    }
    return [p for p in found if os.path.exists(p)] + [str(Path(script).resolve().parents[2])]


def closed(path: str) -> str:
    """The topmost folder above a path that others may not enter; "" where there is none."""
    parts = [*reversed(Path(path).parents), Path(path)]
    return next((str(p) for p in parts if not os.stat(p).st_mode & stat.S_IXOTH), "")


def open_folders(script: str) -> None:
    inside: dict[str, list[str]] = {}
    for path in needed(script):
        for p in {os.path.abspath(path), os.path.realpath(path)}:
            if folder := closed(p):
                inside.setdefault(folder, []).append(p)
    for folder, paths in inside.items():
        tops = [p for p in sorted(paths) if not any(p.startswith(q + "/") for q in paths) and p != folder]
        aside = tempfile.mkdtemp()
        mount("tmpfs", aside, "tmpfs", 0, "mode=0755")
        for k, p in enumerate(tops):
            os.mkdir(f"{aside}/{k}")
            mount(p, f"{aside}/{k}", "", BIND | REC)
        mount("tmpfs", folder, "tmpfs", 0, "mode=0755")
        for k, p in enumerate(tops):
            os.makedirs(p)
            mount(f"{aside}/{k}", p, "", BIND | REC)


def main() -> None:
    arguments = sys.argv[1:]
    uid = int(arguments.pop(0) and arguments.pop(0))
    opened = arguments[0] == "--open" and bool(arguments.pop(0))
    root, private = os.geteuid() == 0, True
    if not root and uid != os.geteuid():
        print("cannot: another user: only root can become one", flush=True)
        sys.exit(CANNOT)
    me, group = os.geteuid(), os.getegid()
    if libc.unshare((0 if root else NEWUSER) | NEWNS | NEWIPC | NEWPID):
        if root:
            cannot("unshare")
        private = False
    elif not root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{me} {me} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    first = os.fork()
    if first:
        for s in (signal.SIGTERM, signal.SIGINT):
            signal.signal(s, lambda *_: os.kill(first, signal.SIGKILL))
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    libc.prctl(1, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if private:
        mount("none", "/", "", REC | PRIVATE)
        mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
        mount("tmpfs", "/dev/shm", "tmpfs", NOSUID | NODEV, "mode=1777")
        if root and (uid or opened):
            open_folders(arguments[0])
    os.environ.update({"PYTHONDONTWRITEBYTECODE": "1"} | ({"PRIVATE_PROCESSES": "1"} if private else {}))
    code = 1
    for _ in range(30):
        pid = os.fork()
        if pid == 0:
            if root and uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            os.execv(sys.executable, [sys.executable, *arguments])
        while True:  # orphans fall to the first process; they are reaped here
            found, status = os.waitpid(-1, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                os.kill(found, signal.SIGCONT)
            elif found == pid:
                break
        code = os.waitstatus_to_exitcode(status)
        if code >= 0 or not private:
            break
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main()
