"""TokenStep: the proposal of masked diffusion, which positions are revealed and which tokens they get."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from guerdon.core.streams import Stream
from guerdon.policies.denoising._reveal import Reveal, choose


@dataclass(frozen=True)
class TokenStep:
    r"""$\log p(x_u \mid x_t) = \log p(M) + \sum_{i \in M} \log p_\theta(x_u^i \mid x_t)$ for the revealed positions M.

    Args:
        before: [N, L] int64 tokens, V where masked.
        tokens: [N, L, V] float64 log-probs of the tokens at every position.
        share: [N] float64 part of the masked positions that is due.
        kernel: Which ones.
        greedy: Take the likeliest tokens; their log-probs stay those of ``tokens``.
        dims: Whether ``logp`` and ``entropy`` are sums over positions or a position's share of them.
    """

    before: Tensor
    tokens: Tensor
    share: Tensor
    kernel: Reveal
    greedy: bool = False
    dims: Literal["sum", "mean"] = "sum"

    @property
    def masked(self) -> Tensor:
        """[N, L] bool."""
        return self.before == self.tokens.shape[2]

    @property
    def sure(self) -> Tensor:
        """[N, L] log-prob of the likeliest token."""
        return self.tokens.amax(2)

    @property
    def chosen(self) -> Tensor:
        """[N] bool: whether anything is left to reveal, and the kernel leaves a choice."""
        return self.masked.any(1) & (not self.kernel.certain)

    @property
    def clean(self) -> Tensor:
        """[N, L] the sequence with the likeliest token at every masked position.

        It is one that a reward can score, which a posterior mean of tokens is not, and it needs no further randomness. Its
        reward is that of one completion, not the mean over all of them.
        """
        return torch.where(self.masked, self.tokens.argmax(2), self.before)

    def draw(self, stream: Stream, start: int) -> Tensor:
        """[N, L] next states."""
        length = self.before.shape[1]
        uniform = stream.uniform(2 * length, 2 * length * start).to(self.before.device)
        which = self.kernel.draw(self.masked, self.share, self.sure, uniform[:, :length])
        certain = self.greedy or self.kernel.certain
        token = self.tokens.argmax(2) if certain else choose(self.tokens, uniform[:, length:])
        return torch.where(which, token, self.before)

    def logp(self, after: Tensor) -> Tensor:
        """[N] float64 nats of going to ``after``; minus infinity where no step leads there, 0 where nothing is chosen."""
        masked = self.masked
        which = masked & (after != self.tokens.shape[2])
        token = self.tokens.gather(2, torch.where(which, after, 0)[..., None])[..., 0]
        total = torch.where(which, token, 0.0).sum(1) + self.kernel.logp(masked, which, self.share, self.sure)
        kept = (masked | (after == self.before)).all(1)
        return torch.where(self.chosen, torch.where(kept, total / self._size, -math.inf), 0.0)

    def entropy(self) -> Tensor:
        """[N] float64 nats: of which positions, and of their tokens."""
        masked = self.masked
        each = -(self.tokens.exp() * self.tokens.clamp(min=torch.finfo(self.tokens.dtype).min)).sum(2)
        total = self.kernel.entropy(masked, self.share, self.sure)
        total = total + (self.kernel.chance(masked, self.share, self.sure) * each).sum(1)
        return torch.where(self.chosen, total / self._size, 0.0)

    @property
    def _size(self) -> int:
        return self.before.shape[1] if self.dims == "mean" else 1
