"""TD: action values learned from remembered transitions."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from guerdon.core import Batch, Due, PlanError, Rollout, Streams
from guerdon.run.backups import Backup, Expected, Greedy
from guerdon.run.optim import AdamW, load_optimizer_state, optimizer_state

if TYPE_CHECKING:
    from guerdon.run.plan import Plan


@dataclass(frozen=True)
class TD:
    r"""Temporal-difference learning of $Q$ from the transitions of ``plan.source`` (``run.Replay`` or ``run.Recorded``).

    $y = r + \gamma (1 - \mathrm{terminal}) V'(s')$ with $V'$ by ``backup`` from a slowly moving copy of the network; the loss
    is that of the network's value head against $y$, summed over its copies, in the mean over transitions. A step that was cut
    off bootstraps like any other; one that ended by itself does not.

    The transitions of a draw are there from the next draw on. With ``of="policy"`` the policy is its own Q-network
    (``policies.EpsilonGreedy``, ``policies.Boltzmann``).

    Args:
        of: A critic (``policies.ActionValue``), or ``"policy"``.
        gamma: Discount.
        backup: ``Expected`` (under the policy) or ``Greedy`` (DQN).
        batch: Transitions of an update.
        updates: Per draw.
        steps: Environment steps a transition spans (n-step returns; beyond 1 they are biased towards what older policies did).
        tau: How far the copy moves towards the network, 0..1; 1 copies it.
        target_every: At every how many updates it moves.
        optim: How weights move.
        max_grad_norm: Gradients are scaled down to this norm (None: never).
        due: When it learns; ``Due(start=k)`` waits for the first k draws, in which the untrained policy acts.

    Example:
        >>> from guerdon.run import TD, Expected, Greedy
        >>> sac = TD(of="q", backup=Expected(alpha="policy"), updates=8)
        >>> dqn = TD(of="policy", backup=Greedy(), tau=1.0, target_every=500)

    Source: DQN (arXiv:1312.5602), SAC (arXiv:1801.01290).
    """

    of: str = "q"
    gamma: float = 0.99
    backup: Backup = Expected()
    batch: int = 256
    updates: int = 1
    steps: int = 1
    tau: float = 0.005
    target_every: int = 1
    optim: AdamW = AdamW(lr=3e-4)
    max_grad_norm: float | None = None
    due: Due = Due()

    def __post_init__(self) -> None:
        if not isinstance(self.backup, Expected | Greedy):
            raise PlanError(f"TD: backup must be run.Expected or run.Greedy, got {self.backup!r}")
        if not 0 <= self.gamma <= 1:
            raise PlanError(f"TD: gamma must be between 0 and 1, got {self.gamma}")
        if not 0 < self.tau <= 1:
            raise PlanError(f"TD: tau must be above 0 and at most 1, got {self.tau}")
        for name in ("batch", "updates", "steps", "target_every"):
            if getattr(self, name) < 1:
                raise PlanError(f"TD: {name} must be at least 1, got {getattr(self, name)}")

    def check_plan(self, plan: Plan) -> None:
        """What can be told before anything is built.

        Raises:
            PlanError: for a source without transitions, or a backup that refers to what is not there.
        """
        check_source("TD", plan)
        self.backup.check(plan)

    def build(self, network: nn.Module) -> TDTrainer:
        return TDTrainer(self, network)


class TDTrainer:
    """A ``TD`` at work: the copy, the optimiser, and how many updates there were."""

    def __init__(self, spec: TD, network: Any) -> None:
        self.spec, self.network, self.due = spec, network, spec.due
        self.online = estimator_of(network, spec.of)
        spec.backup.check_actions(self.online.discrete)
        named = [(n, p) for n, p in self.online.named_parameters() if p.requires_grad]
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        if not named:
            raise PlanError(f"learner of {spec.of!r}: it has no trainable parameters")
        self.optimizer = spec.optim.build(self.parameters)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.pairs = list(self.target.parameters()), list(self.online.parameters())
        self.count = 0

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """All updates of one draw; the figures for the log."""
        figures = {"lr": set_rate(self.optimizer, self.spec.optim.rate(batch.progress)), "replay/size": float(len(run.source))}
        explore = getattr(getattr(self.network, "head", None), "progress", None)
        if explore is not None:
            explore(batch.progress)
            figures["epsilon"] = float(self.network.head.epsilon)
        if not len(run.source):
            return {**figures, "skipped/empty": 1.0}
        seen: list[dict[str, float]] = []
        for _ in range(self.spec.updates):
            streams = run.streams.fork("td", self.spec.of, self.count)
            self.count += 1
            seen.append(self._step(self._draw(run, streams), run, streams))
            if self.count % self.spec.target_every == 0:
                self._follow()
        return {**figures, **mean_of(seen)}

    def _draw(self, run: Any, streams: Streams) -> Moves:
        spec = self.spec
        rows = run.source.sample(spec.batch, streams=streams, policy=run.policy, steps=spec.steps, gamma=spec.gamma)
        return moves_of(rows, run.policy, self.parameters[0])

    def target_of(self, moves: Moves, run: Any, streams: Streams) -> Tensor:
        """[N] what the values are drawn to."""
        with torch.no_grad():
            value = self.spec.backup(moves.following, run.policy, self.online, self.target, streams, run)
            return moves.reward + torch.where(moves.terminal, 0.0, moves.discount * value)

    def _step(self, moves: Moves, run: Any, streams: Streams) -> dict[str, float]:
        target = self.target_of(moves, run, streams)
        head = self.online.head
        raw = self.online.raw(moves.states, moves.actions)  # [C, N, K]
        loss = head.loss(raw, target.expand(raw.shape[:-1])).mean(-1).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.spec.max_grad_norm or math.inf)
        if not torch.isfinite(norm):  # one poisoned step would destroy the weights; it is counted, not hidden
            return {"skipped/not_finite": 1.0}
        self.optimizer.step()
        with torch.no_grad():
            value, spread = head.value(raw), head.std(raw)
            gap = (value - target).abs().mean()
            figures = {"loss": loss.detach(), "value": value.mean(), "target": target.mean(), "td_error": gap}
            if spread is not None:
                figures["std"] = spread.mean()
        return {"grad_norm": float(norm), **{n: float(v) for n, v in figures.items()}}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the copy."""
        torch._foreach_lerp_(*self.pairs, self.spec.tau)
        for theirs, ours in zip(self.online.buffers(), self.target.buffers(), strict=True):
            ours.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "optimizer": optimizer_state(self.optimizer, self.names), "target": self.target.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = int(state["count"])
        load_optimizer_state(self.optimizer, self.names, state["optimizer"])
        self.target.load_state_dict(state["target"])


class Moves(NamedTuple):
    """Transitions on the learner's device.

    Attributes:
        states: [N, ...] observations.
        actions: [N, ...] as the world took them.
        reward: [N].
        discount: [N] of the next state's value.
        terminal: [N] bool, nothing comes after.
        following: [N, ...] next observations.
    """

    states: Tensor
    actions: Tensor
    reward: Tensor
    discount: Tensor
    terminal: Tensor
    following: Tensor


def moves_of(rows: Rollout, policy: Any, like: Tensor) -> Moves:
    """One-step rows as the tensors that learners compute with, in the format and on the device of ``like``."""
    assert rows.states is not None
    states, device = rows.states.to(like.device), like.device
    reward, discount = (rows.trace[n][:, 0].to(like) for n in ("reward", "discount"))
    actions = policy.head.to_world(rows.actions[:, 0].to(device))
    return Moves(states[:, 0], actions, reward, discount, rows.terminal.to(device), states[:, 1])


def estimator_of(network: Any, of: str) -> Any:
    """What of a network gives values of actions.

    Raises:
        PlanError: where nothing does.
    """
    if of == "policy":
        head: Any = getattr(network, "head", None)
        if not hasattr(head, "estimator"):
            raise PlanError("TD(of='policy'): the policy holds no action values; give it the head policies.EpsilonGreedy or "
                            "policies.Boltzmann, or train a critic policies.ActionValue")  # fmt: skip
        if not network.markov:
            raise PlanError("TD reads transitions one by one, and this policy remembers; take a body without memory")
        return head.estimator(network)
    if not hasattr(network, "estimator"):
        raise PlanError(f"TD(of={of!r}): this critic gives no values of actions; take policies.ActionValue")
    return network.estimator


def check_source(name: str, plan: Plan) -> None:
    """Raises PlanError where the plan's source gives no transitions."""
    from guerdon.run.sources.recorded import Recorded
    from guerdon.run.sources.replay import Replay

    if not isinstance(plan.source, Replay | Recorded) and not hasattr(plan.source, "sample"):
        raise PlanError(f"{name} learns from transitions, and plan.source is {type(plan.source).__name__}: "
                        "take run.Replay(of=run.Fragments(world)) or run.Recorded(path)")  # fmt: skip


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """The rate, after the optimiser got it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def mean_of(seen: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure; of what was skipped, the sum."""
    out: dict[str, float] = {}
    for name in dict.fromkeys(n for s in seen for n in s):
        values = [s[name] for s in seen if name in s]
        out[name] = sum(values) if name.startswith("skipped") else sum(values) / len(values)
    return out
