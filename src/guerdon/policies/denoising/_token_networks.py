"""Networks over sequences of tokens, some of them masked: which token belongs at every position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import PlanError

LARGEST_TABLE = 1_000_000  # logits


class TokenNetwork(nn.Module):
    """Logits of every position's token, from a sequence whose unknown positions hold the mask, token V.

    The time is handed over and none of ours reads it: which tokens are missing says all, since the posterior of a masked
    token given the others does not depend on when they were revealed (arXiv:2406.03736).
    """

    width: int

    def features(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        """[N, width] of tokens [N, L], times [N] and their condition."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        """[N, L, V] logits."""
        raise NotImplementedError


@dataclass(frozen=True)
class TokenTable:
    """A free logit for every state, position and token: what any network could say. Only for sequences that can be counted.

    Its features are one-hot states, so that a critic with a head on them is a table as well.

    Args:
        scale: Standard deviation of the logits at the start.

    Raises:
        PlanError: (when it is built) for more than a million logits, or a condition.

    Example:
        >>> table = TokenTable().build(2, 3, 0, torch.Generator())
        >>> table.logits.shape, table(torch.tensor([[3, 0]]), torch.ones(1)).shape  # 4 * 4 states of 2 positions and 3 tokens
        (torch.Size([16, 2, 3]), torch.Size([1, 2, 3]))
    """

    scale: float = 0.0

    def build(self, length: int, vocabulary: int, embedding: int, generator: torch.Generator) -> TokenNetwork:
        states = (vocabulary + 1) ** length
        if states * length * vocabulary > LARGEST_TABLE:
            raise PlanError(f"TokenTable: {length} positions of {vocabulary} tokens have {states} states, too many for a table; "
                            "take policies.TokenMLP or policies.TokenTransformer")  # fmt: skip
        if embedding:
            raise PlanError("TokenTable: it reads no condition; take policies.TokenMLP or policies.TokenTransformer")
        return _Table(self.scale * torch.randn(states, length, vocabulary, generator=generator, dtype=torch.float64))


class _Table(TokenNetwork):
    digit: Tensor

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.width = nn.Parameter(logits), len(logits)
        self.register_buffer("digit", (logits.shape[2] + 1) ** torch.arange(logits.shape[1]), persistent=False)

    def state(self, tokens: Tensor) -> Tensor:
        """[...] number of the state of tokens [..., L]."""
        return (tokens * self.digit).sum(-1)

    def features(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        return nn.functional.one_hot(self.state(tokens), self.width).to(self.logits)

    def forward(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        return self.logits[self.state(tokens)]


@dataclass(frozen=True)
class TokenMLP:
    """Fully connected layers over the one-hot sequence.

    Args:
        widths: Units of each layer.

    Example:
        >>> TokenMLP((8,)).build(5, 4, 0, torch.Generator()).features(torch.zeros(2, 5, dtype=torch.long), torch.ones(2)).shape
        torch.Size([2, 8])
    """

    widths: tuple[int, ...] = (128, 128)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths or min(self.widths) < 1:
            raise PlanError(f"TokenMLP: widths must be at least one layer of at least 1 unit, got {self.widths}")

    def build(self, length: int, vocabulary: int, embedding: int, generator: torch.Generator) -> TokenNetwork:
        return _seeded(_MLP(length, vocabulary, embedding, self.widths), generator)


class _MLP(TokenNetwork):
    def __init__(self, length: int, vocabulary: int, embedding: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.width = (length, vocabulary), widths[-1]
        sizes = [length * (vocabulary + 1) + embedding, *widths]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.out = nn.Linear(widths[-1], length * vocabulary)

    def features(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        x = nn.functional.one_hot(tokens, self.shape[1] + 1).flatten(1).to(self.out.weight)
        if (given := embedding_of(condition)) is not None:
            x = torch.cat([x, given.to(x)], 1)
        for layer in self.layers:
            x = nn.functional.silu(layer(x))
        return x

    def forward(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        return self.out(self.features(tokens, time, condition)).unflatten(1, self.shape)


@dataclass(frozen=True)
class TokenTransformer:
    """A small transformer in which every position sees every other one; a condition is added at all of them.

    Args:
        width: Of the residual stream.
        layers: Blocks.
        heads: Of the attention; they divide ``width``.

    Example:
        >>> TokenTransformer(8, 1, 2).build(5, 4, 0, torch.Generator())(torch.zeros(2, 5, dtype=torch.long), torch.ones(2)).shape
        torch.Size([2, 5, 4])

    Source: the denoiser of MDLM, arXiv:2406.07524, without its time embedding.
    """

    width: int = 64
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads) < 1 or self.width % self.heads:
            raise PlanError(f"TokenTransformer: width, layers and heads must be at least 1 and heads divide width, got {self}")

    def build(self, length: int, vocabulary: int, embedding: int, generator: torch.Generator) -> TokenNetwork:
        return _seeded(_Transformer(self, length, vocabulary, embedding), generator)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.mixed(seen)
        return x + self.down(nn.functional.gelu(self.up(self.between(x))))


class _Transformer(TokenNetwork):
    def __init__(self, spec: TokenTransformer, length: int, vocabulary: int, embedding: int) -> None:
        super().__init__()
        self.width = spec.width
        self.token, self.place = nn.Embedding(vocabulary + 1, spec.width), nn.Embedding(length, spec.width)
        self.given = nn.Linear(embedding, spec.width) if embedding else None
        self.blocks = nn.ModuleList(_Block(spec.width, spec.heads) for _ in range(spec.layers))
        self.norm, self.out = nn.LayerNorm(spec.width), nn.Linear(spec.width, vocabulary)

    def _stream(self, tokens: Tensor, condition: Any) -> Tensor:
        x = self.token(tokens) + self.place.weight
        given = embedding_of(condition)
        if self.given is not None and given is not None:
            x = x + self.given(given.to(x))[:, None]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def features(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        return self._stream(tokens, condition).mean(1)

    def forward(self, tokens: Tensor, time: Tensor, condition: Any = None) -> Tensor:
        return self.out(self._stream(tokens, condition))


def embedding_of(condition: Any) -> Tensor | None:
    """[N, E] of a condition, None where there is none."""
    return None if condition is None else condition.embedding


def _seeded(network: TokenNetwork, generator: torch.Generator) -> TokenNetwork:
    """Every weight matrix normal with deviation 1 / sqrt(inputs), biases 0, embeddings standard normal; norms as they are."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                deviation = 1 / math.sqrt(module.in_features)
                module.weight.copy_(deviation * torch.randn(module.weight.shape, generator=generator))
                module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
    return network


TokenNetworkSpec = TokenTable | TokenMLP | TokenTransformer
