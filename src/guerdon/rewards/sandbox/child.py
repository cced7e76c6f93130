"""The life of a zygote's child: confined first, then in the hands of one job. Standard library only; runs in a zygote."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

from guerdon.rewards.sandbox import privileges, program, scratch

TASK, BEGUN, CHANNEL = 3, 4, 5  # file descriptors beside the three usual ones
HIGH = 100  # where none is open yet


def live(zygote: Any, job: dict[str, Any], fds: list[int], inner: dict[str, int]) -> NoReturn:
    """All that a child does; nothing of it returns to the zygote's own code.

    Args:
        zygote: A ``zygote.Zygote``.
        job: What the driver sent.
        fds: The task, and perhaps a channel.
        inner: Our ends of the pipes to the watch.
    """
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


def _dress(zygote: Any, job: dict[str, Any], fds: list[int], inner: dict[str, int]) -> None:
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


def _limit(zygote: Any, limits: dict[str, Any]) -> None:
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
