"""Acting: rows are pieces of episodes, never across a reset, with the states, flags and returns that the world says."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import pytest
import torch

from guerdon.advantages import GAE
from guerdon.core import Batch, DataError, Items, PlanError, RewardOutput, Rollout, RunError, Streams
from guerdon.core.persistent import Persistent
from guerdon.core.world import Episode, Slot, Start
from guerdon.policies import GRU, MLP, Control
from guerdon.rewards import Environment
from guerdon.run import Fragments
from guerdon.testing._worlds import Counting
from guerdon.worlds import GridWorld

STREAMS = Streams(4)


def starts(world, *seeds):
    return Items([Start(world, s) for s in seeds], STREAMS.uids(len(seeds)))


def fragments(world, n, policy, steps, draws=1, seed=0):
    """Rollouts of several draws from the same persistent slots."""
    source = Fragments(world).open(seed)
    out = []
    for draw in range(draws):
        streams = STREAMS.fork("draw", draw)
        out.append(policy.sample(source.draw(n, streams=streams), 1, streams=streams, steps=steps))
    return out


def same_bits(a: Rollout, b: Rollout) -> None:
    for name in ("actions", "mask", "logp", "states", "terminal", "uid", "group"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(a.trace["reward"], b.trace["reward"])
    assert a.info["failed"] == b.info["failed"]


def test_episodes_are_what_the_world_says():
    """Seeds 3, 1, 12: lengths[seed % 5] = 2, 1, 4 steps; cut off only where seed // 8 is odd (12)."""
    world = Counting()
    rollout = Control.of(world).sample(starts(world, 3, 1, 12), 1, streams=STREAMS)
    assert rollout.mask.sum(1).tolist() == [2, 1, 4]
    assert rollout.states[0, :3].tolist() == [[3, 0], [3, 1], [3, 2]]
    assert rollout.states[2].tolist() == [[4, 0], [4, 1], [4, 2], [4, 3], [4, 4]]
    assert rollout.terminal.tolist() == [True, True, False]
    halves = 0.5 * rollout.actions
    expected = torch.tensor([[31.0, 32, 0, 0], [11, 0, 0, 0], [41, 42, 43, 44]]) + halves
    assert torch.equal(rollout.trace["reward"], torch.where(rollout.mask, expected, 0.0))
    assert rollout.info["length"].tolist() == [2, 1, 4]
    assert torch.equal(rollout.info["return"], rollout.trace["reward"].double().sum(1))
    assert rollout.info["slot"] == [-1, -1, -1]
    episode = rollout.outputs[0]
    assert isinstance(episode, Episode) and len(episode) == 2 and episode.terminated
    assert torch.equal(episode.observations, rollout.states[0, :3])


def test_steps_cut_episodes_that_then_have_no_return():
    world = Counting()
    rollout = Control.of(world).sample(starts(world, 3, 12), 1, streams=STREAMS, steps=3)
    assert rollout.mask.sum(1).tolist() == [2, 3]
    assert rollout.terminal.tolist() == [True, False]
    assert rollout.info["length"].tolist() == [2, 0]
    assert torch.isnan(rollout.info["return"]).tolist() == [False, True]
    assert rollout.states[1, 3].tolist() == [4, 3]  # the state it would go on from


def unbroken(world, draws):
    """Per slot its steps in order, as (state, next state, reward, terminated, over), said by hand from the seeds it was given."""
    seeds = {k: iter([s for slot, s in world.log if slot == k]) for k in {slot for slot, _ in world.log}}
    stream = {k: [] for k in seeds}
    at = dict.fromkeys(seeds)
    for rollout in draws:
        acted = {k: [] for k in seeds}
        for row, slot in enumerate(rollout.info["slot"]):
            acted[slot] += rollout.actions[row][rollout.mask[row]].tolist()
        for slot, actions in acted.items():
            for action in actions:
                if at[slot] is None:
                    at[slot] = (next(seeds[slot]), 0)
                seed, t = at[slot]
                over = t + 1 == world.lengths[seed % len(world.lengths)]
                ended = over and seed // 8 % 2 == 0
                paid = 10 * (seed % 8) + t + 1 + 0.5 * action
                stream[slot].append(((seed % 8, t), (seed % 8, t + 1), paid, ended, over))
                at[slot] = None if over else (seed, t + 1)
    return stream


def test_fragments_are_pieces_of_unbroken_streams():
    world = Counting()
    policy = Control.of(world)
    draws = fragments(world, 3, policy, steps=8, draws=4)
    stream = unbroken(world, draws)
    taken = dict.fromkeys(stream, 0)
    began = dict.fromkeys(stream, 0)
    cut_by_fragment = 0
    for rollout in draws:
        assert len(rollout.uid.unique()) == len(rollout)
        assert rollout.mask.sum() == 3 * 8  # every slot takes every step
        for row, slot in enumerate(rollout.info["slot"]):
            n = int(rollout.mask[row].sum())
            part = stream[slot][taken[slot] : taken[slot] + n]
            taken[slot] += n
            assert not any(over for *_, over in part[:-1])  # never across a reset
            assert rollout.states[row, :n].tolist() == [list(s) for s, *_ in part]
            assert rollout.states[row, n].tolist() == list(part[-1][1])
            assert rollout.trace["reward"][row, :n].tolist() == [r for _, _, r, *_ in part]
            assert bool(rollout.terminal[row]) == part[-1][3]
            ends = part[-1][4]
            length = taken[slot] - began[slot]
            assert int(rollout.info["length"][row]) == (length if ends else 0)
            if ends:
                whole = sum(r for _, _, r, *_ in stream[slot][began[slot] : taken[slot]])
                assert float(rollout.info["return"][row]) == whole
                began[slot] = taken[slot]
            else:
                assert torch.isnan(rollout.info["return"][row])
                cut_by_fragment += 1
    assert cut_by_fragment > 3  # episodes that went on from one draw to the next
    assert any(n > 0 and int(r.mask[k].sum()) < n for r in draws for k, n in enumerate(r.info["length"].tolist()))


def test_advantages_are_those_of_the_unbroken_stream():
    world, gamma, lam = Counting(), 0.9, 0.8
    (rollout,) = fragments(world, 4, Control.of(world), steps=11)
    weight = torch.tensor([0.7, -1.3], dtype=torch.double)
    reward = Environment()(rollout)
    values = (rollout.states.double() * weight).sum(-1)
    batch = Batch.of(rollout, reward).replace(values={"critic": values})
    found = GAE(gamma=gamma, lam=lam)(batch)
    for slot, stream in unbroken(world, [rollout]).items():
        expected, carry = [], 0.0
        for k in range(len(stream) - 1, -1, -1):
            (a, b), (c, d), paid, ended, over = stream[k]
            later = 0.0 if ended else 0.7 * c - 1.3 * d
            carry = paid + gamma * later - (0.7 * a - 1.3 * b) + (0.0 if over else gamma * lam * carry)
            expected.append(carry)
        rows = [k for k, s in enumerate(rollout.info["slot"]) if s == slot]
        got = torch.cat([found[k][rollout.mask[k]] for k in rows])
        torch.testing.assert_close(got, torch.tensor(expected[::-1]).to(got), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("body", [MLP((8,)), GRU(8, MLP((8,)))], ids=["mlp", "gru"])
def test_a_lane_does_not_feel_the_others(body):
    """The rows of slot 0 are the same bits, uids included, whether one slot is open or five; so are episodes of a start."""
    world = Counting()
    policy = Control.of(world, body=body, dtype="float64")
    one, five = (fragments(world, n, policy, steps=9, draws=2) for n in (1, 5))
    for alone, crowd in zip(one, five, strict=True):
        mine = crowd[[k for k, s in enumerate(crowd.info["slot"]) if s == 0]].trim()
        same_bits(alone.trim(), mine)
    alone = policy.sample(starts(world, 12)[[0]], 2, streams=STREAMS)
    crowd = policy.sample(starts(world, 12, *range(70)), 2, streams=STREAMS)  # more than are open at once
    same_bits(alone, crowd[[0, 1]].trim())


def test_the_same_streams_give_the_same_bits_whoever_acted_before():
    world = GridWorld("four-rooms", horizon=30)
    policy = Control.of(world, body=GRU(8))
    first = policy.sample(starts(world, 1, 2, 3), 3, streams=STREAMS)
    policy.sample(starts(world, 9), 5, streams=Streams(77), steps=4)  # leaves episodes unfinished
    same_bits(first, policy.sample(starts(world, 1, 2, 3), 3, streams=STREAMS))
    same_bits(first, copy.deepcopy(policy).sample(starts(world, 1, 2, 3), 3, streams=STREAMS))
    assert not torch.equal(first.actions[0], first.actions[1])  # samples of one start differ
    other = policy.sample(starts(world, 1, 2, 3), 3, streams=Streams(5))
    assert not torch.equal(first.actions[:, :2], other.actions[:, :2])


def test_several_worlds_in_one_draw_stay_in_order():
    short, long = Counting((1,)), Counting((6,))
    items = Items([Start(short, 1), Start(long, 1), Start(short, 2)], STREAMS.uids(3))
    rollout = Control.of(short).sample(items, 2, streams=STREAMS)
    assert rollout.mask.sum(1).tolist() == [1, 1, 6, 6, 1, 1]
    assert rollout.group.tolist() == items.uid.repeat_interleave(2).tolist()
    assert rollout.check()


# ---------------------------------------------------------------- what breaks
REASONS = {
    "reset": "no more tickets", "reset nan": "observation is not finite", "step": "wheels came off", "nan": "observation is not finite",
    "reward": "reward is inf", "step raises": "step raised ValueError: wheels came off",
    "reset raises": "reset raised KeyError: 'lost\\nfor good'", "shape": "observation has shape (1,), expected (2,)",
    "dtype": "observation is torch.float64, expected torch.float32",
}  # fmt: skip
ALL_AT_ONCE = {"step raises", "reset raises", "shape", "dtype"}  # a world that does not answer at all fails all that asked


@pytest.mark.parametrize("body", [MLP((8,)), GRU(8, MLP((8,)))], ids=["mlp", "gru"])
@pytest.mark.parametrize("fault", REASONS)
def test_what_breaks_is_a_failed_row_with_its_reason(fault, body):
    world = Counting((3, 4, 5), fault=fault, bad=3)
    policy = Control.of(world, body=body)
    draws = fragments(world, 6, policy, steps=12, draws=2)
    rollout = Rollout.cat(draws).check()
    failed = [bool(f) for f in rollout.info["failed"]]
    assert {f for f in rollout.info["failed"] if f} == {REASONS[fault]}
    assert not all(failed) or fault == "reset raises"
    broken = torch.tensor(failed)
    assert not rollout.terminal[broken].any()
    assert torch.isnan(rollout.info["return"][broken]).all() and not rollout.info["length"][broken].any()
    for x in (rollout.states, rollout.logp, rollout.trace["reward"]):
        assert torch.isfinite(x).all()
    reward = Environment()(rollout)
    assert reward.ok.tolist() == [not f for f in failed] and list(reward.reason) == rollout.info["failed"]
    # rows that are fine are those of bad-free episodes, whole and unharmed
    for k in (~broken).nonzero()[:, 0].tolist():
        n = int(rollout.mask[k].sum())
        assert n > 0
        tag, t = rollout.states[k, 0].tolist()
        assert rollout.states[k, : n + 1].tolist() == [[tag, t + i] for i in range(n + 1)]
        ended = int(rollout.info["length"][k])
        if ended:
            assert rollout.states[k, n, 1] == ended
    if fault != "reset raises":  # after it broke, a slot goes on with the next episode
        lanes = [[f for f, at in zip(failed, rollout.info["slot"], strict=True) if at == slot] for slot in range(6)]
        assert any(a and not b for lane in lanes for a, b in pairwise(lane))
    with torch.no_grad():
        assert float((policy(rollout).logp - rollout.logp).abs().max()) < 1e-5


@pytest.mark.parametrize("fault", REASONS)
def test_so_it_is_in_episodes(fault):
    world = Counting((3, 4, 5), fault=fault, bad=3)
    seeds = (1, 2, 4, 5) if fault in ALL_AT_ONCE else (1, 3, 5, 6)
    rollout = Control.of(world).sample(starts(world, *seeds), 2, streams=STREAMS)
    failed = [bool(f) for f in rollout.info["failed"]]
    assert failed == [s % 3 == 0 for s in seeds for _ in range(2)]
    rollout = Control.of(world).sample(starts(world, 3, 6), 1, streams=STREAMS)
    assert all(f == REASONS[fault] for f in rollout.info["failed"])
    assert rollout.mask.sum(1).tolist() == ([0, 0] if fault.startswith("reset") else [2, 2])


def test_a_broken_fork_does_not_stain_the_memory_of_others():
    """With a memory, a slot that cannot begin still leaves every other row the memory it began with."""
    world = Counting((3, 4, 5), fault="reset", bad=3)
    policy = Control.of(world, body=GRU(8, MLP((8,))), dtype="float64")
    for rollout in fragments(world, 8, policy, steps=5, draws=4):
        assert len(rollout.info["memory"]) == len(rollout)
        with torch.no_grad():
            assert float((policy(rollout).logp - rollout.logp).abs().max()) < 1e-9


def test_a_world_that_does_not_open_says_so():
    world = Counting(fault="open")
    with pytest.raises(RunError, match=r"^Counting\(.*\): cannot be opened: OSError: no such device$"):
        Control.of(world).sample(starts(world, 1), 1, streams=STREAMS)


# ---------------------------------------------------------------- persistent environments
def test_persistent_environments_go_on_after_a_save():
    world = Counting()
    policy = Control.of(world, body=GRU(8, MLP((8,))))
    whole = fragments(world, 3, policy, steps=5, draws=4)
    source = Fragments(world).open(0)
    for draw in range(4):
        streams = STREAMS.fork("draw", draw)
        rollout = policy.sample(source.draw(3, streams=streams), 1, streams=streams, steps=5)
        same_bits(rollout, whole[draw])
        state = copy.deepcopy(source.state_dict())
        source = Fragments(world).open(0)
        source.load_state_dict(state)
        assert source.lost == {}


def test_what_cannot_be_put_back_begins_anew_and_is_named():
    world = Counting(saves=False)
    live = Persistent(world, 3, 0)
    assert not any(live.begin(torch.arange(3)))
    live.length[:] = 2
    other = Persistent(world, 3, 0)
    other.load_state_dict(live.state_dict())
    assert set(other.lost) == {0, 1, 2} and "cannot save its state" in other.lost[0]
    assert not other.running.any() and other.episode.tolist() == [1, 1, 1]
    other.begin(torch.arange(3))
    seeds = [s for _, s in world.log]
    assert len(set(seeds)) == 6  # other episodes than the lost ones
    assert other.length.tolist() == [0, 0, 0]


def test_slots_do_not_travel():
    world = Counting()
    items = Fragments(world).open(0).draw(2, streams=STREAMS)
    assert pickle.loads(pickle.dumps(items.contexts[1])) == Slot(world, 1)  # noqa: S301  our own
    lost = Items([Slot(world, 0)], STREAMS.uids(1))
    with pytest.raises(DataError, match="a Slot without its environment"):
        Control.of(world).sample(lost, 1, streams=STREAMS, steps=3)


@pytest.mark.parametrize(
    ("how", "message"),
    [({"n": 0}, "n and steps"), ({"steps": 0}, "n and steps"), ({"temperature": -1.0}, "at least 0"),
     ({"temperature": float("nan")}, "at least 0")],
)  # fmt: skip
def test_controls_that_make_no_sense(how, message):
    world = Counting()
    with pytest.raises(PlanError, match=message):
        Control.of(world).sample(starts(world, 1), how.pop("n", 1), streams=STREAMS, **how)


def test_contexts_that_are_no_place_to_act_in():
    world = Counting()
    live = Fragments(world).open(0)
    mixed = Items([*starts(world, 1).contexts, *live.draw(1, streams=STREAMS).contexts], STREAMS.uids(2))
    for items in (Items(["a"], STREAMS.uids(1)), mixed, Items([], STREAMS.uids(0))):
        with pytest.raises(DataError, match=r"run\.Episodes or run\.Fragments"):
            Control.of(world).sample(items, 1, streams=STREAMS, steps=2)
    slots = live.draw(1, streams=STREAMS)
    with pytest.raises(PlanError, match="n=1 and a number of steps"):
        Control.of(world).sample(slots, 2, streams=STREAMS, steps=2)
    with pytest.raises(PlanError, match="n=1 and a number of steps"):
        Control.of(world).sample(slots, 1, streams=STREAMS)
    with pytest.raises(RunError, match="1 environments are open and 2 were asked for"):
        live.draw(2, streams=STREAMS)


def test_rewards_of_an_unscored_batch_are_its_own():
    world = Counting((3,))
    rollout = Control.of(world).sample(starts(world, 1, 2), 1, streams=STREAMS)
    dense, whole = Environment()(rollout), Environment(dense=False)(rollout)
    assert dense.total.tolist() == [0, 0] and torch.equal(dense.step, rollout.trace["reward"])
    torch.testing.assert_close(whole.total.double(), rollout.info["return"])
    assert isinstance(whole, RewardOutput) and whole.step is None
