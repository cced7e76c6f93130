"""Ready-made: worlds of control by their names, and a whole plan for training in one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from guerdon import advantages, objectives, policies, rewards, samplers, transforms, worlds
from guerdon.core.errors import PlanError, nearest
from guerdon.core.world import Box, WorldSpec
from guerdon.run import AdamW, Episodes, Evaluation, Fragments, ObservationStatistics, Plan, Term, Train, lazy
from guerdon.tasks.ppo_settings import TUNED, PPOSettings

_OWN: dict[str, Callable[..., WorldSpec]] = {
    "gridworld": worlds.GridWorld,
    "point-maze": partial(worlds.PointMaze, reward="path"),
    "icu-sepsis": worlds.IcuSepsis,
}


def world_of(name: str | WorldSpec) -> WorldSpec:
    """A world by its name.

    Args:
        name: ``"gridworld"``, ``"point-maze"`` (which pays for progress along the way) or ``"icu-sepsis"``, the first two also
            with a layout as in ``"point-maze/avoiding"``; or a Gymnasium id. A world is returned as it is.

    Example:
        >>> world_of("gridworld/key-door").layout, world_of("CartPole-v1").action
        ('key-door', Discrete(n=2))
    """
    if not isinstance(name, str):
        return name
    head, slash, layout = name.partition("/")
    if head not in _OWN:
        return worlds.Gym(name)
    if slash and head == "icu-sepsis":
        raise PlanError(f"tasks: icu-sepsis has no layouts, got {name!r}")
    chosen: dict[str, Any] = {"layout": layout} if slash else {}
    return _OWN[head](**chosen)


def settings_of(world: str | WorldSpec) -> PPOSettings:
    """The table's settings for a world; ``PPOSettings()`` for one that is not in it."""
    spec = world_of(world)
    name = spec.id if isinstance(spec, worlds.Gym) else type(spec).__name__
    return TUNED.get(name, PPOSettings()) if isinstance(name, str) else PPOSettings()


def control(world: str | WorldSpec, *, seed: int = 0, samples: int = 20, evaluations: int = 10, **changes: Any) -> Plan:
    """A plan that trains a policy in a world by PPO, with settings that are known to work where there are any.

    It is a plan like any other: ``run`` it, ``save`` it as YAML for ``guerdon train``, or take it apart.

    Args:
        world: A name as for ``world_of``, or any world.
        seed: Of the weights, the environments and everything that is drawn.
        samples: Whole episodes in each evaluation, with the most likely actions; 0: no evaluations.
        evaluations: How many of them, spread over the run, beside the one before it.
        changes: Fields of ``PPOSettings``, such as ``steps=50_000`` or ``lr=1e-4``.

    Raises:
        PlanError: for an unknown world or setting, with the nearest known one.

    Example:
        >>> plan = control("CartPole-v1", steps=10_000)
        >>> plan.steps, plan.sampler.contexts, plan.sampler.controls
        (40, 8, {'steps': 32})

    Source: PPO (arXiv:1707.06347); the details that make it work: arXiv:2005.12729.
    """
    spec = world_of(world)
    known = [f.name for f in dataclasses.fields(PPOSettings)]
    for key in changes:
        if key not in known:
            raise PlanError(f"tasks.control has no setting {key!r}; {nearest(key, known)}")
    s = dataclasses.replace(settings_of(spec), **changes)
    body = _body(spec, s)
    learners: dict[str, Any] = {
        "policy": Train(
            (
                Term(objectives.PolicyGradient(clip=s.clip, entropy=s.entropy)),
                Term(objectives.ValueLoss(target="return"), weight=2 * s.value),  # it has the factor 1/2 already
            ),
            AdamW(lr=s.lr, eps=1e-5, decay="linear" if s.decay else "constant"),
            of=("policy", "critic"),
            epochs=s.epochs,
            minibatches=math.ceil(s.envs * s.horizon / s.batch),
            by="step",
            whiten=True,
            max_grad_norm=s.max_grad_norm,
        )
    }
    if s.normalise:
        learners["observations"] = ObservationStatistics()
    draws = math.ceil(s.steps / (s.envs * s.horizon))
    every = max(1, math.ceil(draws / max(1, evaluations)))
    evaluation = Evaluation(
        source=Episodes(spec),
        samples=samples,
        every=every,
        controls={"temperature": 0.0},
    )
    return Plan(
        policy=lazy(policies.Control.of, world=spec, body=body, normalise=s.normalise, seed=seed),
        source=Fragments(spec),
        sampler=samplers.Group(contexts=s.envs, n=1, controls={"steps": s.horizon}),
        reward=rewards.Environment(),
        transforms=(transforms.ScaleByReturn(gamma=s.gamma),) if s.normalise else (),
        advantage={"main": advantages.GAE(s.gamma, s.lam), "return": advantages.LambdaReturns(s.gamma, s.lam)},
        critics={"critic": policies.StateValue(body=body, normalise=s.normalise, seed=1000 + seed)},
        learners=learners,
        evaluation=evaluation if samples else None,
        steps=draws,
        checkpoint_every=every,
        seed=seed,
        name=f"{spec}".partition("(")[0].lower(),
    )


def _body(spec: WorldSpec, s: PPOSettings) -> policies.MLP | policies.CNN:
    """Convolutions where pictures are seen, smaller ones for small pictures; otherwise fully connected layers."""
    seen = spec.observation
    if not isinstance(seen, Box) or seen.number != "uint8" or len(seen.shape) != 3:
        return policies.MLP(s.widths)
    if min(seen.shape[:2]) >= 36:
        return policies.CNN()
    return policies.CNN(channels=(16, 32), kernels=(4, 3), strides=(2, 2), width=128)
