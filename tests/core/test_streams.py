"""Streams: addressed, independent, uniform."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.core import Streams, mix


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=8), st.integers(0, 50), st.integers(1, 20))
def test_a_number_depends_on_its_address_only(seed, role, start, n):
    streams = Streams(seed)
    uid = streams.uids(5)
    whole = streams(role, uid).uniform(80)
    assert torch.equal(streams(role, uid[3:4]).uniform(n, start)[0], whole[3, start : start + n])


def test_uniform_numbers_are_uniform_and_independent():
    u = Streams(3)("token", torch.arange(2000)).uniform(50)
    assert (u > 0).all() and (u < 1).all()
    counts = torch.histc(u.float(), 64, 0, 1)
    chi2 = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi2 < 63 + 5 * math.sqrt(2 * 63)
    along_rows, along_steps = torch.corrcoef(u[:40])[0, 1:], torch.corrcoef(u.T)[0, 1:]
    assert along_rows.abs().max() < 5 / math.sqrt(50) and along_steps.abs().max() < 5 / math.sqrt(2000)


def test_normal_numbers_have_the_moments_of_a_normal():
    z = Streams(1)("noise", torch.arange(1000)).normal(100).flatten()
    n = len(z)
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / n)


def test_normal_numbers_continue_where_they_stopped():
    stream = Streams(1)("noise", torch.arange(4))
    assert torch.equal(stream.normal(10)[:, 4:7], stream.normal(3, start=4))


def test_permutation_holds_every_index_once():
    assert Streams(0)("order").permutation(100).sort().values.tolist() == list(range(100))
    assert Streams(0)("order").permutation(100).tolist() != list(range(100))


def test_forks_and_roles_differ_and_identities_do_not_collide():
    streams = Streams(0)
    assert streams.fork("draw", 1) == streams.fork("draw", 1) != streams.fork("draw", 2)
    assert not torch.equal(streams("a").bits(4), streams("b").bits(4))
    uid = torch.cat([s.samples(s.uids(100), 100) for s in (streams.fork("draw", k) for k in range(10))])
    assert len(uid.unique()) == 100_000
    assert mix(2**63 + 5, -1).dtype == torch.int64


def test_many_normal_numbers_are_those_of_any_parts():
    stream = Streams(3)("noise", torch.arange(5))
    whole = stream.normal(5000)
    assert torch.equal(whole, stream._normal(5000, 0))
    assert torch.equal(stream.normal(9000, 7)[:, :11], stream.normal(11, 7))
    assert torch.equal(stream.normal(5000, dtype=torch.float32), whole.float())
