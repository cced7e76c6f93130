"""A zygote: a warm, clean, confined interpreter that forks one child per job, watches it, and removes all traces of it.

It never runs a program itself. Standard library only; started by ``lane.Zygote``, which sends it the text of this file.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
import json
import mmap
import os
import resource
import signal
import socket
import sys
import types
from collections.abc import Iterator
from typing import Any

from guerdon.rewards.sandbox import bubblewrap, landlock, namespaces, privileges, scratch, seccomp, wire
from guerdon.rewards.sandbox.watch import LARGEST, Watch

PATIENT = 20  # turns of killing, each of which may set free the next generation
PR_SET_CHILD_SUBREAPER = 36


def main(control: socket.socket, config: dict[str, Any]) -> None:
    """Confine this process, then serve jobs until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one signal with a handler, so the one that reaches a first process
    zygote = Zygote(control, config)
    wire.send(control, {"ready": True})
    while True:
        job, fds = wire.receive_with_fds(control, LARGEST)
        if job is None:
            os._exit(0)
        if "mode" in job:  # else it asks for the end of a job that has ended
            watch = Watch(zygote, job, fds)
            answer = watch.go()
            wire.send(control, answer)
            watch.hand_over()
            if answer["cause"] or answer["code"] or not job["keep"]:
                scratch.wipe(zygote.scratch)
                if not scratch.is_at(zygote.scratch, zygote.folder):
                    os._exit(1)  # a program has put something else in its place; there will be another zygote


class Zygote:
    """What a zygote knows between jobs."""

    def __init__(self, control: socket.socket, config: dict[str, Any]):
        self.control, self.level = control, config["level"]
        self.uid: int | None = config["uid"]
        self.reads_all: bool = config["reads_all"]
        layout = types.SimpleNamespace(**json.loads(config["layout"]))
        sys.path += config["path"]
        self.folder = config["scratch"]
        self.handled: frozenset[str] = frozenset()
        _subreaper()
        self.children = _children_file()
        with _without_hooks():
            for name in config["warm"]:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
        if self.level == "namespaces":
            self.uid = namespaces.enter(layout, self.uid)
        elif self.level == "bubblewrap":
            self.uid = bubblewrap.finish(layout, self.uid)
        self.alone = os.getpid() == 1  # of a process namespace of its own: one signal then reaches all others in it
        self.late_drop = self.uid is not None and not self.alone  # stay what we are, so that no child can reach us
        self.scopes: landlock.Ruleset | None = None
        if self.level == "landlock":
            rules = landlock.Ruleset.make(
                read=[*layout.read, "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"],
                execute=config["execute"],
                write=[self.folder, "/dev/null"],
            )
            self.handled = rules.handled
            rules.enforce()
            self.scopes = landlock.Ruleset.scopes_only()  # between a child and us; in a world of its own signals stay in
        if not self.late_drop:
            privileges.drop(self.uid)
        self.filters: dict[bool, seccomp.Filter] = {}  # by whether it may start processes
        if config["seccomp"]:
            kept_in = self.alone or "signals" in self.handled  # others cannot be signalled anyway
            self.filters = {
                many: seccomp.Filter.make(processes=many, execute=many, signal_others=many and kept_in, metadata=self.alone)
                for many in (False, True)
            }
        self.judge: Any = sys.modules.get("guerdon.rewards.sandbox.judge")
        for name in [n for n in sys.modules if n.startswith("guerdon")]:
            del sys.modules[name]  # no program needs them
        sys.argv = ["program"]
        self.space = address_space()
        os.chdir(self.folder)
        self.scratch = os.open(".", scratch.FOLDER)
        gc.collect()
        gc.freeze()

    def end(self, pid: int) -> tuple[int, resource.struct_rusage | None]:
        """Kill a child and whatever came of it, and wait until nothing is left: its exit code (negative: a signal) and use."""
        code, usage = 0, None
        for turn in itertools.count():
            self._kill(pid)
            if turn >= PATIENT and self.late_drop:
                self._sweep()
            try:
                found, status, used = os.wait4(-1, 0)
            except ChildProcessError:
                return code, usage
            if found == pid:
                code, usage = os.waitstatus_to_exitcode(status), used
        raise AssertionError

    def _kill(self, pid: int) -> None:
        """One signal to everything below this process that can be found; orphans of what it ends are found the next time."""
        targets = [-1] if self.alone else [pid] if pid else []
        if self.children is not None and not self.alone:
            targets += [int(p) for p in os.pread(self.children, 1 << 16, 0).split()]
        for target in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
        if pid and not self.alone:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)

    def _sweep(self) -> None:
        """End all that has the identity of our children at once: they start new ones faster than we find them."""
        sweeper = os.fork()
        if sweeper == 0:
            with contextlib.suppress(OSError):
                privileges.drop(self.uid)
                os.kill(-1, signal.SIGKILL)
            os._exit(0)
        os.waitpid(sweeper, 0)


@contextlib.contextmanager
def _without_hooks() -> Iterator[None]:
    """Modules loaded meanwhile do nothing after a fork: their new seeds and locks would cost a child more than all else."""
    register = os.register_at_fork
    os.register_at_fork = lambda **_: None
    try:
        yield
    finally:
        os.register_at_fork = register


def _subreaper() -> None:
    """Orphans of our children become ours, so that they can be found (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children_file() -> int | None:
    """A file that lists our children, held open since later it cannot be opened; None where the system has none."""
    try:
        return os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def address_space() -> int:
    """Bytes of address space that this process takes now: the smallest limit under which a page can still be had."""
    if sys.platform == "darwin":
        return 0
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        low, high = 0, 1 << 40
        while high - low > 1 << 20:
            middle = (low + high) // 2
            try:
                resource.setrlimit(resource.RLIMIT_AS, (middle, resource.getrlimit(resource.RLIMIT_AS)[1]))
                mmap.mmap(-1, mmap.PAGESIZE).close()
                high = middle
            except (OSError, MemoryError, ValueError):
                low = middle
        os.write(into, str(high).encode())
        os._exit(0)
    os.close(into)
    os.waitpid(pid, 0)
    with os.fdopen(out) as file:
        return int(file.read() or 1 << 28)
