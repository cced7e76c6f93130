"""Scripts, commands, calls and exams, at every level that this machine has."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from guerdon.core import PlanError, RewardError
from guerdon.rewards import sandbox
from guerdon.rewards.sandbox import Limits, Raised, Returned, Sandbox, levels

QUICK = Limits(cpu=0.5, wall=3.0)


@pytest.fixture(scope="module", params=[lv.name for lv in levels()])
def box(request):
    level = next(lv for lv in levels() if lv.name == request.param)
    if level.missing:
        pytest.skip(f"no level {level.name}: {level.missing}")
    with Sandbox(level=request.param, lanes=1) as found:
        yield found


@pytest.fixture(scope="module")
def any_box():
    with Sandbox(lanes=2) as found:
        yield found


def exam(box, program, test, **named):
    return box.exam(textwrap.dedent(program), textwrap.dedent(test), **named)


def test_scripts(box):
    ended = box.script(
        "import sys\nprint(input().upper())\nprint(open('d/in.txt').read(), file=sys.stderr)",
        stdin="é\n",
        files={"d/in.txt": "x"},
    )
    assert (ended.cause, ended.code, ended.stdout, ended.stderr) == ("", 0, "É\n", "x\n")
    ended = box.script("1/0")
    assert (ended.cause, ended.code, ended.reason) == ("exit", 1, "exit code 1: ZeroDivisionError: division by zero")
    assert (
        ended.stderr
        == 'Traceback (most recent call last):\n  File "main.py", line 1, in <module>\n    1/0\n    ~^~\nZeroDivisionError: division by zero\n'
    )
    assert box.script("import sys; sys.exit(3)").code == 3
    assert box.script("import sys; sys.exit('no')").stderr == "no\n"
    assert box.script("import os; os.abort()").reason.startswith("ended by SIGABRT")
    assert "SyntaxError" in box.script("x = (").reason


def test_a_script_ends_as_python_does(box):
    late = "import atexit, threading, time\natexit.register(print, 'bye')\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\nprint('first')"
    assert box.script(late).stdout == "first\nlate\nbye\n"
    assert box.script("import helper; print(helper.x, __name__)", files={"helper.py": "x = 3"}).stdout == "3 __main__\n"


def test_nothing_is_left_for_the_next_program(box):
    assert box.script("open('kept', 'w').write('x'); import os; os.makedirs('a/b')").ok
    found = box.script(
        "import os, sys; print(os.listdir('.'), sys.argv, sorted(os.environ)); print(__import__('random').random())"
    )
    assert found.stdout.startswith("[] ['program'] ")
    assert not {"USER", "LOGNAME", "VIRTUAL_ENV", "GUERDON_CACHE", "OLDPWD"} & set(found.stdout.split("'"))
    again = box.script(
        "import os, sys; print(os.listdir('.'), sys.argv, sorted(os.environ)); print(__import__('random').random())"
    )
    assert again.stdout == found.stdout  # random numbers too: the same program gets the same verdict


def test_sets_have_one_order(box):
    program = "print(list({'a', 'b', 'c', 'd', 'e'}))"
    with Sandbox(level=box.level.name, lanes=1) as other:
        assert box.script(program).stdout == other.script(program).stdout


@pytest.mark.parametrize(
    ("program", "limits", "cause", "reason"),
    [
        ("while True: pass", Limits(cpu=0.3, wall=20), "time", "used more than 0.3 s of processor time"),
        ("import time; time.sleep(60)", Limits(wall=0.5), "time", "timed out after 0.5 s"),
        ("x = bytearray(300 << 20)", Limits(memory=100 << 20), "memory", "exit code 1: MemoryError"),
        ("while True: print('x' * 1000)", Limits(output=10_000), "output", "wrote more than 10000 bytes"),
        ("open('f', 'wb').write(bytes(2 << 20))", Limits(scratch=1 << 20), "exit", "exit code 1: OSError: [Errno 27] File too large"),
        ("import time\nfor k in range(9): open(str(k), 'w')\ntime.sleep(60)", Limits(files=8), "files", "made more than 8 files"),
        ("import time\nfor k in range(9): open(str(k), 'wb').write(bytes(200_000))\ntime.sleep(60)", Limits(scratch=1 << 20), "files", "wrote more than 1048576 bytes into files"),
        ("f = [open('/dev/null') for _ in range(100)]", Limits(open_files=20), "exit", "exit code 1: OSError: [Errno 24] Too many open files: '/dev/null'"),
    ],
    ids=["cpu", "wall", "memory", "output", "file", "files", "bytes", "open files"],
)  # fmt: skip
def test_limits(box, program, limits, cause, reason):
    ended = box.script(program, limits=limits)
    assert (ended.cause, ended.reason) == (cause, reason)
    assert len(ended.stdout) <= limits.output + 1
    assert box.script("print('next')").stdout == "next\n"


def test_commands(box):
    steps = [
        ["sh", "-c", "cat > copy && echo first"],
        ["sh", "-c", "cat copy seed; echo oops >&2; exit 4"],
        ["sh", "-c", "echo never"],
    ]
    first, second = box.command(steps, stdin="given ", files={"seed": "seed\n"})
    assert (first.cause, first.stdout) == ("", "first\n")
    assert (second.cause, second.code, second.stdout, second.reason) == ("exit", 4, "given seed\n", "exit code 4: oops")
    assert box.command([["sh", "-c", "ls | wc -l"]])[0].stdout.strip() == "0"
    (slow,) = box.command([["sh", "-c", "sleep 60 & sleep 60"]], limits=Limits(wall=0.5))
    assert slow.reason == "timed out after 0.5 s"
    with pytest.raises(RewardError, match="no program 'no-such-program'"):
        box.command([["no-such-program"]])


def test_calls(box):
    source = "import collections\nclass Odd(Exception): pass\ndef f(x, *, y=1):\n    if x == 0: raise Odd('zero')\n    return collections.Counter({x: y})\n"
    called = box.calls(source, [("f", [2], {"y": 5}), ("f", [0], {}), ("g", [], {}), ("f", [(1, 2)], {})])
    assert called.ended.ok
    assert called.answers == (Returned({2: 5}), Raised("Odd", "zero"), Raised("KeyError", "'g'"), Returned({(1, 2): 1}))
    called = box.calls("import sys; sys.exit(0)", [("f", [], {})])
    assert (called.answers, called.ended.cause, called.ended.reason) == ((), "exit", "does not load: SystemExit: 0")
    called = box.calls(
        "import os\ndef f(x):\n    if x: os._exit(0)\n    return 1", [("f", [0], {}), ("f", [1], {}), ("f", [0], {})]
    )
    assert (called.answers, called.ended.reason) == ((Returned(1),), "ended before its answer")
    called = box.calls("def f(): return open", [("f", [], {})])
    assert called.ended.reason == "answered what cannot be read: not plain data"
    called = box.calls("def f():\n    while True: pass", [("f", [], {})], limits=QUICK)
    assert called.ended.cause == "time" and not called.answers
    with pytest.raises(RewardError, match="is no plain data"):
        box.calls("", [("f", [print], {})])


SAME = "def same(x): return x\n"


@pytest.mark.parametrize(
    ("program", "test", "passed", "note"),
    [
        (SAME, "assert same((1, [2])) == (1, [2])", True, ""),
        (SAME, "x = 1\nassert same(2) == 3, 'no'", False, "assertion failed in line 2: assert same(2) == 3, 'no'"),
        (SAME, "assert other(1)", False, "NameError: name 'other' is not defined in line 1: assert other(1)"),
        ("def f(: pass", "assert f()", False, "does not load: SyntaxError: invalid syntax (solution.py, line 1)"),
        ("import os; os._exit(0)", "assert f()", False, "ended before its test did"),
        ("raise SystemExit(0)", "", False, "does not load: SystemExit: 0"),
        ("def f(): raise ValueError('no')", "try:\n    f()\nexcept ValueError as e:\n    assert str(e) == 'no'\nelse:\n    assert False", True, ""),
        ("class E(Exception): pass\ndef f(): raise E('x')", "try:\n    f()\nexcept E:\n    pass", True, ""),
        ("import os\ndef f(): os._exit(0)", "try:\n    f()\nexcept:\n    pass", False, "ended before its test did"),
        ("def f(): raise StopIteration", "assert all(map(lambda n: f() == n, [1, 2]))", False, "ProgramError: StopIteration:"),
        ("def f():\n    yield from [1, 2]", "assert list(f()) == [1, 2]\nassert 2 in f()", True, ""),
        ("class P:\n    def __init__(self, x): self.x = x\n    def double(self): return 2 * self.x", "p = P(3)\nassert p.x == 3 and p.double() == 6 and p != P(3)", True, ""),
        ("N = [1, 2]\ndef f(x): x.append(3); return x", "l = [1]\nassert f(l) == [1, 3] and l == [1] and N == [1, 2]", True, ""),
        ("def check(c): pass\ndef f(): return 1", "def check(c):\n    assert c() == 2\ncheck(f)", False, "assertion failed"),
        ("def abs(x): return 0\ndef f(): return -5", "assert abs(f() - 1) < 1", False, "assertion failed"),
        ("class L:\n    def __eq__(self, o): return True\n    def __contains__(self, o): return True\ndef f(): return L()", "assert f() == 1", False, "assertion failed"),
        ("class L:\n    def __contains__(self, o): return True\n    def __iter__(self): return iter([])\ndef f(): return L()", "assert 1 in f()", False, "assertion failed"),
        ("def f(): return float('nan')", "import math\nassert math.isnan(f())", True, ""),
    ],
)  # fmt: skip
def test_exams(box, program, test, passed, note):
    found = exam(box, program, test)
    assert found.passed is passed
    assert found.note.startswith(note) and bool(found.note) == bool(note)
    assert found.ended.cause != "sandbox"


def test_an_exam_tells_whether_the_program_loads(box):
    assert exam(box, "def f(): return 1", "assert f() == 2").loads
    assert not exam(box, "import no_such_module", "assert True").loads


def test_helpers_of_the_task_are_its_own(box):
    given = "import math\nLIMIT = 4\ndef helper(x):\n    return math.floor(x) + LIMIT\ndef f(x):\n    '''To be written.'''\n"
    test = "def check(candidate):\n    assert helper(candidate(1.5)) == 7\n"
    honest = given + "    return 2 * x\n"
    assert exam(box, honest, test, given=given, call="f").passed
    forged = given + "    return 0\ndef helper(x): return 7\nLIMIT = 7\n"
    assert not exam(box, forged, test, given=given, call="f").passed
    assert exam(
        box, "def help2(x): return x + 1\ndef f(x): return x", "assert help2(f(1)) == 2"
    ).passed  # one of the program's own
    assert exam(box, "def sum(a, b): return a + b", "def check(c):\n    assert sum(1, 2) == 3", call="sum ").passed


@pytest.mark.parametrize(
    ("test", "given", "why"),
    [
        ("def check(", "", "the test cannot be parsed: SyntaxError"),
        ("assert same(print)", "", "the test hands the program a value of type builtin_function_or_method"),
        ("assert same(1) == 1", "1/0", "the task's own code fails: ZeroDivisionError"),
        ("assert same(1) == 1", "def (", "the task's own code cannot be parsed"),
    ],
)
def test_a_test_that_cannot_be_used_is_no_verdict(box, test, given, why):
    found = exam(box, SAME, test, given=given)
    assert not found.passed and found.ended.cause == "sandbox" and found.note.startswith(why) and found.ended.reason == found.note
    assert exam(box, SAME, "assert same(1) == 1").passed


def test_one_exam_leaves_nothing_to_the_next_of_the_same_test(box):
    test = "seen = []\nfor k in range(3):\n    seen.append(next_one())\nassert seen == [1, 2, 3]\nimport random\nassert random.random() > 2, random.random()"
    program = "n = 0\ndef next_one():\n    global n\n    n += 1\n    return n\n"
    first, second = exam(box, program, test), exam(box, program, test)
    assert first.note == second.note and first.note.startswith("assertion failed in line 6")
    assert first.calls == second.calls == 3


def test_a_test_that_hangs_on_its_own_fails(any_box):
    found = any_box.exam(SAME, "while True: pass", limits=Limits(cpu=0.2, wall=0.3))
    assert not found.passed and found.note == "the test timed out after 2.3 s" and found.ended.cause != "sandbox"


def test_a_killed_zygote_is_replaced(any_box):
    assert any_box.script("print(1)").ok
    for place in any_box._programs.places:
        if place is not None:
            os.kill(place.process.pid, signal.SIGKILL)
    assert any_box.script("print(2)").stdout == "2\n"


def test_many_threads_share_the_lanes(any_box):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda k: any_box.exam(f"def f(): return {k}", f"assert f() == {k - k % 2}").passed, range(40)))
    assert found == [k % 2 == 0 for k in range(40)]


def test_a_closed_sandbox_says_so_and_leaves_no_process():
    box = Sandbox(lanes=1)
    assert box.script("print(1)").ok
    process = box._programs.places[-1].process
    box.close()
    assert process.poll() is not None
    with pytest.raises(RewardError, match="the sandbox was closed"):
        box.script("print(1)")
    with pytest.raises(RewardError, match="at least one lane"):
        Sandbox(lanes=0)
    with pytest.raises(RewardError, match="no level 'docker' of the sandbox; one of bubblewrap, namespaces"):
        Sandbox(level="docker")


def test_the_end_of_the_driver_ends_everything(tmp_path):
    import subprocess

    program = "from guerdon.rewards.sandbox import Sandbox\nb = Sandbox(lanes=1)\nb.script('pass')\nprint(b._programs.places[-1].process.pid, flush=True)\nb.script('import time; time.sleep(60)')"
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert driver.stdout is not None
    with driver.stdout:
        zygote = int(driver.stdout.readline())
    time.sleep(0.3)
    driver.kill()
    driver.wait()
    for _ in range(100):
        with contextlib.suppress(ProcessLookupError):
            os.kill(zygote, 0)
            time.sleep(0.05)
            continue
        return
    pytest.fail("the zygote outlived its driver")


FORKS = """
import os
from guerdon.rewards.sandbox import Sandbox
box = Sandbox(level="{level}", lanes=1)
print(box.script("print('first')").stdout, end="", flush=True)
if (child := os.fork()) == 0:
    print(box.script("print('fork')").stdout, end="", flush=True)
    box.close()
    os._exit(0)
os.waitpid(child, 0)
print(box.script("open('x', 'w').write('y'); print('again')").stdout, end="", flush=True)
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there Python warns of every fork of a process with threads")
@pytest.mark.parametrize("level", [lv.name for lv in levels() if not lv.missing])
def test_a_fork_of_the_driver_has_a_sandbox_of_its_own(level):
    import subprocess

    done = subprocess.run([sys.executable, "-c", FORKS.format(level=level)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["first", "fork", "again"], done.stderr


def test_the_shared_sandbox_is_one(monkeypatch):
    monkeypatch.setattr("guerdon.rewards.sandbox.sandbox._shared", None)
    found = []
    threads = [threading.Thread(target=lambda: found.append(sandbox.shared_sandbox())) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({id(b) for b in found}) == 1
    found[0].close()


def test_limits_are_checked():
    with pytest.raises(PlanError, match="Limits: wall must be above 0, got 0"):
        Limits(wall=0)
    assert Limits(threads=0).threads == 0
