"""Acting: a policy's steps in an open world, and the rows that come of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.core import Behaviour, Items, Rollout, Streams, mix
from guerdon.core.persistent import Persistent
from guerdon.core.world import Episode

if TYPE_CHECKING:
    from guerdon.policies.control.policy import Control

_NOISE = 128  # steps whose random numbers are made at once


@dataclass
class Piece:
    """A part of one lane's steps that lies within one episode."""

    lane: int
    begin: int
    end: int
    last: Tensor
    terminal: bool = False
    failed: str = ""
    total: float = float("nan")
    length: int = 0
    memory: Tensor | None = None


@dataclass
class Recorder:
    """What all lanes did, step by step."""

    observation: list[Tensor] = field(default_factory=list)
    action: list[Tensor] = field(default_factory=list)
    logp: list[Tensor] = field(default_factory=list)
    reward: list[Tensor] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)


class Noise:
    """[k, d] random numbers of the given lanes at a step; a lane's numbers depend on its uid and the step alone."""

    def __init__(self, policy: Control, streams: Streams, uid: Tensor, temperature: float) -> None:
        self.head, self.stream, self.greedy = policy.head, streams("action", uid), temperature == 0
        self.block: Tensor | None = None

    def at(self, t: int, lanes: Tensor) -> Tensor | None:
        if self.greedy:
            return None
        d, within = self.head.noise, t % _NOISE
        if within == 0 or self.block is None:
            draw = getattr(self.stream, self.head.kind)
            self.block = draw(d * _NOISE, d * (t - within)).reshape(-1, _NOISE, d)
        return self.block[lanes, within]


def act_on(
    policy: Control, live: Persistent, slots: Tensor, noise: Noise, steps: int, temperature: float, again: bool
) -> Recorder:
    """``steps`` steps in each slot of ``live``, which knows where each episode stands.

    Args:
        policy: Who acts.
        live: The slots' world and episodes.
        slots: [R] which slots; lane k acts in ``slots[k]``.
        noise: Random numbers by lane and step.
        steps: At most how many steps each lane takes.
        temperature: How to act (0: the most likely action).
        again: Begin a new episode where one ends (fragments); otherwise the lane is done (episodes).
    """
    record, lanes = Recorder(), torch.arange(len(slots))
    heat = None if temperature in (0, 1) else temperature
    blank = live.observation[slots]
    begin = torch.zeros(len(slots), dtype=torch.long)
    first = dict.fromkeys(range(len(slots)))  # a lane's memory where its present piece begins
    lanes = _begin(live, slots, lanes[~live.running[slots]], lanes, record, 0)
    _remember(policy, live, slots, lanes, first)
    for t in range(steps):
        if not len(lanes):
            break
        here = slots[lanes]
        observation = live.observation[here]
        memory = live.memory[here] if live.memory is not None else None
        action, logp, memory = policy.act(observation, noise.at(t, lanes), heat, memory)
        if memory is not None:
            assert live.memory is not None
            live.memory[here] = memory.to(live.memory)
        done = live.step(here, policy.head.to_world(action))
        full = len(lanes) == len(slots)
        for store, value in ((record.observation, observation), (record.action, action), (record.logp, logp),
                             (record.reward, done.reward)):  # fmt: skip
            store.append(value if full else _spread(value, lanes, len(slots)))
        broken = [bool(f) for f in done.failed] if any(done.failed) else None
        over = done.terminated | done.truncated
        if broken is not None:
            over = over | torch.tensor(broken)
        if not bool(over.any()):
            continue
        for k in over.nonzero()[:, 0].tolist():
            lane, slot = int(lanes[k]), int(here[k])
            failed = done.failed[k]
            total, length = (float("nan"), 0) if failed else (float(live.total[slot]), int(live.length[slot]))
            terminal = bool(done.terminated[k]) and not failed
            record.pieces.append(
                Piece(lane, int(begin[lane]), t + 1, done.observation[k], terminal, failed, total, length, first[lane])
            )
        ended = lanes[over]
        live.running[slots[ended]] = False
        begin[ended] = t + 1
        if again and t + 1 < steps:
            lanes = _begin(live, slots, ended, lanes, record, t + 1)
            _remember(policy, live, slots, ended, first)
        else:
            lanes = lanes[~over]
    for lane in lanes.tolist():
        if begin[lane] < (end := len(record.reward)):
            record.pieces.append(Piece(lane, int(begin[lane]), end, live.observation[slots[lane]].clone(), memory=first[lane]))
    if not record.reward:  # no environment could begin
        nothing = policy.act(blank, noise.at(0, torch.arange(len(slots))), heat, policy.blank(len(slots)))
        for store, value in ((record.observation, blank), (record.action, nothing[0]), (record.logp, nothing[1]),
                             (record.reward, torch.zeros(len(slots), dtype=torch.float64))):  # fmt: skip
            store.append(torch.zeros_like(value))
    record.pieces.sort(key=lambda p: (p.lane, p.begin))
    return record


def _begin(live: Persistent, slots: Tensor, ended: Tensor, lanes: Tensor, record: Recorder, t: int) -> Tensor:
    """Begin an episode in lanes that are in none; the lanes that go on. One that cannot begin leaves an empty, failed row."""
    if not len(ended):
        return lanes
    failed = live.begin(slots[ended])
    if not any(failed):
        return lanes
    for lane, why in zip(ended.tolist(), failed, strict=True):
        if why:
            record.pieces.append(Piece(lane, t, t, live.observation[slots[lane]].clone(), failed=why))
    gone = ended[torch.tensor([bool(f) for f in failed])]
    return lanes[~torch.isin(lanes, gone)]


def _remember(policy: Control, live: Persistent, slots: Tensor, lanes: Tensor, first: dict[int, Tensor | None]) -> None:
    if not policy.body.memory:
        return
    if live.memory is None or live.memory.shape[1] != policy.body.memory:
        live.memory = policy.blank(live.n)
    assert live.memory is not None
    for lane in lanes.tolist():
        first[lane] = live.memory[slots[lane]].clone()


def _spread(value: Tensor, lanes: Tensor, n: int) -> Tensor:
    return value.new_zeros(n, *value.shape[1:]).index_copy(0, lanes, value)


def rows_of(policy: Control, record: Recorder, items: Items, uid: Tensor, slots: Sequence[int], behaviour: Behaviour) -> Rollout:
    """Pieces as rows: lane k's come from ``items[k]``, in time order."""
    pieces = record.pieces
    lane = torch.tensor([p.lane for p in pieces], dtype=torch.long)
    begin = torch.tensor([p.begin for p in pieces], dtype=torch.long)
    length = torch.tensor([p.end - p.begin for p in pieces], dtype=torch.long)
    longest = max(1, int(length.max()))
    position = torch.arange(longest)
    mask = position < length[:, None]
    when = (begin[:, None] + position).clamp(max=len(record.reward) - 1)

    def gather(steps: list[Tensor]) -> Tensor:
        taken = torch.stack(steps)[when, lane[:, None]]
        return torch.where(mask.reshape(*mask.shape, *[1] * (taken.dim() - 2)), taken, torch.zeros((), dtype=taken.dtype))

    states = gather(record.observation)
    states = torch.cat([states, torch.zeros_like(states[:, :1])], 1)
    states[torch.arange(len(pieces)), length] = torch.stack([p.last for p in pieces]).to(states)
    actions, reward = gather(record.action), gather(record.reward)
    sent = policy.head.to_world(actions).cpu()
    number = torch.zeros(len(pieces), dtype=torch.long)
    for k in range(1, len(pieces)):
        number[k] = number[k - 1] + 1 if lane[k] == lane[k - 1] else 0
    many = items[lane]
    info: dict[str, Any] = {
        **many.info,
        "failed": [p.failed for p in pieces],
        "slot": [slots[p.lane] for p in pieces],
        "return": torch.tensor([p.total for p in pieces], dtype=torch.float64),
        "length": torch.tensor([p.length for p in pieces], dtype=torch.long),
    }
    if policy.body.memory:
        none = policy.blank(1)
        assert none is not None
        info["memory"] = torch.stack([none[0] if p.memory is None else p.memory for p in pieces])
    outputs = [Episode(states[k, : n + 1], sent[k, :n], reward[k, :n], p.terminal)
               for k, (p, n) in enumerate(zip(pieces, length.tolist(), strict=True))]  # fmt: skip
    return Rollout(
        contexts=many.contexts, outputs=outputs, actions=actions, mask=mask, group=many.uid,
        uid=torch.where(number > 0, mix(uid[lane], "piece", number), uid[lane]), logp=gather(record.logp), states=states,
        terminal=torch.tensor([p.terminal for p in pieces]), behaviour=(behaviour,), info=info, trace={"reward": reward.float()},
    ).check()  # fmt: skip
