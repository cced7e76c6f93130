"""What an attack must not touch, and what it changed of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

SETTLE = 1.0  # seconds in which the kernel may finish what was killed
LIMITS = [r for r in range(16) if r != resource.RLIMIT_NOFILE]  # libraries raise that one themselves
libc = ctypes.CDLL(None, use_errno=True)


class World:
    """A folder, servers and a bystander beside one lane of the sandbox, and a look at all processes.

    Every text that must not be read holds a secret of its own, so that it can be found in whatever an attack gets out.
    """

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="guerdon-attacks-"))
        self.canary, self.home, self.tmp = self.base / "canary", self.base / "home", self.base / "tmp"
        for folder, mode in ((self.base, 0o755), (self.canary, 0o777), (self.home, 0o777), (self.tmp, 0o755)):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)  # nothing but the sandbox protects the canary
        self.secrets = {name: f"{name}SEC-{secrets.token_hex(12)}" for name in ("CAN", "HOM", "ENV", "ARG")}
        self.mark = ""
        self.heard: list[str] = []
        self._put_canary()
        self._serve()
        self.bystander = subprocess.Popen(
            [self.secrets["ARG"], "3600"], executable="/bin/sleep", env={"KEY": self.secrets["ENV"]}, start_new_session=True
        )
        time.sleep(0.05)
        self.own = self._driver()

    def _put_canary(self) -> None:
        shutil.rmtree(self.canary, ignore_errors=True)
        self.canary.mkdir(exist_ok=True)
        self.canary.chmod(0o777)
        for path, text in ((self.canary / "secret.txt", self.secrets["CAN"]), (self.canary / "other.txt", "other"),
                           (self.home / ".netrc", self.secrets["HOM"])):  # fmt: skip
            path.write_text(text)
            path.chmod(0o666)
        os.utime(self.canary / "other.txt", (1000, 1000))

    def _serve(self) -> None:
        name = "guerdon-" + secrets.token_hex(6)
        self.abstract, self.unix = name, str(self.canary.parent / "socket")
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp.bind(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        with contextlib.suppress(OSError):
            udp.bind(("127.0.0.1", self.port))
        self.ears: dict[str, socket.socket] = {"TCP": tcp, "UDP": udp}
        for where, kind, address in (("abstract stream", socket.SOCK_STREAM, "\0" + name), ("abstract datagram", socket.SOCK_DGRAM, "\0" + name + "d"),
                                     ("unix stream", socket.SOCK_STREAM, self.unix), ("unix datagram", socket.SOCK_DGRAM, self.unix + "d")):  # fmt: skip
            self.ears[where] = socket.socket(socket.AF_UNIX, kind)
            self.ears[where].bind(address)
            if not address.startswith("\0"):
                os.chmod(address, 0o777)
        self.looking = selectors.DefaultSelector()
        for where, s in self.ears.items():
            s.setblocking(False)
            if s.type == socket.SOCK_STREAM:
                s.listen(64)
            self.looking.register(s, selectors.EVENT_READ, where)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            for key, _ in self.looking.select():
                with contextlib.suppress(OSError):
                    s = key.fileobj
                    assert isinstance(s, socket.socket)
                    self.heard.append(key.data)
                    if s.type == socket.SOCK_STREAM:
                        s.accept()[0].close()
                    else:
                        s.recv(1000)

    def ready(self) -> None:
        """Called once the lane has run a program: from here on nothing of it may grow."""
        self.baseline = {p: s for p, s in descendants(os.getpid()).items() if p != self.bystander.pid}
        self.left, self.seen = self._scratch(), set(self.baseline)

    def constants(self) -> dict[str, object]:
        """What the attacks know of this world."""
        self.mark = "g" + secrets.token_hex(5)
        self.key = int(self.mark[1:8], 16)
        self.heard.clear()
        self.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"MARK": self.mark, "KEY": self.key, "CANARY": str(self.canary), "HOME": str(self.home), "WORK": str(self.base), "PORT": self.port,
                "ABSTRACT": self.abstract, "UNIX": self.unix, "BYSTANDER": self.bystander.pid, "DRIVER": os.getpid(),
                "TESTS": str(Path(__file__).parent)}  # fmt: skip

    def effects(self, told: str) -> list[str]:
        """What the attack changed or got out; everything is put right again."""
        found = [f"got out: {name}" for name, secret in self.secrets.items() if secret in told]
        found += [f"reached the server: {where}" for where in dict.fromkeys(self.heard)]
        found += self._canary_changes()
        end = time.monotonic() + SETTLE
        while (alive := self._processes()) and time.monotonic() < end:
            time.sleep(0.02)
        found += alive
        for pid in with_mark(self.mark):
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        if (state := self.bystander.poll()) is not None or status(self.bystander.pid)[1] not in "SR":
            found.append(f"the bystander is no longer what it was ({state})")
        changed = [k for k, v in self._driver().items() if v != self.own[k]]
        found += [f"changed in guerdon's process or the bystander: {k}" for k in changed]
        self.own = self._driver()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.memory
        if grown > 200 << 10:
            found.append(f"guerdon's process grew by {grown >> 10} MiB")
        return found + self._shared_memory()

    def _canary_changes(self) -> list[str]:
        try:
            names = sorted(os.listdir(self.canary))
            good = (
                names == ["other.txt", "secret.txt"]
                and (self.canary / "secret.txt").read_text() == self.secrets["CAN"]
                and (self.canary / "other.txt").stat().st_mtime == 1000
                and (self.canary.stat().st_mode & 0o777, (self.canary / "secret.txt").stat().st_mode & 0o777) == (0o777, 0o666)
                and (self.canary / "secret.txt").stat().st_nlink == 1
                and os.listdir(self.home) == [".netrc"]
            )
        except OSError as e:
            names, good = [str(e)], False
        if good:
            return []
        self._put_canary()
        return [f"changed files outside scratch: {names}"]

    def _processes(self) -> list[str]:
        return [f"a process lives on: {pid} {status(pid)}" for pid in with_mark(self.mark)]

    def idle(self) -> list[str]:
        """Whether what is kept of an attack (the judge that holds a stranger's test) works on unasked."""
        before = {pid: cpu(pid) for pid in with_mark(self.mark)}
        time.sleep(0.3)
        busy = [pid for pid, ticks in before.items() if cpu(pid) - ticks > 10]
        return [f"works on after its verdict: {pid} {status(pid)}" for pid in busy]

    def settled(self) -> list[str]:
        """What is left in the sandbox's own processes and folders once it was used again; what broke is put right only then."""
        now = descendants(os.getpid())
        now.pop(self.bystander.pid, None)
        found = [f"a process is a zombie or stopped: {pid} {s}" for pid, s in now.items() if s[1] in "ZTt"]
        if len(now) > len(self.baseline):
            found.append(f"processes of the sandbox: {len(now)}, before {len(self.baseline)}")
        patience = time.monotonic() + 3  # the folder is emptied behind the verdict, before the next program
        while (left := self._scratch()) > self.left and time.monotonic() < patience:
            time.sleep(0.02)
        if left > self.left:
            found.append(f"left {left - self.left} files or folders in scratch")
        return found

    def replaced(self) -> int:
        """How many of the lane's processes are gone since the last time."""
        now = set(descendants(os.getpid()))
        gone, self.seen = len(self.seen - now), now
        return gone

    def _driver(self) -> dict[str, object]:
        state: dict[str, object] = {}
        for who, pid in (("guerdon", os.getpid()), ("bystander", self.bystander.pid)):
            with contextlib.suppress(OSError):
                state[who + " limits"] = [resource.prlimit(pid, r) for r in LIMITS]
                state[who + " priority"] = (
                    os.getpriority(os.PRIO_PROCESS, pid),
                    sorted(os.sched_getaffinity(pid)),
                    os.sched_getscheduler(pid),
                )
                state[who + " score"] = Path(f"/proc/{pid}/oom_score_adj").read_text()
        return state | {"folder": os.getcwd(), "home": sorted(os.listdir(self.home))}

    def _scratch(self) -> int:
        return sum(len(a) + len(b) for _, a, b in os.walk(self.tmp))

    def _shared_memory(self) -> list[str]:
        found = []
        for kind, remove in (("shm", libc.shmctl), ("sem", libc.semctl), ("msg", libc.msgctl)):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
                    key, number = map(int, line.split()[:2])
                    if self.key <= key < self.key + 16:
                        found.append(f"left System V {kind}")
                        remove(number, 0, None) if kind != "sem" else remove(number, 0, 0)
                        remove(number, 0, 0, 0) if kind == "sem" else None
        for folder in ("/dev/shm", "/dev/mqueue"):
            with contextlib.suppress(OSError):
                for path in Path(folder).glob(f"*{self.mark}*"):
                    found.append(f"left {path.parent}/…")
                    path.unlink()
        with contextlib.suppress(OSError):
            if self.mark in Path("/proc/keys").read_text():
                found.append("left a key in the kernel")
        return found

    def close(self) -> list[str]:
        """Ends the world; says what is left after the sandbox was closed."""
        end = time.monotonic() + 2 * SETTLE
        self.bystander.kill()
        self.bystander.wait()
        while (left := descendants(os.getpid())) and time.monotonic() < end:
            time.sleep(0.02)
        found = [f"after close a process lives on: {pid} {s}" for pid, s in left.items()]
        if self._scratch():
            found.append(f"after close {self._scratch()} files or folders are left: {os.listdir(self.tmp)[:3]}")
        subprocess.run(["chmod", "-R", "u+rwx", str(self.base)], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", str(self.base)], capture_output=True, check=False)
        return found


def status(pid: int) -> tuple[str, str, int]:
    """Name, state letter and parent of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf8", "replace")
    except OSError:
        return ("", "X", 0)
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    return name, rest[0], int(rest[1])


def cpu(pid: int) -> int:
    """Processor time of a process so far, in hundredths of a second."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return sum(map(int, text[text.rindex(")") + 2 :].split()[11:13]))


def processes() -> dict[int, tuple[str, str, int]]:
    return {p: s for p in (int(n) for n in os.listdir("/proc") if n.isdigit()) if (s := status(p))[1] != "X"}


def descendants(root: int) -> dict[int, tuple[str, str, int]]:
    every = processes()
    known = {root}
    while more := {p for p, s in every.items() if s[2] in known} - known:
        known |= more
    return {p: every[p] for p in known - {root}}


def with_mark(mark: str) -> list[int]:
    """Processes whose name or arguments hold the mark, zombies included."""
    found = []
    for pid, (name, _, _) in processes().items():
        with contextlib.suppress(OSError):
            if mark in name or (pid != os.getpid() and mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()):
                found.append(pid)
    return found
