"""The list of system calls, word by word: what the program for the kernel answers, on each machine."""

import errno
import re
import struct
import sys
from pathlib import Path

import pytest

from guerdon.rewards.sandbox import seccomp


def decide(made: seccomp.Filter, number: int, *args: int, architecture: int) -> int:
    """What a filter answers, by a machine of our own for the few operations it uses, and its own pid as 4242."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *[a & (1 << 64) - 1 for a in (*args, *[0] * 6)[:6]])
    steps = list(struct.iter_unpack("=HBBI", bytes(made.instructions)))
    assert 0 < len(steps) <= 4096
    for place in made.places:
        assert place % 2 == 1 and steps[place // 2][0] == seccomp.EQUAL
        steps[place // 2] = (*steps[place // 2][:3], 4242)
    at, word = 0, 0
    while True:
        operation, yes, no, k = steps[at]
        at += 1
        if operation == 0x20:
            word = struct.unpack_from("=I", data, k)[0]
        elif operation == 0x06:
            return k
        elif operation == 0x05:
            at += k
        elif operation == 0x54:
            word &= k
        else:
            at += yes if {0x15: word == k, 0x35: word >= k, 0x45: bool(word & k)}[operation] else no


ALLOW, KILL = 0x7FFF0000, 0x80000000


def error(number: int) -> int:
    return 0x00050000 | number


@pytest.fixture(params=sorted(seccomp.MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    return request.param


class Asked:
    """Asks a filter by name."""

    def __init__(self, machine: str, **policy: bool):
        self.column, self.architecture = seccomp.MACHINES[machine]
        self.filter = seccomp.Filter.make(machine=machine, **policy)

    def __call__(self, name: str, *args: int) -> int:
        number = seccomp.SYSCALLS[name][self.column]
        assert number >= 0, name
        return decide(self.filter, number, *args, architecture=self.architecture)

    def has(self, name: str) -> bool:
        return seccomp.SYSCALLS[name][self.column] >= 0


needs_libc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library's prctl")


@needs_libc
def test_every_listed_call_gets_the_answer_of_its_list(machine: str) -> None:
    ask = Asked(machine)
    groups = [(n, ALLOW) for names in seccomp.ALLOWED.values() for n in names.split()]
    groups += [(n, error(errno.EPERM)) for names in seccomp.REFUSED.values() for n in names.split()]
    groups += [(n, error(errno.EACCES)) for n in seccomp.NETWORK.split()]
    groups += [(n, error(0)) for n in seccomp.METADATA.split()]
    groups += [(n, error(errno.ENOTSUP)) for n in seccomp.ATTRIBUTES.split()]
    assert len({n for n, _ in groups}) == len(groups)  # no name in two lists
    found = {n: ask(n, *[1] * 6) for n, _ in groups if ask.has(n)}
    assert found == {n: answer for n, answer in groups if ask.has(n)}
    assert len(found) > 240


@needs_libc
def test_numbers_that_stand_nowhere_are_not_implemented(machine: str) -> None:
    ask = Asked(machine, processes=True, execute=True, signal_others=True, metadata=True)
    known = {pair[ask.column] for pair in seccomp.SYSCALLS.values()}
    others = [n for n in range(700) if n not in known] + [1 << 20, (1 << 32) - 1]
    others += [0x40000000 + n for n in range(600)]  # x32: the same kernel, other numbers
    assert {decide(ask.filter, n, architecture=ask.architecture) for n in others} == {error(errno.ENOSYS)}


@needs_libc
def test_another_architecture_is_killed(machine: str) -> None:
    ask = Asked(machine)
    for architecture in (0x40000003, 0x40000028, 0, *(a for m, (_, a) in seccomp.MACHINES.items() if m != machine)):
        assert {decide(ask.filter, n, architecture=architecture) for n in range(500)} == {KILL}


@needs_libc
def test_clone_by_its_flags(machine: str) -> None:
    thread, process, new_user, parent = 0x3D0F00, 0x1200011, 0x10000000, 0x8000  # as the C library asks for a thread and a fork
    refused = error(errno.EPERM)
    for policy, answers in {
        (True, False): (ALLOW, refused),
        (False, False): (refused, refused),
        (True, True): (ALLOW, ALLOW),
        (False, True): (refused, ALLOW),
    }.items():
        ask = Asked(machine, threads=policy[0], processes=policy[1])
        assert (ask("clone", thread), ask("clone", process)) == answers
        for extra in (new_user, parent, 0x20000, 0x40000000, 0x20000000, 0x2000):
            assert ask("clone", thread | extra) == ask("clone", process | extra) == refused
        assert ask("clone3") == error(errno.ENOSYS)


@needs_libc
def test_processes_and_execution_are_two_choices(machine: str) -> None:
    forks, execs = ["fork", "vfork", "setsid", "setpgid"], ["execve", "execveat"]
    for processes in (False, True):
        for execute in (False, True):
            ask = Asked(machine, processes=processes, execute=execute)
            assert {ask(n) for n in forks if ask.has(n)} == {ALLOW if processes else error(errno.EPERM)}
            assert {ask(n) for n in execs} == {ALLOW if execute else error(errno.EPERM)}


@needs_libc
def test_signals_and_limits_of_its_own_only(machine: str) -> None:
    ask, other = Asked(machine), error(errno.EPERM)
    for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        assert [ask(name, pid) for pid in (4242, 4243, 1, 0, -1, -4242)] == [ALLOW] + [other] * 5
        assert Asked(machine, signal_others=True)(name, 1) == ALLOW
    for name in ("prlimit64", "sched_setaffinity"):
        assert [ask(name, pid) for pid in (0, 4242, 1)] == [ALLOW, ALLOW, other]
    assert [ask("setpriority", *a) for a in ((0, 0), (0, 4242), (0, 1), (1, 0), (2, 0))] == [ALLOW, ALLOW] + [other] * 3


@needs_libc
def test_arguments_that_are_looked_at(machine: str) -> None:
    ask, no = Asked(machine), error(errno.EPERM)
    closed = error(errno.EACCES)
    unix, inet, stream, datagram, packets, cloexec = 1, 2, 1, 2, 5, 0o2000000
    assert ask("socketpair", unix, stream | cloexec) == ask("socketpair", unix, packets) == ALLOW
    assert ask("socketpair", unix, datagram) == ask("socketpair", inet, stream) == ask("socketpair", unix, 3) == closed
    assert ask("sendto", 3, 0, 0, 0, 0) == ALLOW
    assert ask("sendto", 3, 0, 0, 0, 0x7FFF0000) == ask("sendto", 3, 0, 0, 0, 1 << 40) == no
    assert [ask("setsockopt", 3, level, option) for level, option in ((1, 7), (1, 26), (1, 50), (0, 7))] == [ALLOW, no, no, no]
    tcgets, fionread, tiocsti, tiocsctty, ficlone = 0x5401, 0x541B, 0x5412, 0x540E, 0x40049409
    assert ask("ioctl", 0, tcgets) == ask("ioctl", 0, fionread) == ask("ioctl", 0, tcgets | 1 << 40) == ALLOW  # 32 bits count
    assert ask("ioctl", 0, tiocsti) == ask("ioctl", 0, tiocsti | 1 << 40) == ask("ioctl", 0, tiocsctty) == no
    assert ask("ioctl", 0, ficlone) == error(errno.EOPNOTSUPP)
    assert {ask("fcntl", 0, c) for c in (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1031, 1032)} == {ALLOW}
    assert {ask("fcntl", 0, c) for c in (8, 10, 15, 1024, 1026)} == {no}  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
    assert {ask("prctl", c) for c in (3, 15, 16, 38, 39)} == {ALLOW}
    assert {ask("prctl", c) for c in (1, 4, 8, 22, 24, 28, 35, 36, 0x59616D61)} == {no}


@needs_libc
def test_files_that_nothing_else_protects(machine: str) -> None:
    closed, opened, no = Asked(machine), Asked(machine, metadata=True), error(errno.EPERM)
    read, write, both, truncate, create = 0, 1, 2, 0o1000, 0o100
    assert {closed("openat", 0, 0, f) for f in (read, write | truncate, both | truncate | create)} == {ALLOW}
    assert {closed("openat", 0, 0, f) for f in (read | truncate, 3 | truncate)} == {closed("truncate")} == {no}
    if closed.has("open"):
        assert (closed("open", 0, truncate), closed("open", 0, read)) == (no, ALLOW)
    names = [*seccomp.METADATA.split(), *seccomp.ATTRIBUTES.split(), "truncate", "openat"]
    assert {opened(n, 0, 0, truncate) for n in names if opened.has(n)} == {ALLOW}


def headers() -> dict[str, dict[str, int]]:
    """Numbers by name from the system's headers, by machine."""
    found = {}
    define = re.compile(r"#define __NR_(\w+)\s+(\d+)")
    amd, arm = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h")
    if amd.exists():
        found["x86_64"] = {m[1]: int(m[2]) for m in define.finditer(amd.read_text())}
    if arm.exists():
        text = arm.read_text()
        found["aarch64"] = {m[1]: int(m[2]) for m in define.finditer(text)}
        shared = {m[1]: int(m[2]) for m in re.finditer(r"#define __NR3264_(\w+)\s+(\d+)", text)}
        for m in re.finditer(r"#define __NR_(\w+) __NR3264_(\w+)", text):  # names on 64-bit systems come first
            if shared.get(m[2], 0) not in found["aarch64"].values() and m[2] in shared:
                found["aarch64"][m[1]] = shared[m[2]]
    return found


def test_numbers_are_those_of_the_kernel_headers(machine: str) -> None:
    if machine not in (known := headers()):
        pytest.skip("no kernel headers")
    column = seccomp.MACHINES[machine][0]
    ours = {n: pair[column] for n, pair in seccomp.SYSCALLS.items()}
    later = {"fchmodat2"}  # Linux 6.6; the headers may be older
    assert {n: k for n, k in ours.items() if k >= 0 and known[machine].get(n, k if n in later else None) != k} == {}
    assert {n for n, k in ours.items() if k < 0 and n in known[machine]} == set()
    assert len(set(ours.values()) - {-1}) == sum(k >= 0 for k in ours.values())


def test_unknown_machines_are_one_clear_line() -> None:
    with pytest.raises(OSError, match="no list of system calls for riscv64"):
        seccomp.Filter.make(machine="riscv64")
