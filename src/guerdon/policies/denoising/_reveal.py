r"""Which masked positions a step reveals: the kernels of masked diffusion.

A step from time t to u reveals a share $\rho = (t - u) / t$ of what is masked (all of it at u = 0). A kernel says how the
positions are drawn and how likely a set of them was; which tokens they get is the network's choice, independent of each other
given the sequence. That independence is the price of parallel decoding: where one step reveals several positions, their
tokens cannot depend on each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.core import PlanError


@dataclass(frozen=True)
class Ancestral:
    r"""Every masked position by itself with probability $\rho$: the reverse process of absorbing-state diffusion.

    Sources: D3PM, arXiv:2107.03006; MDLM, arXiv:2406.07524.

    Example:
        >>> masked, which = torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]])
        >>> Ancestral().logp(masked, which, torch.tensor([0.25]), torch.zeros(1, 3)).exp().item()  # 1/4 * 3/4
        0.1875
    """

    certain: ClassVar[bool] = False  # nothing is chosen

    def draw(self, masked: Tensor, share: Tensor, sure: Tensor, uniform: Tensor) -> Tensor:
        """[N, L] bool: which positions are revealed.

        Args:
            masked: [N, L] bool.
            share: [N] float64, the part of them that is due.
            sure: [N, L] log-probability of the likeliest token.
            uniform: [N, L] in (0, 1].
        """
        return masked & (uniform <= share[:, None])

    def logp(self, masked: Tensor, which: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        """[N] float64 log-probability that these were revealed."""
        shown = (which & masked).sum(1).to(share)
        return torch.xlogy(shown, share) + torch.xlogy(masked.sum(1).to(share) - shown, 1 - share)

    def chance(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        """[N, L] float64 probability of each position to be revealed."""
        return masked * share[:, None]

    def entropy(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        """[N] nats of that draw."""
        return -masked.sum(1) * (torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share))

    def bound(self, masked: Tensor, share: Tensor, sure: Tensor, token: Tensor) -> Tensor:
        """[N] expected log-ratio of a step to the noising process's own way back, which knows the data.

        Args:
            masked: [N, L] bool.
            share: [N].
            sure: [N, L].
            token: [N, L] log-probs of the data's tokens.
        """
        return (self.chance(masked, share, sure) * token).sum(1)

    def hide(self, free: Tensor, times: Tensor, level: Tensor, uniform: Tensor) -> Tensor:
        """[N, L] bool: which of the ``free`` positions are masked at a level of the noising process.

        Args:
            free: [N, L] bool: not given.
            times: [S+1] of the chain, from 1 to 0.
            level: [N] from 0 to S.
            uniform: [N, L].
        """
        return free & (uniform <= times[level][:, None])


@dataclass(frozen=True)
class RandomOrder(Ancestral):
    r"""A fixed number of positions, $\lceil n \rho \rceil$ of n masked, every set of that size equally likely.

    With as many steps as positions they come one by one. Then nothing is decided in parallel, and every distribution of
    sequences is within reach.

    Source: random remasking of LLaDA, arXiv:2502.09992.

    Example:
        >>> masked, which = torch.tensor([[True, True, True]]), torch.tensor([[False, True, False]])
        >>> round(RandomOrder().logp(masked, which, torch.tensor([1 / 3]), torch.zeros(1, 3)).exp().item(), 6)
        0.333333
    """

    def draw(self, masked: Tensor, share: Tensor, sure: Tensor, uniform: Tensor) -> Tensor:
        return smallest(uniform, masked, count(masked.sum(1), share))

    def logp(self, masked: Tensor, which: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        n, k = masked.sum(1), count(masked.sum(1), share)
        return torch.where((which & masked).sum(1) == k, -log_sets(n, k), -math.inf)

    def chance(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        n = masked.sum(1)
        return masked * (count(n, share).double() / n.clamp(min=1))[:, None]

    def entropy(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        n = masked.sum(1)
        return log_sets(n, count(n, share))

    def hide(self, free: Tensor, times: Tensor, level: Tensor, uniform: Tensor) -> Tensor:
        left = free.sum(1)
        for k in range(len(times) - 1):  # as many as the chain has left at that level
            left = torch.where(level > k, left - count(left, (times[k] - times[k + 1]) / times[k]), left)
        return smallest(uniform, free, left)


@dataclass(frozen=True)
class ByConfidence(RandomOrder):
    r"""One position a step, the network's surest most often: $p(i) \propto c_i^{1/\tau}$ with $c_i$ its largest probability.

    The usual rule always takes the surest; the log-prob of that is 0 or $-\infty$, which no gradient can change. This one has
    exact log-probs with gradients, so that the order is learned as well. It needs at least as many steps as positions.

    Args:
        temperature: $\tau$, above 0; towards 0 the surest position is always taken.

    Source: low-confidence remasking of LLaDA, arXiv:2502.09992, made soft.

    Example:
        >>> masked, sure = torch.tensor([[True, True]]), torch.tensor([[0.9, 0.3]]).log()
        >>> ByConfidence(1.0).chance(masked, torch.tensor([0.5]), sure).tolist()[0]
        [0.75, 0.25]
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise PlanError(f"ByConfidence: temperature must be above 0, got {self.temperature}")

    def _places(self, masked: Tensor, sure: Tensor) -> Tensor:
        """[N, L] log-probability of each masked position to be the next one; 0 elsewhere."""
        score = (sure.double() / self.temperature).masked_fill(~masked, -math.inf)
        score = torch.where(masked.any(1, keepdim=True), score, 0.0)
        return torch.where(masked, score.log_softmax(1), 0.0)

    def draw(self, masked: Tensor, share: Tensor, sure: Tensor, uniform: Tensor) -> Tensor:
        due = count(masked.sum(1), share)
        if len(due) and int(due.max()) > 1:
            raise PlanError(f"ByConfidence: it reveals one position a step, and {int(due.max())} are due; "
                            "take as many steps as there are positions")  # fmt: skip
        logp = self._places(masked, sure).masked_fill(~masked, -math.inf)
        place = choose(torch.where(masked.any(1, keepdim=True), logp, 0.0), uniform[:, 0])
        return masked & (torch.arange(masked.shape[1], device=masked.device) == place[:, None]) & (due > 0)[:, None]

    def logp(self, masked: Tensor, which: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        shown = which & masked
        one = torch.where(shown, self._places(masked, sure), 0.0).sum(1)
        due = count(masked.sum(1), share)
        return torch.where((shown.sum(1) == due) & (due <= 1), one, -math.inf)

    def chance(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        return torch.where(masked & (share > 0)[:, None], self._places(masked, sure).exp(), 0.0)

    def bound(self, masked: Tensor, share: Tensor, sure: Tensor, token: Tensor) -> Tensor:
        n = masked.sum(1).clamp(min=1).double()  # the noising process's order is even
        if bool((count(masked.sum(1), share) > 1).any()):
            raise PlanError("ByConfidence: it reveals one position a step; take train_steps as large as there are positions")
        mean = (self._places(masked, sure) + token).sum(1) / n + n.log()
        return torch.where(masked.any(1) & (share > 0), mean, 0.0)

    def entropy(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        logp = self._places(masked, sure)
        return -torch.where(masked & (share > 0)[:, None], logp.exp() * logp, 0.0).sum(1)


@dataclass(frozen=True)
class Greedy(RandomOrder):
    r"""The surest $\lceil n \rho \rceil$ positions get their likeliest tokens: nothing is chosen, for evaluation.

    Example:
        >>> masked, sure = torch.tensor([[True, True]]), torch.tensor([[0.9, 0.3]]).log()
        >>> Greedy().draw(masked, torch.tensor([0.5]), sure, torch.zeros(1, 2)).tolist()
        [[True, False]]

    Source: low-confidence remasking of LLaDA, arXiv:2502.09992.
    """

    certain: ClassVar[bool] = True

    def draw(self, masked: Tensor, share: Tensor, sure: Tensor, uniform: Tensor) -> Tensor:
        return smallest(-sure, masked, count(masked.sum(1), share))

    def logp(self, masked: Tensor, which: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        return torch.zeros(len(masked), dtype=torch.double, device=masked.device)

    def chance(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        return self.draw(masked, share, sure, sure).double()

    def entropy(self, masked: Tensor, share: Tensor, sure: Tensor) -> Tensor:
        return torch.zeros(len(masked), dtype=torch.double, device=masked.device)


def count(n: Tensor, share: Tensor) -> Tensor:
    """[N] how many of n [N] positions are due, rounded up.

    >>> count(torch.tensor([3, 5]), torch.tensor([1 / 3, 0.5])).tolist()
    [1, 3]
    """
    return (n * share - 1e-9).ceil().long()  # 3 * (1/3) may come out above 1


def log_sets(n: Tensor, k: Tensor) -> Tensor:
    """[N] float64 log of the number of sets of k [N] out of n [N].

    >>> round(log_sets(torch.tensor([4]), torch.tensor([2])).exp().item(), 9)
    6.0
    """
    n, k = n.double(), k.double()
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def smallest(x: Tensor, where: Tensor, k: Tensor) -> Tensor:
    """[N, L] bool: the k [N] smallest numbers of each row among those ``where`` is True.

    >>> smallest(torch.tensor([[0.3, 0.1, 0.2]]), torch.tensor([[True, False, True]]), torch.tensor([1])).tolist()
    [[False, False, True]]
    """
    order = x.masked_fill(~where, math.inf).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(x.shape[1], device=x.device).expand_as(order))
    return where & (rank < k[:, None])


def choose(logp: Tensor, uniform: Tensor) -> Tensor:
    """[...] entries drawn from distributions [..., V] by their cumulative sums; one of probability 0 is never drawn.

    >>> choose(torch.tensor([0.0, 0.5, 0.5]).log(), torch.tensor(1e-9)).item()
    1
    """
    total = logp.double().exp().cumsum(-1)
    place = torch.searchsorted(total, (uniform.double() * total[..., -1])[..., None].contiguous())[..., 0]
    return place.clamp(max=logp.shape[-1] - 1)


Reveal = Ancestral | RandomOrder | ByConfidence | Greedy
