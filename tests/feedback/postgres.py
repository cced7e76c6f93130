"""A PostgreSQL server of one test session: its own folder, its own port on loopback, a password, gone at the end."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def binaries() -> Path | None:
    """The newest folder that holds initdb and postgres; None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -float(p.parent.name))
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return next((p for p in folders if (p / "initdb").exists() and (p / "postgres").exists()), None)


def _user() -> dict[str, Any]:
    """Arguments of ``subprocess`` that make it another user than root, as whom PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("neither a user postgres nor a user nobody")


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG: also where the tests are killed


class Server:
    """Starts at once; ``stop`` ends it and removes its folder."""

    user = "guerdon"

    def __init__(self, folder: Path):
        self.password = secrets.token_urlsafe(12)
        self.home = Path(tempfile.mkdtemp(prefix="guerdon-postgres-"))  # short, and readable for the other user
        self.bin = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.schemas = self.port = 0
        try:
            self.who = _user()
            if self.who:
                os.chown(self.home, self.who["user"], self.who["group"])
            secret = self.home / "password"
            secret.write_text(self.password)
            secret.chmod(0o644)  # the folder is closed to others
            self._run("initdb", "-D", str(self.data), "-U", self.user, "--pwfile", str(secret), "--auth=scram-sha-256",
                      "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
            secret.unlink()
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def data(self) -> Path:
        return self.home / "data"

    def _run(self, name: str, *args: str) -> None:
        done = subprocess.run(
            [self.bin / name, *args], cwd=self.home, env=self._env(), capture_output=True, text=True, timeout=120, **self.who
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _env(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self.home), "LC_ALL": "C"}

    def start(self) -> None:
        if not self.port:  # a second start keeps it
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                self.port = s.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "max_connections": 60,
                    "shared_buffers": "16MB", "autovacuum": "off"}  # fmt: skip
        options = [word for k, v in settings.items() for word in ("-c", f"{k}={v}")]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", str(self.data), *options],
                cwd=self.home, env=self._env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent, **self.who,
            )  # fmt: skip
        end = time.monotonic() + 60
        import psycopg

        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.home / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def url(self, query: str = "") -> str:
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/postgres{query}"

    def fresh(self) -> str:
        """URL of an empty schema."""
        import psycopg

        self.schemas += 1
        name = f"s{self.schemas}"
        with psycopg.connect(self.url(), autocommit=True) as c:
            c.execute(f"CREATE SCHEMA {name}")
        return self.url(f"?options=-csearch_path%3D{name}")

    def kill(self) -> None:
        """SIGKILL to the server, as when the machine's power goes, but for the disk."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        time.sleep(0.3)  # its children see that it is gone

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
