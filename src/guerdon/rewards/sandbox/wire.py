"""What travels between the processes of a sandbox: frames of JSON, and in them plain values only.

Both ends rebuild what they receive out of their own types. So no object of the other side's crosses, and none of its methods is
ever called here: an answer is equal to what was expected, or it is not. Standard library only.
"""

from __future__ import annotations

import binascii
import importlib
import json
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

ALIKE = 50  # keys of one dict or set with the same hash; among honest ones there are hardly two
LONG = 10_000  # bits or digits of a number that is not simply an int
BIG = 1 << 63  # integers from here on travel in base 16: JSON's decimals take quadratic time, and Python limits their length
HEAD = struct.Struct(">I")
FDS = 8  # file descriptors that one frame may carry


class Unsendable(Exception):
    """A value that is no plain data."""


class Unreadable(Exception):
    """Bytes that are no frame of ours."""


def send(sock: socket.socket, message: Any, fds: list[int] | tuple[int, ...] = ()) -> None:
    """One frame: four bytes of length, then JSON."""
    text = json.dumps(message).encode()
    data = HEAD.pack(len(text)) + text
    if fds:
        sent = socket.send_fds(sock, [data], list(fds))
        data = data[sent:]
    sock.sendall(data)


def receive(sock: socket.socket, limit: int) -> Any:
    """The next frame; None at the end of the stream.

    Raises:
        Unreadable: for a frame above ``limit`` bytes, or one that is cut short or no JSON.
    """
    head = _exactly(sock, HEAD.size)
    return None if head is None else _body(sock, head, limit)


def receive_with_fds(sock: socket.socket, limit: int) -> tuple[Any, list[int]]:
    """The next frame and the file descriptors sent with it; (None, []) at the end of the stream."""
    data, fds, _, _ = socket.recv_fds(sock, HEAD.size, FDS)
    if not data:
        return None, []
    if len(data) < HEAD.size:
        data += _exactly(sock, HEAD.size - len(data)) or b""
    return _body(sock, data, limit), fds


def _body(sock: socket.socket, head: bytes, limit: int) -> Any:
    (size,) = HEAD.unpack(head)
    if size > limit:
        raise Unreadable(f"more than {limit} bytes")
    text = _exactly(sock, size)
    if text is None:
        raise Unreadable("cut short")
    return parse(text)


def parse(text: bytes) -> Any:
    """What some JSON says; ``Unreadable`` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Unreadable(f"not readable ({type(e).__name__})") from None


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    """That many bytes; None where the stream ends before."""
    data = bytearray()
    while len(data) < size:
        try:
            got = sock.recv(min(size - len(data), 1 << 20))
        except ConnectionResetError:
            return None
        if not got:
            return None
        data += got
    return bytes(data)


def line(text: Any, most: int = 200) -> str:
    r"""The first line of a foreign text, fit to be shown: nothing in it steers a terminal or a log.

    >>> line("no such file\x1b[2J\nand more")
    'no such file\ufffd[2J'
    """
    first = str(text).strip().partition("\n")[0][:most]
    return "".join(c if c.isprintable() else "\ufffd" for c in first)


def pack(value: Any, keep: Callable[[Any], Any] | None = None) -> Any:
    """A value as what JSON can say. Subclasses of plain types become plain; what is no data goes through ``keep``.

    >>> pack([1, (2.5, None), {"a": {3}}])
    [1, {'t': [2.5, None]}, {'d': [['a', {'s': [3]}]]}]

    Raises:
        Unsendable: for what is no plain data where there is no ``keep``.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is float:
        return value
    if kind is int:
        return value if -BIG < value < BIG else {"i": f"{value:x}"}
    if kind is list:
        return [pack(v, keep) for v in value]
    for cls, tag, say in _fitting():
        if isinstance(value, cls):
            said = say(value)
            if not tag:
                return pack(said, keep)
            if tag in _NESTED:
                return {tag: [pack(v, keep) for v in said]}
            if tag == "d":
                return {tag: [[pack(k, keep), pack(v, keep)] for k, v in said]}
            return {tag: said}
    if keep is None:
        raise Unsendable(f"a value of type {kind.__name__} is no plain data")
    return keep(value)


def unpack(said: Any, kept: Callable[[Any], Any] | None = None) -> Any:
    """The value that ``pack`` said, made of our own types.

    >>> unpack(pack([1, (2.5, None), {"a": {3}}, 1 << 70, 1j]))
    [1, (2.5, None), {'a': {3}}, 1180591620717411303424, 1j]

    Raises:
        Unreadable: for anything that ``pack`` does not say.
    """
    try:
        return _unpack(said, kept)
    except Unreadable:
        raise
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as e:
        raise Unreadable(f"not plain data ({type(e).__name__})") from None


def _unpack(said: Any, kept: Callable[[Any], Any] | None) -> Any:
    kind = type(said)
    if kind is list:
        return [_unpack(v, kept) for v in said]
    if kind is not dict:
        return said
    ((tag, inner),) = said.items()
    if tag == "d":
        keys = _spread([_unpack(k, kept) for k, _ in inner])
        return dict(zip(keys, (_unpack(v, kept) for _, v in inner), strict=True))
    if tag in _NESTED:
        return _NESTED[tag]([_unpack(v, kept) for v in inner])
    if tag in _MADE:
        return _MADE[tag](inner)
    if kept is None:
        raise Unreadable("not plain data")
    return kept(said)


def _base64(value: bytes | bytearray) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def _bytes(said: str) -> bytes:
    return binascii.a2b_base64(said, strict_mode=True)


def _spread(keys: list[Any]) -> list[Any]:
    """The keys, unless so many have one hash that a dict of them would take hours."""
    seen: dict[int, int] = {}
    for key in keys:
        number = hash(key)
        seen[number] = seen.get(number, 0) + 1
        if seen[number] > ALIKE:
            raise Unreadable("too many keys with the same hash")
    return keys


def _fraction(said: list[int | str]) -> Any:
    parts = _ints(said)
    if max(p.bit_length() for p in parts) > LONG:
        raise Unreadable("a fraction too long to be reduced")
    return _elsewhere("fractions", "Fraction")(*parts)


def _decimal(said: str) -> Any:
    if len(said) > LONG:
        raise Unreadable("a decimal with too many digits")
    return _elsewhere("decimal", "Decimal")(str(said))


def _int(value: int) -> int | str:
    return value if -BIG < value < BIG else f"{value:x}"


def _ints(said: list[int | str]) -> list[int]:
    return [int(v, 16) if isinstance(v, str) else v for v in said]


def _fitting() -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """Types, their tags, and what is said of their values; the first that fits counts. No tag: said as a plainer type.

    A value of a module's type exists only where the module is loaded; it is not loaded for its sake, since that takes memory
    which every child would copy.
    """
    yield from _PLAIN
    for (module, name), (tag, say) in _ELSEWHERE.items():
        if module in sys.modules and (cls := getattr(sys.modules[module], name, None)) is not None:
            yield cls, tag, say


def _elsewhere(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


_PLAIN: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (tuple, "t", tuple.__iter__),
    (dict, "d", dict.items),
    (set, "s", set.__iter__),
    (list, "", lambda v: list(list.__iter__(v))),
    (str, "", str.__str__),
    (int, "", int.__int__),
    (float, "", float.__float__),
    (frozenset, "f", frozenset.__iter__),
    (bytes, "b", _base64),
    (bytearray, "ba", _base64),
    (complex, "c", lambda v: [v.real, v.imag]),
    (range, "r", lambda v: [_int(v.start), _int(v.stop), _int(v.step)]),
    (deque, "q", deque.__iter__),
    (type({}.keys()), "k", iter),
    (type(Ellipsis), "e", lambda v: 0),
)
_ELSEWHERE: dict[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("decimal", "Decimal"): ("D", str),
    ("fractions", "Fraction"): ("F", lambda v: [_int(v.numerator), _int(v.denominator)]),
    ("datetime", "datetime"): ("dt", lambda v: v.isoformat()),
    ("datetime", "date"): ("da", lambda v: v.isoformat()),
    ("datetime", "time"): ("ti", lambda v: v.isoformat()),
    ("datetime", "timedelta"): ("td", lambda v: [v.days, v.seconds, v.microseconds]),
    ("numbers", "Integral"): ("", int),  # NumPy's numbers among others
    ("numbers", "Real"): ("", float),
    ("numbers", "Complex"): ("", complex),
}
_NESTED: dict[str, Callable[[list[Any]], Any]] = {
    "t": tuple,
    "s": lambda v: set(_spread(v)),
    "f": lambda v: frozenset(_spread(v)),
    "q": deque,
    "k": lambda v: dict.fromkeys(_spread(v)).keys(),
}
_MADE: dict[str, Callable[[Any], Any]] = {
    "i": lambda v: int(v, 16),
    "b": _bytes,
    "ba": lambda v: bytearray(_bytes(v)),
    "c": lambda v: complex(*v),
    "r": lambda v: range(*_ints(v)),
    "e": lambda v: ...,
    "D": _decimal,
    "F": _fraction,
    "dt": lambda v: _elsewhere("datetime", "datetime").fromisoformat(v),
    "da": lambda v: _elsewhere("datetime", "date").fromisoformat(v),
    "ti": lambda v: _elsewhere("datetime", "time").fromisoformat(v),
    "td": lambda v: _elsewhere("datetime", "timedelta")(*v),
}
