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
import select
import signal
import socket
import sys
import time
import types
from collections.abc import Iterator
from typing import Any, NoReturn

from guerdon.rewards.sandbox import bubblewrap, landlock, namespaces, privileges, program, scratch, seccomp, wire

LARGEST = 1 << 30  # bytes of a job; the driver is trusted
TICK = 0.02  # seconds between two looks at what a job uses
BLIND = 0.002  # the same where the system does not tell of the end of a child
TASK, BEGUN, CHANNEL = 3, 4, 5  # file descriptors of a child beside the three usual ones
PATIENT = 20  # turns of killing, each of which may set free the next generation
HIGH = 100  # where none is open yet
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
        if self.level == "landlock":  # in a world of its own there is nobody else to reach
            self.scopes = landlock.Ruleset.scopes_only()
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


class Watch:
    """One job, from its fork to the removal of its last trace.

    What a program is and what it says never becomes an object of the zygote: later children inherit its memory, freed parts too.
    So the child itself reads the job, and output is kept in buffers that are blanked.
    """

    def __init__(self, zygote: Zygote, job: dict[str, Any], fds: list[int]):
        self.zygote, self.job, self.limits, self.fds = zygote, job, job["limits"], fds
        self.pipes: dict[int, Buffer] = {}

    def go(self) -> dict[str, Any]:
        inner = {}
        begun, inner["begun"] = os.pipe()
        for name in ("stdout", "stderr") if self.job["mode"] in ("script", "command") else ():
            out, inner[name] = os.pipe()
            os.set_blocking(out, False)
            self.pipes[out] = Buffer(name, self.limits["output"])
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(self.zygote, self.job, self.fds, inner)
        for fd in (*inner.values(), *self.fds):  # the other end sees at once when the child is gone
            os.close(fd)
        try:
            cause = self._wait(pid, start)
        finally:
            code, usage = self.zygote.end(pid)
        if not cause and not os.read(begun, 1):
            cause = "unprepared"
        os.close(begun)
        for fd, buffer in self.pipes.items():
            while not buffer.full and buffer.read(fd):
                pass
            os.close(fd)
            if buffer.full:
                cause = "output"
        return {
            "job": self.job["job"],
            "cause": cause,
            "code": code,
            "seconds": time.monotonic() - start,
            "cpu": usage.ru_utime + usage.ru_stime if usage else 0.0,
            "memory": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) if usage else 0,
            "sizes": {b.name: b.size for b in self.pipes.values()},
        }

    def hand_over(self) -> None:
        """What the program wrote, behind the answer; then it is forgotten."""
        for buffer in self.pipes.values():
            self.zygote.control.sendall(buffer.view[: buffer.size])
            buffer.blank()

    def _wait(self, pid: int, start: float) -> str:
        """Until it ends, takes too much, or nobody needs it any more: the cause, "" where it ended by itself."""
        limits, control = self.limits, self.zygote.control.fileno()
        deadline = start + limits["wall"]
        poll = select.poll()
        gone = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        for fd in (gone, control, *self.pipes):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        tick = max(TICK, limits["wall"] / 10_000)
        look = time.monotonic() + tick
        try:
            while True:
                wait = min(deadline, look) - time.monotonic() if gone >= 0 else BLIND
                ready = [fd for fd, _ in poll.poll(max(0.0, wait) * 1000)]
                for fd in ready:
                    if fd in self.pipes:
                        if not self.pipes[fd].read(fd):
                            poll.unregister(fd)
                        if self.pipes[fd].full:
                            return "output"
                if control in ready and self._told():
                    return "stopped"
                if gone in ready or (gone < 0 and _ended(pid)):
                    return ""
                now = time.monotonic()
                if now >= deadline:
                    return "time"
                if now >= look:
                    look = now + tick
                    if cause := self._used(pid):
                        return cause
        finally:
            if gone >= 0:
                os.close(gone)

    def _used(self, pid: int) -> str:
        """What it has taken too much of."""
        with contextlib.suppress(OSError, OverflowError):
            if time.clock_gettime((~pid << 3) | 2) > self.limits["cpu"]:  # the clock of another process, all its threads
                return "cpu"
        size, count = scratch.used(self.zygote.scratch, self.limits["files"], self.zygote.alone)
        return "count" if count > self.limits["files"] else "files" if size > self.limits["scratch"] else ""

    def _told(self) -> bool:
        message, _ = wire.receive_with_fds(self.zygote.control, LARGEST)
        if message is None:
            self.zygote.end(0)
            os._exit(0)
        return bool(message.get("stop") == self.job["job"])


class Buffer:
    """What came through a pipe, up to a limit."""

    def __init__(self, name: str, limit: int):
        self.name, self.limit = name, limit
        self.size = 0
        self.view = memoryview(bytearray(1 << 12))

    @property
    def full(self) -> bool:
        return self.size > self.limit

    def read(self, fd: int) -> bool:
        """What is there now; whether more may come."""
        if self.size == len(self.view):
            larger = memoryview(bytearray(min(4 * self.size, self.limit + 1)))
            larger[: self.size] = self.view
            self.blank()
            self.size, self.view = len(self.view), larger
        try:
            got = os.readv(fd, [self.view[self.size :]])
        except BlockingIOError:
            return False
        self.size += got
        return got > 0

    def blank(self) -> None:
        self.view[:] = bytes(len(self.view))


def _child(zygote: Zygote, job: dict[str, Any], fds: list[int], inner: dict[str, int]) -> NoReturn:
    """The child's whole life; nothing of it returns to the zygote's own code."""
    code = 0
    try:
        _dress(zygote, job, fds, inner)
        task = _task()
        os.write(BEGUN, b"!")  # from here on the program is at fault
        os.close(BEGUN)
        if job["mode"] == "command":
            os.execvp(task["argv"][0], task["argv"])
        elif job["mode"] == "script":
            code = program.script(task["source"])
        elif job["mode"] == "program":
            program.serve(socket.socket(fileno=CHANNEL), task["source"], job["limits"]["output"])
        else:
            zygote.judge.serve(socket.socket(fileno=CHANNEL), task["test"], task["given"], task["call"])
    except BaseException:  # noqa: BLE001  the child ends here, whatever it was
        import traceback

        code = 1
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        os._exit(code & 0xFF)


def _task() -> dict[str, Any]:
    """The job as the driver wrote it; its files and its standard input are laid out."""
    text = b""
    while more := os.read(TASK, 1 << 24):
        text += more
    os.close(TASK)
    task: dict[str, Any] = json.loads(text)
    if files := task.get("files"):
        scratch.put(".", files)
    if said := task.get("stdin"):
        fd = os.open(".stdin", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(".stdin")
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(said.encode("utf8", "surrogateescape"))
        os.lseek(fd, 0, os.SEEK_SET)
        os.dup2(fd, 0)
        os.close(fd)
    return task


def _dress(zygote: Zygote, job: dict[str, Any], fds: list[int], inner: dict[str, int]) -> None:
    """File descriptors, limits and confinement of a child, before anything of the program's is read."""
    if zygote.scopes is not None:
        zygote.scopes.enforce()
    os.chdir(zygote.scratch)
    null = os.open("/dev/null", os.O_RDWR)
    places = {0: null, 1: inner.get("stdout", null), 2: inner.get("stderr", null), TASK: fds[0], BEGUN: inner["begun"]}
    if len(fds) > 1:
        places[CHANNEL] = fds[1]
    for place, fd in places.items():  # out of the way first, so that none is overwritten before it was moved
        os.dup2(fd, HIGH + place)
    for place in places:
        os.dup2(HIGH + place, place, inheritable=place < TASK)
    os.closerange(max(places) + 1, 1024)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _limit(zygote, job["limits"])
    if zygote.late_drop:
        privileges.drop(zygote.uid, read_all=zygote.reads_all)
    if zygote.filters:
        zygote.filters[job["limits"]["processes"] > 0].install()


def _limit(zygote: Zygote, limits: dict[str, Any]) -> None:
    space = zygote.space + limits["memory"]
    seconds = int(limits["cpu"]) + 2  # the watch is exact; this is for when it cannot look
    wanted = [
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds),
        (resource.RLIMIT_FSIZE, limits["scratch"], limits["scratch"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_STACK, 64 << 20, 64 << 20),
    ]
    if sys.platform != "darwin":  # there the address space has no limit, and no program starts below one
        wanted.append((resource.RLIMIT_AS, space, space))
        tasks = limits["tasks"] + limits["threads"] + limits["processes"] + 1
        wanted.append((resource.RLIMIT_NPROC, tasks, tasks))
    for kind, soft, hard in wanted:
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))


def _ended(pid: int) -> bool:
    """Whether a child has ended; it is not reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


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
