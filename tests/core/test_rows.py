"""Rollouts and batches as rows: slicing, joining, trimming, checking."""

import pytest
import torch

from guerdon.core import Batch, Behaviour, Pairs, RewardOutput, Rollout, Streams, pack, pad, rewards
from guerdon.testing import example_policies


@pytest.fixture(params=sorted(example_policies()))
def rollout(request):
    policy, items = example_policies()[request.param]
    return policy.sample(items, 3, streams=Streams(2))


def test_slices_joined_again_are_the_whole(rollout):
    parts = [rollout[i] for i in torch.arange(len(rollout)).split(2)]
    joined = Rollout.cat(parts).check()
    for name in ("actions", "mask", "logp", "states", "group", "uid", "terminal"):
        whole, again = getattr(rollout, name), getattr(joined, name)
        assert (whole is None and again is None) or torch.equal(whole, again)
    assert list(joined.contexts) == list(rollout.contexts)


def test_parts_of_different_length_are_padded_and_trimmed_back(rollout):
    short = rollout[int(rollout.lengths.argmin())].trim()
    joined = Rollout.cat([short, rollout]).check()
    assert joined.steps == rollout.steps
    assert torch.equal(joined[0].trim().mask, short.mask)


def test_behaviours_are_merged(rollout):
    other = rollout.replace(behaviour=(Behaviour("other"), *rollout.behaviour), actor=torch.ones(len(rollout), dtype=torch.long))
    joined = Rollout.cat([rollout, other])
    assert joined.behaviour == (*rollout.behaviour, Behaviour("other"))
    assert set(joined.actor.tolist()) == {0}


def test_a_column_in_some_parts_only_is_an_error(rollout):
    with pytest.raises(ValueError, match=r"info lacks answer"):
        Rollout.cat([rollout, rollout.replace(info={"answer": [1] * len(rollout)})])


def test_every_kind_of_index_gives_rows(rollout):
    mask = torch.zeros(len(rollout), dtype=torch.bool)
    mask[1] = True
    for i in (1, slice(1, 2), [1], torch.tensor([1]), mask):
        assert rollout[i].uid.tolist() == [int(rollout.uid[1])]


def test_check_names_the_field_that_does_not_fit(rollout):
    with pytest.raises(ValueError, match=r"rollout\.group has shape"):
        rollout.replace(group=rollout.group[:-1]).check()
    with pytest.raises(ValueError, match=r"'answer' has 1 rows"):
        rollout.replace(info={"answer": ["x"]}).check()


def test_pairs_follow_their_rows(rollout):
    batch = Batch.of(rollout).replace(
        pairs=Pairs(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), margin=torch.tensor([1.0, 2.0, 3.0]))
    )
    part = batch[[2, 1]]
    assert part.pairs.win.tolist() == [1] and part.pairs.lose.tolist() == [0] and part.pairs.margin.tolist() == [2.0]


def test_rewards_fall_on_the_last_chosen_step():
    mask = torch.tensor([[True, False, True], [True, False, False], [False, False, False]])
    rollout = Rollout(["a"] * 3, ["b"] * 3, torch.zeros(3, 3), mask, torch.zeros(3), torch.arange(3))
    out = rewards(Batch.of(rollout, RewardOutput.of(torch.tensor([1.0, 2.0, 3.0]))))
    assert out.tolist() == [[0, 0, 1], [2, 0, 0], [0, 0, 0]]


def test_not_finite_numbers_become_failures_with_a_reason():
    out = RewardOutput.of(torch.tensor([1.0, float("inf"), 2.0]), parts={"a": torch.tensor([1.0, 1.0, float("nan")])})
    assert out.ok.tolist() == [True, False, False]
    assert out.reason == ["", "reward is inf", "a reward part is not finite"]
    assert torch.isfinite(out.total).all() and torch.isfinite(out.parts["a"]).all()


def test_packing_fills_bins_and_padding_keeps_order():
    bins = pack([9, 1, 4, 4, 2], capacity=8)
    assert sorted(k for b in bins for k in b) == [0, 1, 2, 3, 4]
    assert [0] in bins and all(sum([9, 1, 4, 4, 2][k] for k in b) <= 8 for b in bins if b != [0])
    padded, real = pad([torch.tensor([1.0]), torch.tensor([2.0, 3.0])], value=-1)
    assert padded.tolist() == [[1, -1], [2, 3]] and real.tolist() == [[True, False], [True, True]]
