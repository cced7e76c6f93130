"""What a program in the sandbox can see of the file system: an interpreter, perhaps some tools, and a scratch folder."""

from __future__ import annotations

import json
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
LIBRARIES = ("/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/nix/store")
SYSTEM = (*LIBRARIES, "/etc/ld.so.cache", "/usr/share/zoneinfo")
TOOLS = ("/bin", "/usr/bin", "/etc/alternatives")
HOPS = 40  # symbolic links in one path, as many as the kernel follows


@dataclass(frozen=True)
class Layout:
    """The file system of one sandbox, as plain data.

    Args:
        read: Files and folders seen at the same place, read-only; real paths, none below another.
        links: Symbolic links to make, as (target, place): ``/lib`` is one on most systems.
        devices: Device nodes.
        scratch: Where the one writable folder is.
        scratch_bytes: Bytes that fit into it.
        scratch_files: Files and folders that fit into it.

    Example:
        >>> layout = Layout(read=("/usr/lib",), links=(("usr/lib", "/lib"),))
        >>> Layout.from_json(layout.to_json()) == layout
        True
    """

    read: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = DEVICES
    scratch: str = "/scratch"
    scratch_bytes: int = 32 << 20
    scratch_files: int = 256

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        raw = json.loads(text)
        links = tuple((target, place) for target, place in raw.pop("links"))
        return cls(read=tuple(raw.pop("read")), links=links, devices=tuple(raw.pop("devices")), **raw)


def trail(path: str) -> tuple[str, list[tuple[str, str]]]:
    """The real path behind ``path``, and each symbolic link on the way as (target, real place of the link).

    Raises:
        OSError: for more links than the kernel would follow.
    """
    links: list[tuple[str, str]] = []
    here, rest = "/", os.path.abspath(path).split("/")[::-1]
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, part)
        if not os.path.islink(there):
            here = there
            continue
        links.append((os.readlink(there), there))
        if len(links) > HOPS:
            raise OSError(f"{path}: too many symbolic links")
        rest += links[-1][0].split("/")[::-1]
        if links[-1][0].startswith("/"):
            here = "/"
    return here, links


def below(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of the folders or lies in one.

    >>> below("/usr/lib/x", ["/usr/lib"]), below("/usr/lib64", ["/usr/lib"])
    (True, False)
    """
    return any(path == f or path.startswith(f.rstrip("/") + "/") for f in folders)


def of_paths(paths: Iterable[str], **sizes: Any) -> Layout:
    """The layout that shows these paths, as far as they exist, and the links that lead to them."""
    real, links = set[str](), dict[str, str]()
    for path in paths:
        there, on_the_way = trail(path)
        if os.path.exists(there) and there != "/":
            real.add(there)
            links.update({place: target for target, place in on_the_way})
    read = tuple(p for p in sorted(real) if not below(p, real - {p}))
    kept = tuple((target, place) for place, target in sorted(links.items()) if not below(place, read))
    scratch = Layout.scratch
    while any(below(p, [scratch]) for p in (*read, *links)):  # on some machines Python itself lives in /scratch
        scratch += "_"
    return Layout(read, kept, tuple(d for d in DEVICES if os.path.exists(d)), **{"scratch": scratch, **sizes})


def interpreter() -> list[str]:
    """What this Python needs: itself, its library and packages, the system's shared libraries, time zones."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    found = [sys.executable, getattr(sys, "_base_executable", sys.executable), *SYSTEM]
    found += [os.path.join(p, f) for p in prefixes for f in ("pyvenv.cfg", "lib", "lib64")]
    found += [os.path.dirname(os.__file__), *(sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib"))]
    return [*found, *site.getsitepackages()]


def python_layout(extra: Iterable[str] = (), **sizes: Any) -> Layout:
    """What a Python program sees: this interpreter with its packages, and a scratch folder.

    Not the programs of the system, no settings, no home, no source of an editable install.

    Args:
        extra: More paths to show.
        sizes: ``scratch``, ``scratch_bytes``, ``scratch_files`` of the layout.

    Example:
        >>> below("/usr/bin", python_layout().read)
        False
    """
    return of_paths([*interpreter(), *extra], **sizes)


def command_layout(programs: Iterable[str], extra: Iterable[str] = (), **sizes: Any) -> Layout:
    """The same with the system's programs, for commands that are not Python.

    Args:
        programs: Names or paths. One that lies outside ``/usr`` brings the libraries and data of its own prefix.
        extra: More paths to show.
        sizes: As for ``python_layout``.

    Raises:
        FileNotFoundError: for a program that is not there.
    """
    found = [*interpreter(), *TOOLS, *extra]
    for name in programs:
        path = shutil.which(name)
        if path is None:
            raise FileNotFoundError(f"no program {name!r} on the PATH")
        prefix = os.path.dirname(os.path.dirname(trail(path)[0]))
        found += [path, os.path.join("/usr/share", os.path.basename(name))]
        if prefix not in ("/", "/usr"):
            found += [os.path.join(prefix, f) for f in ("lib", "lib64", "libexec", os.path.join("share", os.path.basename(name)))]
    return of_paths(found, **sizes)
