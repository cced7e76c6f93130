"""Gym: Gymnasium's environments, and those that users write in its form."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from guerdon.core.errors import PlanError, nearest
from guerdon.core.world import Box, Discrete, Space, Stepped
from guerdon.worlds._form import Form, form_of
from guerdon.worlds._host import Host
from guerdon.worlds._making import MakeError, Recipe, close, make, quiet
from guerdon.worlds._pool import Pool

_log = logging.getLogger("guerdon")


@dataclass(frozen=True)
class Gym:
    """Environments of Gymnasium, each slot one of its own.

    Every slot is one ``gymnasium.make``, stepped from here: ``gymnasium.vector`` steps all of its environments or none, and one
    that raises takes the others with it. What an environment does wrong is the failure of its own slot, with a reason in one
    line: an exception in making, ``reset`` or ``step``; an observation of another shape, dtype or kind, or that is not finite;
    a reward that is not a finite number. Such an environment is thrown away, and made anew at the next reset.

    Every episode is begun with a seed, so a state is the seed and the actions since: ``snapshot`` saves these, ``restore``
    replays them and compares the last observation bit for bit. ``render`` draws a second environment that is brought to the
    same state, so that a picture never changes an episode. Observations in float64 are handed out in float32. The flag
    ``truncated`` is only set where ``terminated`` is not.

    Args:
        id: A registered id; ``file.py:name`` for a class or function of your own (the path begins in the current folder); or such
            a callable itself.
        options: Named arguments of the environment.
        wrappers: Names in ``gymnasium.wrappers``, or ``{name: named arguments}``; the first is the innermost.
        limit: Steps after which an episode is cut off; None: the environment's own limit, if it has one.
        fresh: Make a new environment for every episode; None: where ``reset`` is known to leave traces of the last one (Box2D).
        workers: Processes that the environments live in, slot k in process k modulo ``workers``; 0: this one. Worth it where a
            step takes longer than about a tenth of a millisecond.
        timeout: Seconds that a slot may take for one call before its worker process is ended; without workers nothing is timed.

    Raises:
        PlanError: for an unknown id, a package that is missing, or spaces that are neither ``Discrete`` nor ``Box``.

    Example:
        >>> world = Gym("CartPole-v1")
        >>> world.action
        Discrete(n=2)

    Reference:
        Towers et al., Gymnasium, arXiv:2407.17032.
    """

    id: object  # text or a callable; as an object, a plan's reader takes a 'file.py:name' here for what it is
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    wrappers: tuple[str | Mapping[str, Mapping[str, Any]], ...] = field(default=(), hash=False)
    limit: int | None = None
    fresh: bool | None = None
    workers: int = 0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not (isinstance(self.id, str) and self.id) and not callable(self.id):
            raise PlanError(f"Gym: id is {self.id!r}, expected a registered id, 'file.py:name' or a callable")
        if self.limit is not None and self.limit < 1:
            raise PlanError(f"Gym: limit is {self.limit}, expected at least 1 step")
        if self.workers < 0 or self.timeout <= 0:
            raise PlanError(f"Gym: workers={self.workers}, timeout={self.timeout}; expected workers >= 0 and timeout > 0")
        if self.workers and not isinstance(self.id, str):
            raise PlanError("Gym: a callable cannot travel to worker processes; name it as 'file.py:name', or use workers=0")
        if self.workers and sys.platform == "win32":
            raise PlanError("Gym: worker processes need Linux or macOS; use workers=0")

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        name = self.id if isinstance(self.id, str) else getattr(self.id, "__qualname__", type(self.id).__qualname__)
        return f"{name}{f'({options})' if options else ''}"

    @property
    def observation(self) -> Space:
        return self._spaces[0]

    @property
    def action(self) -> Space:
        return self._spaces[1]

    def open(self, n: int) -> GymWorld:
        """``n`` environments; they are made when their slots are first reset."""
        observation, action = self._spaces[2:]
        if not self.workers:
            return GymWorld(Host(self._recipe, observation, action), n)
        recipe = replace(self._recipe, spec=_description(self.id))
        try:
            json.dumps(asdict(recipe))
        except (TypeError, ValueError) as e:
            raise PlanError(
                f"Gym: options and wrappers of environments in worker processes are plain data ({e}); use workers=0"
            ) from None
        return GymWorld(Pool(recipe, observation, action, min(self.workers, n), self.timeout), n)

    @cached_property
    def _recipe(self) -> Recipe:
        spec = _registered(self.id)
        _check_wrappers(self.wrappers)
        fresh = "box2d" in str(spec and spec.entry_point) if self.fresh is None else self.fresh
        return Recipe(cast("str | Callable[..., Any]", self.id), dict(self.options), self.wrappers, self.limit, fresh)

    @cached_property
    def _spaces(self) -> tuple[Space, Space, Form, Form]:
        """Found out by making one environment."""
        try:
            env = make(self._recipe)
        except MakeError as e:
            raise PlanError(f"Gym: {e}") from None
        try:
            found = [_space(env.observation_space, "observations"), _space(env.action_space, "actions")]
        except PlanError as e:
            raise PlanError(f"Gym: {self._recipe.name} {e}") from None
        finally:
            close(env)
        return found[0][0], found[1][0], found[0][1], found[1][1]


class GymWorld:
    """An open ``Gym``."""

    def __init__(self, host: Host | Pool, n: int):
        self.host, self.n = host, n
        self._told = ""

    def reset(self, slots: Tensor, seeds: Tensor) -> tuple[Tensor, Sequence[str]]:
        observations, failed = self.host.reset(slots.tolist(), seeds.tolist())
        return torch.from_numpy(observations), failed

    def step(self, slots: Tensor, actions: Tensor) -> Stepped:
        given = actions.detach().cpu().numpy()
        observations, rewards, terminated, truncated, failed = self.host.step(slots.tolist(), given)
        array = torch.from_numpy
        return Stepped(array(observations), array(rewards), array(terminated), array(truncated), failed)

    def render(self, slot: int) -> np.ndarray | None:
        picture, why = self.host.render(slot)
        if why and why != self._told:
            self._told = why
            _log.warning("no picture: %s", why)
        return picture

    def snapshot(self, slots: Tensor) -> Sequence[Mapping[str, Any]]:
        return [_converted(s, np.ndarray, torch.tensor) for s in self.host.snapshot(slots.tolist())]

    def restore(self, slots: Tensor, states: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return self.host.restore(slots.tolist(), [_converted(s, Tensor, Tensor.numpy) for s in states])

    def close(self) -> None:
        self.host.close()


def _registered(id: object) -> Any:
    """Gymnasium's spec of a registered id; None for a user's environment."""
    if not isinstance(id, str) or ".py:" in id:
        return None
    try:
        with quiet():
            import gymnasium
    except ImportError:
        raise PlanError("worlds.Gym needs gymnasium; type: pip install 'guerdon[control]'") from None
    if id not in gymnasium.registry:
        raise PlanError(f"Gym: no environment {id!r} is registered with gymnasium; {nearest(id, gymnasium.registry)}")
    return gymnasium.registry[id]


def _check_wrappers(wrappers: Sequence[str | Mapping[str, Any]]) -> None:
    if wrappers:
        with quiet():
            from gymnasium import wrappers as known
        for name in [n for w in wrappers for n in ([w] if isinstance(w, str) else w)]:
            if name not in known.__all__:
                raise PlanError(f"Gym: no {name!r} in gymnasium.wrappers; {nearest(name, known.__all__)}")


def _description(id: object) -> str:
    """Gymnasium's spec of an id that not every process has registered, as JSON."""
    spec = _registered(id)
    if spec is None or str(spec.entry_point).startswith("gymnasium."):
        return ""
    if not isinstance(spec.entry_point, str):
        raise PlanError(f"Gym: {id} is registered with a callable, which worker processes cannot see; use workers=0")
    return spec.to_json()


def _space(space: Any, what: str) -> tuple[Space, Form]:
    form = form_of(space)
    if isinstance(form, str):
        raise PlanError(f"has {what} in {form}")
    if form.n:
        return Discrete(form.n), form
    return Box(form.shape, _bound(space.low), _bound(space.high), form.kept), form


def _converted(state: Mapping[str, Any], kind: type, convert: Callable[[Any], Any]) -> dict[str, Any]:
    return {k: convert(v) if isinstance(v, kind) else v for k, v in state.items()}


def _bound(values: np.ndarray) -> float | tuple[float, ...]:
    """One number where all are the same."""
    flat = values.ravel().tolist()
    return float(flat[0]) if flat and len(set(flat)) == 1 else tuple(v + 0.0 for v in flat)  # no -0.0
