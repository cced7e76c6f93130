"""A world of its own, by namespaces and by bubblewrap: what a program can see, reach and do in one. Both make the same world."""

import contextlib
import functools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guerdon.rewards.sandbox import bubblewrap, layout, namespaces, privileges

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")
NOBODY = 65534
LEVELS = ["namespaces", "bubblewrap"]
# Root that becomes an unprivileged user inside; root that stays user 0 without capabilities; a normal user.
WHO = ["root", "root as 0", "user"]
HIDDEN = [
    "/etc/passwd",
    "/etc/shadow",
    "/proc",
    "/sys",
    "/home",
    "/var",
    "/dev/shm",
    "/dev/pts",
    "/dev/tty",
    "/run",
    "/usr/bin/env",
    __file__,
]


@functools.cache
def home() -> str:
    """A folder that every user can enter, with the probe and the modules that it loads."""
    made = tempfile.mkdtemp(prefix="guerdon-worlds-")
    os.chmod(made, 0o755)
    for source in (
        Path(__file__).with_name("world_probe.py"),
        *(Path(m.__file__ or "") for m in (bubblewrap, layout, namespaces, privileges)),
    ):
        shutil.copy(source, made)
        os.chmod(os.path.join(made, source.name), 0o644)
    return made


@pytest.fixture(scope="module", autouse=True)
def _cleanup() -> Iterator[None]:
    yield
    if home.cache_info().currsize:
        shutil.rmtree(home())
        home.cache_clear()


def start(level: str, who: str, *action: str, wrapper: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
    """Start the probe in a world; the process is the outer one."""
    python, root = sys.executable, os.geteuid() == 0
    if who != "user" and not root:
        pytest.skip("needs root")
    if who == "user" and root:
        options |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        library = os.path.dirname(os.__file__)
        python = next(
            (p for p in (python, "/usr/bin/python3") if privileges.readable_by(NOBODY, [p] + [library] * (p == python))), ""
        )
        if not python:
            pytest.skip("no interpreter that another user can read")
    lane = "1" if who == "root" else "-"
    argv = [*wrapper, python, "-I", "-B", f"{home()}/world_probe.py", "launch", level, lane, *action]
    env = {"PATH": os.environ.get("PATH", os.defpath), "SECRET": "x"}
    return subprocess.Popen(argv, cwd="/", env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    if (why := err.rpartition("WHY NOT: ")[2].strip()) and "WHY NOT: " in err:
        pytest.skip(why)
    return process.returncode, out, err


@functools.cache
def probed(level: str, who: str) -> dict[str, Any]:
    """What the probe found; it had a server of the host to look for."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as other:
        name = f"guerdon-{os.getpid()}-{level}-{who}"
        other.bind("\0" + name)
        other.listen()
        # Both can be reached from here, so that a refusal below means something.
        socket.create_connection(server.getsockname()).close()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("\0" + name)
        code, out, err = finished(start(level, who, "probe", json.dumps(HIDDEN), str(server.getsockname()[1]), name))
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(params=[(level, who) for level in LEVELS for who in WHO], ids=lambda p: f"{p[0]}, {p[1]}")
def world(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


def test_only_the_layout_is_there(world: tuple[str, str]) -> None:
    found = probed(*world)
    assert not any(found["seen"].values()), found["seen"]
    assert not {"home", "proc", "sys", "var", "bin", "sbin", "run", "boot", "old", "new"} & set(found["root"])
    assert found["above root"] and found["import"]
    assert found["devices"] == [1, 8]


def test_nothing_can_be_written_but_scratch(world: tuple[str, str]) -> None:
    found = probed(*world)
    assert found["cwd"] == "/scratch" and found["scratch"][2] == []
    for what in ("change /dev/null", "change the library", "change the root"):
        assert found["tried"][what] == "Read-only file system"
    assert found["tried"]["open the library"] in ("Read-only file system", "Permission denied")
    size, full, files, none_left = found["filled"]
    assert (full, none_left) == ("No space left on device",) * 2
    assert size == 1 << 20 and files == 20


def test_no_network(world: tuple[str, str]) -> None:
    found = probed(*world)
    assert found["interfaces"] == ["lo"]
    assert found["tried"]["TCP to the host"] in ("Network is unreachable", "Connection refused")
    assert found["tried"]["socket of the host"] == "Connection refused"
    assert found["loopback up"] is (world[0] == "bubblewrap")  # bwrap brings it up; nothing but the world itself is behind it


def test_alone_and_first_among_processes(world: tuple[str, str]) -> None:
    found = probed(*world)
    assert (found["pid"], found["parent"], found["pids"]) == (1, 0, [])
    assert found["after SIGKILL"] == ["done", None, 1]  # sent, and nothing came of it
    assert found["tried"]["trace the first"] == "Operation not permitted"
    assert found["farewell"] == signal.SIGKILL


def test_no_privilege_is_left(world: tuple[str, str]) -> None:
    found = probed(*world)
    assert set(found["capabilities"].values()) == {0} and found["bounding"] == found["ambient"] == []
    assert (found["no_new_privs"], found["dumpable"]) == (1, 0)
    ids = set(found["ids"])
    if world[1] == "root":
        assert len(ids) == 1 and privileges.FIRST <= ids.pop() <= privileges.LAST
    else:
        assert ids == {0 if world[1] == "root as 0" else NOBODY if os.geteuid() == 0 else os.geteuid()}
    tried = found["tried"]
    for what in [w for w in tried if w.split()[0] in ("unshare", "remount", "mount", "umount", "chroot", "mknod", "hostname")]:
        assert tried[what] == "Operation not permitted", what
    assert tried["setuid 0"] in ("Operation not permitted", "Invalid argument")  # no such user in a user namespace


def test_no_trace_of_the_host(world: tuple[str, str]) -> None:
    found = probed(*world)
    assert found["hostname"] == "elsewhere"
    if world[0] == "bubblewrap":
        assert "SECRET" not in found["environment"] and "PATH" not in found["environment"]


@pytest.mark.parametrize("level", LEVELS)
def test_no_user_namespace_even_for_the_first_process_itself(level: str) -> None:
    # Before the drop, with capabilities: it is the chroot that bars it.
    code, out, err = finished(start(level, "user" if os.geteuid() else "root", "trusted"))
    assert code == 0, err
    assert json.loads(out)[1] == "Operation not permitted"


def test_an_inherited_socket_stays_usable(world: tuple[str, str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = start(*world, "echo", str(theirs.fileno()), pass_fds=(theirs.fileno(),))
        theirs.close()
        try:
            ours.sendall(b"hello")
            ours.settimeout(60)
            answer = ours.recv(64)
            if not answer:
                finished(process)  # skips, or:
            assert answer == b"HELLO"
            ours.settimeout(10)
            assert ours.recv(64) == b""  # it is closed inside, and the outer process does not hold it
            assert process.poll() is None
        finally:
            bubblewrap.end(process.pid)
            process.communicate(timeout=60)


def test_the_exit_code_is_passed_on(world: tuple[str, str]) -> None:
    assert finished(start(*world, "exit", "7"))[0] == 7


def test_the_end_of_the_first_is_the_end_of_all(world: tuple[str, str]) -> None:
    # A descendant that would sleep for minutes holds standard output: `finished` waits for its end.
    began = time.monotonic()
    assert finished(start(*world, "leave"))[0] == 0
    assert time.monotonic() - began < 30


@contextlib.contextmanager
def lingering(level: str, who: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A world with a grandchild in a session of its own that holds standard output."""
    process = start(level, who, "linger", **options)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            finished(process)  # skips, or:
            pytest.fail("the world did not start")
        assert not select.select([process.stdout], [], [], 0.1)[0]
        yield process
    finally:
        bubblewrap.end(process.pid)
        process.communicate(timeout=60)


def ended(process: subprocess.Popen[str]) -> bool:
    """Whether all that held the process's standard output is gone soon."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 20)[0]) and process.stdout.read() == ""


def test_killing_the_outer_process_ends_all(world: tuple[str, str]) -> None:
    with lingering(*world) as process:
        if world == ("bubblewrap", "root"):  # bwrap may not signal whom the first process became
            bubblewrap.end(process.pid)
        else:
            process.kill()
        assert ended(process)


@pytest.mark.parametrize("level", LEVELS)
def test_end_kills_both_and_may_come_late(level: str) -> None:
    with lingering(level, "user" if os.geteuid() else "root") as process:
        bubblewrap.end(process.pid)
        assert ended(process) and process.wait(20) == -signal.SIGKILL
        bubblewrap.end(process.pid)  # nobody is there any more


def test_death_of_the_first_process_by_a_signal_is_told(world: tuple[str, str]) -> None:
    with lingering(*world) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("this kernel does not list children")
        (first,) = children.read_text().split()
        os.kill(int(first), signal.SIGKILL)
        assert ended(process) and process.wait(20) == 128 + signal.SIGKILL


def mounts(pid: int | str = "self") -> list[str]:
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


@pytest.mark.parametrize("level", LEVELS)
def test_the_host_sees_no_new_mount(level: str) -> None:
    before = mounts()
    with lingering(level, "root") as process:
        (first, *_) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        inside = mounts(first)
        assert any(" /scratch " in line for line in inside)  # the mounts are there, where they belong
        assert not any(line.split(" - ")[1].startswith(("proc ", "sysfs ", "devpts ")) for line in inside)
        assert mounts() == before
    assert mounts() == before


def test_what_is_mounted_below_is_read_only_too() -> None:
    # Also where the name has a space, which the kernel's list of mounts writes in octal.
    below = Path(home(), "a folder", "mounted")
    below.mkdir(parents=True)
    code = f"""
import os, sys
sys.path.insert(0, {home()!r})
import namespaces as n
n._call("unshare", "unshare", n.NEWNS)
n._mount("private", None, "/", None, n.REC | n.PRIVATE)
n._mount("tmpfs", "tmpfs", {str(below)!r}, "tmpfs", 0)
open({str(below / "seen")!r}, "w").close()
os.execv(sys.argv[1], sys.argv[1:])
"""
    try:
        for level in LEVELS:
            done = start(level, "root", "touch", str(below / "new"), wrapper=(sys.executable, "-B", "-c", code))
            status, out, err = finished(done)
            assert (status, out) == (0, "Read-only file system ['seen']\n"), err
    finally:
        shutil.rmtree(below.parent)


def test_a_step_that_fails_is_named() -> None:
    if why := namespaces.why_not():
        pytest.skip(why)
    before = mounts()
    text = layout.Layout(read=("/no/such/place",)).to_json()
    argv = [sys.executable, "-I", "-B", f"{home()}/world_probe.py", "inside", "namespaces", "null", text, "exit", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.search(r"Error: \[Errno 2\] show /no/such/place: No such file or directory$", done.stderr.strip()), done.stderr
    assert mounts() == before


@pytest.mark.parametrize("level", LEVELS)
def test_the_levels_are_there_where_the_system_has_them(level: str) -> None:
    # Else a fault of ours would make the tests above skip.
    plain = {
        "namespaces": [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--net",
            "--ipc",
            "--uts",
            *(["--user"] if os.geteuid() else []),
            "true",
        ],
        "bubblewrap": ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--tmpfs", "/tmp", "true"],
    }[level]
    if shutil.which(plain[0]) is None or subprocess.run(plain, capture_output=True, timeout=60).returncode:
        pytest.skip(f"this system has no {level} for this user")
    assert (namespaces if level == "namespaces" else bubblewrap).why_not() == ""


def test_why_not_gives_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if namespaces.why_not() == "" and shutil.which("setpriv") and os.geteuid() == 0:
        # Root without any capability may not map user 0 into a user namespace.
        wrapper = tmp_path / "python"
        wrapper.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all "{sys.executable}" "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(wrapper))
        assert re.fullmatch(r"namespaces: .+: Operation not permitted", namespaces.why_not.__wrapped__())
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    assert namespaces.why_not.__wrapped__().startswith("namespaces cannot be tried: ")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert namespaces.why_not.__wrapped__() == "namespaces need Linux"
