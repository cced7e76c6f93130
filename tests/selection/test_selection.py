"""Selections against choices made by hand and by brute force; ties, order and randomness."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.core import Batch, DataError, PlanError, RewardOutput, Rollout, Streams
from guerdon.selection import (
    AllPairs,
    BestOfN,
    BestVsWorst,
    DropDeadGroups,
    GivenPairs,
    MaxVariance,
    RandomPairs,
    Threshold,
    TopFraction,
)
from guerdon.testing import example_batch, example_selects

NAN = float("nan")


def tiny(total, ok=None, group=None, uid=None, weight=None, info=None, parts=None, raw=None, step=None):
    total = torch.tensor(total, dtype=torch.double)
    n = len(total)
    ok = torch.tensor(ok or [True] * n)
    uid = torch.arange(n) if uid is None else torch.tensor(uid)
    rollout = Rollout(
        [""] * n, [""] * n, torch.zeros(n, 2), torch.ones(n, 2, dtype=torch.bool), torch.tensor(group or [0] * n), uid,
        info=info or {},
    )  # fmt: skip
    step = None if step is None else torch.tensor(step, dtype=torch.double)
    parts = {k: torch.tensor(v, dtype=torch.double) for k, v in (parts or {}).items()}
    reward = RewardOutput(total, ok, ["" if k else "planted" for k in ok.tolist()], step, parts)
    raw = reward if raw is None else reward.replace(total=torch.tensor(raw, dtype=torch.double), step=None)
    return Batch(rollout, raw, reward, weight=torch.tensor(weight or [1.0] * n, dtype=torch.double))


def weights(select, batch, seed=0):
    return select(batch, Streams(seed)).weight.tolist()


def pairs(select, batch, seed=0):
    p = select(batch, Streams(seed)).pairs
    return list(zip(p.win.tolist(), p.lose.tolist(), strict=True))


GROUPED = {"total": [1, 5, 3, NAN, 2, 4], "ok": [True, True, True, False, True, True], "group": [8, 8, 8, 8, 3, 3]}


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (BestOfN(), [0, 1, 0, 0, 0, 1]),
        (BestOfN(k=2), [0, 1, 1, 0, 1, 1]),
        (TopFraction(0.4), [0, 1, 0, 0, 0, 1]),
        (TopFraction(0.41), [0, 1, 1, 0, 0, 1]),  # 2.05 of five rows: three
        (TopFraction(0.5, over="group"), [0, 1, 1, 0, 0, 1]),
        (Threshold(3.0), [0, 1, 1, 0, 0, 1]),
        (MaxVariance(2), [1, 1, 0, 0, 1, 1]),
        (DropDeadGroups(), [1, 1, 1, 0, 1, 1]),
        (DropDeadGroups(tolerance=2.0), [1, 1, 1, 0, 0, 0]),
    ],
    ids=lambda x: str(x)[:40],
)
def test_weights_by_hand(select, expected):
    assert weights(select, tiny(**GROUPED)) == expected


def test_selections_compose_and_never_revive():
    batch = tiny([1, 5, 3, 4], weight=[1.0, 0.0, 0.5, 2.0])
    assert weights(BestOfN(), batch) == [0, 0, 0, 2.0]
    assert weights(BestOfN(k=3), batch) == [1.0, 0, 0.5, 2.0]
    assert pairs(BestVsWorst(), batch) == [(3, 0)]


def test_ties_go_to_the_smaller_uid_wherever_it_stands():
    batch = tiny([2, 2, 2, 1, 1], uid=[50, 10, 30, 20, 5])
    assert weights(BestOfN(), batch) == [0, 1, 0, 0, 0]
    assert pairs(BestVsWorst(), batch) == [(1, 4)]
    assert weights(MaxVariance(2), batch) == [0, 1, 0, 1, 0]  # one of the best by uid; of the worst, the last in that order


def test_best_by_a_part():
    batch = tiny([1, 5, 3], parts={"style": [9.0, 0.0, 1.0]})
    assert weights(BestOfN(part="style"), batch) == [1, 0, 0]
    assert weights(Threshold(1.0, part="style"), batch) == [1, 0, 1]
    with pytest.raises(PlanError, match="did you mean 'style'"):
        weights(BestOfN(part="stile"), batch)


def test_returns_with_dense_rewards_decide():
    batch = tiny([0, 0], step=[[1.0, 1.0], [3.0, -2.0]])
    assert weights(BestOfN(), batch) == [1, 0]


def test_dead_groups_by_raw_or_shaped_reward():
    batch = tiny([1.01, 1.02, 5, 5], group=[0, 0, 1, 1], raw=[1, 1, 2, 3])
    assert weights(DropDeadGroups(), batch) == [1, 1, 0, 0]
    assert weights(DropDeadGroups(raw=True), batch) == [0, 0, 1, 1]
    assert weights(DropDeadGroups(), tiny([1, 2], ok=[True, False])) == [0, 0]  # one row alone


@settings(max_examples=60)
@given(st.lists(st.integers(-3, 6), min_size=1, max_size=8), st.integers(2, 5))
def test_max_variance_equals_brute_force(total, k):
    chosen = [r for r, w in zip(total, weights(MaxVariance(k), tiny(total)), strict=True) if w]
    best = max(
        float(torch.tensor(c, dtype=torch.double).var(correction=0)) for c in itertools.combinations(total, min(k, len(total)))
    )
    assert len(chosen) == min(k, len(total))
    assert float(torch.tensor(chosen, dtype=torch.double).var(correction=0)) == pytest.approx(best, abs=1e-9)


def test_max_variance_far_from_zero():
    """Differences of 1 around a billion."""
    assert weights(MaxVariance(2), tiny([1e9, 1e9 + 1, 1e9 + 3, 1e9 + 2])) == [1, 0, 1, 0]


def test_max_variance_prefers_the_higher_of_equally_varied_sets():
    """4, 4, 0 varies as much as 4, 0, 0."""
    assert weights(MaxVariance(3), tiny([4, 4, 0, 0])) == [1, 1, 1, 0]


def test_top_fraction_rounds_up_what_is_really_above():
    assert sum(weights(TopFraction(0.07), tiny(list(range(100))))) == 7  # 0.07 * 100 is 7.000000000000001
    assert sum(weights(TopFraction(0.071), tiny(list(range(100))))) == 8


def test_pairs_by_hand():
    batch = tiny(**GROUPED)
    assert pairs(BestVsWorst(), batch) == [(5, 4), (1, 0)]
    assert pairs(BestVsWorst(margin=3.0), batch) == [(1, 0)]
    assert pairs(AllPairs(), batch) == [(5, 4), (1, 2), (1, 0), (2, 0)]
    assert pairs(AllPairs(min_gap=2.5), batch) == [(1, 0)]
    made = AllPairs()(batch, Streams(0)).pairs
    assert made.margin.tolist() == [2.0, 2.0, 4.0, 2.0]
    assert made.label.tolist() == [1.0] * 4
    assert made.weight.tolist() == [1.0] * 4


@pytest.mark.parametrize("select", [BestVsWorst(), AllPairs(), RandomPairs(3)])
def test_equal_rows_make_no_pair(select):
    batch = tiny([2, 2, 2])
    made = select(batch, Streams(0)).pairs
    assert len(made) == 0
    assert batch.replace(pairs=made)[torch.tensor([0, 2])].pairs.win.tolist() == []


def test_random_pairs_are_drawn_evenly_from_all_pairs():
    batch = tiny([1, 2, 3, 3])
    possible = set(pairs(AllPairs(), batch))
    counts = dict.fromkeys(possible, 0)
    for seed in range(400):
        drawn = pairs(RandomPairs(2), batch, seed)
        assert len(set(drawn)) == 2
        for pair in drawn:
            counts[pair] += 1
    # 400 draws of 2 of 5: 160 each, standard deviation just under 10
    assert all(abs(c - 160) < 40 for c in counts.values()), counts
    assert set(pairs(RandomPairs(99), batch)) == possible


def test_random_pairs_of_a_group_do_not_depend_on_the_batch_around_it():
    batch = example_batch(fail=0.0)
    made = RandomPairs(2)(batch, Streams(3)).pairs
    alone = batch[torch.arange(4, 8)]
    again = RandomPairs(2)(alone, Streams(3)).pairs
    here = (made.win >= 4) & (made.win < 8)
    assert again.win.tolist() == (made.win[here] - 4).tolist()
    assert again.lose.tolist() == (made.lose[here] - 4).tolist()


def test_given_pairs_from_yes_and_no():
    info = {"preferred": [True, False, None, False, True], "label": [0.9, NAN, 0.2, 0.1, None]}
    batch = tiny([0] * 5, group=[1, 1, 1, 2, 2], info=info)
    made = GivenPairs()(batch, Streams(0)).pairs
    assert (made.win.tolist(), made.lose.tolist()) == ([0, 4], [1, 3])
    assert made.label.tolist() == [0.9, 1.0]
    assert made.margin is None
    assert GivenPairs(label=None)(batch, Streams(0)).pairs.label.tolist() == [1.0, 1.0]


def test_given_pairs_from_ratings():
    for column in ([4, 1.5, 4, 2], torch.tensor([4.0, 1.5, 4.0, 2.0])):
        batch = tiny([0] * 4, ok=[True, True, True, False], info={"stars": column})
        made = GivenPairs("stars")(batch, Streams(0)).pairs
        assert (made.win.tolist(), made.lose.tolist()) == ([0, 2], [1, 1])
        assert made.margin.tolist() == [2.5, 2.5]


def test_given_pairs_say_what_is_wrong():
    with pytest.raises(PlanError, match="did you mean 'preferred'"):
        GivenPairs("prefered")(tiny([0], info={"preferred": [True]}), Streams(0))
    with pytest.raises(DataError, match="row 1: expected true, false or a number, got 'yes'"):
        GivenPairs()(tiny([0, 0], info={"preferred": [True, "yes"]}), Streams(0))
    with pytest.raises(DataError, match="label=None"):
        GivenPairs()(tiny([0, 0], info={"preferred": [True, False], "label": [7, 3]}), Streams(0))


@pytest.mark.parametrize("name", example_selects())
@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_rows_does_not_matter(name, seed):
    batch, select = example_batch(seed), example_selects()[name]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    uid = batch.rollout.uid

    def told(b):
        b = select(b.replace(pairs=None), Streams(1))
        rows = {int(u): float(w) for u, w in zip(b.rollout.uid, b.weight, strict=True)}
        if b.pairs is None:
            return rows, None
        return rows, (b.rollout.uid[b.pairs.win].tolist(), b.rollout.uid[b.pairs.lose].tolist())

    assert told(batch) == told(batch[order])
    assert len(set(uid.tolist())) == 12


@pytest.mark.parametrize("name", example_selects())
def test_nobody_left(name):
    """All rows failed: no crash, nothing chosen."""
    batch = example_batch(0)
    dead = batch.reward.replace(ok=torch.zeros(12, dtype=torch.bool), reason=["planted"] * 12)
    out = example_selects()[name](batch.replace(reward=dead, pairs=None), Streams(0))
    assert out.pairs is None or len(out.pairs) == 0
    assert not out.live.any()


def test_what_select_gives_is_declared():
    for name, select in example_selects().items():
        assert select.gives == ({"pairs"} if "Pairs" in name or "BestVs" in name else {"weight"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: BestOfN(k=0), lambda: TopFraction(0.0), lambda: TopFraction(1.1), lambda: TopFraction(over="row"),
        lambda: DropDeadGroups(tolerance=-1.0), lambda: Threshold(NAN), lambda: MaxVariance(1), lambda: RandomPairs(0),
        lambda: BestVsWorst(margin=-0.1), lambda: AllPairs(min_gap=math.nan),
    ],
)  # fmt: skip
def test_nonsense_is_refused(make):
    with pytest.raises(PlanError):
        make()
