"""What a policy is compared with: itself as it was, as it was lately, on average, or without its adapters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from guerdon.core import ModelError, PlanError, Policy, PolicyOutput, Rollout
from guerdon.core.policy import Want


class Reference(Protocol):
    """A policy that is only asked. ``tell(draws)`` is called after each draw's update with the number of draws so far."""

    def output(self, rollout: Rollout, want: Collection[Want] = ("logp",)) -> PolicyOutput: ...
    def tell(self, draws: int) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Frozen:
    """The policy as it was at the start: the usual anchor of a KL penalty.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.testing import example_policies
        >>> policy, items = example_policies()["tiny-text"]
        >>> rollout, reference = policy.sample(items, 1, streams=Streams(0)), Frozen().build(policy)
        >>> bool((reference.output(rollout).logp == policy(rollout).logp).all())
        True
    """

    def build(self, policy: Policy) -> Reference:
        return _Copy(policy)


@dataclass(frozen=True)
class EMA:
    r"""An average of the policy's weights, $\bar\theta \leftarrow d \bar\theta + (1 - d) \theta$: an anchor that follows slowly.

    Args:
        decay: $d$, in [0, 1].
        every: Draws between two updates of the average.

    Source: WARP, arXiv:2406.16768 (an averaged anchor in policy optimisation).
    """

    decay: float = 0.99
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 1:
            raise PlanError(f"EMA decay is {self.decay}, expected a number in [0, 1]")
        _check_every(self)

    def build(self, policy: Policy) -> Reference:
        return _Following(policy, self.every, self.decay)


@dataclass(frozen=True)
class Snapshot:
    """The policy as it was at the last multiple of ``every`` draws: an anchor that is set anew.

    Source: trust regions with an updated reference, arXiv:2404.09656.
    """

    every: int = 100

    def __post_init__(self) -> None:
        _check_every(self)

    def build(self, policy: Policy) -> Reference:
        return _Following(policy, self.every, 0.0)


@dataclass(frozen=True)
class AdaptersOff:
    """A LoRA policy without its adapters: its base model, for which no second copy is kept."""

    def build(self, policy: Policy) -> Reference:
        if not getattr(policy, "lora", False):
            raise ModelError("AdaptersOff needs a policy with adapters: load it with lora=..., or take policies.Frozen")
        return _AdaptersOff(policy)


def _check_every(spec: EMA | Snapshot) -> None:
    if spec.every < 1:
        raise PlanError(f"{type(spec).__name__}: every is {spec.every}, expected at least 1 draw")


class _Copy:
    """A copy that no optimiser touches. Rebuilt from the initial policy, so there is nothing to save."""

    def __init__(self, policy: Policy) -> None:
        self.policy = copy.deepcopy(policy).requires_grad_(False)

    @torch.no_grad()
    def output(self, rollout: Rollout, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        return self.policy(rollout, want=want)

    def tell(self, draws: int) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class _Following(_Copy):
    """A copy that moves towards the live policy at every ``every``-th draw; only weights that can change are saved."""

    def __init__(self, policy: Policy, every: int, decay: float) -> None:
        super().__init__(policy)
        self.live, self.every, self.decay = policy, every, decay

    def _pairs(self) -> list[tuple[str, Tensor, Tensor]]:
        """(name, ours, theirs) of the trainable parameters and all buffers."""
        own = {**dict(self.policy.named_parameters()), **dict(self.policy.named_buffers())}
        live = {n: p for n, p in self.live.named_parameters() if p.requires_grad} | dict(self.live.named_buffers())
        return [(n, own[n], x) for n, x in live.items()]

    @torch.no_grad()
    def tell(self, draws: int) -> None:
        if draws % self.every:
            return
        for _, ours, theirs in self._pairs():
            if self.decay and ours.is_floating_point():
                ours.lerp_(theirs, 1 - self.decay)
            else:
                ours.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        return {name: ours.detach().clone() for name, ours, _ in self._pairs()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, ours, _ in self._pairs():
            ours.copy_(state[name])


class _AdaptersOff:
    """The live policy, asked while its adapters are off."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    @torch.no_grad()
    def output(self, rollout: Rollout, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        with self.policy.without_adapters():
            return self.policy(rollout, want=want)

    def tell(self, draws: int) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
