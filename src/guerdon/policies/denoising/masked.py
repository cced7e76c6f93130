"""MaskedDiffusion: sequences of tokens that are revealed step by step, as a policy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from guerdon.core import Behaviour, DataError, PlanError, Streams
from guerdon.policies.denoising._asked import Asked
from guerdon.policies.denoising._base import Denoising
from guerdon.policies.denoising._fill import UNKNOWN, Fill
from guerdon.policies.denoising._how import Bound, How, Weight
from guerdon.policies.denoising._reveal import Ancestral, Greedy, Reveal
from guerdon.policies.denoising._token_networks import TokenNetwork, TokenTransformer
from guerdon.policies.denoising._token_step import TokenStep


@dataclass(frozen=True)
class TokenHow(How):
    """Settings of one sampling run of tokens.

    Args:
        temperature: Divisor of the tokens' logits; 0 takes the likeliest, with the log-probs of 1.
    """

    kernels: ClassVar[Any] = Reveal
    still: ClassVar[Any] = Greedy()

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        heat: Any = self.temperature
        if not isinstance(heat, int | float) or not (math.isfinite(heat) and heat >= 0):
            raise PlanError(f"temperature must be at least 0, got {heat!r}")

    @classmethod
    def of(cls, behaviour: Behaviour) -> tuple[How, Bound | None]:
        """The settings that ``behaviour`` keeps, and those of the bound where rows were given."""
        how, bound = super().of(behaviour)
        assert isinstance(how, cls)
        return dataclasses.replace(how, temperature=behaviour.temperature), bound


class MaskedDiffusion(Denoising):
    r"""Absorbing-state diffusion over sequences of L tokens, as a policy: a step reveals some of the masked positions.

    At the first level everything is masked. A step from time t to u (S steps on an even grid from 1 to 0) reveals the positions
    that its ``kernel`` draws, by default each with probability $(t - u) / t$, and gives each a token from the network's
    distribution for it. The log-prob of a step is exact: that of the set of positions and those of their tokens. Steps that
    find nothing masked chose nothing and are not in ``mask``.

    ``rollout_from`` gives the terms of the bound for given sequences, a weighted cross-entropy at masked positions: SFT over
    them is the training of masked diffusion models, DPO over them its preference loss. ``train_steps`` levels are drawn from.

    Where one step reveals several positions, their tokens are independent given the rest, so what a few steps can generate is
    limited (and reinforcement learning changes which of it is generated). With ``RandomOrder`` and L steps there is no limit.

    Args:
        length: L.
        vocabulary: V tokens: their number, or a text of different characters, one for each; outputs are then texts.
        network: ``forward(tokens, time, condition)`` to logits [N, L, V], ``features(...)`` and ``width``. Token V is the mask.
        condition: Contexts to a ``Condition``; None: nothing is asked but ``Fill``.
        kernel: ``Ancestral``, ``RandomOrder`` or ``ByConfidence``.
        steps: S, unless a call asks for another number.
        train_steps: Levels that ``rollout_from`` draws from (None: ``steps``, so that the bound is one of the chain itself).
        guidance: Weight of the condition's logits against those of none.
        temperature: Divisor of the logits, unless a call asks for another.
        spec: What ``of`` was given, so that the policy can be saved.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.policies import Fill, TokenMLP
        >>> policy, streams = MaskedDiffusion.of(6, "ACGT", network=TokenMLP((16,)), steps=3), Streams(0)
        >>> rollout = policy.sample(Items([None, Fill("ACG???")], streams.uids(2)), 2, streams=streams)
        >>> [len(text) for text in rollout.outputs], rollout.outputs[2][:3]
        ([6, 6, 6, 6], 'ACG')
        >>> bool((policy(rollout).logp - rollout.logp).abs().max() < 1e-4)
        True

    Sources: D3PM (arXiv:2107.03006), MDLM (arXiv:2406.07524), LLaDA (arXiv:2502.09992), reinforcement learning on it: d1
    (arXiv:2504.12216), whose log-probs are estimates; here they are those of the chain that was walked.
    """

    kind: ClassVar[str] = "masked-diffusion"
    weight: Weight = "elbo"
    how: TokenHow

    def __init__(
        self, length: int, vocabulary: int | str, network: nn.Module, condition: nn.Module | None = None, *,
        kernel: Reveal = Ancestral(), steps: int = 16, train_steps: int | None = None, guidance: float = 1.0,
        temperature: float = 1.0, spec: tuple[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        me = type(self).__name__
        self._check(length, vocabulary)
        if train_steps is not None and train_steps < 1:
            raise PlanError(f"{me}: train_steps must be at least 1, got {train_steps}")
        super().__init__((length,), network, condition, TokenHow(steps, kernel, guidance, temperature=temperature))
        self.vocabulary, self.train_steps, self.spec = vocabulary, train_steps, spec

    @classmethod
    def of(
        cls,
        length: int,
        vocabulary: int | str,
        *,
        network: Any = TokenTransformer(),
        condition: Any = None,
        kernel: Reveal = Ancestral(),
        steps: int = 16,
        train_steps: int | None = None,
        guidance: float = 1.0,
        temperature: float = 1.0,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> MaskedDiffusion:
        """A new model with fresh weights.

        Args:
            length: L.
            vocabulary: Number of tokens, or their characters.
            network: ``TokenTransformer``, ``TokenMLP`` or ``TokenTable``.
            condition: What contexts are: ``Labels`` or ``Words``; None: nothing is asked.
            kernel: ``Ancestral``, ``RandomOrder`` or ``ByConfidence``.
            steps: Of a chain.
            train_steps: Levels that ``rollout_from`` draws from; None: ``steps``.
            guidance: Weight of the condition against none; 1: as it is.
            temperature: Divisor of the logits.
            seed: Of the weights.
            dtype: Number format.

        Raises:
            PlanError: for parts that do not fit each other.
        """
        cls._check(length, vocabulary)
        generator = torch.Generator().manual_seed(seed)
        asked = None if condition is None else condition.build(generator)
        if asked is not None and asked.channels:
            raise PlanError(
                f"{cls.__name__}: {condition!r} gives pictures, which networks of tokens do not read; take Labels or Words"
            )
        tokens = vocabulary if isinstance(vocabulary, int) else len(vocabulary)
        made: TokenNetwork = network.build(length, tokens, 0 if asked is None else asked.width, generator)
        policy = cls(length, vocabulary, made, asked, kernel=kernel, steps=steps, train_steps=train_steps, guidance=guidance,
                     temperature=temperature, spec=(network, condition))  # fmt: skip
        return policy.to(getattr(torch, dtype))

    @classmethod
    def _check(cls, length: int, vocabulary: int | str) -> None:
        if length < 1:
            raise PlanError(f"{cls.__name__}: length must be at least 1, got {length}")
        if isinstance(vocabulary, str) and len(set(vocabulary)) < len(vocabulary):
            raise PlanError(f"{cls.__name__}: the characters of the vocabulary must differ, got {vocabulary!r}")
        if (vocabulary if isinstance(vocabulary, int) else len(vocabulary)) < 2:
            raise PlanError(f"{cls.__name__}: vocabulary must have at least 2 tokens, got {vocabulary!r}")

    @property
    def length(self) -> int:
        """L."""
        return self.shape[0]

    @property
    def tokens(self) -> int:
        """V, which is also the number of the mask."""
        return self.vocabulary if isinstance(self.vocabulary, int) else len(self.vocabulary)

    @property
    def finest(self) -> int:
        """Levels that the network is trained on."""
        return self.train_steps or self.how.steps

    @property
    def steps_at_once(self) -> int:
        """How many steps go through the network together; no result depends on it."""
        return max(1, min(1024, (1 << 21) // (self.length * self.tokens)))

    def times(self, steps: int) -> Tensor:
        """[steps + 1] float64 from 1 to 0: the expected share of masked positions."""
        return torch.linspace(1, 0, steps + 1, dtype=torch.double)

    # -- a step

    def noise(self, contexts: Sequence[Any], streams: Streams, uid: Tensor) -> Tensor:
        """[N, L] masks, and what ``Fill`` contexts give."""
        known = self.known(contexts)
        return torch.where(known == UNKNOWN, self.tokens, known)

    def noised(self, contexts: Sequence[Any], data: Tensor, level: Tensor, how: How, streams: Streams, uid: Tensor) -> Tensor:
        """[N, L] given sequences with as much masked as chains have at levels [N]; what contexts give stays."""
        uniform = streams("start", uid).uniform(self.length).to(data.device)
        kernel: Any = how.kernel
        hidden = kernel.hide(self.known(contexts) == UNKNOWN, self.times(how.steps), level, uniform)
        return torch.where(hidden, self.tokens, data)

    def ask(self, contexts: Sequence[Any], how: How) -> Asked:
        """What is asked beside given tokens, as the network reads it."""
        return super().ask([c.context if isinstance(c, Fill) else c for c in contexts], how)

    def known(self, contexts: Sequence[Any]) -> Tensor:
        """[N, L] tokens that ``Fill`` contexts give, -1 elsewhere.

        Raises:
            DataError: for one of another length, or a token that is none.
        """
        known = torch.full((len(contexts), self.length), UNKNOWN, dtype=torch.long)
        for k, context in enumerate(contexts):
            if isinstance(context, Fill):
                known[k] = self._numbers(context.tokens, f"context {k}", gaps=True)
        return known.to(self.device)

    def proposal(self, state: Tensor, level: Tensor, asked: Asked, how: How) -> TokenStep:
        """Where rows [N, L] at levels [N] may go."""
        assert isinstance(how, TokenHow)
        time, share = self._share(level, how.steps)
        logits = self.predicted(state, time, asked, how.guidance).double() / (how.temperature or 1.0)
        kernel: Any = how.kernel_at(level)
        return TokenStep(state, logits.log_softmax(-1), share.to(state.device), kernel, how.temperature == 0, self.dims)

    def _share(self, level: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """([N] times, [N] shares of what is masked that the next step reveals)."""
        times = self.times(steps)
        here, there = times[level], times[level + 1]
        return here, (here - there) / here

    def bound(self, state: Tensor, data: Tensor, level: Tensor, asked: Asked, how: How, weight: str) -> Tensor:
        r"""[N] float64: the denoising bound's term of going from ``state`` at ``level`` to the data, at temperature 1.

        ``"elbo"``: $-\mathrm{KL}(q(x_u \mid x_t, x_0) \,\|\, p_\theta(x_u \mid x_t)) = \rho \sum_i \log p_\theta(x_0^i \mid x_t)$
        over masked positions. ``"simple"``: without the share $\rho$ that a step reveals, so that levels with much masked count
        more.
        """
        time, share = self._share(level, how.steps)
        tokens = self.predicted(state, time, asked, how.guidance).double().log_softmax(-1)
        masked = state == self.tokens
        each = torch.where(masked, tokens.gather(2, data[..., None])[..., 0], 0.0)
        if weight == "simple":
            return each.sum(1)
        kernel: Any = how.kernel
        return kernel.bound(masked, share.to(state.device), tokens.amax(2), each)

    def behaviour(self, how: How, engine: str = "guerdon", extra: tuple[tuple[str, Any], ...] = ()) -> Behaviour:
        """Who acts, and how."""
        assert isinstance(how, TokenHow)
        return dataclasses.replace(super().behaviour(how, engine, extra), temperature=how.temperature)

    # -- outputs

    def decoded(self, state: Tensor) -> Tensor | Sequence[Any]:
        """[N, L] tokens, or [N] texts."""
        if isinstance(self.vocabulary, int):
            return state
        letters = self.vocabulary
        return ["".join(letters[t] if t < len(letters) else "?" for t in row) for row in state.tolist()]

    def encoded(self, outputs: Sequence[Any] | Tensor) -> Tensor:
        """[N, L] tokens of given sequences.

        Raises:
            DataError: naming the item, where one is no such sequence.
        """
        return torch.stack([self._numbers(x, f"item {k}", gaps=False) for k, x in enumerate(outputs)]).to(self.device)

    def _numbers(self, given: Any, name: str, gaps: bool) -> Tensor:
        """[L] tokens of a text or of numbers; with ``gaps``, -1 or ``?`` stands for one that is not given."""
        if isinstance(given, str):
            if isinstance(self.vocabulary, int):
                raise DataError(f"{name}: expected {self.length} whole numbers, got the text {given[:40]!r}")
            letters = {c: k for k, c in enumerate(self.vocabulary)} | ({"?": UNKNOWN} if gaps else {})
            strange = next((c for c in given if c not in letters), None)
            if strange is not None:
                raise DataError(f"{name}: {strange!r} is not one of the characters {''.join(letters)!r}")
            given = [letters[c] for c in given]
        try:
            tokens = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(f"{name}: expected {self.length} tokens, got {type(given).__name__}") from None
        if tuple(tokens.shape) != self.shape or tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise DataError(f"{name}: expected {self.length} whole numbers, got {tokens.dtype} of shape {tuple(tokens.shape)}")
        least = UNKNOWN if gaps else 0
        if not least <= int(tokens.min()) <= int(tokens.max()) < self.tokens:
            reach = f"{int(tokens.min())} to {int(tokens.max())}"
            raise DataError(f"{name}: tokens reach from {reach}, expected {least} to {self.tokens - 1}")
        return tokens.long()
