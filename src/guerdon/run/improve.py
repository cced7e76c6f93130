"""Improve: a policy moved towards what a critic values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from guerdon.core import Batch, Due, PlanError, Streams, nearest
from guerdon.core.world import Discrete
from guerdon.run.backups import noise_of
from guerdon.run.optim import AdamW, load_optimizer_state, optimizer_state
from guerdon.run.td import check_source, estimator_of, mean_of, moves_of, set_rate

if TYPE_CHECKING:
    from guerdon.run.plan import Plan


@dataclass(frozen=True)
class EntropyTarget:
    r"""$\alpha$ learned so that the policy keeps a given entropy: $L = -\log \alpha \cdot (\log \pi(a \mid s) + \bar H)$.

    Args:
        entropy: $\bar H$ in nats; None: as in the papers, minus the number of action dimensions, or 0.98 of the largest entropy
            of numbered actions.
        initial: Alpha at the start.
        lr: Learning rate of its logarithm.

    Source: arXiv:1812.05905; numbered actions arXiv:1910.07207.
    """

    entropy: float | None = None
    initial: float = 1.0
    lr: float = 3e-4

    def __post_init__(self) -> None:
        if not self.initial > 0 or not self.lr >= 0:
            raise PlanError(f"EntropyTarget: initial must be above 0 and lr at least 0, got {self.initial} and {self.lr}")


@dataclass(frozen=True)
class Improve:
    r"""The actor's half of soft actor-critic.

    Minimises $\mathbb{E}_{a \sim \pi} [\alpha \log \pi(a \mid s) - \min_c Q_c(s, a)]$ at the states of remembered transitions.
    Over numbered actions the inner expectation is exact; for vectors the gradient goes through a sampled action (pathwise) and
    the critic's smallest copy.

    Args:
        of: Always ``"policy"``.
        critic: The ``policies.ActionValue`` that ``run.TD`` trains.
        alpha: Price of a nat: a number, or ``EntropyTarget``. The critic uses the same with ``TD(backup=Expected(alpha=NAME))``
            and this learner's name in the plan.
        batch: States of an update.
        updates: Per draw.
        optim: How weights move.
        max_grad_norm: Gradients are scaled down to this norm (None: never).
        due: When it learns.

    Source: SAC (arXiv:1801.01290, arXiv:1812.05905), for numbered actions arXiv:1910.07207.
    """

    of: str = "policy"
    critic: str = "q"
    alpha: float | EntropyTarget = EntropyTarget()
    batch: int = 256
    updates: int = 1
    optim: AdamW = AdamW(lr=3e-4)
    max_grad_norm: float | None = None
    due: Due = Due()

    def __post_init__(self) -> None:
        if self.of != "policy":
            raise PlanError(f"Improve: it trains the policy, so of must be 'policy', got {self.of!r}")
        if not isinstance(self.alpha, EntropyTarget) and not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise PlanError(f"Improve: alpha must be at least 0, or run.EntropyTarget, got {self.alpha}")
        for name in ("batch", "updates"):
            if getattr(self, name) < 1:
                raise PlanError(f"Improve: {name} must be at least 1, got {getattr(self, name)}")

    def check_plan(self, plan: Plan) -> None:
        """What can be told before anything is built.

        Raises:
            PlanError: where there is no such critic, or no transitions.
        """
        check_source("Improve", plan)
        if self.critic not in plan.critics:
            raise PlanError(f"Improve: no critic {self.critic!r}; {nearest(self.critic, plan.critics)}: add critics: "
                            f"{{{self.critic}: policies.ActionValue}} and a learner run.TD(of={self.critic!r})")  # fmt: skip

    def build(self, network: nn.Module) -> ImproveTrainer:
        return ImproveTrainer(self, network)


class ImproveTrainer:
    """An ``Improve`` at work: the optimiser, alpha and its own optimiser."""

    def __init__(self, spec: Improve, network: Any) -> None:
        self.spec, self.policy, self.due = spec, network, spec.due
        if not getattr(network, "markov", False):
            raise PlanError("Improve reads states one by one: the policy must be a policies.Control without memory")
        self.discrete = isinstance(network.action, Discrete)
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        self.optimizer = spec.optim.build(self.parameters)
        self.log_alpha: Tensor | None = None
        if isinstance(spec.alpha, EntropyTarget):
            self.log_alpha = torch.tensor(math.log(spec.alpha.initial), dtype=torch.float64, requires_grad=True)
            self.alpha_optimizer = torch.optim.Adam([self.log_alpha], spec.alpha.lr)
        self.count = 0

    @property
    def alpha(self) -> float:
        """Now."""
        if self.log_alpha is not None:
            return float(self.log_alpha.detach().exp())
        assert not isinstance(self.spec.alpha, EntropyTarget)
        return self.spec.alpha

    @property
    def target_entropy(self) -> float:
        """In nats."""
        given = self.spec.alpha.entropy if isinstance(self.spec.alpha, EntropyTarget) else None
        if given is not None:
            return given
        space = self.policy.action
        return 0.98 * math.log(space.n) if self.discrete else -float(math.prod(space.shape))

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """All updates of one draw; the figures for the log."""
        figures = {"lr": set_rate(self.optimizer, self.spec.optim.rate(batch.progress))}
        if not len(run.source):
            return {**figures, "skipped/empty": 1.0}
        critic = estimator_of(run.critics[self.spec.critic], self.spec.critic)
        seen: list[dict[str, float]] = []
        for _ in range(self.spec.updates):
            streams = run.streams.fork("improve", self.spec.critic, self.count)
            self.count += 1
            rows = run.source.sample(self.spec.batch, streams=streams, policy=self.policy)
            seen.append(self._step(moves_of(rows, self.policy, self.parameters[0]).states, critic, streams))
        return {**figures, **mean_of(seen), "alpha": self.alpha}

    def loss(self, states: Tensor, critic: Any, streams: Streams) -> tuple[Tensor, Tensor]:
        """(scalar loss, [N] entropies or their one-sample estimates) at states [N, ...]."""
        features, head = self.policy.features(states), self.policy.head
        if self.discrete:
            lp = head.log_probs(features)
            with torch.no_grad():
                q = critic.value(states).amin(0)
            return (lp.exp() * (self.alpha * lp - q)).sum(-1).mean(), -(lp.exp() * lp).sum(-1)
        action, logp = head.draw(features, noise_of(head, len(states), streams), None)
        q = critic.value(states, head.to_world(action)).amin(0)
        return (self.alpha * logp - q).mean(), -logp

    def _step(self, states: Tensor, critic: Any, streams: Streams) -> dict[str, float]:
        loss, entropy = self.loss(states, critic, streams)
        # Only the policy's own gradients: those of the critic belong to its learner.
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.parameters, self.spec.max_grad_norm or math.inf)
        if not torch.isfinite(norm):
            return {"skipped/not_finite": 1.0}
        self.optimizer.step()
        mean = entropy.detach().double().mean().cpu()
        if self.log_alpha is not None:
            self.alpha_optimizer.zero_grad(set_to_none=True)
            (self.log_alpha * (mean - self.target_entropy)).backward()
            self.alpha_optimizer.step()
        return {"loss": float(loss.detach()), "entropy": float(mean), "grad_norm": float(norm)}

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"count": self.count, "optimizer": optimizer_state(self.optimizer, self.names)}
        if self.log_alpha is not None:
            state |= {
                "log_alpha": self.log_alpha.detach().clone(),
                "of_alpha": optimizer_state(self.alpha_optimizer, ["log_alpha"]),
            }
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = int(state["count"])
        load_optimizer_state(self.optimizer, self.names, state["optimizer"])
        if self.log_alpha is not None:
            self.log_alpha.copy_(state["log_alpha"])
            load_optimizer_state(self.alpha_optimizer, ["log_alpha"], state["of_alpha"])
