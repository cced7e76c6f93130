"""Trained agents: policies that guerdon saved, and agents of Stable-Baselines3."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from guerdon.core.errors import ModelError
from guerdon.core.world import Box, Discrete, Space, Spaces, WorldSpec
from guerdon.policies.control._bodies import Activation, Body
from guerdon.policies.control._front import Front
from guerdon.policies.control._save import find_folder, load_folder
from guerdon.policies.control._sb3_facts import Scale
from guerdon.policies.control._sb3_files import Saved, is_file, read
from guerdon.policies.control._sb3_network import Agent, Network, agent_of
from guerdon.policies.control.policy import Control


def load(
    path_or_name: str,
    *,
    world: WorldSpec | Spaces | None = None,
    activation: Activation | None = None,
    normalisation: str | None = None,
    dtype: Literal["float32", "float64"] | None = None,
) -> Control:
    """What ``Control.from_pretrained`` does."""
    path_or_name = str(path_or_name)  # a Path does as well
    if not is_file(path_or_name):
        folder = find_folder(path_or_name)
        if isinstance(folder, str):
            return load(folder, world=world, activation=activation, normalisation=normalisation, dtype=dtype)
        return load_folder(folder, path_or_name, world, dtype)
    saved = read(path_or_name, normalisation)
    agent = agent_of(saved.tensors, saved.facts.options or {}, saved.name, activation)
    return build(saved, agent, world, dtype or "float32")


def build(saved: Saved, agent: Agent, world: WorldSpec | Spaces | None, dtype: Literal["float32", "float64"]) -> Control:
    """The agent as a policy."""
    spaces = spaces_of(saved, agent, world)
    normalise = saved.facts.scale is not None
    policy = Control.of(spaces, body=agent.actor.body, head=agent.head, normalise=normalise, dtype=dtype)
    fill_front(policy.front, saved.facts.scale, saved.name)
    fill_body(policy.body, policy.front, agent.actor, saved.name)
    policy.head.load_state_dict(dict(agent.choice))
    policy.source = saved.name
    return policy


def spaces_of(saved: Saved, agent: Agent, world: WorldSpec | Spaces | None) -> WorldSpec | Spaces:
    """The world that was given, or what the file says of its own; checked.

    Raises:
        ModelError: where neither is known, or they contradict each other or the tensors.
    """
    facts = saved.facts
    observation = facts.observation if world is None else world.observation
    action = facts.action if world is None else world.action
    if observation is None or action is None:
        raise ModelError(
            f"{saved.name}: does not say what its agent observes and does; name its world with world=worlds.Gym(...)"
        )
    if facts.observation is not None and observation.shape != facts.observation.shape:
        raise ModelError(f"{saved.name}: its agent observes {_said(facts.observation)}, and the world shows {_said(observation)}")
    if facts.action is not None and not _same(facts.action, action):
        raise ModelError(f"{saved.name}: its agent chooses from {_said(facts.action)}, and the world takes {_said(action)}")
    outputs = action.n if isinstance(action, Discrete) else math.prod(action.shape)
    categorical = any(k.startswith("logits.") for k in agent.choice)
    if categorical != isinstance(action, Discrete) or outputs != agent.outputs:
        own = f"one of {agent.outputs}" if categorical else f"{agent.outputs} numbers"
        raise ModelError(f"{saved.name}: its agent chooses {own} (tensor {_last(agent)}), and the world takes {_said(action)}")
    if isinstance(action, Box) and not action.shape:
        raise ModelError(f"{saved.name}: actions without a dimension; give the box the shape (1,)")
    return world if world is not None else Spaces(observation, action)


def fill_front(front: Front, scale: Scale | None, name: str) -> None:
    """Statistics of observations into a front."""
    if scale is None:
        return
    assert front.scale is not None
    if len(scale.mean) != front.scale.mean.numel():
        raise ModelError(f"{name}: statistics of {len(scale.mean)} numbers for observations of {front.scale.mean.numel()}")
    front.scale.clip, front.scale.eps = scale.clip, scale.eps
    front.scale.mean.copy_(torch.tensor(scale.mean, dtype=torch.float64).view_as(front.scale.mean))
    front.scale.var.copy_(torch.tensor(scale.var, dtype=torch.float64).view_as(front.scale.var))
    front.scale.count.fill_(scale.count)


@torch.no_grad()
def fill_body(body: Body, front: Front, network: Network, name: str) -> None:
    """A file's layers into a body of the same kind."""
    shown = math.prod(front.shape)
    if network.inputs is not None and network.inputs != shown:
        raise ModelError(f"{name}: tensor {network.first} reads {network.inputs} numbers, and the world shows {shown}")
    layers = [m for m in body.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    places = sorted({int(k.split(".")[0]) for k in network.layers})
    for layer, place in zip(layers, places, strict=True):
        for key in ("weight", "bias"):
            mine, theirs = getattr(layer, key), network.layers[f"{place}.{key}"]
            if mine.shape != theirs.shape:
                raise ModelError(f"{name}: tensor {network.first} is for other pictures: layer {place} has a {key} of "
                                 f"{tuple(theirs.shape)}, and the world's pictures need {tuple(mine.shape)}")  # fmt: skip
            mine.copy_(theirs)


def _same(a: Space, b: Space) -> bool:
    """Whether two action spaces are one, as far as printed bounds can tell."""
    if isinstance(a, Discrete) or isinstance(b, Discrete):
        return a == b
    return a.shape == b.shape and all(
        torch.allclose(x, y, rtol=1e-5, atol=1e-7) for x, y in zip(a.bounds(), b.bounds(), strict=True)
    )


def _said(space: Space) -> str:
    if isinstance(space, Discrete):
        return f"one of {space.n}"
    size = " x ".join(map(str, space.shape)) or "1"
    low, high = (sorted(set(b.flatten().tolist())) for b in space.bounds())
    bounds = f" from {low[0]:g} to {high[0]:g}" if len(low) == len(high) == 1 else ""
    return f"{size} numbers{bounds}"


def _last(agent: Agent) -> str:
    return "action_net.weight" if agent.critic is not None else "actor.mu.weight"
