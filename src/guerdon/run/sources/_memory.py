"""Transitions in two rings: one of observations, each stored once, and one of the moves between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.core import Behaviour, Rollout, Streams
from guerdon.run.sources._ring import Ring

_NONE = -1  # number of a move that is not known


class Memory:
    """At most ``capacity`` moves and the observations they lie between.

    A state that a fragment ends in and the next one of the same slot begins with is one row. The ring of observations begins a
    little longer than that of moves and grows where short episodes need more.

    Args:
        capacity: Moves.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.states: Ring | None = None
        self.moves: dict[str, Ring] = {}
        self.open: dict[int, tuple[int, int]] = {}  # slot -> (its last state's number, its last move's)
        self._oldest = 0  # no living move needs an older state

    def __len__(self) -> int:
        if not self.moves:
            return 0
        before = self.moves["before"]
        return before.end - before.begin

    @property
    def bytes(self) -> int:
        """Of everything that is held room for."""
        rings = [*self.moves.values(), *([] if self.states is None else [self.states])]
        return sum(r.rows.numel() * r.rows.element_size() for r in rings)

    def add(self, rollout: Rollout, reward: Tensor, fine: Tensor) -> None:
        """Store the chosen steps of the rows that are fine.

        Args:
            rollout: With ``states``; ``info["slot"]`` and ``info["length"]``, where they are, say which rows go on.
            reward: [B, T].
            fine: [B] bool.
        """
        assert rollout.states is not None
        if self.states is None:
            self._begin(rollout)
        assert self.states is not None
        slots, ends = rollout.info.get("slot"), rollout.info.get("length")
        number, move = self.states.end, self.moves["before"].end
        kept: list[Tensor] = []  # observations of each row that are not there yet
        links: list[tuple[int, int]] = []
        columns: dict[str, list[Tensor]] = {n: [] for n in self.moves}
        lengths = rollout.lengths.tolist()
        for k, length in enumerate(lengths):
            slot = None if slots is None or ends is None else int(slots[k])
            last = self.open.pop(slot, None) if slot is not None else None
            if not bool(fine[k]) or length == 0:
                continue
            seen, t = rollout.states[k, : length + 1], rollout.mask[k, :length].nonzero()[:, 0]
            joined = last is not None and self._is(last[0], seen[0])
            fresh = torch.arange(length + (0 if joined else 1)) + number + sum(map(len, kept))
            place = torch.cat([torch.tensor([last[0]]), fresh]) if joined and last is not None else fresh
            kept.append(seen[1:] if joined else seen)
            me = move + sum(len(c) for c in columns["before"]) + torch.arange(len(t))
            if joined and last is not None and int(t[0]) == 0:
                links.append((last[1], int(me[0])))
            terminal = bool(rollout.terminal[k])
            columns["before"].append(place[t])
            columns["after"].append(place[t + 1])
            columns["next"].append(torch.where(t.diff(append=t[-1:] + 9) == 1, me + 1, _NONE))
            columns["action"].append(rollout.actions[k, t])
            columns["reward"].append(reward[k, t].float())
            columns["terminal"].append((t == length - 1) & terminal)
            if slot is not None and not terminal and not int(ends[k]):  # type: ignore[index]
                self.open[slot] = (int(place[-1]), int(me[-1]))
        if kept:
            self._room(sum(map(len, kept)), torch.cat(columns["before"]))
            self.states.add(torch.cat(kept))
            for name, ring in self.moves.items():
                ring.add(torch.cat(columns[name]))
            following = self.moves["next"]
            for before, after in links:
                if before >= following.begin:
                    following.rows[before % self.capacity] = after

    def _begin(self, rollout: Rollout) -> None:
        assert rollout.states is not None
        size = self.capacity
        self.states = Ring(size + size // 16 + 64, rollout.states[:, 0])
        whole, one = torch.zeros(1, dtype=torch.long), torch.zeros(1)
        like = {
            "before": whole,
            "after": whole,
            "next": whole,
            "action": rollout.actions[:, 0],
            "reward": one,
            "terminal": one.bool(),
        }
        self.moves = {name: Ring(size, row) for name, row in like.items()}

    def _is(self, number: int, state: Tensor) -> bool:
        """Whether the state of this number is there and equals the given one."""
        assert self.states is not None
        there = self.states.begin <= number < self.states.end
        return there and torch.equal(self.states.rows[number % len(self.states.rows)], state)

    def _room(self, more: int, before: Tensor) -> None:
        """See to it that ``more`` states overwrite none that a living move needs, those of the new moves among them."""
        assert self.states is not None
        needed = self.states.end + more
        if needed - self._oldest <= len(self.states.rows):
            return
        ring = self.moves["before"]
        living = torch.arange(min(ring.end, max(ring.begin, ring.end + len(before) - self.capacity)), ring.end)
        self._oldest = int(torch.cat([ring[living], before]).min())
        if (size := needed - self._oldest) > len(self.states.rows):
            self.states.resize(max(size, len(self.states.rows) * 5 // 4), self._oldest)

    def sample(self, n: int, streams: Streams, steps: int = 1, gamma: float = 1.0) -> Rollout:
        """``n`` moves at random, with replacement, as rows of one step.

        Args:
            n: How many.
            streams: Which.
            steps: Steps of an episode that a row spans: its reward is their discounted sum and its next state the last one's.
                Fewer where the episode ends, or is not known further.
            gamma: Discount.

        Returns:
            Rows with ``trace`` "reward" and "discount" (of what comes after the next state), both [n, 1].
        """
        assert self.states is not None
        m = self.moves
        first = m["before"].begin + streams("replay").integers(len(self), n)[0]
        last, reward = first, m["reward"][first].clone()
        discount = torch.full_like(reward, gamma)
        for _ in range(1, steps):
            after = m["next"][last]
            on = after != _NONE
            last = torch.where(on, after, last)
            reward += torch.where(on, discount * m["reward"][last], 0.0)
            discount = torch.where(on, discount * gamma, discount)
        return Rollout(
            contexts=range(n), outputs=range(n), actions=m["action"][first][:, None], mask=torch.ones(n, 1, dtype=torch.bool),
            group=first, uid=first, states=torch.stack([self.states[m["before"][first]], self.states[m["after"][last]]], 1),
            terminal=m["terminal"][last], behaviour=(Behaviour("replay", engine="recorded"),),
            trace={"reward": reward[:, None], "discount": discount[:, None]},
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        if self.states is None or not self.moves:
            return {"states": None}
        before = self.moves["before"]
        oldest = int(before[torch.arange(before.begin, before.end)].min()) if len(self) else self.states.end
        return {
            "states": self.states.state_dict(oldest),
            "moves": {n: r.state_dict() for n, r in self.moves.items()},
            "open": {str(k): list(v) for k, v in self.open.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["states"] is None:
            return
        self.states = Ring.of_state(state["states"])
        self.moves = {n: Ring.of_state(r) for n, r in state["moves"].items()}
        self.open = {int(k): (int(v[0]), int(v[1])) for k, v in state["open"].items()}
        self._oldest = self.states.end - len(state["states"]["rows"])
