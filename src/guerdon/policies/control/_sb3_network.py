"""The networks of a Stable-Baselines3 agent, inferred from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from torch import Tensor

from guerdon.core.errors import ModelError, nearest
from guerdon.policies.control._bodies import CNN, MLP, Activation
from guerdon.policies.control._gsde import StateDependentGaussian
from guerdon.policies.control._heads import Categorical, Gaussian, HeadSpec, TanhGaussian

_REFUSED = {  # what a name begins with -> what that agent is
    "lstm_": "a recurrent agent (RecurrentPPO), whose memory is not read",
    "q_net.": "a DQN agent, which has values of actions and no policy",
    "quantile_net.": "a QR-DQN agent, which has values of actions and no policy",
    "features_extractor.extractors.": "an agent for dict observations; one array or number is expected",
}
_CNN = {f"cnn.{2 * k}": 2 * k for k in range(3)} | {"linear.0": 7}  # names -> places in a built CNN
_IGNORED = ("critic.", "critic_target.", "log_ent_coef")


@dataclass(frozen=True)
class Network:
    """One network read from a file.

    Args:
        body: Its layers.
        inputs: Numbers that it reads; None: pixels.
        layers: Its tensors, named as in ``Body`` but for an offset: ``"0.weight"``, ``"2.weight"``.
        first: Name of the tensor that reads observations.
    """

    body: MLP | CNN
    inputs: int | None
    layers: Mapping[str, Tensor]
    first: str


@dataclass(frozen=True)
class Agent:
    """What an agent's tensors are.

    Args:
        actor: From observations to features.
        head: From features to actions.
        choice: The head's tensors, named as in the head.
        outputs: Numbers of actions, or of an action.
        critic: From observations to the features of values; None where there is none.
        last: The critic's last layer: ``"weight"``, ``"bias"``.
    """

    actor: Network
    head: HeadSpec | StateDependentGaussian
    choice: Mapping[str, Tensor]
    outputs: int
    critic: Network | None = None
    last: Mapping[str, Tensor] | None = None


def agent_of(tensors: Mapping[str, Tensor], options: Mapping[str, Any], name: str, activation: str | None = None) -> Agent:
    """An agent of PPO, A2C, SAC or TQC.

    Args:
        tensors: With Stable-Baselines3's names.
        options: ``policy_kwargs``; what they leave out is at its default.
        name: For messages.
        activation: Of the layers, in place of what the options say.

    Raises:
        ModelError: naming the tensor that does not fit, or what is not supported.
    """
    for key in tensors:
        for start, what in _REFUSED.items():
            if key.startswith(start) or key.removeprefix("actor.").startswith(start):
                raise ModelError(f"{name}: holds {what} (tensor {key})")
    reader = _Reader(tensors, name)
    if "action_net.weight" in tensors:
        agent = _on_policy(reader, options, activation)
    elif any(k.startswith("actor.log_std") for k in tensors):
        agent = _squashed(reader, options, activation)
    elif any(k.startswith("actor.mu.") for k in tensors):
        raise ModelError(f"{name}: holds a TD3 or DDPG agent, whose actor has no distribution; PPO, A2C and SAC agents are read")
    else:
        raise ModelError(f"{name}: holds no actor: expected a tensor action_net.weight (PPO, A2C) or actor.log_std (SAC), "
                         f"got {', '.join(list(tensors)[:3])}")  # fmt: skip
    if left := sorted(k for k in tensors if k not in reader.used and not k.startswith(_IGNORED)):
        raise ModelError(f"{name}: tensor {left[0]} belongs to no layer that is known here; {nearest(left[0], reader.used)}")
    return agent


def _on_policy(reader: _Reader, options: Mapping[str, Any], given: str | None) -> Agent:
    activation = _activation(options, "tanh", given, reader.name)
    outputs = len(reader.take("action_net.bias", 1))
    shared = "mlp_extractor.shared_net."  # of agents before SB3 1.8
    actor = reader.network(("pi_features_extractor.", "features_extractor."), (shared, "mlp_extractor.policy_net."), activation)
    critic = reader.network(("vf_features_extractor.", "features_extractor."), (shared, "mlp_extractor.value_net."), activation)
    width = reader.width(actor, "action_net.weight")
    linear = {"weight": reader.take("action_net.weight", 2, (outputs, width)), "bias": reader.take("action_net.bias", 1)}
    if "log_std" not in reader.tensors:
        head: HeadSpec | StateDependentGaussian = Categorical()
        choice = {f"logits.{k}": v for k, v in linear.items()}
    else:
        spread = reader.tensors["log_std"]
        choice = {f"mean.{k}": v for k, v in linear.items()}
        if spread.dim() == 1:
            head, choice["log_std"] = Gaussian(), reader.take("log_std", 1, (outputs,))
        else:
            squash = bool(options.get("squash_output", False))
            head, choice["log_sigma"] = _state_dependent(reader, "log_std", width, outputs, options, squash, None)
    value_width = reader.width(critic, "value_net.weight")
    last = {"weight": reader.take("value_net.weight", 2, (1, value_width)), "bias": reader.take("value_net.bias", 1, (1,))}
    return Agent(actor, head, choice, outputs, critic, last)


def _squashed(reader: _Reader, options: Mapping[str, Any], given: str | None) -> Agent:
    activation = _activation(options, "relu", given, reader.name)
    actor = reader.network(("actor.features_extractor.",), ("actor.latent_pi.",), activation)
    mu = "actor.mu.0" if "actor.mu.0.bias" in reader.tensors else "actor.mu"  # with a Hardtanh behind it, or alone
    outputs = len(reader.take(f"{mu}.bias", 1))
    width = reader.width(actor, f"{mu}.weight")
    choice = {"mean.weight": reader.take(f"{mu}.weight", 2, (outputs, width)), "mean.bias": reader.take(f"{mu}.bias", 1)}
    if "actor.log_std.weight" in reader.tensors:
        choice["log_std.weight"] = reader.take("actor.log_std.weight", 2, (outputs, width))
        choice["log_std.bias"] = reader.take("actor.log_std.bias", 1, (outputs,))
        return Agent(actor, TanhGaussian(), choice, outputs)
    clip = float(options.get("clip_mean", 2.0)) if mu.endswith(".0") else None
    head, choice["log_sigma"] = _state_dependent(reader, "actor.log_std", width, outputs, options, True, clip)
    return Agent(actor, head, choice, outputs)


def _state_dependent(
    reader: _Reader, key: str, width: int, outputs: int, options: Mapping[str, Any], squash: bool, clip: float | None
) -> tuple[StateDependentGaussian, Tensor]:
    spread = reader.take(key, 2)
    if tuple(spread.shape) not in ((width, outputs), (width, 1)):
        raise ModelError(f"{reader.name}: tensor {key} has shape {tuple(spread.shape)}, expected {(width, outputs)}")
    return StateDependentGaussian(
        float(options.get("log_std_init", -2.0)), squash, clip, bool(options.get("use_expln", False)),
        shared=spread.shape[1] < outputs, through=key.startswith("actor."),
    ), spread  # fmt: skip


def _activation(options: Mapping[str, Any], default: str, given: str | None, name: str) -> Activation:
    """From ``"<class 'torch.nn.modules.activation.ReLU'>"`` or ``"nn.ReLU"``."""
    said = given or str(options.get("activation_fn") or default)
    found = re.sub(r"\W+$", "", said).rsplit(".", 1)[-1].lower()
    if found not in get_args(Activation):
        raise ModelError(f"{name}: its activation is {said}; expected one of {', '.join(get_args(Activation))}")
    return cast(Activation, found)


class _Reader:
    """Tensors by name, and which of them were read."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        self.tensors, self.name, self.used = tensors, name, set[str]()

    def take(self, key: str, dims: int, shape: tuple[int, ...] | None = None) -> Tensor:
        """A tensor of that many dimensions, or of that shape."""
        if key not in self.tensors:
            raise ModelError(f"{self.name}: has no tensor {key}; {nearest(key, self.tensors)}")
        found = self.tensors[key]
        if found.dim() != dims or (shape is not None and tuple(found.shape) != shape) or not found.is_floating_point():
            kind = str(found.dtype).removeprefix("torch.")
            wanted = shape if shape is not None else f"{dims} dimensions"
            raise ModelError(f"{self.name}: tensor {key} has shape {tuple(found.shape)} of {kind}, expected {wanted}")
        self.used.add(key)
        return found

    def width(self, network: Network, key: str) -> int:
        """Features of a network; of one without layers, what the next tensor reads."""
        if isinstance(network.body, CNN):
            return network.body.width
        return network.body.widths[-1] if network.body.widths else self.take(key, 2).shape[1]

    def network(self, pictures: tuple[str, ...], stacks: tuple[str, ...], activation: Activation) -> Network:
        """Convolutions under the first prefix that has them, or the fully connected layers of all stacks."""
        for prefix in pictures:
            for other in pictures:  # the same tensors under another name
                self.used |= {
                    k for k in self.tensors if k.startswith(other) and k.removeprefix(other).startswith(("cnn.", "linear."))
                }
            if f"{prefix}cnn.0.weight" in self.tensors:
                if any(k.startswith(stacks) for k in self.tensors):
                    raise ModelError(f"{self.name}: has fully connected layers behind its convolutions ({stacks[-1]}*), "
                                     "which is not supported; agents of CnnPolicy with the default net_arch are")  # fmt: skip
                return self._cnn(prefix)
        layers: dict[str, Tensor] = {}
        widths: list[int] = []
        inputs, first = 0, ""
        for stack in stacks:
            k = 0
            while f"{stack}{2 * k}.weight" in self.tensors:
                key, place = f"{stack}{2 * k}", 2 * len(widths)
                weight = self.take(f"{key}.weight", 2)
                if widths and weight.shape[1] != widths[-1]:
                    raise ModelError(f"{self.name}: tensor {key}.weight reads {weight.shape[1]} numbers, and the layer before it "
                                     f"has {widths[-1]}")  # fmt: skip
                layers |= {f"{place}.weight": weight, f"{place}.bias": self.take(f"{key}.bias", 1, (weight.shape[0],))}
                inputs, first = inputs or weight.shape[1], first or f"{key}.weight"
                widths.append(weight.shape[0])
                k += 1
        if not widths:  # a head on the observations themselves
            first = "action_net.weight" if "action_net.weight" in self.tensors else "actor.mu.weight"
            inputs = self.take(first if first in self.tensors else "actor.mu.0.weight", 2).shape[1]
        return Network(MLP(tuple(widths), activation), inputs, layers, first)

    def _cnn(self, prefix: str) -> Network:
        layers: dict[str, Tensor] = {}
        for key, place in _CNN.items():
            weight = self.take(f"{prefix}{key}.weight", 2 if key.startswith("linear") else 4)
            layers[f"{place}.weight"] = weight
            layers[f"{place}.bias"] = self.take(f"{prefix}{key}.bias", 1, (weight.shape[0],))
        standard = CNN()
        channels = tuple(layers[f"{2 * k}.weight"].shape[0] for k in range(3))
        kernels = tuple(layers[f"{2 * k}.weight"].shape[2] for k in range(3))
        if (channels, kernels) != (standard.channels, standard.kernels):
            raise ModelError(f"{self.name}: its convolutions have {channels} filters of sizes {kernels}, expected those of "
                             f"NatureCNN, {standard.channels} of {standard.kernels}")  # fmt: skip
        body = CNN(width=layers["7.weight"].shape[0])
        return Network(body, None, layers, f"{prefix}cnn.0.weight")
