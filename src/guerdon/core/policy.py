"""Policy: anything that can act and then say, with gradients, how likely it was to act so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from guerdon.core.rollout import Items, Rollout
from guerdon.core.rows import Rows
from guerdon.core.streams import Streams

Want = str  # "logp", "entropy", "hidden" or "value"


@dataclass(frozen=True)
class PolicyOutput(Rows):
    """What a network says of given trajectories, with gradients; a field it was not asked for is None.

    Args:
        logp: [B, T] nats of the actions taken, 0 where ``mask`` is False.
        entropy: [B, T] nats of the distribution the action was drawn from, 0 where ``mask`` is False.
        hidden: [B, T, D] features of the state each step was chosen in.
        value: [B, T+1] expected return from each state on; 0 behind the end.
        value_raw: [B, T+1, K] outputs of a critic whose head is more than a number (``policies.HLGauss``); 0 behind the end.
    """

    logp: Tensor | None = None
    entropy: Tensor | None = None
    hidden: Tensor | None = None
    value: Tensor | None = None
    value_raw: Tensor | None = None

    def need(self, name: Want) -> Tensor:
        """The field, or a clear error where the network did not give it."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"this objective needs {name!r}, and the network's output has none")
        return value

    def detach(self) -> PolicyOutput:
        fields = ("logp", "entropy", "hidden", "value", "value_raw")
        return PolicyOutput(**{f: v.detach() if (v := getattr(self, f)) is not None else None for f in fields})


class Policy(nn.Module):
    """Base of all policies; a real ``nn.Module``, so that FSDP, DDP and torch.compile hook the training path.

    ``likelihood`` says what ``forward`` returns: ``"exact"`` log-probs of the actions, a ``"bound"`` on them, or ``"none"``
    (a black box that can only sample). ``dims`` says whether log-probs of vector actions are sums over their dimensions, which
    are true densities, or means of them (``run.Term(dims=...)`` asks; ``Behaviour.dims`` records it).
    """

    likelihood: Literal["exact", "bound", "none"] = "exact"
    dims: Literal["sum", "mean"] = "sum"
    name: str = "policy"
    version: int = 0

    def sample(self, items: Items, n: int = 1, *, streams: Streams, **controls: Any) -> Rollout:
        """``n`` trajectories for every item; row k*n + j is sample j of item k.

        Args:
            items: What is asked.
            n: Samples per item.
            streams: Where all randomness comes from.
            controls: How to act (temperature, top_p, max_tokens ...); recorded in ``behaviour``.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot sample")

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        """Log-probs of the rollout's own actions under the present weights, with the rollout's own behaviour settings."""
        raise NotImplementedError(f"{type(self).__name__} cannot replay a rollout")

    def rollout_from(self, items: Items, outputs: Sequence[Any], *, streams: Streams) -> Rollout:
        """Given outputs as trajectories of this policy: demonstrations, preference pairs."""
        raise NotImplementedError(f"{type(self).__name__} cannot read given outputs")
