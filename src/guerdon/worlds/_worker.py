"""A worker process, and what it and its parent send each other: JSON with arrays beside it, over a socket. No pickles.

Neither torch nor the rest of guerdon is imported here, so that worker processes start in a fraction of a second.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
from typing import Any

import numpy as np

from guerdon.worlds._form import Form
from guerdon.worlds._host import Host
from guerdon.worlds._making import Recipe

GRACE = 5.0  # seconds by which the parent may be late before a hung process ends itself
_LENGTHS = struct.Struct("<III")

# The program of a worker. Importing the room would import torch; a stand-in for it makes its modules of this kind importable.
PROGRAM = """
import json, sys, types
start = json.loads(sys.argv[1])
sys.path[:] = start["path"]
room = sys.modules["guerdon.worlds"] = types.ModuleType("guerdon.worlds")
room.__path__ = [start["folder"]]
from guerdon.worlds import _worker
del sys.modules["guerdon.worlds"]
_worker.serve(start["socket"])
"""


def serve(number: int) -> None:
    """Answer calls until the parent is gone."""
    with socket.socket(fileno=number) as line:
        start = receive(line)
        observation, action = (Form(**{**form, "shape": tuple(form["shape"])}) for form in start["forms"])
        host = Host(Recipe(**start["recipe"]), observation, action)
        while True:
            try:
                call, arguments, limit = receive(line)
            except (EOFError, ConnectionError):
                break
            signal.setitimer(signal.ITIMER_REAL, limit + GRACE)  # the kernel ends this process where the parent no longer can
            answer = getattr(host, call)(*arguments)
            signal.setitimer(signal.ITIMER_REAL, 0)
            try:
                send(line, answer)
            except ConnectionError:
                break
        host.close()


def send(line: socket.socket, tree: Any) -> None:
    """Send plain data with arrays in it."""
    arrays: list[np.ndarray] = []

    def put(value: Any) -> dict[str, int]:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{type(value).__name__} is not plain data")
        arrays.append(value)
        return {"array": len(arrays) - 1}

    text = json.dumps(tree, default=put).encode()
    table = json.dumps([[a.dtype.str, a.shape] for a in arrays]).encode()
    data = b"".join(a.tobytes() for a in arrays)
    line.sendall(_LENGTHS.pack(len(text), len(table), len(data)) + text + table + data)


def receive(line: socket.socket) -> Any:
    """What the other side sent.

    Raises:
        EOFError: where it is gone.
    """
    lengths = _LENGTHS.unpack(_exactly(line, _LENGTHS.size))
    body, start, arrays = _exactly(line, sum(lengths)), lengths[0] + lengths[1], []
    for dtype, shape in json.loads(body[lengths[0] : start]):
        kind, count = np.dtype(dtype), int(np.prod(shape))
        arrays.append(np.frombuffer(body, kind, count, start).reshape(shape))
        start += count * kind.itemsize
    return json.loads(body[: lengths[0]], object_hook=lambda d: arrays[d["array"]] if d.keys() == {"array"} else d)


def _exactly(line: socket.socket, count: int) -> bytearray:
    body = bytearray(count)
    rest = memoryview(body)
    while rest:
        got = line.recv_into(rest)
        if not got:
            raise EOFError
        rest = rest[got:]
    return body
