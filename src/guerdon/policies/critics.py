"""Networks that foresee returns: a value for the state before every step, and for the state a cut-off row ended in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import ModelError, Policy, PolicyOutput, Rollout
from guerdon.core.hub import check_folder, load_tokenizer
from guerdon.core.policy import Want
from guerdon.policies._load import load_model
from guerdon.policies._rows import by_length
from guerdon.policies.causal_lm import CausalLM


@dataclass(frozen=True)
class OwnTrunk:
    """A copy of the policy with a scalar head in place of its output: nothing is shared, nothing is disturbed.

    Source: PPO, arXiv:1707.06347; for language models InstructGPT, arXiv:2203.02155.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.testing import tiny_lm
        >>> policy, streams = tiny_lm(), Streams(0)
        >>> rollout = policy.sample(Items(["2+2="], streams.uids(1)), 2, streams=streams, max_tokens=5)
        >>> values = OwnTrunk().build(policy).values(rollout)
        >>> values.shape[1] == rollout.steps + 1, float(values.abs().max())
        (True, 0.0)
    """

    def build(self, policy: Policy) -> ValueNetwork:
        trunk = copy.deepcopy(policy)
        if isinstance(trunk, CausalLM):
            trunk.freeze_output()
        if not any(p.requires_grad for p in trunk.parameters()):
            raise ModelError("OwnTrunk copies the policy, and this one has no trainable parameters")
        return ValueNetwork(trunk, _head(policy))


@dataclass(frozen=True)
class HeadOnPolicy:
    """A scalar head on the policy's own features, which are computed once for both.

    A learner ``of: critic`` trains the head alone and leaves the policy's weights as they are. A learner
    ``of: [policy, critic]`` trains both on the sum of its terms, so that the value loss shapes the policy's features too.
    """

    def build(self, policy: Policy) -> ValueNetwork:
        return ValueNetwork(policy, _head(policy), shared=True)


@dataclass(frozen=True)
class FromReward:
    """Trunk and head of a reward model: values start as its guesses, read at every prefix.

    Args:
        path: Folder, or name on the hub, of a sequence classifier with one label and the policy's tokenizer.

    Source: value functions initialised from the reward model, InstructGPT, arXiv:2203.02155.
    """

    path: str

    def build(self, policy: Policy) -> ValueNetwork:
        check_folder(self.path)
        own = next(policy.parameters())
        model: Any = load_model(self.path, "AutoModelForSequenceClassification", dtype=own.dtype)
        head = getattr(model, "score", None)
        if not isinstance(head, nn.Linear) or head.out_features != 1:
            raise ModelError(f"{self.path}: expected a sequence classifier with a linear score of one label")
        text = getattr(policy, "text", None)
        if text is not None and load_tokenizer(self.path).get_vocab() != text.tokenizer.get_vocab():
            raise ModelError(f"{self.path}: its tokenizer is not the policy's, so it would misread the policy's ids")
        return ValueNetwork(_Trunk(model.base_model.eval()), _with_bias(head)).to(own.device)


class ValueNetwork(nn.Module):
    r"""$V(s_t) = w^\top h_t + b$ with $h_t$ the features of the state before step t.

    ``value`` [B, T+1]: entry t is the value of the state in which step t is chosen. Behind a row's last chosen step there is one
    more state: 0 where the row ended by itself, its value where it was cut off. Everything behind that is 0.
    """

    def __init__(self, trunk: nn.Module, head: nn.Linear, shared: bool = False) -> None:
        super().__init__()
        self.head = head
        if shared:
            self._shared: tuple[nn.Module, ...] = (trunk,)  # in a tuple: its parameters belong to the policy
        else:
            self.trunk = trunk
            self._shared = ()

    def train(self, mode: bool = True) -> ValueNetwork:
        """Always ``eval()``, as policies are: dropout is off."""
        return super().train(False)

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("value",)) -> PolicyOutput:
        trunk: Callable[..., PolicyOutput] = self._shared[0] if self._shared else self.trunk
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._shared):
            hidden = trunk(_one_more(rollout), want=("hidden",)).need("hidden")
        return PolicyOutput(value=self.value_of(hidden, rollout))

    def value_of(self, hidden: Tensor, rollout: Rollout) -> Tensor:
        """[B, T+1] values from features [B, T+1, D] of all states."""
        value = self.head(hidden.to(self.head.weight))[..., 0]
        last = rollout.lengths
        ends = last + (~rollout.terminal.to(last.device)).long()
        inside = torch.arange(rollout.steps + 1, device=last.device) < ends[:, None]
        return torch.where(inside, value.to(last.device), 0)

    def with_policy(self, policy: nn.Module) -> PolicyAndValue:
        """Both as one network, for one learner."""
        return PolicyAndValue(policy, self)

    @property
    def markov(self) -> bool:
        """Whether each step is read by itself, as the policy does whose features it reads."""
        return bool(getattr(self._shared[0] if self._shared else self.trunk, "markov", False))

    @property
    def shared(self) -> bool:
        """Whether it reads the policy's own features."""
        return bool(self._shared)

    @torch.no_grad()
    def values(self, rollout: Rollout) -> Tensor:
        """[B, T+1], without gradients, computed in parts."""
        return by_length(rollout, self, want=("value",)).need("value")


class PolicyAndValue(nn.Module):
    """A policy and a critic as one network: one learner owns both, with one optimiser and one gradient norm.

    A head on the policy's features shares its pass; a critic with a network of its own is asked beside it.
    """

    def __init__(self, policy: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic

    @property
    def steps_at_once(self) -> int:
        """How many steps the policy wants together."""
        return int(getattr(self.policy, "steps_at_once", 1 << 30))

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp", "value")) -> PolicyOutput:
        if not isinstance(self.critic, ValueNetwork) or not self.critic.shared:
            said: PolicyOutput = self.policy(rollout, want=tuple(w for w in want if w != "value"))
            if "value" not in want:
                return said
            value: PolicyOutput = self.critic(rollout, want=("value",))
            return said.replace(value=value.value, value_raw=value.value_raw)
        out: PolicyOutput = self.policy(_one_more(rollout), want=tuple({*want, "hidden"} - {"value"}))
        hidden, steps = out.need("hidden"), rollout.steps
        return PolicyOutput(
            None if out.logp is None else out.logp[:, :steps],
            None if out.entropy is None else out.entropy[:, :steps],
            hidden[:, :steps] if "hidden" in want else None,
            self.critic.value_of(hidden, rollout) if "value" in want else None,
        )


class _Trunk(nn.Module):
    """A backbone that offers features as a policy does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("hidden",)) -> PolicyOutput:
        device = next(self.model.parameters()).device
        length = rollout.lengths[:, None]
        ids = torch.where(torch.arange(rollout.steps, device=length.device) < length, rollout.actions, 0).to(device)
        hidden = self.model(input_ids=ids[:, : max(rollout.steps - 1, 1)], use_cache=False).last_hidden_state
        return PolicyOutput(hidden=nn.functional.pad(hidden, (0, 0, 1, 0))[:, : rollout.steps])


def _one_more(rollout: Rollout) -> Rollout:
    """The rollout with an unchosen step at its end, whose state is the one the rows end in."""

    def more(x: Tensor | None) -> Tensor | None:
        return None if x is None else torch.cat([x, torch.zeros_like(x[:, :1])], 1)

    states = None if rollout.states is None else torch.cat([rollout.states, rollout.states[:, -1:]], 1)
    steps = {name: more(getattr(rollout, name)) for name in ("actions", "mask", "logp", "node")}
    return rollout.replace(**steps, states=states, trace={k: more(v) for k, v in rollout.trace.items()})


@torch.no_grad()
def _head(policy: Policy) -> nn.Linear:
    """A scalar head of the policy's width, number format and device, at 0."""
    width = getattr(policy, "width", None)
    if width is None:
        raise ModelError(f"{type(policy).__name__} has no features for a value head (hidden states of an attribute 'width')")
    own = next(policy.parameters())
    dtype = torch.promote_types(own.dtype, torch.float32)
    head = nn.Linear(int(width), 1, dtype=dtype, device=own.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _with_bias(score: nn.Linear) -> nn.Linear:
    """The same head with a bias, so that a learner can shift all values."""
    if score.bias is not None:
        return score
    head = nn.Linear(score.in_features, 1, dtype=score.weight.dtype, device=score.weight.device)
    with torch.no_grad():
        head.weight.copy_(score.weight)
        nn.init.zeros_(head.bias)
    return head
