"""Frames and plain values: what crosses, what does not, and what hostile bytes do."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import enum
import fractions
import math
import socket
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from guerdon.rewards.sandbox import wire

SAME = [
    None, True, False, 0, -1, 1 << 62, 1 << 63, -(1 << 80), 0.1, -0.0, math.inf, "", "é\ud800\x00", [], [[1], (2, [3])], (), (1,), {}, {1: "a", "b": (2,)},
    {(1, 2): {3}}, set(), {1, 2}, frozenset({2}), b"\x00\xff", bytearray(b"x"), 1 + 2j, range(3, 9, 2), range(1 << 70), collections.deque([1, 2]), ...,
    decimal.Decimal("1.10"), fractions.Fraction(-1, 3), datetime.date(2020, 2, 29), datetime.datetime(2020, 1, 1, 2, 3), datetime.time(1, 2),
    datetime.timedelta(days=-1, seconds=3),
]  # fmt: skip


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_plain_values_cross_unchanged(value):
    again = wire.unpack(wire.parse(wire.json.dumps(wire.pack(value)).encode()))
    assert again == value and type(again) is type(value) and repr(again) == repr(value)


def test_nan_and_views_of_a_dict():
    assert math.isnan(wire.unpack(wire.pack(math.nan)))
    assert wire.unpack(wire.pack({1: 2}.keys())) == {1}


class Colour(enum.IntEnum):
    RED = 1


class Liar(int):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __repr__(self):
        return "7"


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, 1),
        (Liar(3), 3),
        (Point(1, [2]), (1, [2])),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (np.int64(4), 4),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
    ],
    ids=lambda v: type(v).__name__,
)
def test_subclasses_of_plain_types_become_plain(value, plain):
    again = wire.unpack(wire.pack(value))
    assert type(again) is type(plain) and again == plain
    assert not (type(value) is Liar and again == 4)


@pytest.mark.parametrize(
    "value", [object(), len, (x for x in []), [1, object()], {1: lambda: 0}, np.zeros(2)], ids=lambda v: type(v).__name__
)
def test_what_is_no_data_does_not_cross(value):
    with pytest.raises(wire.Unsendable, match="is no plain data"):
        wire.pack(value)


def test_a_list_that_holds_itself_ends_in_an_error():
    loop = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        wire.pack(loop)


HOSTILE = [
    {}, {"a": 1, "b": 2}, {"__class__": 1}, {"t": 3}, {"d": [[1]]}, {"d": [[[1], 2]]}, {"s": [[1]]}, {"i": "0x"}, {"i": [1]}, {"b": "*"}, {"F": [1, 0]},
    {"D": "one"}, {"D": [1]}, {"dt": "yesterday"}, {"td": ["a"]}, {"r": [1, 2, 0]}, {"c": ["a", "b"]}, {"h": [0, "x"]}, {"k": [[1]]},
]  # fmt: skip


@pytest.mark.parametrize("said", HOSTILE, ids=repr)
def test_what_pack_does_not_say_is_unreadable(said):
    with pytest.raises(wire.Unreadable):
        wire.unpack(said)


@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    )
)
def test_any_json_is_data_or_unreadable(said):
    with contextlib.suppress(wire.Unreadable):
        wire.unpack(said)


def frames(data: bytes, limit: int = 1000):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return wire.receive(ours, limit)


def test_frames():
    assert frames(b"") is None
    assert frames(struct.pack(">I", 2) + b"[]") == []
    for data, why in (
        (struct.pack(">I", 1001), "more than 1000 bytes"),
        (struct.pack(">I", 4) + b"[]", "cut short"),
        (struct.pack(">I", 2) + b"[[", "not readable"),
        (struct.pack(">I", 900) + b"[" * 900, "not readable"),
        (struct.pack(">I", 2) + b"\xff\xfe", "not readable"),
    ):
        with pytest.raises(wire.Unreadable, match=why):
            frames(data)


def test_deep_nesting_is_unreadable():
    with pytest.raises(wire.Unreadable):
        wire.unpack(wire.parse(b"[" * 100_000 + b"]" * 100_000))


def test_keys_of_one_hash_and_long_numbers_are_refused():
    alike = [k * (2**61 - 1) for k in range(1, 3000)]  # every one has the hash 0
    for said in (wire.pack(set(alike[:40])), wire.pack(dict.fromkeys(alike[:40]))):
        wire.unpack(said)
    for said in ({"s": alike}, {"f": alike}, {"k": alike}, {"d": [[k, 0] for k in alike]}, {"s": [{"t": [k]} for k in alike]}):
        with pytest.raises(wire.Unreadable, match="same hash"):
            wire.unpack(said)
    for said in ({"F": ["f" * 100_000, "e" * 100_000]}, {"D": "1" * 100_000}):
        with pytest.raises(wire.Unreadable, match="too "):
            wire.unpack(said)
