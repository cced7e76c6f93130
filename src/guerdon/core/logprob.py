"""Log-probs of chosen actions that never hold a [B, T, V] tensor, forward or backward; and those of Gaussian steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_ELEMENTS = 1 << 21  # logits held at once: 8 MiB in float32


@dataclass(frozen=True)
class Head:
    """How logits come from features: ``softcap * tanh(scale * (hidden @ weight.T + bias) / softcap) / temperature``."""

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    chunk: int | None = None

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[n, V] in at least float32."""
        raw = torch.nn.functional.linear(hidden, weight, bias)
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        raw = raw if self.scale == 1 else raw * self.scale
        raw = raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap
        return raw if self.temperature == 1 else raw / self.temperature

    def pull_back(self, grad: Tensor, logits: Tensor) -> Tensor:
        """The gradient of the linear layer's output, given that of the final logits."""
        if self.softcap is not None:
            grad = grad * (1 - (logits * self.temperature / self.softcap).square())
        return grad * (self.scale / self.temperature)


class _SelectedLogp(torch.autograd.Function):
    """Keeps features and ids only; logits are made again, chunk by chunk, in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, kept: Tensor | None, head: Head
    ) -> tuple[Tensor, Tensor]:
        logp = torch.empty(len(ids), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        entropy = torch.empty_like(logp)
        step = head.chunk or max(1, _CHUNK_ELEMENTS // weight.shape[0])
        for i in range(0, len(ids), step):
            s = slice(i, i + step)
            lp = _log_softmax(head.logits(hidden[s], weight, bias), None if kept is None else kept[s])
            logp[s] = lp.gather(1, ids[s, None])[:, 0]
            entropy[s] = -_xlogx(lp).sum(1)
        ctx.save_for_backward(hidden, weight, bias, ids, kept, entropy)
        ctx.head, ctx.step = head, step
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, ids, kept, entropy = ctx.saved_tensors
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight) if need_weight else None
        grad_bias = torch.zeros_like(bias) if need_bias else None
        with_entropy = bool(grad_entropy.any())
        for i in range(0, len(ids), ctx.step):
            s = slice(i, i + ctx.step)
            logits = ctx.head.logits(hidden[s], weight, bias)
            lp = _log_softmax(logits, None if kept is None else kept[s])
            p = lp.exp()
            grad = -grad_logp[s, None] * p
            grad.scatter_add_(1, ids[s, None], grad_logp[s, None])
            if with_entropy:  # dH/dlogit = -p (log p + H)
                grad -= grad_entropy[s, None] * (_xlogx(lp) + p * entropy[s, None])
            grad = ctx.head.pull_back(grad, logits).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[s] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.T @ hidden[s]
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        return grad_hidden, grad_weight, grad_bias, None, None, None


def _log_softmax(logits: Tensor, kept: Tensor | None) -> Tensor:
    if kept is not None:  # ids in the support, padded with -1; a row without any keeps everything
        inside = torch.zeros(logits.shape[0], logits.shape[1] + 1, dtype=torch.bool, device=logits.device)
        inside.scatter_(1, torch.where(kept < 0, logits.shape[1], kept), True)
        inside = inside[:, :-1] | (kept < 0).all(1, keepdim=True)
        logits = logits.masked_fill(~inside, -math.inf)
    return logits.log_softmax(-1)


def _xlogx(logp: Tensor) -> Tensor:
    return torch.where(logp > -math.inf, logp.exp() * logp, torch.zeros_like(logp))


def selected_logp(
    hidden: Tensor, weight: Tensor, ids: Tensor, *, bias: Tensor | None = None, kept: Tensor | None = None, head: Head = Head()
) -> tuple[Tensor, Tensor]:
    r"""Log-probs of chosen ids and the entropies of their distributions, in memory that does not grow with N times V.

    $\log p_i = z_{i, a_i} - \log \sum_{v \in S_i} e^{z_{i, v}}$ with logits $z$ by ``head`` and support $S_i$ by ``kept``.

    Args:
        hidden: [N, D] features.
        weight: [V, D] output embedding.
        ids: [N] int64 chosen actions.
        bias: [V] of the output layer.
        kept: [N, K] int64 ids of the support each action was drawn from, padded with -1 (all -1: no cut). None: all.
        head: Scale, soft cap, temperature and chunk size.

    Returns:
        ([N] log-probs, [N] entropies) in nats, at least float32; both carry gradients to hidden, weight and bias.

    Example:
        >>> logp, entropy = selected_logp(torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 1]))
        >>> [round(v, 4) for v in (*logp.tolist(), *entropy.tolist())]
        [-1.3863, -1.3863, 1.3863, 1.3863]
    """
    return _SelectedLogp.apply(hidden, weight, bias, ids, kept, head)


def gaussian_logp(x: Tensor, mean: Tensor, std: Tensor, *, dims: int = 1, over: Literal["sum", "mean"] = "sum") -> Tensor:
    """Log-density of diagonal Gaussian steps, the last ``dims`` dimensions summed or averaged.

    The sum over a picture's dimensions loses the ratio to float32 rounding (8e-3 nats at 65k dimensions); the mean does not,
    but it is the log-density of no distribution. Which one was used is recorded in ``Behaviour.dims``.

    >>> gaussian_logp(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2)).tolist()
    [-1.8378770351409912]
    """
    density = -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    axes = tuple(range(-dims, 0))
    return density.sum(axes) if over == "sum" else density.mean(axes)
