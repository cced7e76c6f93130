"""What is left of a process after it gave up its privileges. Each case in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guerdon.rewards.sandbox import privileges
from guerdon.rewards.sandbox.privileges import readable_by, sandbox_identity

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities are Linux's")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534

REPORT = """
import ctypes, json, os, resource, subprocess, sys
sys.path.insert(0, {folder!r})
import privileges

def why(f, *a):
    try:
        f(*a)
        return "done"
    except OSError as e:
        return type(e).__name__

def status(text):
    return {{k: v.strip() for k, v in (line.split(":", 1) for line in text.splitlines()) if k.startswith(("Cap", "NoNew", "Groups"))}}

{before}
privileges.drop({uid})
with open("/proc/self/status") as f:
    own = status(f.read())
made = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
farewell = ctypes.c_int()
privileges._libc().prctl(2, ctypes.byref(farewell))
print(json.dumps({{
    "status": own, "status of a program it starts": status(made), "ids": [*os.getresuid(), *os.getresgid()],
    "core": resource.getrlimit(resource.RLIMIT_CORE), "dumpable": privileges._prctl(3), "farewell": farewell.value,
    "tried": {{
        "setuid 0": why(os.setresuid, 0, 0, 0), "setgroups": why(os.setgroups, [0]), "nice": why(os.nice, -5),
        "chown": why(os.chown, {folder!r}, 1, 1), "chroot": why(os.chroot, {folder!r}),
        "a file of another user": why(open, {folder!r} + "/private"),
    }},
    "setuid program": subprocess.run([{folder!r} + "/id", "-u"], capture_output=True, text=True).stdout.strip(),
}}))
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
    """A folder that every user can enter, with the module, a file of user 1, and a program with the setuid bit."""
    made = tempfile.mkdtemp(prefix="guerdon-privileges-")
    os.chmod(made, 0o755)
    shutil.copy(privileges.__file__, made)
    os.chmod(f"{made}/privileges.py", 0o644)
    Path(made, "private").touch(0o600)
    shutil.copy(shutil.which("id") or "id", f"{made}/id")
    if os.geteuid() == 0:
        os.chown(f"{made}/private", 1, 1)
    os.chmod(f"{made}/id", 0o4755)
    yield made
    shutil.rmtree(made)


def interpreter(uid: int) -> str:
    for path in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(path) and readable_by(uid, [path, os.__file__] if path == sys.executable else [path]):
            return path
    pytest.skip("no interpreter that another user can read")


def run(folder: str, uid: int | None, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    python = interpreter(options["user"]) if "user" in options else sys.executable
    source = REPORT.format(folder=folder, uid=uid, before=before)
    return subprocess.run([python, "-I", "-B", "-c", source], capture_output=True, text=True, timeout=60, **options)


def nothing_left(report: Any, bounding: bool) -> None:
    for status in (report["status"], report["status of a program it starts"]):
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", *(["CapBnd"] if bounding else [])):
            assert int(status[name], 16) == 0, name
        assert status["NoNewPrivs"] == "1"
    assert report["core"] == [0, 0] and report["dumpable"] == 0
    assert set(report["tried"].values()) == {"PermissionError"}, report["tried"]


@as_root
def test_root_becomes_somebody_else_for_good(folder: str) -> None:
    uid = sandbox_identity(3)
    assert uid is not None
    done = run(folder, uid, before="privileges._libc().prctl(1, 9)", extra_groups=[0, 4])
    report = json.loads(done.stdout or done.stderr)
    nothing_left(report, bounding=True)
    assert report["ids"] == [uid] * 6 and report["status"]["Groups"] == ""
    assert report["farewell"] == 9  # the change of user clears it; it was asked for again
    assert report["setuid program"] == str(uid)


@as_root
def test_root_without_any_of_its_powers(folder: str) -> None:
    report = json.loads(run(folder, None, extra_groups=[0, 4]).stdout)
    report["tried"].pop("setuid 0")  # it is
    nothing_left(report, bounding=True)
    assert report["ids"] == [0] * 6 and report["status"]["Groups"] == ""
    assert report["farewell"] == 0


@as_root
def test_a_normal_user_keeps_its_identity(folder: str) -> None:
    report = json.loads(run(folder, None, user=NOBODY, group=NOBODY, extra_groups=[]).stdout)
    nothing_left(report, bounding=False)
    assert report["ids"] == [NOBODY] * 6
    plain = subprocess.run([f"{folder}/id", "-u"], user=NOBODY, capture_output=True, text=True).stdout.strip()
    assert plain == "0" or os.statvfs(folder).f_flag & os.ST_NOSUID  # the bit would have worked
    assert report["setuid program"] == str(NOBODY)


def test_whoever_runs_this_can_drop(folder: str) -> None:
    done = run(folder, None)
    assert done.returncode == 0, done.stderr
    assert int(json.loads(done.stdout)["status"]["CapEff"], 16) == 0


@as_root
@pytest.mark.parametrize(
    ("skipped", "named"),
    [("capset", "capabilities are left: effective, permitted"), ("setresuid", "still user"), ("no_new_privs", "no_new_privs")],
)
def test_a_drop_that_did_not_happen_is_an_error(folder: str, skipped: str, named: str) -> None:
    # Each step in turn does nothing and says it did.
    before = {
        "capset": "real = privileges._libc()\nprivileges._libc = lambda: type('', (), {'capset': lambda *a: 0, 'capget': real.capget, 'prctl': real.prctl})",
        "setresuid": "os.setresuid = lambda *a: None",
        "no_new_privs": "real = privileges._prctl\nprivileges._prctl = lambda o, *a: 0 if o == privileges.SET_NO_NEW_PRIVS else real(o, *a)",
    }[skipped]
    done = run(folder, None if skipped == "capset" else 61184, before=before)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith(f"OSError: {named}"), done.stderr


@as_root
def test_lanes_get_different_users_without_an_account() -> None:
    found = [sandbox_identity(lane) for lane in range(40)]
    assert None not in found and len(set(found)) == 40
    assert all(privileges.FIRST <= uid <= privileges.LAST for uid in found if uid)


@as_root
def test_an_account_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    first = sandbox_identity(0)
    assert first is not None
    entry = pwd.struct_passwd(("x", "x", first, first, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [entry])
    assert sandbox_identity(0) not in (None, first)


@as_root
def test_ids_that_do_not_exist_here_are_not_offered(folder: str) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no program 'unshare'")
    code = f"import sys; sys.path.insert(0, {folder!r}); import privileges; print(privileges.sandbox_identity(0))"
    for wrapper, wanted in ((["unshare", "--user", "--map-root-user"], "None"), ([], str)):
        done = subprocess.run([*wrapper, sys.executable, "-I", "-B", "-c", code], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no user namespaces: {done.stderr.strip()}")
        assert done.stdout.strip() == wanted if wanted is not str else done.stdout.strip().isdigit()


def test_a_normal_user_has_no_other_identity(folder: str) -> None:
    if os.geteuid() != 0:
        assert sandbox_identity(0) is None
        return
    code = f"import sys; sys.path.insert(0, {folder!r}); import privileges; print(privileges.sandbox_identity(0))"
    done = subprocess.run([interpreter(NOBODY), "-I", "-B", "-c", code], user=NOBODY, capture_output=True, text=True)
    assert done.stdout == "None\n"


def test_readable_by_goes_by_the_bits(tmp_path: Path) -> None:
    # pytest's own folders are closed to others: only the bits below tmp_path are judged, or those of a folder open to all.
    with tempfile.TemporaryDirectory() as made:
        root, me, other = Path(made), os.geteuid(), 61200
        closed = root / "closed"
        closed.mkdir()
        (closed / "file").touch()
        (root / "link").symlink_to(closed / "file")
        for folder, mode in ((root, 0o755), (closed, 0o700), (closed / "file", 0o644)):
            folder.chmod(mode)
        inside = [str(closed / "file")]
        assert readable_by(me, inside) and not readable_by(other, inside)
        assert not readable_by(other, [str(root / "link")])
        assert readable_by(other, inside, ancestors=False)
        closed.chmod(0o711)
        assert readable_by(other, inside) and readable_by(other, [str(root / "link")])
        assert not readable_by(other, [str(closed)])  # may pass, not list
        (closed / "file").chmod(0o640)
        assert not readable_by(other, inside) and not readable_by(other, inside, ancestors=False)
        (closed / "file").chmod(0o044)  # the owner's own bits come first
        assert not readable_by(me, inside) and readable_by(other, inside)
        assert not readable_by(me, [str(root / "missing")])
