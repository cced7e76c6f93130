"""Replay: what goes in comes out, once, in order, and after a resume; files of recorded steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from guerdon.core import Batch, DataError, Items, PlanError, RewardOutput, Rollout, Streams
from guerdon.core.steps import transitions
from guerdon.core.world import Box
from guerdon.policies import Control, TanhGaussian
from guerdon.run import Fragments, Prompts, Recorded, Replay
from guerdon.run.sources._memory import Memory
from guerdon.run.state import load_state, save_state
from guerdon.worlds import GridWorld


def rows(
    lengths: Sequence[int], terminal: Sequence[bool], ends: Sequence[int], slots: Sequence[int], first: int = 0, low: int = 0
) -> Rollout:
    """Rows whose states count up from ``first``, one further for each row, so that every state tells where it comes from."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    states = torch.zeros(len(lengths), longest + 1, 2, dtype=torch.uint8 if low else torch.float32)
    actions = torch.zeros(len(lengths), longest, dtype=torch.long)
    count = first
    for k, n in enumerate(lengths):
        states[k, : n + 1, 0] = torch.arange(count, count + n + 1)
        actions[k, :n] = torch.arange(count, count + n)
        count += n + 1
    return Rollout(
        ["c"] * len(lengths), ["o"] * len(lengths), actions, mask, torch.arange(len(lengths)), torch.arange(len(lengths)),
        states=states, terminal=torch.tensor(terminal), trace={"reward": actions.float() / 10 * mask},
        info={"slot": list(slots), "length": torch.tensor(ends), "failed": [""] * len(lengths)},
    ).check()  # fmt: skip


def told(memory: Memory, rollout: Rollout, fine: Sequence[bool] | None = None) -> None:
    memory.add(rollout, rollout.trace["reward"], torch.tensor(fine or [True] * len(rollout)))


def every(memory: Memory) -> list[tuple[float, float, int, float, bool]]:
    """All that can be drawn: (state, next state, action, reward, terminal)."""
    drawn = memory.sample(40 * len(memory), Streams(1))
    assert drawn.states is not None
    columns = zip(drawn.states[:, 0, 0].tolist(), drawn.states[:, 1, 0].tolist(), drawn.actions[:, 0].tolist(),
                  drawn.trace["reward"][:, 0].tolist(), drawn.terminal.tolist(), strict=True)  # fmt: skip
    return sorted({(a, b, c, round(d, 4), e) for a, b, c, d, e in columns})


def test_what_is_stored_by_hand() -> None:
    memory = Memory(100)
    told(memory, rows([2, 1], [True, False], [2, 0], [0, 1]))  # states 0 1 2 (ended), 3 4 (goes on)
    assert every(memory) == [(0, 1, 0, 0.0, False), (1, 2, 1, 0.1, True), (3, 4, 3, 0.3, False)]
    assert memory.states is not None and memory.states.end == 5


def test_equal_to_the_transitions_of_the_rollout() -> None:
    rollout = rows([3, 1, 4], [True, False, False], [3, 0, 0], [0, 1, 2])
    memory = Memory(50)
    told(memory, rollout)
    expected = transitions(rollout)
    assert expected.states is not None
    assert every(memory) == sorted(
        (float(s[0, 0]), float(s[1, 0]), int(a), round(float(r), 4), bool(e))
        for s, a, r, e in zip(
            expected.states, expected.actions[:, 0], expected.trace["reward"][:, 0], expected.terminal, strict=True
        )
    )


def test_a_state_that_a_fragment_goes_on_from_is_stored_once() -> None:
    memory = Memory(100)
    told(memory, rows([2], [False], [0], [7], first=0))  # 0 1 2
    told(memory, rows([2], [False], [0], [7], first=2))  # 2 3 4: goes on
    assert memory.states is not None and memory.states.end == 5 and len(memory) == 4
    told(memory, rows([1], [False], [0], [8], first=4))  # 4 5 of another slot: its own
    assert memory.states.end == 7
    told(memory, rows([1], [False], [0], [7], first=9))  # 9 10: does not go on where slot 7 stopped
    assert memory.states.end == 9
    assert every(memory) == [(0, 1, 0, 0.0, False), (1, 2, 1, 0.1, False), (2, 3, 2, 0.2, False), (3, 4, 3, 0.3, False),
                             (4, 5, 4, 0.4, False), (9, 10, 9, 0.9, False)]  # fmt: skip


def test_failed_rows_are_never_stored() -> None:
    memory = Memory(100)
    told(memory, rows([2, 2, 1], [False] * 3, [0, 0, 0], [0, 1, 2]), [True, False, True])
    assert {a for a, *_ in every(memory)} == {0, 1, 6}


def n_step(memory: Memory, steps: int, gamma: float) -> dict[int, tuple[int, float, float, bool]]:
    """first state -> (last state, reward, discount, terminal)."""
    drawn = memory.sample(200, Streams(3), steps, gamma)
    assert drawn.states is not None
    return {
        int(s[0, 0]): (int(s[1, 0]), round(float(r), 5), round(float(d), 5), bool(e))
        for s, r, d, e in zip(drawn.states, drawn.trace["reward"], drawn.trace["discount"], drawn.terminal, strict=True)
    }


def test_n_steps_by_hand() -> None:
    memory = Memory(100)
    told(memory, rows([3], [False], [0], [0], first=10))  # 10 11 12 13, rewards 1.0 1.1 1.2
    told(memory, rows([2], [True], [5], [0], first=13))  # 13 14 15, rewards 1.3 1.4, ended
    told(memory, rows([1], [False], [9], [0], first=15))  # 15 16, cut off by a limit: another episode
    # gamma 0.5, three steps: from 10: 1 + 0.55 + 0.3 = 1.85, then 13 is worth 0.125; over the fragment's end from 11:
    # 1.1 + 0.6 + 0.325 = 2.025; from 12:
    # 1.2 + 0.65 + 0.35 = 2.2; from 13 only two steps are left: 1.3 + 0.7 = 2.0; from 14 one; the next episode is another one.
    assert n_step(memory, 3, 0.5) == {10: (13, 1.85, 0.125, False), 11: (14, 2.025, 0.125, False), 12: (15, 2.2, 0.125, True),
                                      13: (15, 2.0, 0.25, True), 14: (15, 1.4, 0.5, True), 15: (16, 1.5, 0.5, False)}  # fmt: skip
    assert n_step(memory, 1, 0.5)[10] == (11, 1.0, 0.5, False)


def test_an_episode_that_is_over_is_not_gone_on_from() -> None:
    """Worlds with few states begin an episode where the last one was cut off."""
    memory = Memory(100)
    told(memory, rows([1], [False], [1], [0], first=0))  # 0 1, cut off by a time limit
    told(memory, rows([1], [False], [0], [0], first=1))  # a new episode that happens to begin in 1
    assert n_step(memory, 5, 0.5)[0] == (1, 0.0, 0.5, False)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_oldest_give_way(size: int) -> None:
    """Against a list: at every point the memory holds the last 12 moves, whatever the lengths of pieces."""
    memory, known, first = Memory(12), [], 0
    numbers = Streams(size)("lengths").integers(size, 60)[0].tolist()
    for k, extra in enumerate(numbers):
        length, over = 1 + extra, k % 3 == 2
        told(memory, rows([length], [over], [length if over else 0], [k % 2], first=first))
        known += [(s, s + 1) for s in range(first, first + length)]
        known = known[-12:]
        assert len(memory) == len(known)
        if k % 7 == 0 or k > 50:
            assert [(int(a), int(b)) for a, b, *_ in every(memory)] == known
        first += length + (1 if over or k % 2 else 0) if size > 1 else length + 1


def test_more_moves_at_once_than_there_is_room() -> None:
    memory = Memory(3)
    told(memory, rows([5, 2], [False, True], [0, 2], [0, 1]))
    assert [a for a, *_ in every(memory)] == [4, 6, 7]
    told(memory, rows([9], [False], [0], [0], first=5))
    assert [a for a, *_ in every(memory)] == [11, 12, 13]


def test_single_steps_take_one_observation_each() -> None:
    """Eight slots, a step at a time: the ring of observations never grows beyond its first size."""
    memory = Memory(400)
    drawn = rows([1] * 8, [False] * 8, [0] * 8, range(8))
    assert drawn.states is not None
    for t in range(160):
        places = torch.arange(8)[:, None] * 1000 + torch.tensor([t, t + 1])
        told(memory, drawn.replace(states=torch.stack([places, places], -1).float()))
    assert memory.states is not None and len(memory.states.rows) == 400 + 400 // 16 + 64
    assert memory.states.end == 8 * 161 and len(memory) == 400
    assert {a % 1000 for a, *_ in every(memory)} == set(range(110, 160))


def test_pixels_stay_bytes() -> None:
    memory = Memory(10)
    told(memory, rows([2], [False], [0], [0], low=1))
    assert memory.states is not None and memory.states.rows.dtype == torch.uint8
    drawn = memory.sample(4, Streams(0))
    assert drawn.states is not None and drawn.states.dtype == torch.uint8
    # Room for 10 + 64 observations of 2 bytes; a move has three numbers, an action, a reward and a flag.
    assert memory.bytes == 74 * 2 + 10 * (3 * 8 + 8 + 4 + 1)


def acted(policy: Control, source: Any, draw: int, steps: int = 3) -> None:
    """One draw of a run: sample, score, tell."""
    streams = Streams(0).fork("draw", draw)
    rollout = policy.sample(source.draw(2, streams=streams), 1, streams=streams, steps=steps)
    source.tell(Batch.of(rollout, RewardOutput.of(torch.zeros(len(rollout)), step=rollout.trace["reward"])))


def test_a_resumed_memory_draws_the_same(tmp_path: Path) -> None:
    world = GridWorld("corridor")
    policy, spec = Control.of(world), Replay(Fragments(world), capacity=40)
    source = spec.open(seed=3)
    for k in range(12):  # 72 steps: it has gone round
        acted(policy, source, k)
    save_state(tmp_path / "state", {"source": source.state_dict()})
    again = spec.open(seed=3)
    again.load_state_dict(load_state(tmp_path / "state")["source"])
    for k in range(12, 16):
        acted(policy, source, k)
        acted(policy, again, k)
        one, two = (s.sample(64, streams=Streams(k), steps=4, gamma=0.9) for s in (source, again))
        assert torch.equal(one.states, two.states) and torch.equal(one.actions, two.actions)
        assert torch.equal(one.trace["reward"], two.trace["reward"]) and torch.equal(one.trace["discount"], two.trace["discount"])


def test_an_empty_memory_is_saved_and_put_back() -> None:
    spec = Replay(Fragments(GridWorld("corridor")), capacity=5)
    source, again = spec.open(), spec.open()
    again.load_state_dict(source.state_dict())
    assert len(again) == 0


def test_every_transition_is_as_likely_and_depends_on_the_streams_alone() -> None:
    memory = Memory(8)
    told(memory, rows([8], [False], [0], [0]))
    drawn = memory.sample(80_000, Streams(5))
    assert torch.equal(drawn.actions, memory.sample(80_000, Streams(5)).actions)
    counts = drawn.actions[:, 0].bincount(minlength=8).double()
    assert float(((counts - 10_000).square() / 10_000).sum()) < 24.3  # chi-squared with 7 degrees of freedom, p = 0.001


def test_rows_without_states_are_one_line() -> None:
    source = Replay(Prompts(("a",)), capacity=5).open()
    batch = Batch.of(Rollout(["a"], ["b"], torch.zeros(1, 1), torch.ones(1, 1).bool(), torch.zeros(1), torch.zeros(1)))
    with pytest.raises(PlanError, match="these rows have none; take run"):
        source.tell(batch)


@pytest.mark.parametrize(
    ("make", "line"),
    [(lambda: Replay("elsewhere"), "Replay: expected a source of fresh items such as run.Fragments(world), got 'elsewhere'"),
     (lambda: Replay(Prompts(("a",)), capacity=0), "Replay: capacity must be at least 1, got 0"),
     (lambda: Recorded("x.npz", steps=0), "Recorded: steps must be at least 1, got 0")],
)  # fmt: skip
def test_bad_settings(make: Any, line: str) -> None:
    with pytest.raises(PlanError) as e:
        make()
    assert str(e.value) == line


# -- files

FLAT = {
    "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
    "actions": np.array([[0.5], [-1.0], [1.0], [0.25], [0.0], [2.0]], dtype=np.float32),
    "rewards": np.arange(6, dtype=np.float32),
    "terminals": np.array([0, 0, 1, 0, 0, 0], dtype=bool),
    "timeouts": np.array([0, 0, 0, 0, 1, 0], dtype=bool),
}


class Pretend:
    """A world that is only looked at."""

    observation = Box((2,))
    action = Box((1,), -2.0, 2.0)


def squashing() -> Control:
    return Control.of(Pretend(), head=TanhGaussian())  # type: ignore[arg-type]


def written(path: Path, **changes: Any) -> str:
    arrays = {k: v for k, v in {**FLAT, **changes}.items() if v is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({k: torch.from_numpy(v) for k, v in arrays.items()}, path)
    return str(path)


@pytest.mark.parametrize("kind", [".npz", ".safetensors"])
def test_recorded_steps_by_hand(tmp_path: Path, kind: str) -> None:
    """Steps 0-2 end; 3-4 are cut off and nobody knows where 4 led; 5 is a piece whose next state is not there either."""
    source, policy = Recorded(written(tmp_path / f"a{kind}")).open(), squashing()
    assert len(source) == 4
    drawn = source.sample(200, streams=Streams(0), policy=policy)
    assert drawn.states is not None
    seen = {(int(s[0, 0]), int(s[1, 0]), float(r), bool(e))
            for s, r, e in zip(drawn.states, drawn.trace["reward"], drawn.terminal, strict=True)}  # fmt: skip
    assert seen == {(0, 2, 0.0, False), (2, 4, 1.0, False), (4, 4, 2.0, True), (6, 8, 3.0, False)}
    world = policy.head.to_world(drawn.actions[:, 0])
    expected = torch.from_numpy(FLAT["actions"])[(drawn.states[:, 0, 0] / 2).long()]
    assert float((world - expected).abs().max()) < 1e-5


def test_recorded_n_steps_stop_where_episodes_do(tmp_path: Path) -> None:
    source = Recorded(written(tmp_path / "a.npz")).open()
    drawn = source.sample(100, streams=Streams(0), policy=squashing(), steps=3, gamma=0.5)
    assert drawn.states is not None
    seen = {(int(s[0, 0]), int(s[1, 0]), float(r), float(d), bool(e))
            for s, r, d, e in zip(drawn.states, drawn.trace["reward"], drawn.trace["discount"], drawn.terminal, strict=True)}  # fmt: skip
    # From 0: 0 + 0.5 + 0.5 = 1; from 1: 1 + 1 = 2; 3 goes one step, to 4, whose own next state is not known.
    assert seen == {(0, 4, 1.0, 0.125, True), (2, 4, 2.0, 0.25, True), (4, 4, 2.0, 0.5, True), (6, 8, 3.0, 0.5, False)}


def test_known_next_states_keep_every_step(tmp_path: Path) -> None:
    source = Recorded(written(tmp_path / "a.npz", next_observations=FLAT["observations"] + 100)).open()
    drawn = source.sample(200, streams=Streams(0), policy=squashing())
    assert len(source) == 6 and drawn.states is not None
    assert {int(s[1, 0]) - int(s[0, 0]) for s in drawn.states} == {100}


def completions(source: Any, n: int) -> list[Any]:
    return source.draw(n, streams=Streams(0)).info["completion"]


def test_episodes_and_segments_to_imitate(tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz")
    whole = completions(Recorded(path, shuffle=False).open(), 2)
    assert [str(e) for e in whole] == ["Episode(3 steps, return 3, ended)", "Episode(1 steps, return 3, cut off)"]
    pieces = completions(Recorded(path, steps=2, shuffle=False).open(), 3)
    assert [(len(e), e.terminated, e.observations[:, 0].tolist()) for e in pieces] == [
        (2, False, [0, 2, 4]), (1, True, [4, 4]), (1, False, [6, 8]),
    ]  # fmt: skip
    policy, items = squashing(), Recorded(path, steps=2).open().draw(3, streams=Streams(0))
    rollout = policy.rollout_from(Items(items.contexts, items.uid), items.info["completion"], streams=Streams(0))
    assert int(rollout.mask.sum()) == 4 and torch.isfinite(policy(rollout).need("logp")).all()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rewards": None, "reward": FLAT["rewards"]}, "no array 'rewards'; "),
        ({"timeouts": None}, "no array 'timeouts' or 'truncations', so nobody knows where episodes were cut off; add one of zeros"),
        ({"actions": FLAT["actions"][:4]}, "'actions' has shape [4, 1], expected [6, '...']"),
        ({"rewards": np.zeros((6, 2), np.float32)}, "'rewards' has shape [6, 2], expected [6]"),
        ({"observations": np.where(FLAT["observations"] == 7, np.nan, FLAT["observations"])},
         "'observations' holds a NaN or an infinite number in row 3"),
        ({"terminals": np.array([0, 0, 2, 0, 0, 0])}, "'terminals' must be true or false (1 or 0) in every row"),
        ({"next_observations": np.zeros((6, 3), np.float32)},
         "'next_observations' has shape [6, 3], expected that of 'observations', [6, 2]"),
        ({k: v[:0] for k, v in FLAT.items()}, "'observations' has no rows"),
        ({"timeouts": np.ones(6, dtype=bool), "terminals": np.zeros(6, dtype=bool)},
         "no step has a next state; every episode is cut off after one step"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    path = written(tmp_path / "bad.npz", **changes)
    with pytest.raises(DataError) as e:
        Recorded(path).open()
    assert str(e.value).startswith(f"{path}: {line}") and "\n" not in str(e.value)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    pickled, garbage = tmp_path / "pickled.npz", tmp_path / "garbage.safetensors"
    np.savez(pickled, **{**FLAT, "rewards": np.array([{}] * 6)})
    garbage.write_bytes(b"\x00" * 40)
    (tmp_path / "a.hdf5").write_bytes(b"x")
    for path, line in [(pickled, "is not a .npz file of plain arrays"), (garbage, "is not a .safetensors file of plain arrays"),
                       (tmp_path / "a.hdf5", "expected a .npz or .safetensors file"), (tmp_path / "none.npz", "no such file")]:  # fmt: skip
        with pytest.raises(DataError) as e:
            Recorded(str(path)).open()
        assert str(e.value).startswith(f"{path}: {line}") and "\n" not in str(e.value)


def test_a_file_of_another_world_is_one_line(tmp_path: Path) -> None:
    wide: Tensor = torch.zeros(6, 3)
    source = Recorded(written(tmp_path / "a.npz", observations=wide.numpy())).open()
    with pytest.raises(DataError, match=r"observations have shape \(3,\), expected \(2,\)"):
        source.sample(4, streams=Streams(0), policy=squashing())
