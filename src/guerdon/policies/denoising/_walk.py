"""Walk: chains under way. Sampling, branching, guidance and resets are all this loop, looked at or left alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.core import Items, Rollout, Streams, mix
from guerdon.core.stepper import Proposal
from guerdon.core.streams import Stream

if TYPE_CHECKING:
    from guerdon.policies.denoising._base import Denoising
    from guerdon.policies.denoising._how import How


class Walk:
    """N chains of one policy, all at the same level (``core.stepper.Walk``).

    States are written into one tensor [N, S+1, ...] that becomes the rollout's own: nothing is stored twice.
    """

    def __init__(self, policy: Denoising, how: How, items: Items, uid: Tensor, group: Tensor, streams: Streams, start: Tensor):
        self.policy, self.how, self.items, self.uid, self.group, self.streams = policy, how, items, uid, group, streams
        self.first = how.level
        self.at, self.steps = 0, how.steps - how.level
        shape = (len(uid), self.steps)
        self.states = start.new_empty(len(uid), self.steps + 1, *start.shape[1:])
        self.states[:, 0] = start
        self.logp = torch.zeros(shape, dtype=torch.double)
        self.mask = torch.zeros(shape, dtype=torch.bool)
        self.node = torch.zeros(shape, dtype=torch.long)
        self.asked = policy.ask(items.contexts, how)
        self.behaviour = policy.behaviour(how)
        self.branched = False
        self._proposal: Proposal | None = None
        self._given: Tensor | None = None

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.at == self.steps

    @property
    def level(self) -> int:
        """The level that the rows are at."""
        return self.first + self.at

    @property
    def state(self) -> Tensor:
        """[N, ...] where the rows are; the very tensor that ``advance`` was given, with its gradients."""
        return self.states[:, self.at] if self._given is None else self._given

    @property
    def stream(self) -> Stream:
        """Of the rows' own noise."""
        return self.streams("noise", self.uid)

    def propose(self) -> Proposal:
        """Where the rows may go; computed once, until the walk moves."""
        if self._proposal is None:
            self._proposal = self._proposed(torch.arange(len(self.uid)), self.state)
        return self._proposal

    def _proposed(self, rows: Tensor, state: Tensor) -> Proposal:
        level = torch.full((len(rows),), self.level, dtype=torch.long)
        return self.policy.proposal(state, level, self.asked.take(rows), self.how)

    def advance(self, after: Tensor | None = None) -> None:
        """Go to ``after`` [N, ...], or (None) to a draw of the walk's own."""
        if after is not None or self._proposal is not None:
            proposal = self.propose()
            self._given = proposal.draw(self.stream, self.level) if after is None else after
            self._write(slice(None), proposal, self._given)
        else:  # a part at a time: no second tensor as large as all states is ever held
            key, drawn = self.stream.key, []
            for rows in torch.arange(len(self.uid)).split(self.policy.steps_at_once):
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                proposal = self._proposed(rows, self.state[part])
                after = proposal.draw(Stream(key[part]), self.level)
                self._write(part, proposal, after)
                if after.requires_grad:
                    drawn.append(after)
            self._given = torch.cat(drawn) if drawn else None
        self.node[:, self.at] = mix(self.uid, "node", self.level)
        self.at += 1
        self._proposal = None

    def _write(self, part: slice, proposal: Proposal, after: Tensor) -> None:
        self.states[part, self.at + 1] = after.detach()
        self.logp[part, self.at] = proposal.logp(after).detach().cpu()
        self.mask[part, self.at] = proposal.chosen.cpu()

    @torch.no_grad()
    def candidates(self, m: int) -> Tensor:
        """[N, m, ...] independent draws of the next step; none of them is the one that ``advance()`` would take."""
        proposal = self.propose()
        return torch.stack([proposal.draw(self.streams(f"candidate {j}", self.uid), self.level) for j in range(m)], 1)

    @torch.no_grad()
    def foresee(self, states: Tensor) -> Tensor | Sequence[Sequence[Any]]:
        """[N, m, ...] outputs that the policy foresees if the rows went to ``states`` [N, m, ...] now."""
        n, m = states.shape[:2]
        flat, level = states.flatten(0, 1), torch.full((n * m,), self.level + 1)
        if self.level + 1 < self.how.steps:
            row = torch.arange(n).repeat_interleave(m)
            parts = torch.arange(n * m).split(self.policy.steps_at_once)
            flat = torch.cat([self.policy.proposal(flat[p], level[p], self.asked.take(row[p]), self.how).clean for p in parts])
        out = self.policy.decoded(flat)
        return out.unflatten(0, (n, m)) if isinstance(out, Tensor) else [out[k : k + m] for k in range(0, n * m, m)]

    @property
    def foreseen(self) -> Tensor | Sequence[Any]:
        """[N, ...] outputs that the policy foresees from where the rows are; the outputs themselves at the end."""
        return self.policy.decoded(self.state if self.done else self.propose().clean)

    def take(self, rows: Tensor) -> Walk:
        """Some rows, in any order and number. A row taken again goes on with noise of its own; the first keeps its uid."""
        seen: Counter[int] = Counter()
        again = torch.zeros(len(rows), dtype=torch.long)
        for k, row in enumerate(rows.tolist()):
            again[k] = seen[row]
            seen[row] += 1
        uid = torch.where(again == 0, self.uid[rows], mix(self.uid[rows], "taken", self.level, again))
        return self._copied(rows, uid)

    def fork(self, n: int) -> Walk:
        """Every row ``n`` times in a row, each with a uid of its own from here on; ``node`` tells the shared prefix."""
        rows = torch.arange(len(self.uid)).repeat_interleave(n)
        branch = torch.arange(n).repeat(len(self.uid))
        return self._copied(rows, mix(self.uid[rows], "fork", self.level, branch))

    def _copied(self, rows: Tensor, uid: Tensor) -> Walk:
        new = object.__new__(Walk)
        new.__dict__.update(self.__dict__)
        new.items, new.uid, new.group, new.asked = self.items[rows], uid, self.group[rows], self.asked.take(rows)
        for name in ("states", "logp", "mask", "node"):
            setattr(new, name, getattr(self, name)[rows])
        new.branched, new._proposal = True, None if self._proposal is None else _rows_of(self._proposal, rows)
        new._given = None if self._given is None else self._given[rows]
        return new

    @torch.no_grad()
    def finish(self, **changes: Any) -> Rollout:
        """Walk to the end; the rows, with some of the rollout's fields changed."""
        while not self.done:
            self.advance()
        outputs = changes.pop("outputs") if "outputs" in changes else self.policy.decoded(self.states[:, -1])
        level = (self.first + torch.arange(self.steps)).expand(len(self.uid), -1)
        rollout = Rollout(
            contexts=self.items.contexts, outputs=outputs, states=self.states,
            actions=self.states[:, 1:], mask=self.mask, logp=self.logp,
            node=self.node if self.branched else None, group=self.group, uid=self.uid,
            behaviour=(self.behaviour,), info=self.items.info, trace={"level": level},
        )  # fmt: skip
        return (rollout.replace(**changes) if changes else rollout).check()


def _rows_of(proposal: Proposal, rows: Tensor) -> Proposal:
    """A proposal for some of its rows: what the network said of them is not asked again."""
    record: Any = proposal
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return dataclasses.replace(record, **{k: v[rows.to(v.device)] for k, v in fields.items() if isinstance(v, Tensor)})
