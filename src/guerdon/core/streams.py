"""Counter-based random streams: a number depends on (seed, role, row, position) and on nothing else.

No generator is shared, so results depend neither on batch size nor on worker count or order, and a resumed run needs no
random state beside its step. The bits come from the splitmix64 finaliser (Steele, Lea & Flood 2014) over hashed keys.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_AT_ONCE = 1 << 13  # numbers
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _signed(x: int) -> int:
    x &= (1 << 64) - 1
    return x - (1 << 64) if x >> 63 else x


def _shift(z: Tensor, k: int) -> Tensor:
    """Logical shift right: torch shifts int64 arithmetically."""
    return (z >> k) & ((1 << (64 - k)) - 1)


def mix(*keys: Tensor | int | str) -> Tensor:
    """One int64 hash of the keys; tensors broadcast. Order matters.

    >>> bool(mix(1, 2) == mix(2, 1)), mix(7, torch.arange(3)).shape
    (False, torch.Size([3]))
    """
    z = torch.zeros((), dtype=torch.long)
    for key in keys:
        if isinstance(key, str):
            key = zlib.crc32(key.encode())
        k = key.cpu().long() if isinstance(key, Tensor) else torch.tensor(_signed(key))
        z = z * _signed(0xD1342543DE82EF95) + k + _signed(_GOLDEN)
        for shift, constant in _MIX:
            z = (z ^ _shift(z, shift)) * _signed(constant)
        z = z ^ _shift(z, 31)
    return z


@dataclass(frozen=True)
class Stream:
    """Independent random numbers for each of B rows; ``start`` says where in the row's sequence to begin."""

    key: Tensor

    def bits(self, n: int, start: int = 0) -> Tensor:
        """[B, n] int64, uniform over all 64-bit patterns."""
        counter = torch.arange(start, start + n) + 1
        z = self.key.reshape(-1, 1) + counter * _signed(_GOLDEN)
        for shift, constant in _MIX:
            z = (z ^ _shift(z, shift)) * _signed(constant)
        return z ^ _shift(z, 31)

    def uniform(self, n: int, start: int = 0) -> Tensor:
        """[B, n] float64 in (0, 1]; 1 itself once in 2^53 numbers."""
        return (_shift(self.bits(n, start), 11).double() + 0.5) * 2.0**-53

    def normal(self, n: int, start: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        """[B, n] standard normal (Box-Muller in float64; position p uses uniforms 2p and 2p+1).

        Many numbers are made in parts that fit into the caches: no temporary tensor is as large as the result, and it is faster.
        """
        key = self.key.reshape(-1)
        if len(key) * n <= _AT_ONCE:
            return self._normal(n, start).to(dtype)
        out = torch.empty(len(key), n, dtype=dtype)
        rows = max(1, _AT_ONCE // max(n, 1))
        for i in range(0, len(key), rows):
            part = Stream(key[i : i + rows])
            for j in range(0, n, _AT_ONCE):
                out[i : i + rows, j : j + _AT_ONCE] = part._normal(min(_AT_ONCE, n - j), start + j)
        return out

    def _normal(self, n: int, start: int) -> Tensor:
        u = self.uniform(2 * n, 2 * start)
        return (-2 * u[:, 0::2].log()).sqrt() * (2 * math.pi * u[:, 1::2]).cos()

    def integers(self, high: int, n: int, start: int = 0) -> Tensor:
        """[B, n] int64 in [0, high)."""
        return (self.uniform(n, start) * high).long().clamp_(max=high - 1)

    def permutation(self, n: int) -> Tensor:
        """[n] a random order; for a stream of one row."""
        return self.bits(n)[0].argsort(stable=True)


@dataclass(frozen=True)
class Streams:
    """All randomness of a run, addressed and never shared.

    Example:
        >>> streams = Streams(0).fork("draw", 3)
        >>> items = streams.uids(2)                              # two items of draw 3
        >>> rows = streams.samples(items, 4)                     # four samples of each
        >>> u = streams("token", rows).uniform(5)                # five numbers for each of the eight rows
        >>> bool((streams("token", rows[6:7]).uniform(2, start=3) == u[6:7, 3:]).all())
        True
    """

    seed: int = 0

    def __call__(self, role: str, uid: Tensor | int | None = None) -> Stream:
        """The stream(s) of ``role`` for row identities ``uid`` ([B] int64; None for a single one)."""
        return Stream(torch.atleast_1d(mix(self.seed, role, 0 if uid is None else uid)))

    def fork(self, *keys: int | str) -> Streams:
        """Streams of their own for a draw, an attempt, an epoch."""
        return Streams(int(mix(self.seed, "fork", *keys)))

    def uids(self, n: int) -> Tensor:
        """[n] int64 identities for the items of one draw."""
        return mix(self.seed, "item", torch.arange(n))

    def samples(self, uid: Tensor, n: int) -> Tensor:
        """[len(uid) * n] int64 identities for ``n`` samples of each item."""
        return mix(uid.repeat_interleave(n), "sample", torch.arange(n).repeat(len(uid)))

    def generator(self, role: str, uid: int = 0) -> torch.Generator:
        """A CPU generator, for libraries that want one."""
        return torch.Generator().manual_seed(int(self(role, uid).key[0]) & ((1 << 63) - 1))
