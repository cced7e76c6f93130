"""The driver's end of a zygote: start it, hand it jobs, notice when it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import site
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guerdon.rewards.sandbox import bubblewrap, privileges, scratch, seccomp, wire
from guerdon.rewards.sandbox.layout import Layout
from guerdon.rewards.sandbox.limits import Limits
from guerdon.rewards.sandbox.results import Ended, ending

# What runs in a zygote, each after those it uses.
INSIDE = (
    "wire", "scratch", "privileges", "seccomp", "landlock", "namespaces", "bubblewrap", "program", "child", "watch", "zygote",
)  # fmt: skip
START = 30.0  # seconds a zygote may take until it is ready
GRACE = 10.0  # seconds a zygote may be late with its answer, as it may still be removing files
# What programs import most, loaded once before the forks. More would be a burden: every child pays for the memory of its zygote.
WARM = (
    "bisect",
    "collections",
    "copy",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "typing",
)

# The other modules are not on this interpreter's path: it gets their text, so that no folder of ours need be visible there.
BOOT = """
import json, socket, struct, sys, types
control = socket.socket(fileno=int(sys.argv[1]))
def take(size):
    data = b""
    while len(data) < size:
        got = control.recv(size - len(data))
        if not got:
            sys.exit(1)
        data += got
    return data
start = json.loads(take(struct.unpack(">I", take(4))[0]))
place = ""
for part in "guerdon.rewards.sandbox".split("."):
    place = place + "." + part if place else part
    sys.modules[place] = package = types.ModuleType(place)
    package.__path__ = []
for name, text in start["modules"]:
    module = sys.modules[place + "." + name] = types.ModuleType(place + "." + name)
    setattr(package, name, module)
    exec(compile(text, "<" + name + ">", "exec"), module.__dict__)
package.zygote.main(control, start["config"])
"""


class Broken(Exception):
    """A zygote that did not start, or is gone; says why."""


class Zygote:
    """One confined interpreter that forks a fresh child for each job.

    Args:
        level: Name of the level.
        layout: What it may see.
        warm: Modules to load before the first fork.
        execute: What its children may execute beside what they are.
        more: Files of this folder that it needs beside those that all need.

    Raises:
        Broken: where it does not start.
    """

    def __init__(
        self, level: str, layout: Layout, warm: Sequence[str] = WARM, execute: Sequence[str] = (), more: Sequence[str] = ()
    ):
        self.level, self.layout = level, layout
        self.jobs = itertools.count(1)
        own_world = level in ("bubblewrap", "namespaces")
        self.uid = privileges.sandbox_identity(next(_lanes))
        reachable = self.uid is None or own_world or privileges.readable_by(self.uid, layout.read)
        if not reachable and not privileges.can_read_all():
            self.uid = None
        self.outside = not own_world and self.uid is None  # its processes count among the user's others
        self.folder, self.scratch, self.outer = "", -1, -1
        if not own_world:
            self._make_folder()
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-S", "-s", "-P", "-B", "-X", "utf8", "-c", BOOT, str(theirs.fileno())]
        seen = environment(self.folder or layout.scratch)
        if level == "bubblewrap":
            argv = bubblewrap.command(layout, argv, uid=self.uid, environment=seen)
        self.control = ours
        try:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=seen,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
            )
        except OSError as e:
            self._remove()
            raise Broken(f"no process can be started ({e.strerror})") from None
        finally:
            theirs.close()
        _alive.add(self)
        config = {
            "level": level,
            "uid": self.uid,
            "reads_all": self.uid is not None and not reachable,
            "layout": layout.to_json(),
            "scratch": self.folder or layout.scratch,
            "warm": list(warm),
            "path": site.getsitepackages(),
            "execute": list(execute),
            "seccomp": level != "rlimits" and not seccomp.why_not(),
        }
        modules = [[name, _TEXTS[name]] for name in (*INSIDE, *more)]
        try:
            wire.send(self.control, {"modules": modules, "config": config})
            self._receive(START)
        except Broken:
            self.close()
            raise
        except OSError:
            said = self._last_words()
            self.close()
            raise Broken(said) from None

    def start(self, mode: str, task: Mapping[str, Any], limits: Limits, channel: Sequence[int] = (), keep: bool = False) -> int:
        """Hand over a job; its number.

        Args:
            mode: "script", "command", "program" or "judge".
            task: What its child is to read.
            limits: What it may use.
            channel: A socket that the child gets.
            keep: Leave the scratch folder as it is for the next job, if this one ends well.
        """
        number = next(self.jobs)
        # The limit on processes counts all of this user, where they are not in a world of their own; some are the sandbox's.
        uses = {**asdict(limits), "tasks": 8 + (tasks_of(os.geteuid()) if self.outside else 0)}
        fd = sealed(json.dumps(task).encode())
        try:
            wire.send(self.control, {"mode": mode, "job": number, "limits": uses, "keep": keep}, [fd, *channel])
        except OSError:
            raise Broken(f"the zygote is gone: {self._last_words()}") from None
        finally:
            os.close(fd)
        return number

    def finish(self, number: int, limits: Limits) -> Ended:
        """What came of it."""
        answer = self._receive(limits.wall + GRACE)
        if answer.get("job") != number:
            raise Broken("the zygote answered out of turn")
        said = {name: self._exactly(size).decode("utf8", "replace") for name, size in answer["sizes"].items()}
        return ending(answer, limits, **said)

    def stop(self, number: int) -> None:
        """End a job that nobody needs any more."""
        with contextlib.suppress(OSError):
            wire.send(self.control, {"stop": number})

    def _receive(self, limit: float) -> dict[str, Any]:
        self.control.settimeout(limit)
        try:
            answer = wire.receive(self.control, 1 << 30)
        except TimeoutError:
            raise Broken(f"the zygote did not answer within {limit:g} s") from None
        except (wire.Unreadable, OSError) as e:
            raise Broken(f"the zygote is gone ({e})") from None
        finally:
            with contextlib.suppress(OSError):
                self.control.settimeout(None)
        if not isinstance(answer, dict):
            raise Broken(f"the zygote is gone: {self._last_words()}")
        return answer

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            got = self.control.recv(size - len(data))
            if not got:
                raise Broken("the zygote is gone")
            data += got
        return bytes(data)

    def _last_words(self) -> str:
        """The last line it wrote, where it ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)
        if self.process.poll() is None or self.process.stderr is None or self.process.stderr.closed:
            return ""
        lines = self.process.stderr.read().decode("utf8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self.process.returncode}"

    def close(self) -> None:
        """End it, with all that runs in it."""
        _alive.discard(self)
        self.control.close()  # it ends when it sees this
        try:
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            bubblewrap.end(self.process.pid)
            self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._remove()

    def _make_folder(self) -> None:
        """The scratch folder, in a folder whose entries only we can change."""
        outer = tempfile.mkdtemp(prefix="guerdon-sandbox-")
        os.chmod(outer, 0o711)
        self.outer = os.open(outer, scratch.FOLDER)
        self.folder = os.path.join(outer, "scratch")
        os.mkdir(self.folder, 0o700)
        self.scratch = os.open(self.folder, scratch.FOLDER)
        if self.uid is not None:
            os.fchown(self.scratch, self.uid, self.uid)

    def _remove(self) -> None:
        if self.scratch < 0:
            return
        with contextlib.suppress(OSError):
            scratch.wipe(self.scratch)
            scratch.wipe(self.outer)
            os.rmdir(os.path.dirname(self.folder))
        os.close(self.scratch)
        os.close(self.outer)
        self.scratch = -1


def sealed(data: bytes) -> int:
    """A file descriptor to read some bytes from, that nobody can write to."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("task", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    with tempfile.NamedTemporaryFile() as named:
        named.write(data)
        named.flush()
        return os.open(named.name, os.O_RDONLY | os.O_CLOEXEC)


def environment(folder: str) -> dict[str, str]:
    """All that a program sees of the environment. Sets keep one order, so that a program gets the same verdict each time."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    home = {"HOME": folder, "TMPDIR": folder, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    return {**home, **one, "PYTHONHASHSEED": "0"}


def tasks_of(uid: int) -> int:
    """Threads that a user runs now, of which the limit on processes counts every one (Linux)."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == uid:
                count += len(list((folder / "task").iterdir()))
    return count


def end_all() -> None:
    """End every zygote of this process."""
    for zygote in list(_alive):
        with contextlib.suppress(OSError):
            zygote.close()


# Read when this file is: a newer version of the package may come under a running process.
_TEXTS = {name: Path(__file__).with_name(f"{name}.py").read_text(encoding="utf8") for name in (*INSIDE, "judge")}


def forget_all() -> None:
    """In a fork of this process: they are the parent's, and so are their folders. The fork starts its own when it needs them."""
    for zygote in list(_alive):
        zygote.control.close()
        zygote.scratch = -1
        if zygote.process.stderr is not None:
            zygote.process.stderr.close()
    _alive.clear()


_lanes = itertools.count()
_alive: weakref.WeakSet[Zygote] = weakref.WeakSet()
