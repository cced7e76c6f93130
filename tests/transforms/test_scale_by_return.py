"""ScaleByReturn against running returns worked out by hand and a plain loop over every environment."""

import json
import math
from pathlib import Path

import pytest
import torch

from guerdon.core import Batch, PlanError, RewardOutput, Rollout
from guerdon.run.state import load_state, save_state
from guerdon.testing import check_transform, example_batch
from guerdon.transforms import ScaleByReturn

NAN = float("nan")


def rows(steps, slots=None, length=None, ok=None, terminal=None):
    """One row per list of rewards."""
    n, longest = len(steps), max(map(len, steps))
    mask = torch.arange(longest) < torch.tensor([len(s) for s in steps])[:, None]
    step = torch.tensor([[*s, *[99.0] * (longest - len(s))] for s in steps], dtype=torch.double)
    info = {} if slots is None else {"slot": slots}
    info |= {} if length is None else {"length": torch.tensor(length)}
    rollout = Rollout([""] * n, [""] * n, torch.zeros(mask.shape), mask, torch.arange(n), torch.arange(n), info=info,
                      terminal=torch.tensor(terminal or [False] * n))  # fmt: skip
    ok = torch.tensor(ok or [True] * n)
    reward = RewardOutput(torch.zeros(n, dtype=torch.double), ok, ["" if k else "planted" for k in ok.tolist()], step)
    return Batch(rollout, reward, reward)


def test_running_returns_by_hand():
    """Slot 3 goes on through two draws and ends; slot 1 ends within the first draw and begins again."""
    scale = ScaleByReturn(gamma=0.5, clip=100.0, by="draw")
    first = rows([[1.0, 2.0], [4.0], [2.0]], slots=[3, 1, 1], length=[0, 7, 0])
    state, out = scale.apply(scale.init(), first)
    # returns: 1, 2.5 | 4 | 2 -> mean 2.375, var 1.171875
    seen = torch.tensor([1.0, 2.5, 4.0, 2.0], dtype=torch.double)
    assert state["mean"] == pytest.approx(2.375, rel=1e-4)
    assert state["var"] == pytest.approx(1.171875, rel=1e-3)
    assert state["returns"] == {"3": 2.5, "1": 2.0}
    assert out.step[0].tolist() == pytest.approx([1 / math.sqrt(state["var"]), 2 / math.sqrt(state["var"])])
    assert out.step[1].tolist() == pytest.approx([4 / math.sqrt(state["var"]), 0.0])  # padding stays 0
    state, _ = scale.apply(state, rows([[1.0], [3.0]], slots=[1, 3], length=[0, 3]))
    # returns: 0.5 * 2 + 1 and 0.5 * 2.5 + 3
    seen = torch.cat([seen, torch.tensor([2.0, 4.25], dtype=torch.double)])
    assert state["count"] == pytest.approx(6, rel=1e-4)
    assert state["mean"] == pytest.approx(float(seen.mean()), rel=1e-4)
    assert state["var"] == pytest.approx(float(seen.var(correction=0)), rel=1e-3)
    assert state["returns"] == {"1": 2.0, "3": 0.0}


def test_step_by_step_by_hand():
    """Two slots, gamma 0.5; returns at the first time 2 and 4, at the second 3 and 8. The second slot's second step is a new row."""
    batch = rows([[2.0, 2.0], [4.0], [6.0]], slots=[0, 1, 1], length=[0, 0, 0])
    state, out = ScaleByReturn(gamma=0.5, clip=100.0).apply(ScaleByReturn().init(), batch)
    first, second = 1.0, sum((x - 4.25) ** 2 for x in (2, 4, 3, 8)) / 4
    assert out.step[0].tolist() == pytest.approx([2 / math.sqrt(first), 2 / math.sqrt(second)], rel=1e-3)
    assert out.step[1:, 0].tolist() == pytest.approx([4 / math.sqrt(first), 6 / math.sqrt(second)], rel=1e-3)
    assert state["var"] == pytest.approx(second, rel=1e-3)


def test_equal_to_vec_normalize():
    """Rewards over three draws of Stable-Baselines3's own PPO lanes (see golden/sb3_peer.py), episodes ending in between."""
    g = json.loads((Path(__file__).parents[1] / "objectives" / "golden" / "sb3_rewards.json").read_text(encoding="utf-8"))
    scale = ScaleByReturn(gamma=g["gamma"], clip=g["clip"])
    state, cut = scale.init(), 0
    for draw in g["draws"]:
        gain, done, expected = (torch.tensor(draw[k], dtype=torch.double).T for k in ("rewards", "dones", "scaled"))
        steps, slots, length, wanted = [], [], [], []
        for slot in range(len(gain)):
            ends = [int(t) + 1 for t in done[slot].nonzero()]
            for a, b in zip([0, *ends], [*ends, gain.shape[1]], strict=True):
                if a < b:
                    steps.append(gain[slot, a:b].tolist())
                    slots.append(slot)
                    length.append(b - a if b in ends else 0)
                    wanted.append(expected[slot, a:b])
        state, out = scale.apply(state, rows(steps, slots, length))
        for row, want in zip(out.step, wanted, strict=True):
            torch.testing.assert_close(row[: len(want)], want, rtol=1e-6, atol=0)
        cut += int((out.step.abs() == g["clip"]).sum())
    assert (state["mean"], state["var"]) == pytest.approx((g["mean"], g["var"]), rel=1e-9)
    assert cut > 0


def test_equals_a_loop_over_steps():
    """Three environments over four draws: the moments are those of every environment's own recursion, update by update."""
    scale, generator = ScaleByReturn(gamma=0.9, by="draw"), torch.Generator().manual_seed(0)
    state, running = scale.init(), [0.0] * 3
    mean, var, count = 0.0, 1.0, 1e-4
    for _ in range(4):
        steps, slots, length = [], [], []
        for slot in range(3):
            for piece, ends in ((3, slot != 1), (2, False)):
                gain = torch.randn(piece, generator=generator, dtype=torch.double).tolist()
                steps.append(gain)
                slots.append(slot)
                length.append(5 if ends else 0)
                for x in gain:
                    running[slot] = 0.9 * running[slot] + x
                    delta, count = running[slot] - mean, count + 1
                    mean += delta / count
                    var = (var * (count - 1) + delta * (running[slot] - mean)) / count
                running[slot] = 0.0 if ends else running[slot]
        state, out = scale.apply(state, rows(steps, slots, length))
        assert (state["mean"], state["var"], state["count"]) == pytest.approx((mean, var, count), rel=1e-9)
        assert [state["returns"][str(k)] for k in range(3)] == pytest.approx(running, rel=1e-12)
        torch.testing.assert_close(out.step[0, :3], torch.tensor(steps[0], dtype=torch.double) / math.sqrt(var + 1e-8))


def test_bounds_and_whole_episodes():
    batch = rows([[1.0, 1000.0], [1.0, 1.0]])
    state, out = ScaleByReturn(clip=0.5).apply(ScaleByReturn().init(), batch)
    assert out.step.max() == 0.5
    assert state["returns"] == {}
    apart = rows([[1.0], [1.0]], slots=[-1, -1])
    assert ScaleByReturn().apply(ScaleByReturn().init(), apart)[0]["returns"] == {}
    ends = rows([[4.0]], slots=[0], terminal=[True])  # without a length, an episode that ended by itself ends
    assert ScaleByReturn().apply(ScaleByReturn().init(), ends)[0]["returns"] == {"0": 0.0}


def test_a_broken_slot_counts_nothing_and_begins_anew():
    scale = ScaleByReturn(gamma=1.0)
    state, _ = scale.apply(scale.init(), rows([[5.0], [7.0]], slots=[0, 1], length=[0, 0]))
    state, out = scale.apply(state, rows([[NAN], [1.0]], slots=[0, 1], length=[0, 0], ok=[False, True]))
    assert state["returns"] == {"0": 0.0, "1": 8.0}
    assert state["count"] == pytest.approx(3, rel=1e-4)
    assert out.ok.tolist() == [False, True]


def test_contract_checkpoint_and_refusals(tmp_path):
    check_transform(ScaleByReturn(), example_batch(2))
    scale = ScaleByReturn()
    state, _ = scale.apply(scale.init(), rows([[5.0], [7.0]], slots=[0, 11], length=[0, 0]))
    save_state(tmp_path / "state", {"transform": state})
    assert load_state(tmp_path / "state")["transform"] == state
    with pytest.raises(PlanError, match="no dense steps"):
        scale.apply(scale.init(), example_batch().replace(reward=RewardOutput.of(torch.zeros(12))))
    for make in (
        lambda: ScaleByReturn(gamma=2.0),
        lambda: ScaleByReturn(clip=0.0),
        lambda: ScaleByReturn(eps=-1.0),
        lambda: ScaleByReturn(by="row"),
    ):
        with pytest.raises(PlanError):
            make()
