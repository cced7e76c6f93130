"""A program that tries what it can from inside a world of its own. Run by path, by test_namespaces.py and test_bubblewrap.py.

world_probe.py launch LEVEL LANE ACTION ...   in the host: becomes the outer process of a new world (LANE "-": keep the user)
world_probe.py inside LEVEL UID LAYOUT ACTION ...   what runs there: it enters, drops its privileges, and acts
"""

import ctypes
import importlib.util
import json
import os
import select
import signal
import socket
import stat
import sys
import time
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
NEW = {
    "NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000,
    "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000,
}  # fmt: skip


def load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def launch(level, lane, *action):
    layouts, privileges, maker = load("layout"), load("privileges"), load(level)
    layout = layouts.python_layout([str(HERE)], scratch_bytes=1 << 20, scratch_files=20)
    if not privileges.readable_by(os.geteuid(), [sys.executable]):
        sys.exit("WHY NOT: this user cannot read the interpreter")
    if why := maker.why_not(layout) if level == "bubblewrap" else maker.why_not():
        sys.exit(f"WHY NOT: {why}")
    uid = None if lane == "-" else privileges.sandbox_identity(int(lane))
    if lane != "-" and uid is None:
        sys.exit("WHY NOT: this user cannot become another")
    inside = [sys.executable, "-I", "-B", __file__, "inside", level, json.dumps(uid), layout.to_json(), *action]
    argv = maker.command(layout, inside, uid=uid, hostname="elsewhere") if level == "bubblewrap" else inside
    os.execvp(argv[0], argv)


def inside(level, uid, layout, action, *rest):
    plain, maker, privileges = SimpleNamespace(**json.loads(layout)), load(level), load("privileges")
    uid = json.loads(uid)
    uid = maker.finish(plain, uid) if level == "bubblewrap" else maker.enter(plain, uid, hostname="elsewhere")
    if action != "trusted":  # what the world itself keeps out, while the first process still has its capabilities
        privileges.drop(uid)
    globals()[f"do_{action}"](*rest)


def outcome(function, *arguments):
    """ "done", or the name of what it raised."""
    try:
        function(*arguments)
        return "done"
    except OSError as e:
        return type(e).__name__ if e.errno is None else os.strerror(e.errno)


def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    return os.strerror(ctypes.get_errno()) if getattr(libc, name)(*arguments) == -1 else "done"


def in_child(function):
    """The answer of a function called in a child, None where it did not live to tell."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, json.dumps(function()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as f:
        text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


def loopback_up():
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return bool(fcntl.ioctl(s.fileno(), 0x8913, b"lo".ljust(40, b"\0"))[16] & 1)


def connect(kind, address):
    with socket.socket(kind, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        s.connect(address)


def unchanged(path):
    """Set a path's mode to what it is. A world that fails a test must not harm the machine."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))


def fill():
    """Bytes of one file that fit, and how many more empty files after it is gone."""
    size = 0
    try:
        with open("big", "wb", buffering=0) as f:
            while size < 64 << 20:
                size += f.write(bytes(1 << 16))
    except OSError as e:
        full = os.strerror(e.errno)
    os.remove("big")
    made = []
    try:
        while len(made) < 1000:
            Path(f"f{len(made)}").touch()
            made.append(f"f{len(made)}")
    except OSError as e:
        none_left = os.strerror(e.errno)
    for name in made:
        os.remove(name)
    return [size, full, len(made), none_left]


def do_probe(paths, port, abstract):
    privileges = sys.modules["privileges"]
    assert os.getpid() == 1, "not in a world of its own: nothing below is tried on the machine itself"
    prctl = ctypes.CDLL(None).prctl
    farewell = ctypes.c_int()
    prctl(2, ctypes.byref(farewell))
    tried = {f"unshare {n}": in_child(lambda f=f: call("unshare", f)) for n, f in NEW.items()}
    for name in ("/", "/usr/lib", os.getcwd()):
        tried[f"remount {name}"] = in_child(lambda n=name: call("mount", None, n.encode(), None, ctypes.c_ulong(32 | 4096), None))
    tried |= {
        "mount tmpfs": in_child(lambda: call("mount", b"tmpfs", b".", b"tmpfs", ctypes.c_ulong(0), None)),
        "umount scratch": in_child(lambda: call("umount2", os.getcwd().encode(), 2)),
        "chroot": in_child(lambda: outcome(os.chroot, ".")),
        "mknod": in_child(lambda: outcome(os.mknod, "disk", 0o60600, os.makedev(8, 0))),
        "setuid 0": in_child(lambda: outcome(os.setresuid, 0, 0, 0) if os.getuid() else "Operation not permitted"),
        "hostname": in_child(lambda: outcome(socket.sethostname, socket.gethostname())),
        "trace the first": in_child(lambda: call("ptrace", 16, 1, None, None)),
        "change /dev/null": outcome(unchanged, "/dev/null"),
        "change the library": outcome(unchanged, os.__file__),
        "change the root": outcome(unchanged, "/"),
        "open the library": outcome(os.open, os.__file__, os.O_RDWR),
        "TCP to the host": outcome(connect, socket.AF_INET, ("127.0.0.1", int(port))),
        "socket of the host": outcome(connect, socket.AF_UNIX, "\0" + abstract),
    }
    killed = in_child(lambda: [outcome(os.kill, 1, signal.SIGKILL), time.sleep(0.2), os.getppid()])
    with open("/dev/null", "wb") as null, open("/dev/urandom", "rb") as random:
        devices = [null.write(b"x"), len(random.read(8))]
    scratch = os.stat(".")
    print(json.dumps({
        "seen": {p: os.path.lexists(p) for p in json.loads(paths)},
        "root": sorted(os.listdir("/")),
        "above root": os.path.samestat(os.stat("/.."), os.stat("/")),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "loopback up": loopback_up(),
        "pid": os.getpid(), "parent": os.getppid(),
        "pids": [n for n in range(2, 1 << 15) if outcome(os.kill, n, 0) != "No such process"],
        "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        "capabilities": privileges.capabilities(),
        "bounding": [n for n in range(64) if prctl(23, n) == 1],
        "ambient": [n for n in range(64) if prctl(47, 1, n, 0, 0) == 1],
        "no_new_privs": prctl(39, 0, 0, 0, 0), "dumpable": prctl(3), "farewell": farewell.value,
        "hostname": socket.gethostname(),
        "environment": sorted(os.environ),
        "cwd": os.getcwd(), "scratch": [scratch.st_uid, oct(scratch.st_mode)[-4:], os.listdir(".")],
        "filled": fill(),
        "devices": devices,
        "tried": tried,
        "after SIGKILL": killed,
        "import": bool(__import__("sqlite3")),
    }))  # fmt: skip


def do_exit(code):
    os._exit(int(code))


def do_echo(number):
    """Answer once on an inherited socket, close it, and stay."""
    with socket.socket(fileno=int(number)) as control:
        control.sendall(control.recv(64).upper())
    time.sleep(600)


def do_touch(path):
    print(outcome(Path(path).touch), [p.name for p in Path(path).parent.iterdir()])


def do_linger():
    """Leave a grandchild in a session of its own, which holds our standard output; then wait."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()))
            print("grandchild", flush=True)
        time.sleep(600)
    select.select([], [], [], 600)


def do_leave():
    """End at once, with a descendant that would go on."""
    if not os.fork():
        os.setsid()
        time.sleep(600)
    os._exit(0)


def do_trusted():
    """Before the drop, with every capability that is left."""
    print(json.dumps([os.listdir(".."), in_child(lambda: call("unshare", NEW["NEWUSER"]))]))


if __name__ == "__main__":
    {"launch": launch, "inside": inside}[sys.argv[1]](*sys.argv[2:])
