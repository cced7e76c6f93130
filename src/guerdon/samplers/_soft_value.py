"""SoftValue: at every step several ways on, one of them kept in proportion to the exponential of what it promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.protocols import Draw
from guerdon.core.stepper import Walk
from guerdon.samplers._parts import check_counts, check_scope, judged, steered

Value = Callable[[Walk, Tensor], Tensor]


@dataclass(frozen=True)
class SoftValue:
    r"""Guidance by a black box, without gradients and without training: soft value-based decoding.

    From every row's state, ``candidates`` next states are drawn from the unchanged policy, and one of them goes on, with
    probability $\propto e^{\hat v / \alpha}$; rows do not compete with each other. With the soft value
    $v(x) = \alpha \log \mathbb{E}[e^{r / \alpha} \mid x]$ and many candidates, rows are drawn from $p\, e^{r / \alpha} / Z$,
    which is what training with a price of ``alpha`` per nat would make of the policy. By default $\hat v$ is the reward of the
    output that the policy foresees from the candidate (for denoisers the posterior mean): it needs no value network, and is an
    approximation.

    The rows were not drawn by the policy: they have no ``logp`` and say so in their behaviour (``engine="steered"``). Losses that
    compare with the policy that acted refuse them; ``SFT`` takes them and teaches the policy what the guidance found.

    Scores of candidates are asked for under identities of their own. One that cannot be scored is not chosen, unless all of a
    row's failed; the part ``foreseen/failed`` is the share of a row's candidates that failed.

    Args:
        contexts: Contexts per draw.
        n: Rows per context.
        candidates: m, ways on from every noisy step; 1: no guidance.
        alpha: Reward per nat; 0: the best candidate.
        value: Gives [N, m] values of candidates [N, m, ...] of a walk, for learned or exact ones; None: the reward of what is
            foreseen.
        controls: How to act.

    Cost: m rewards for every noisy step of a row, one pass of the network for the step, and one for each candidate to see
    where it leads (none with ``value``, none at the last step).

    Example:
        >>> SoftValue(contexts=4, n=2, candidates=8, alpha=0.1).exact_logp
        False

    Source: arXiv:2408.08252.
    """

    walks: ClassVar[bool] = True
    exact_logp: ClassVar[bool] = False

    contexts: int = 8
    n: int = 1
    candidates: int = 20
    alpha: float = 0.1
    value: Value | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts("SoftValue", contexts=self.contexts, n=self.n, candidates=self.candidates)
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise PlanError(f"SoftValue: alpha must be at least 0, got {self.alpha}")

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        if self.value is None:
            check_scope(draw, "SoftValue", ("sample",))
        walk = draw.begin(draw.items(self.contexts), self.n, **self.controls)
        failed, asked = torch.zeros(len(walk.uid)), 0
        while not walk.done:
            if self.candidates == 1 or not bool(walk.propose().chosen.any()):
                walk.advance()
                continue
            ways = walk.candidates(self.candidates)
            value = self._values(draw, walk, ways)
            failed += value.isneginf().sum(1)
            asked += self.candidates
            walk.advance(ways[torch.arange(len(ways)), self._choice(walk, value).to(ways.device)])
        rollout = steered(walk.finish(), "SoftValue")
        reward = draw.score(rollout).result()
        return rollout, reward.replace(parts={**reward.parts, "foreseen/failed": (failed / max(asked, 1)).to(reward.total)})

    def _values(self, draw: Draw, walk: Walk, ways: Tensor) -> Tensor:
        """[N, m] float64; minus infinity where a candidate could not be scored."""
        if self.value is not None:
            return self.value(walk, ways).double().cpu()
        seen = walk.foresee(ways)
        flat = seen.flatten(0, 1) if isinstance(seen, Tensor) else [output for row in seen for output in row]
        found = judged(draw, walk, flat, self.candidates)
        return torch.where(found.ok, found.total.double(), -math.inf).cpu().unflatten(0, ways.shape[:2])

    def _choice(self, walk: Walk, value: Tensor) -> Tensor:
        """[N] one candidate for each row."""
        if self.alpha > 0:  # the largest of weights with Gumbel noise is a draw in proportion to their exponentials
            uniform = walk.streams("choose", walk.uid).uniform(value.shape[1], walk.at * value.shape[1])
            value = value / self.alpha - (-uniform.log()).log()
        return value.argmax(1)
