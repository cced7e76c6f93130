"""Processes that live under the list of system calls: honest ones notice nothing, others reach nothing."""

import errno
import gzip
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from guerdon.rewards.sandbox import seccomp

works = pytest.mark.skipif(bool(seccomp.why_not()), reason=seccomp.why_not() or "works")
LOAD = f"""
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("seccomp", {str(seccomp.__file__)!r})
seccomp = importlib.util.module_from_spec(spec)
spec.loader.exec_module(seccomp)
"""


def run(body: str, policy: str = "", before: str = "", stdin: str = "", code: int = 0) -> str:
    """What a fresh interpreter prints that runs ``before``, installs a filter and runs ``body``."""
    install = f"seccomp.Filter.make({policy}).install()\n" if policy != "none" else ""
    script = LOAD + textwrap.dedent(before) + "\n" + install + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-I", "-B", "-c", script], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout


HONEST = {
    "threads": """
        import threading
        out = []
        made = [threading.Thread(target=out.append, args=(n,)) for n in range(20)]
        [t.start() for t in made]; [t.join() for t in made]
        assert sorted(out) == list(range(20))""",
    "thread pool": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool: assert sum(pool.map(abs, range(-9, 1))) == 45""",
    "asyncio": """
        import asyncio
        async def both():
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.01), asyncio.to_thread(len, "ab"))
            await asyncio.wait_for(asyncio.sleep(0), 1)
        asyncio.run(both())""",
    "a pair of sockets": """
        import socket
        a, b = socket.socketpair()
        a.settimeout(1); a.sendall(b"hi"); assert b.recv(9) == b"hi"; a.close(); assert b.recv(1) == b"" """,
    "temporary files": """
        import tempfile, pathlib, shutil
        with tempfile.TemporaryDirectory() as d:
            p = pathlib.Path(d, "a"); p.write_text("x"); shutil.copy(p, d + "/b"); shutil.copy2(p, d + "/c"); p.touch()
            shutil.move(d + "/b", d + "/e"); shutil.copytree(d, d + "/f"); os.chmod(p, 0o600); os.rename(p, d + "/g")
            assert sorted(os.listdir(d)) == ["c", "e", "f", "g"]; os.symlink("g", d + "/h"); os.truncate(os.open(d + "/g", 2), 0)
        with tempfile.NamedTemporaryFile() as f: f.write(b"x"); f.flush(); assert os.stat(f.name).st_size == 1
        assert not os.path.exists(d)""",
    "archives": """
        import tempfile, zipfile, tarfile
        with tempfile.TemporaryDirectory() as d:
            with zipfile.ZipFile(d + "/a.zip", "w") as z: z.writestr("x", "y" * 999)
            with tarfile.open(d + "/a.tar", "w") as t: t.add(d + "/a.zip", "b.zip")
            with tarfile.open(d + "/a.tar") as t: t.extractall(d + "/out")
            assert zipfile.ZipFile(d + "/out/b.zip").read("x") == b"y" * 999""",
    "a database": """
        import sqlite3, tempfile
        with tempfile.TemporaryDirectory() as d:
            for name in (":memory:", d + "/db"):
                c = sqlite3.connect(name); c.execute("pragma journal_mode=wal"); c.execute("create table t(a)")
                with c: c.executemany("insert into t values (?)", [(n,) for n in range(9)])
                assert c.execute("select sum(a) from t").fetchone() == (36,); c.close()""",
    "random": "import random, secrets, uuid; random.seed(); os.urandom(8); secrets.token_hex(4); uuid.uuid4(); uuid.uuid1()",
    "time": """
        import time, datetime
        t = time.monotonic(); time.sleep(0.02); assert time.monotonic() - t >= 0.02; datetime.datetime.now(); time.process_time()""",
    "alarms": """
        import signal
        got = []
        signal.signal(signal.SIGALRM, lambda *_: got.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
        signal.alarm(1); signal.alarm(0); assert got == [1]""",
    "signals to itself": """
        import signal, threading
        got = []
        signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
        os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1); os.kill(os.getpid(), 0); assert got == [1, 1, 1]""",
    "folders": "os.listdir('/'); list(os.scandir('/')); os.getcwd(); os.walk('/').__next__(); os.cpu_count(); os.statvfs('/')",
    "memory": """
        import mmap, gc
        m = mmap.mmap(-1, 1 << 16); m[:2] = b"ab"; m.close(); x = bytearray(50 << 20); del x; gc.collect()""",
    "machine code": """
        import ctypes
        back = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1); assert back(1) == 2
        assert ctypes.CDLL(None).abs(-3) == 3""",
    "calculation": """
        import json, re, decimal, hashlib, fractions, zlib
        assert json.loads("[1]") == [1] and re.sub("a", "b", "aa") == "bb" and decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
        hashlib.sha256(b"x").hexdigest(); hashlib.md5(b"x"); hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10); zlib.compress(b"x" * 99)""",
    "recursion": """
        sys.setrecursionlimit(5000)
        def f(n): return 0 if n == 0 else 1 + f(n - 1)
        assert f(3000) == 3000""",
    "the terminal that is not there": """
        import shutil, getpass, locale
        assert not sys.stdin.isatty(); shutil.get_terminal_size(); locale.getpreferredencoding(); os.getlogin if 0 else None""",
    "its own limits": """
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE); resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        resource.getrusage(resource.RUSAGE_SELF); os.nice(0); os.sched_getaffinity(0); os.getloadavg(); os.uname()""",
    "locks and queues": """
        import fcntl, queue, threading, tempfile
        with tempfile.TemporaryFile() as f: fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX)
        q = queue.Queue(); threading.Timer(0.01, q.put, (1,)).start(); assert q.get(timeout=5) == 1""",
    "pipes": "r, w = os.pipe(); os.write(w, b'x'); assert os.read(r, 1) == b'x'; os.set_blocking(r, False); os.dup2(r, w)",
    "logs and names": """
        import logging, pwd, socket, getpass
        logging.warning("x"); socket.gethostname(); pwd.getpwuid(0)""",
    "its end": "import atexit; atexit.register(print, end=''); sys.exit(0)",
}


@works
@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_live_under_it(name: str) -> None:
    run(HONEST[name])


@works
def test_a_failed_assertion_in_a_program_is_seen() -> None:
    run("assert False", code=1)  # so that the test above can fail


MODULES = """abc argparse array ast asyncio base64 bisect calendar cmath codecs collections concurrent.futures contextlib copy csv ctypes
    dataclasses datetime decimal difflib dis doctest email.message enum fnmatch fractions functools gc getopt glob gzip hashlib heapq
    html.parser http.client inspect io itertools json keyword linecache logging math mmap multiprocessing numbers operator pathlib pickle
    platform pprint queue random re secrets select selectors shutil signal socket sqlite3 statistics string struct subprocess tarfile
    tempfile textwrap threading timeit tokenize traceback types typing unicodedata unittest urllib.parse uuid weakref
    xml.etree.ElementTree zipfile zlib"""


@works
def test_modules_can_be_imported_under_it() -> None:
    names = MODULES.split()
    assert len(names) > 60
    assert run(f"import importlib\nfor n in {names}: importlib.import_module(n)\nprint(len(sys.modules) > 150)") == "True\n"


@works
def test_other_processes_are_refused_at_once() -> None:
    body = """
        import subprocess, asyncio, multiprocessing
        def refused(f):
            try: f()
            except PermissionError: return True
        print(refused(os.fork), refused(lambda: subprocess.run(["true"])), refused(lambda: subprocess.run("true", shell=True)),
            refused(lambda: os.popen("true")), refused(lambda: os.execv("/bin/true", ["true"])), refused(lambda: os.posix_spawn("/bin/true", ["true"], {})),
            refused(lambda: asyncio.run(asyncio.create_subprocess_exec("true"))), refused(multiprocessing.Process(target=print).start),
            refused(os.forkpty), os.system("true") != 0)
        """
    assert run(body) == "True " * 9 + "True\n"


@works
def test_refused_calls_do_nothing_on_a_real_kernel() -> None:
    """Every refused call by its number; its arguments are such that the call would fail even where the filter did not hold."""
    names = [n for group in seccomp.REFUSED.values() for n in group.split()] + ["clone3", *seccomp.NETWORK.split()]
    body = f"""
        import ctypes, json
        libc = ctypes.CDLL(None, use_errno=True)
        column, found = seccomp.MACHINES[os.uname().machine][0], {{}}
        for name in {names}:
            number = seccomp.SYSCALLS[name][column]
            if number >= 0:
                ctypes.set_errno(0)
                result = libc.syscall(*map(ctypes.c_long, [number] + [-1] * 6))
                found[name] = ctypes.get_errno() if result == -1 else -result
        print(json.dumps(found))
        """
    found = json.loads(run(body))
    network = set(seccomp.NETWORK.split())
    assert found == {n: errno.ENOSYS if n == "clone3" else errno.EACCES if n in network else errno.EPERM for n in found}
    assert len(found) > 100 and {"ptrace", "io_uring_setup", "memfd_create", "unshare", "bpf"} <= set(found)
    free = json.loads(run(body.replace(str(names), str(["ptrace", "memfd_create", "kcmp", "setns"])), policy="none"))
    assert errno.EPERM not in free.values()  # these answers come from the filter


@works
def test_what_a_program_must_not() -> None:
    body = """
        import ctypes, fcntl, signal, socket, resource, termios
        def refused(f, *args):
            try: f(*args)
            except OSError as e: return e.errno
        libc = ctypes.CDLL(None, use_errno=True)
        def prctl(*a):
            if libc.prctl(*map(ctypes.c_ulong, (*a, *[0] * 5)[:5])): raise OSError(ctypes.get_errno(), "")
        parent, null, path = os.getppid(), os.open("/dev/null", 2), "/dev/null"
        a, b = socket.socketpair()
        cases = [
            ("kill", os.kill, parent, 0), ("kill group", os.kill, 0, 0), ("kill all", os.kill, -1, 0), ("killpg", os.killpg, os.getpgrp(), 0),
            ("prlimit", resource.prlimit, parent, resource.RLIMIT_CPU), ("affinity", os.sched_setaffinity, parent, [0]),
            ("priority", os.setpriority, os.PRIO_USER, 0, 19), ("setsid", os.setsid), ("setpgid", os.setpgid, 0, 0),
            ("dumpable", prctl, 4, 1), ("death signal", prctl, 1, 0), ("reaper", prctl, 36, 1), ("seccomp", prctl, 22, 1),
            ("tiocsti", fcntl.ioctl, null, termios.TIOCSTI, b"x"), ("owner", fcntl.fcntl, null, fcntl.F_SETOWN, parent),
            ("truncate", os.truncate, path, 0), ("read and truncate", os.open, path, os.O_RDONLY | os.O_TRUNC),
            ("sendmsg", a.sendmsg, [b"x"]), ("descriptors", socket.send_fds, a, [b"x"], [null]), ("mkfifo", os.mkfifo, "/tmp/never"),
            ("chroot", os.chroot, "/"), ("setuid", os.setuid, os.getuid()), ("xattr", os.setxattr, path, "user.a", b"b"),
            ("tcp", socket.socket), ("udp", socket.socket, socket.AF_INET, socket.SOCK_DGRAM), ("unix", socket.socket, socket.AF_UNIX),
            ("netlink", socket.socket, 16, 3), ("datagram pair", socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM),
            ("bind", a.bind, chr(0) + "name"), ("resolve", socket.create_connection, ("127.0.0.1", 9)),
        ]
        print({name: refused(*case) for name, *case in cases})
        """
    found = eval(run(body))
    network = {"tcp", "udp", "unix", "netlink", "datagram pair", "bind", "resolve"}
    wanted = {n: errno.EACCES if n in network else errno.ENOTSUP if n == "xattr" else errno.EPERM for n in found}
    assert found == wanted


@works
@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86-64")
def test_calls_of_32_bits_kill_the_process() -> None:
    body = """
        import ctypes, mmap
        m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        m.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
        print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))() == os.getpid(), flush=True)
        os._exit(0)
        """
    script = [sys.executable, "-I", "-c", "import os\n" + textwrap.dedent(body)]
    if subprocess.run(script, capture_output=True, text=True).stdout != "True\n":
        pytest.skip("this kernel has no calls of 32 bits")
    assert run(body, code=-signal.SIGSYS) == ""


@works
def test_metadata_is_answered_as_if_it_were_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("abc")
    path.chmod(0o640)
    os.utime(path, (1, 1))
    body = f"""
        os.chmod({str(path)!r}, 0o777); os.utime({str(path)!r}, (5, 5)); os.chown({str(path)!r}, os.getuid(), os.getgid())
        with open({str(path)!r}) as f: os.fchmod(f.fileno(), 0)
        """
    run(body)
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime, path.read_text()) == (0o640, 1, "abc")
    run(body + f"os.truncate({str(path)!r}, 1)", "metadata=True")
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime > 1, path.stat().st_size) == (0, True, 1)


@works
def test_threads_can_be_refused() -> None:
    body = """
        import threading
        try: threading.Thread(target=print).start()
        except RuntimeError: print("no")
        """
    assert run(body, "threads=False") == "no\n"


@works
def test_it_holds_for_what_it_starts_and_cannot_be_taken_off() -> None:
    body = """
        import subprocess
        code = "import socket\\ntry: socket.socket()\\nexcept PermissionError: print('no')"
        print(subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True).stdout)
        try: seccomp.Filter.make().install()
        except OSError as e: print(e)
        """
    assert run(body, "processes=True, execute=True").split("\n")[0] == "no"
    assert "cannot be installed" in run(body, "processes=True, execute=True")


COMMANDS = "processes=True, execute=True, signal_others=True, metadata=True"
START = """
import subprocess
def go(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    print(done.stdout, done.stderr, end="") if done.returncode == 0 else sys.exit(f"{argv}: {done.returncode} {done.stderr}")
"""


@works
@pytest.mark.parametrize("policy", [COMMANDS, COMMANDS.replace(", metadata=True", "")])
def test_shells_run(policy: str) -> None:
    script = "set -e; echo one | tr a-z A-Z; (exit 3) || echo $?; sleep 5 & kill $!; wait || true; echo $(ls -d /); test -t 0 || echo no"
    assert run(f"go('sh', '-c', {script!r})", policy, START).split() == ["ONE", "3", "/", "no"]


@works
def test_iverilog_runs(tmp_path: Path) -> None:
    if not shutil.which("iverilog") or not shutil.which("vvp"):
        pytest.skip("no iverilog")
    (tmp_path / "a.v").write_text('module a; initial begin #5 $display("t=%0t", $time); $finish; end endmodule\n')
    body = f"os.chdir({str(tmp_path)!r}); go('iverilog', '-g2012', '-o', 'a', 'a.v'); go('vvp', '-n', 'a')"
    assert "t=5" in run(body, COMMANDS.replace(", metadata=True", ""), START)


@works
def test_gcc_runs(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    (tmp_path / "a.c").write_text('#include <stdio.h>\n#include <signal.h>\nint main(void) { raise(0); puts("hi"); return 0; }\n')
    assert run(f"os.chdir({str(tmp_path)!r}); go('gcc', 'a.c', '-o', 'a'); go('./a')", COMMANDS, START).split() == ["hi"]


@works
def test_processes_of_python_run() -> None:
    body = """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool: print(sum(pool.map(abs, [-1, -2, 3])))
        """
    assert run(body, COMMANDS) == "6\n"


FORKING = """
import json, random, math, time, typing, collections, itertools, hashlib, re, io, traceback  # as a warm process would have
made, failed = seccomp.Filter.make(), []
for name, program in json.load(sys.stdin):
    child = os.fork()
    if not child:
        try:
            made.install()
            exec(program, {"__name__": "__main__"})
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""


@works
def test_forked_children_of_one_process_run_programs_under_one_filter() -> None:
    programs = [(name, textwrap.dedent("import os, sys\n" + textwrap.dedent(body))) for name, body in HONEST.items()]
    programs += [("wrong", "assert 1 == 2"), ("forks", "import os; os.fork()"), ("dies", "import os; os.kill(os.getpid(), 9)")]
    assert json.loads(run(FORKING, "none", stdin=json.dumps(programs))) == ["its end", "wrong", "forks", "dies"]


@works
def test_reference_solutions_run_under_it(shared_data: Path) -> None:
    with gzip.open(shared_data / "verifiable" / "humaneval.jsonl.gz", "rt", encoding="utf8") as f:
        rows = [json.loads(line) for line in f]
    programs = [(r["task_id"], f"{r['prompt']}{r['canonical_solution']}\n{r['test']}\ncheck({r['entry_point']})\n") for r in rows]
    assert len(programs) == 164
    assert json.loads(run(FORKING, "none", stdin=json.dumps(programs))) == []


@works
def test_a_child_installs_it_quickly() -> None:
    body = """
        import time
        made = seccomp.Filter.make()
        for _ in range(20):
            child = os.fork()
            if not child:
                start = time.perf_counter(); made.install(); seconds = time.perf_counter() - start
                os.write(1, b"%.6f\\n" % seconds); os._exit(0)
            os.waitpid(child, 0)
        """
    seconds = sorted(map(float, run(body, "none").split()))
    assert len(seconds) == 20 and seconds[10] < 0.002  # about 0.0002 where nothing else runs
