"""Particles: rows of a group compete on the way, by sequential Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.core import PlanError, RewardOutput, Rollout, nearest
from guerdon.core.protocols import Draw
from guerdon.samplers._parts import check_counts, check_scope, judged, steered

Potential = Literal["difference", "max", "sum"]


@dataclass(frozen=True)
class Particles:
    r"""Feynman-Kac steering: ``n`` rows per context, of which those that promise much are doubled and the others dropped.

    After a step, a row's weight is multiplied by a potential $G_k$ of what is foreseen, $r_k$; where the effective number of
    rows of a group falls below ``threshold * n``, its rows are drawn anew in proportion to their weights (systematically). The
    potentials multiply to $e^{r / \alpha}$ of the finished row, whatever was foreseen on the way, so that the rows tend to
    $p\, e^{r / \alpha} / Z$ as ``n`` grows; what is foreseen decides only how many rows that takes.

    | potential | $\alpha \log G_k$ |
    |---|---|
    | ``"difference"`` | $r_k - r_{k-1}$ |
    | ``"max"`` | $\max_{j \le k} r_j$ |
    | ``"sum"`` | $\sum_{j \le k} r_j$ |

    The last potential is what the others left of $r / \alpha$, and the last draw leaves rows of equal weight. Rows of a group may
    be the same row several times, with one ``node`` where they were one. As in ``SoftValue``, rows have no ``logp`` and
    ``engine="steered"``; foreseen outputs are scored under identities of their own, and one that cannot be scored is dropped.

    Args:
        contexts: Contexts per draw.
        n: Rows per context; 1 changes nothing.
        alpha: Reward per nat, above 0.
        potential: As above.
        every: Steps from one weighing to the next; the last step is always weighed.
        threshold: Share of ``n`` below which rows are drawn anew; 1: at every weighing.
        controls: How to act.

    Cost: one reward for every row and weighing, and a pass of the network more for every step at which rows were drawn anew.
    The further the potentials of the way are from what is true in the end, the more rows it takes: ``"sum"`` with a small
    ``alpha`` takes the most.

    Example:
        >>> Particles(n=16, alpha=0.5, threshold=0.5).exact_logp
        False

    Sources: FK steering (arXiv:2501.06848); systematic resampling: Douc & Cappe (arXiv:cs/0507025).
    """

    walks: ClassVar[bool] = True
    exact_logp: ClassVar[bool] = False

    contexts: int = 8
    n: int = 8
    alpha: float = 0.1
    potential: Potential = "difference"
    every: int = 1
    threshold: float = 0.5
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts("Particles", contexts=self.contexts, n=self.n, every=self.every)
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise PlanError(f"Particles: alpha must be above 0, got {self.alpha}")
        if not 0 < self.threshold <= 1:
            raise PlanError(f"Particles: threshold must be above 0 and at most 1, got {self.threshold}")
        if self.potential not in (known := ("difference", "max", "sum")):
            raise PlanError(f"Particles: potential is {self.potential!r}; {nearest(self.potential, known)}")

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        check_scope(draw, "Particles", ("sample", "group"))
        walk = draw.begin(draw.items(self.contexts), self.n, **self.controls)
        weights = _Weights(len(walk.uid), self.n, self.potential)
        while not walk.done:
            walk.advance()
            if walk.at % self.every and not walk.done:
                continue
            found = judged(draw, walk, walk.foreseen)
            weights.multiply(found.total.double().cpu() / self.alpha, found.ok.cpu(), walk.done)
            again = weights.effective < self.n * (self.threshold if walk.at < walk.steps else 1.0)
            if bool(again.any()):
                uniform = walk.streams("resample", walk.group[:: self.n]).uniform(1, walk.at)
                walk = walk.take(weights.draw(uniform, again))
        rollout = steered(walk.finish(), "Particles")
        return rollout, draw.score(rollout).result()


class _Weights:
    """Log-weights of G groups of n rows that lie side by side, and what their next potentials depend on."""

    def __init__(self, rows: int, n: int, potential: Potential):
        self.n, self.potential = n, potential
        self.log = torch.zeros(rows, dtype=torch.double)  # since the group was last drawn anew
        self.spent = torch.zeros_like(self.log)  # all log-potentials so far
        self.seen = torch.full_like(self.log, -math.inf if potential == "max" else 0.0)

    def multiply(self, value: Tensor, ok: Tensor, last: bool) -> None:
        """One potential more, from values [B] in nats; a row that has none gets weight 0, unless its whole group has none."""
        if self.potential == "max":
            seen = torch.maximum(self.seen, value)
        else:
            seen = value if self.potential == "difference" else self.seen + value
        gain = value - self.spent if last else value - self.seen if self.potential == "difference" else seen
        self.log = torch.where(ok, self.log + gain, -math.inf)
        self.spent = torch.where(ok, self.spent + gain, self.spent)
        self.seen = torch.where(ok, seen, self.seen)
        lost = self.log.unflatten(0, (-1, self.n)).isneginf().all(1).repeat_interleave(self.n)
        self.log = torch.where(lost, 0.0, self.log)

    @property
    def shares(self) -> Tensor:
        """[G, n] weights that sum to 1."""
        return self.log.unflatten(0, (-1, self.n)).softmax(1)

    @property
    def effective(self) -> Tensor:
        """[G] effective number of rows."""
        return 1 / self.shares.square().sum(1)

    def draw(self, uniform: Tensor, again: Tensor) -> Tensor:
        """[B] which rows go on: the same ones, or, in groups ``again`` [G], as many in proportion to their weights."""
        place = systematic(self.shares, uniform)
        place = torch.where(again[:, None], place, torch.arange(self.n))
        rows = (place + self.n * torch.arange(len(place))[:, None]).flatten()
        self.spent, self.seen = self.spent[rows], self.seen[rows]
        self.log = torch.where(again.repeat_interleave(self.n), 0.0, self.log)
        return rows


def systematic(share: Tensor, uniform: Tensor) -> Tensor:
    """[G, n] places drawn from weights [G, n]: a comb of n equal teeth moved by ``uniform`` [G, 1], so that each place comes up
    its expected number of times, rounded up or down.

    >>> systematic(torch.tensor([[0.5, 0.25, 0.25, 0.0]]), torch.tensor([[0.5]])).tolist()
    [[0, 0, 1, 2]]
    """
    n = share.shape[1]
    teeth = (torch.arange(n) + uniform) / n
    edges = share.cumsum(1)
    return torch.searchsorted(edges / edges[:, -1:], teeth.to(share)).clamp(max=n - 1)
