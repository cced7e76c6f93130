"""Rewards that a plan names instead of holding: built once, whatever they are nested in, and what in them can learn."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from guerdon.core.errors import PlanError, nearest
from guerdon.run.spec import Lazy, resolve, to_tree

HOME = "reward"  # name of the training reward's weights in checkpoints, and of their folder in a run


class Builder:
    """Makes every Lazy in a value, equal ones once, on one device.

    Args:
        device: Given to constructors that take a ``device`` and were not told one; None: they decide.
    """

    def __init__(self, device: str | None = None):
        self.device = device
        self.made: dict[str, Any] = {}

    def __call__(self, value: Any) -> Any:
        """``value`` with what it names in place of the names; itself where it names nothing."""
        if isinstance(value, Lazy):
            return self._make(value)
        if isinstance(value, Mapping):
            new = {k: self(v) for k, v in value.items()}
            return new if any(new[k] is not v for k, v in value.items()) else value
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            items = [self(v) for v in value]
            return type(value)(items) if any(a is not b for a, b in zip(items, value, strict=True)) else value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            changed = {n: new for n, v in fields.items() if (new := self(v)) is not v}
            return dataclasses.replace(value, **changed) if changed else value
        return value

    def _make(self, value: Lazy) -> Any:
        key = json.dumps(to_tree(value), sort_keys=True)
        if key not in self.made:
            target, given = resolve(value.use), {k: self(v) for k, v in value.kwargs.items()}
            if self.device is not None and "device" in inspect.signature(target).parameters:
                given.setdefault("device", self.device)
            self.made[key] = target(**given)
        return self.made[key]


def build_reward(value: Any, device: str | None = None) -> Any:
    """A reward as a plan holds it, ready to score.

    >>> from guerdon.rewards import Length
    >>> build_reward(Length(target=3)) == Length(target=3)
    True
    """
    return Builder(device)(value)


def unbuilt(value: Any) -> Iterator[Lazy]:
    """Every Lazy in a value."""
    if isinstance(value, Lazy):
        yield value
        children: Any = value.kwargs.values()
    elif isinstance(value, Mapping):
        children = value.values()
    elif isinstance(value, list | tuple):
        children = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        children = (getattr(value, f.name) for f in dataclasses.fields(value))
    else:
        return
    for child in children:
        yield from unbuilt(child)


def modules_in(value: Any) -> list[nn.Module]:
    """Every network in a value, whatever it is nested in."""
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, Mapping):
        children: Any = value.values()
    elif isinstance(value, list | tuple):
        children = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        children = (getattr(value, f.name) for f in dataclasses.fields(value))
    else:
        return []
    return [m for child in children for m in modules_in(child)]


def networks(reward: Any, name: str = "") -> dict[str, nn.Module]:
    """name -> every network that scores inside a reward: ``""`` alone, ``member-0`` in an ensemble, ``part/...`` in a mixture."""
    if isinstance(reward, nn.Module):
        return {name: reward}
    members = getattr(reward, "members", None)
    if isinstance(members, Mapping):
        named = dict(members)
    elif isinstance(members, list | tuple):
        named = {f"member-{k}": m for k, m in enumerate(members)}
    else:
        return {}
    return {n: m for key, r in named.items() for n, m in networks(r, f"{name}/{key}" if name else key).items()}


def find(reward: Any, of: str) -> tuple[str, Any]:
    """(place, learned reward) that ``of`` names: ``"reward"`` for the only one there is, ``"reward/NAME"`` for a mixture's part.

    Raises:
        PlanError: where there is none, or more than one.
    """
    found = dict(_learnable(reward, HOME))
    if not found:
        shown = "nothing" if reward is None else type(reward).__name__
        raise PlanError(f"a RewardLearner trains a learned reward, and plan.reward is {shown}: expected "
                        "{use: rewards.RewardModel.from_pretrained, path_or_name: FOLDER} or an Ensemble")  # fmt: skip
    if of == HOME and len(found) == 1:
        return next(iter(found.items()))
    if of not in found:
        hint = f"there are several: {', '.join(found)}" if of == HOME else nearest(of, found)
        raise PlanError(f"RewardLearner.of is {of!r}; {hint}")
    return of, found[of]


def _learnable(reward: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(name, reward) of every RewardModel or Ensemble of them: what scores texts with gradients."""
    from guerdon.rewards import RewardModel

    members = getattr(reward, "members", None)
    if isinstance(reward, RewardModel):
        yield name, reward
    elif isinstance(members, Mapping):
        for key, member in members.items():
            yield from _learnable(member, f"{name}/{key}")
    elif isinstance(members, list | tuple) and members and all(isinstance(m, RewardModel) for m in members):
        yield name, reward


def device_of(policy: Any) -> str | None:
    """Where a policy computes; None for one without parameters."""
    first = next(iter(policy.parameters()), None) if hasattr(policy, "parameters") else None
    return None if first is None else str(first.device)


def identities(reward: Any) -> dict[str, str]:
    """name -> identity of every network in a reward: what it would score with now."""
    return {n: str(getattr(m, "identity", "")) for n, m in networks(reward).items()}
