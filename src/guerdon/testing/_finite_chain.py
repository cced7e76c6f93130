"""FiniteChain: a denoiser of a few numbered states, whose every distribution is a sum that can be written out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import Behaviour, Items, PlanError, Policy, PolicyOutput, Rollout, Streams, mix
from guerdon.core.policy import Want
from guerdon.core.streams import Stream


class FiniteChain(Policy):
    r"""$x_0 \sim p$, then ``steps`` moves $x_{k+1} \sim P_k(\cdot \mid x_k)$ between ``size`` states, given by tables of logits.

    It walks as the policies of pictures do (``core.stepper``), so samplers can be held to exact distributions. Contexts are
    ignored; an output is the last state.

    Args:
        size: K, number of states.
        steps: S, number of moves.
        seed: Of the tables.
        scale: Standard deviation of the logits: the larger, the more decided.

    Example:
        >>> chain, streams = FiniteChain(size=3, steps=2), Streams(0)
        >>> rollout = chain.sample(Items(["any"], streams.uids(1)), 4, streams=streams)
        >>> rollout.states.shape, bool((chain(rollout).logp - rollout.logp).abs().max() < 1e-12)
        (torch.Size([4, 3]), True)
    """

    def __init__(self, size: int = 4, steps: int = 3, seed: int = 0, scale: float = 1.0):
        super().__init__()
        self.size, self.steps = size, steps
        generator = torch.Generator().manual_seed(seed)
        self.start = nn.Parameter(scale * torch.randn(size, generator=generator, dtype=torch.double), requires_grad=False)
        self.table = nn.Parameter(scale * torch.randn(steps, size, size, generator=generator, dtype=torch.double))

    # -- what can be known exactly

    def moves(self) -> Tensor:
        """[S, K, K] probabilities of going from row to column."""
        return self.table.softmax(-1)

    def after(self, level: int) -> Tensor:
        """[K, K] probabilities of ending in a column, from a row at ``level``."""
        out = torch.eye(self.size, dtype=torch.double)
        for k in range(level, self.steps):
            out = out @ self.moves()[k]
        return out

    def marginal(self) -> Tensor:
        """[K] probabilities of the outputs."""
        return self.start.softmax(-1) @ self.after(0)

    def tilted(self, reward: Tensor, alpha: float) -> Tensor:
        r"""[K] $p(x) e^{r(x) / \alpha} / Z$: the policy of most reward at a price of ``alpha`` per nat of divergence."""
        return (self.marginal().log() + reward / alpha).softmax(-1)

    def soft_values(self, reward: Tensor, alpha: float) -> Tensor:
        r"""[S+1, K] $v_k(x) = \alpha \log \mathbb{E}[e^{r(x_S) / \alpha} \mid x_k = x]$."""
        return torch.stack([alpha * (self.after(k).log() + reward / alpha).logsumexp(-1) for k in range(self.steps + 1)])

    def best_guess(self, level: int) -> Tensor:
        """[K] the likeliest output from each state at ``level``."""
        return self.after(level).argmax(-1)

    # -- acting and replaying

    @torch.no_grad()
    def begin(
        self, items: Items, n: int = 1, *, streams: Streams, outputs: Sequence[int] | None = None, level: int = 0, steps: int = 0
    ) -> FiniteWalk:
        """Chains under way; with ``outputs`` they begin at ``level``, in a state drawn from all that could lead to the output."""
        if steps not in (0, self.steps):
            raise PlanError(f"FiniteChain has {self.steps} steps, got steps={steps}")
        rows, uid = items.repeat(n), streams.samples(items.uid, n)
        p = self.start.softmax(-1)
        for k in range(level):
            p = p @ self.moves()[k]
        if outputs is None:
            p = p.expand(len(uid), -1)
        else:
            given = torch.as_tensor([int(o) for o in outputs]).repeat_interleave(n)
            p = (p[:, None] * self.after(level)).T[given]
        start = _pick(p, streams("start", uid).uniform(1)[:, 0])
        return FiniteWalk(self, rows, uid, items.uid.repeat_interleave(n), streams, start, level)

    def sample(self, items: Items, n: int = 1, *, streams: Streams, **controls: Any) -> Rollout:
        return self.begin(items, n, streams=streams, **controls).finish()

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        assert rollout.states is not None
        here = self.table.log_softmax(-1)[rollout.trace["level"], rollout.states[:, :-1]]
        logp = here.gather(-1, rollout.actions[..., None])[..., 0]
        entropy = -(here.exp() * here).sum(-1)
        return PolicyOutput(
            torch.where(rollout.mask, logp, 0.0) if "logp" in want else None,
            torch.where(rollout.mask, entropy, 0.0) if "entropy" in want else None,
        )


class FiniteMove:
    """Where one step of a ``FiniteChain`` may go (``core.stepper.Proposal``)."""

    def __init__(self, table: Tensor, clean: Tensor):
        self.table, self.clean = table, clean

    @property
    def chosen(self) -> Tensor:
        return torch.ones(len(self.table), dtype=torch.bool)

    def draw(self, stream: Stream, start: int) -> Tensor:
        return _pick(self.table.exp(), stream.uniform(1, start)[:, 0])

    def logp(self, after: Tensor) -> Tensor:
        return self.table.gather(1, after[:, None])[:, 0]

    def entropy(self) -> Tensor:
        return -(self.table.exp() * self.table).sum(1)


class FiniteWalk:
    """Chains under way (``core.stepper.Walk``)."""

    def __init__(
        self, policy: FiniteChain, items: Items, uid: Tensor, group: Tensor, streams: Streams, start: Tensor, level: int
    ):
        self.policy, self.items, self.uid, self.group, self.streams = policy, items, uid, group, streams
        self.at, self.first, self.steps = 0, level, policy.steps - level
        self.path, self.logps, self.nodes = [start], torch.zeros(len(uid), 0, dtype=torch.double), uid.new_zeros(len(uid), 0)

    @property
    def done(self) -> bool:
        return self.at == self.steps

    @property
    def state(self) -> Tensor:
        return self.path[-1]

    @property
    def foreseen(self) -> Tensor:
        return self.policy.best_guess(self.first + self.at)[self.state]

    @torch.no_grad()
    def propose(self) -> FiniteMove:
        return FiniteMove(self.policy.table[self.first + self.at].log_softmax(-1)[self.state], self.foreseen)

    @torch.no_grad()
    def advance(self, after: Tensor | None = None) -> None:
        move = self.propose()
        after = move.draw(self.streams("move", self.uid), self.first + self.at) if after is None else after
        self.logps = torch.cat([self.logps, move.logp(after)[:, None]], 1)
        self.nodes = torch.cat([self.nodes, mix(self.uid, "node", self.at)[:, None]], 1)
        self.path = [*self.path, after]
        self.at += 1

    @torch.no_grad()
    def candidates(self, m: int) -> Tensor:
        table = self.propose().table.exp().cumsum(1)
        u = self.streams("candidates", self.uid).uniform(m, (self.first + self.at) * m)
        return torch.searchsorted(table, u).clamp(max=self.policy.size - 1)

    def foresee(self, states: Tensor) -> Tensor:
        return self.policy.best_guess(self.first + self.at + 1)[states]

    def fork(self, n: int) -> FiniteWalk:
        rows = torch.arange(len(self.uid)).repeat_interleave(n)
        return self._copied(rows, mix(self.uid[rows], "fork", self.at, torch.arange(n).repeat(len(self.uid))))

    def take(self, rows: Tensor) -> FiniteWalk:
        seen: Counter[int] = Counter()
        again = []
        for row in rows.tolist():
            again.append(seen[row])
            seen[row] += 1
        copy = torch.tensor(again)
        return self._copied(rows, torch.where(copy == 0, self.uid[rows], mix(self.uid[rows], "taken", self.at, copy)))

    def _copied(self, rows: Tensor, uid: Tensor) -> FiniteWalk:
        new = object.__new__(FiniteWalk)
        new.__dict__.update(self.__dict__)
        new.items, new.uid, new.group = self.items[rows], uid, self.group[rows]
        new.path, new.logps, new.nodes = [x[rows] for x in self.path], self.logps[rows], self.nodes[rows]
        return new

    def finish(self, **changes: Any) -> Rollout:
        while not self.done:
            self.advance()
        states = torch.stack(self.path, 1)
        rollout = Rollout(
            contexts=self.items.contexts, outputs=states[:, -1], actions=states[:, 1:], states=states, logp=self.logps,
            mask=torch.ones(len(self.uid), self.steps, dtype=torch.bool), group=self.group, uid=self.uid, node=self.nodes,
            behaviour=(Behaviour("finite-chain", self.policy.version, dtype="float64"),), info=self.items.info,
            trace={"level": (self.first + torch.arange(self.steps)).expand(len(self.uid), -1)},
        )  # fmt: skip
        return rollout.replace(**changes).check()


def _pick(p: Tensor, uniform: Tensor) -> Tensor:
    """[N] states drawn from [N, K] weights."""
    edges = p.cumsum(1)
    return torch.searchsorted(edges, (uniform * edges[:, -1])[:, None]).clamp(max=p.shape[1] - 1)[:, 0]
