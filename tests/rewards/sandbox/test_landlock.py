"""Rights to files that a process gave up: what it can still reach, as root and as somebody else, with each version of Landlock."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from guerdon.rewards.sandbox import landlock

pytestmark = pytest.mark.skipif(bool(landlock.why_not()), reason=landlock.why_not() or "works")
VERSION = landlock.abi()
NOBODY = 65534


def versions(*numbers: int) -> pytest.MarkDecorator:
    """Some versions that this kernel can stand in for, and its own."""
    return pytest.mark.parametrize("version", sorted({VERSION, *(n for n in numbers if n < VERSION)}))


LOAD = f"""
import ctypes, importlib.util, os, shutil, signal, socket, subprocess, sys, threading, traceback
spec = importlib.util.spec_from_file_location("landlock", {str(landlock.__file__)!r})
landlock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(landlock)
Ruleset = landlock.Ruleset
def refused(f, *args):
    "The name of the error, or '' where it could be done."
    try: f(*args)
    except OSError as e: return type(e).__name__
    return ""
def read(path):
    with open(path) as f: return f.read()
def write(path):
    with open(path, "w") as f: f.write("new")
def trace(pid):
    if ctypes.CDLL(None, use_errno=True).ptrace(ctypes.c_long(16), ctypes.c_long(pid), None, None): raise PermissionError
def dumpable():  # who changed its user id is protected from its likes until it says otherwise
    ctypes.CDLL(None).prctl(ctypes.c_ulong(4), ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3)
"""


@pytest.fixture(params=["as it is", "as nobody"])
def user(request: pytest.FixtureRequest) -> int:
    """The user id under which a script enforces its rules."""
    if request.param == "as nobody" and os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    return NOBODY if request.param == "as nobody" else os.getuid()


@pytest.fixture
def place(user: int) -> Iterator[Path]:
    """A folder with in/, out/ and shown/, each with a file, that belongs to the user; not below a folder that others cannot enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    for name in ("in", "out", "shown"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    (folder / "in" / "deep").mkdir()
    if user != os.getuid():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run(body: str, user: int | None = None, place: Path | None = None, code: int = 0) -> str:
    """What a script prints that runs as a user in a folder."""
    become = f"os.setgroups([]); os.setgid({user}); os.setuid({user}); dumpable()\n" if user not in (None, os.getuid()) else ""
    script = LOAD + (f"os.chdir({str(place)!r})\n" if place else "") + become + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-I", "-B", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout


def answers(cases: str, rules: str, user: int, place: Path, before: str = "") -> dict[str, str]:
    """What each case, one per line as name: function and arguments, is refused with under the rules."""
    named = [line.split(": ", 1) for line in textwrap.dedent(cases).strip().splitlines()]
    table = ", ".join(f"{name!r}: refused({case})" for name, case in named)
    return eval(run(f"{textwrap.dedent(before)}\nRuleset.make({rules}).enforce()\nprint({{{table}}})", user, place))


RULES = "read=['shown', '/nowhere/at/all'], write=['in']"
NO, ALIEN = "PermissionError", "OSError"  # OSError: EXDEV, as between two disks


@versions(1)
def test_files_inside_and_outside(user: int, place: Path, version: int) -> None:
    os.symlink("../out/file", place / "in" / "leads out")
    os.symlink("../shown/file", place / "in" / "leads in")
    cases = """
        read in: read, 'in/file'
        read shown: read, 'shown/file'
        list shown: os.listdir, 'shown'
        through a link: read, 'in/leads in'
        write in: write, 'in/file'
        new in: write, 'in/new'
        new deep: write, 'in/deep/new'
        folder in: os.mkdir, 'in/folder'
        symlink in: os.symlink, '/', 'in/link'
        rename in: os.rename, 'in/new', 'in/newer'
        remove in: os.unlink, 'in/newer'
        remove folder: os.rmdir, 'in/folder'
        read out: read, 'out/file'
        list out: os.listdir, 'out'
        list above: os.listdir, '.'
        through a link out: read, 'in/leads out'
        write out: write, 'out/file'
        write through a link: write, 'in/leads out'
        new out: write, 'out/new'
        folder out: os.mkdir, 'out/folder'
        remove out: os.unlink, 'out/file'
        write shown: write, 'shown/file'
        new shown: write, 'shown/new'
        remove shown: os.unlink, 'shown/file'
        system: os.listdir, '/etc'
        fifo: os.mkfifo, 'in/fifo'
        dots: read, 'in/../out/file'
        """
    found = answers(cases, f"{RULES}, version={version}", user, place)
    assert {name: error for name, error in found.items() if error} == dict.fromkeys(list(found)[12:], NO)
    assert (place / "out" / "file").read_text() == "out" and (place / "shown" / "file").read_text() == "shown"
    assert sorted(p.name for p in (place / "out").iterdir()) == ["file"]


@versions(1, 2)
def test_nothing_is_moved_or_linked_across_the_border(user: int, place: Path, version: int) -> None:
    cases = """
        move out: os.rename, 'in/file', 'out/moved'
        link out: os.link, 'in/file', 'out/linked'
        move in: os.rename, 'out/file', 'in/moved'
        link in: os.link, 'out/file', 'in/linked'
        link shown: os.link, 'shown/file', 'in/linked'
        swap: os.rename, 'in/deep', 'out/deep'
        inside: os.rename, 'in/file', 'in/deep/file'
        """
    found = answers(cases, f"{RULES}, version={version}", user, place)
    inside = found.pop("inside")
    assert inside == ("" if version >= 2 else ALIEN)
    assert set(found.values()) <= {NO, ALIEN}
    assert sorted(p.name for p in (place / "out").iterdir()) == ["file"] and not (place / "in" / "linked").exists()


@versions(1, 2, 3)
def test_truncation_by_version(user: int, place: Path, version: int) -> None:
    found = answers(
        "inside: os.truncate, 'in/file', 0\noutside: os.truncate, 'shown/file', 0", f"{RULES}, version={version}", user, place
    )
    assert found == {"inside": "", "outside": NO if version >= 3 else ""}
    assert ("truncate" in landlock.covered(version)) == (found["outside"] == NO)


@versions(1, 4)
def test_devices_and_files_as_rules(user: int, place: Path, version: int) -> None:
    cases = """
        null: write, '/dev/null'
        read null: read, '/dev/null'
        append null: os.open, '/dev/null', os.O_RDWR | os.O_APPEND
        random: os.open, '/dev/urandom', os.O_RDONLY
        zero: os.open, '/dev/zero', os.O_RDONLY
        one file: read, 'shown/file'
        write random: os.open, '/dev/urandom', os.O_WRONLY
        full: os.open, '/dev/full', os.O_RDONLY
        its folder: os.listdir, 'shown'
        another: os.listdir, '/dev'
        """
    rules = f"read=['/dev/zero', '/dev/urandom', 'shown/file'], write=['/dev/null'], version={version}"
    found = answers(cases, rules, user, place)
    assert found == {**dict.fromkeys(list(found)[:6], ""), **dict.fromkeys(list(found)[6:], NO)}


@versions(1)
def test_programs_run_only_where_listed(user: int, place: Path, version: int) -> None:
    shutil.copy(shutil.which("true") or "/bin/true", place / "in" / "true")
    (place / "in" / "true").chmod(0o755)
    libraries = [p for p in ("/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache") if os.path.exists(p)]
    true = os.path.realpath(shutil.which("true") or "/bin/true")
    body = f"""
        def start(path): subprocess.run([path], check=True)
        def enforced(**rules):
            child = os.fork()
            if not child:
                try: Ruleset.make(version={version}, read=['/dev'], **rules).enforce(); print(refused(start, {true!r}), refused(start, './in/true'), flush=True)
                finally: os._exit(0)
            os.waitpid(child, 0)
        enforced(execute={libraries})
        enforced(execute={[*libraries, true]})
        enforced(execute={[*libraries, true]}, write=['in'])
        enforced(execute={[*libraries, "in"]}, write=['in'])
        """
    assert run(body, user, place).split("\n")[:4] == [f"{NO} {NO}", f" {NO}", f" {NO}", f"{NO} "]


@versions(1, 2, 5)
def test_a_process_outside_is_not_traced_or_read(user: int, version: int) -> None:
    names = ["mem", "io", "timers"] + ["environ", "maps"] * (user != 0)  # from Linux 6.14 on CAP_PERFMON opens these two
    body = f"""
        rules = Ruleset.scopes_only(version={version})
        def look(pid):
            return [refused(os.readlink, f"/proc/{{pid}}/cwd"), *[refused(read, f"/proc/{{pid}}/{{n}}") for n in {names}]]
        brother = os.fork()
        if not brother: signal.pause()
        for confined in (False, True):
            child = os.fork()
            if not child:
                try:
                    if confined: rules.enforce()
                    print([look(os.getppid()), look(brother), look(os.getpid()), [refused(trace, brother)]], flush=True)
                finally: os._exit(0)
            os.waitpid(child, 0)
        os.kill(brother, 9)
        print(sorted(rules.handled))
        """
    free, held, handled = map(eval, run(body, user).splitlines())
    count = len(names) + 1
    own = ["", ALIEN, *[""] * (count - 2)]  # nothing lies at the first address of mem
    assert free == [own, own, own, [""]]
    assert held == [[NO] * count, [NO] * count, own, [NO]]
    assert handled == sorted({"ptrace"} | ({"abstract sockets", "signals"} if version >= 6 else set()))


@versions(1, 2, 5)
def test_scopes_leave_files_and_network_alone(user: int, place: Path, version: int) -> None:
    body = f"""
        Ruleset.scopes_only(version={version}).enforce()
        print([refused(read, "out/file"), refused(write, "out/file"), refused(os.mkdir, "out/deep"), refused(tcp), refused(bind)])
        print(refused(os.rename, "out/file", "in/moved"))
        """
    files, moved = map(str.strip, run(NETWORK + textwrap.dedent(body), user, place).splitlines())
    assert eval(files) == [""] * 5
    assert moved == ("" if version >= 2 else ALIEN)


@versions(1, 5, 6)
def test_signals_to_processes_outside(user: int, version: int) -> None:
    body = f"""
        for make in (Ruleset.scopes_only, Ruleset.make):
            made = make(version={version})
            child = os.fork()
            if not child:
                try:
                    made.enforce()
                    mine = os.fork()
                    if not mine: signal.pause()
                    print(refused(os.kill, os.getppid(), 0), refused(os.kill, os.getpid(), 0), refused(os.kill, mine, 9), flush=True)
                    os.waitpid(mine, 0)
                finally: os._exit(0)
            os.waitpid(child, 0)
        """
    assert run(body, user).split("\n")[:2] == [f"{NO if version >= 6 else ''}  "] * 2


@pytest.mark.skipif(VERSION < 6, reason="Landlock before version 6")
def test_a_child_of_a_confined_process_cannot_signal_it(user: int) -> None:
    body = """
        outer, inner = Ruleset.make(), Ruleset.scopes_only()
        outer.enforce()
        brother = os.fork()
        if not brother: inner.enforce(); signal.pause()
        child = os.fork()
        if not child:
            inner.enforce(); print(refused(os.kill, os.getppid(), 9), refused(os.kill, brother, 9), refused(trace, os.getppid()), flush=True); os._exit(0)
        os.waitpid(child, 0)
        print(refused(os.kill, brother, 9), os.waitpid(brother, 0)[1])
        """
    assert run(body, user).split() == [NO, NO, NO, "9"]


NETWORK = """
server = socket.create_server(("127.0.0.1", 0))
abstract = socket.socket(socket.AF_UNIX); abstract.bind(chr(0) + f"guerdon-{os.getpid()}"); abstract.listen()
def tcp():
    with socket.socket() as s: s.connect(server.getsockname())
def bind():
    with socket.socket() as s: s.bind(("127.0.0.1", 0))
def unix():
    with socket.socket(socket.AF_UNIX) as s: s.connect(abstract.getsockname())
"""
SOCKETS = "tcp: tcp\nbind: bind\nabstract: unix"


@versions(1, 3, 4, 5, 6)
def test_network_by_version(user: int, place: Path, version: int) -> None:
    def found(**options: object) -> list[str]:
        rules = ", ".join(f"{k}={v}" for k, v in options.items())
        return list(answers(SOCKETS, rules, user, place, NETWORK).values())

    tcp, abstract = NO if version >= 4 else "", NO if version >= 6 else ""
    assert found(version=version) == [tcp, tcp, abstract]
    assert found(version=version, network=True) == ["", "", abstract]
    assert found(version=version, isolate=False) == [tcp, tcp, ""]


def test_what_is_handled_is_named() -> None:
    names = {
        1: {"read", "write", "execute", "ptrace"},
        3: {"truncate"},
        4: {"tcp"},
        5: {"device ioctl"},
        6: {"abstract sockets", "signals"},
    }
    for version in range(1, VERSION + 1):
        with contextlib.closing(landlock.Ruleset.make(version=version)) as made:
            assert made.version == version
            assert (
                made.handled
                == {n for since, some in names.items() if since <= version for n in some}
                == landlock.covered(version)
            )
        with contextlib.closing(landlock.Ruleset.make(version=version, network=True, isolate=False)) as made:
            assert made.handled == landlock.covered(version) - {"tcp", "abstract sockets", "signals"}
    with contextlib.closing(landlock.Ruleset.make(version=99)) as made:
        assert made.version == VERSION
    assert landlock.covered(0) == frozenset()


def test_a_ruleset_is_enforced_by_many_children_and_closed_in_each(user: int, place: Path) -> None:
    """Who holds the ruleset's descriptor could add rights for those that enforce it later."""
    body = """
        made = Ruleset.make(write=['in'])
        for _ in range(3):
            child = os.fork()
            if not child:
                held = made.descriptor
                made.enforce(); made.close()
                print(refused(os.fstat, held), refused(read, 'out/file'), refused(read, 'in/file'), flush=True); os._exit(0)
            os.waitpid(child, 0)
        print(refused(read, 'out/file'))
        """
    assert run(body, user, place) == f"{ALIEN} {NO} \n" * 3 + "\n"


def test_more_rules_only_take_away(user: int, place: Path) -> None:
    body = """
        Ruleset.make(read=['shown'], write=['in']).enforce()
        Ruleset.make(read=['shown', 'out']).enforce()
        print([refused(read, n + '/file') for n in ('shown', 'in', 'out')])
        """
    assert eval(run(body, user, place)) == ["", NO, NO]


def test_it_holds_for_threads_and_children_started_later(user: int, place: Path) -> None:
    body = """
        Ruleset.make(read=['shown']).enforce()
        out = []
        t = threading.Thread(target=lambda: out.append(refused(read, 'out/file'))); t.start(); t.join()
        print(*out, flush=True)
        if not os.fork():
            os.setsid(); print(refused(read, 'out/file'), refused(read, 'shown/file'), flush=True); os._exit(0)
        os.wait()
        """
    assert run(body, user, place).split() == [NO, NO]


def test_a_closed_ruleset_cannot_be_enforced() -> None:
    made = landlock.Ruleset.make()
    made.close()
    made.close()
    assert "cannot be enforced" in run("made = Ruleset.make(); made.close()\ntry: made.enforce()\nexcept OSError as e: print(e)")
