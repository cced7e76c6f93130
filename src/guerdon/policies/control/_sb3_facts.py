"""What is known of a Stable-Baselines3 agent beside its tensors: its spaces, its options, the scale of its observations."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core.errors import ModelError
from guerdon.core.world import Box, Discrete, Space

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|inf|nan)")


@dataclass(frozen=True)
class Scale:
    """Statistics of ``VecNormalize``: observations are ``clip((x - mean) / sqrt(var + eps))``.

    Args:
        mean: Of one observation, row-major.
        var: Of the same length.
        clip: Largest absolute value.
        eps: Added to the variance.
        count: Observations they are of, which weigh when training goes on.
    """

    mean: tuple[float, ...]
    var: tuple[float, ...]
    clip: float = 10.0
    eps: float = 1e-8
    count: float = 10_000.0


@dataclass(frozen=True)
class Facts:
    """What a file says of its agent; None where it does not say.

    Args:
        observation: What it observes.
        action: What it chooses from.
        options: Its ``policy_kwargs``, as far as they are plain.
        scale: Of its observations.
    """

    observation: Space | None = None
    action: Space | None = None
    options: Mapping[str, Any] | None = None
    scale: Scale | None = None


def of_archive(data: Mapping[str, Any], name: str) -> Facts:
    """From the JSON entry ``data`` of an archive: readable values only, never the pickles written beside them."""
    options = data.get("policy_kwargs")
    return Facts(
        _space(data.get("observation_space"), f"{name}: its observation_space"),
        _space(data.get("action_space"), f"{name}: its action_space"),
        {k: v for k, v in options.items() if not k.startswith(":")} if isinstance(options, Mapping) else {},
    )


def of_index(entry: Mapping[str, Any], name: str) -> Facts:
    """From an agent's entry in an ``agents.json``."""
    shape, n = entry.get("obs_shape"), entry.get("action_n")
    action: Space | None = None
    if n is not None:
        action = Discrete(_whole(n, f"{name}: action_n"))
    elif entry.get("action_shape"):
        action = _box(entry["action_shape"], entry.get("action_low"), entry.get("action_high"), "float32", f"{name}: action")
    given = entry.get("obs_normalisation")
    if isinstance(given, Mapping) and entry.get("num_timesteps"):
        given = {"obs_count": entry["num_timesteps"], **given}
    return Facts(
        _box(shape, None, None, "float32", f"{name}: obs_shape") if shape else None,
        action,
        _call(entry.get("policy_kwargs"), name),
        scale_of(given, f"{name}: obs_normalisation") if isinstance(given, Mapping) and given.get("norm_obs", True) else None,
    )


def scale_of(given: Any, where: str) -> Scale:
    """Statistics from JSON: ``obs_mean``, ``obs_var`` (lists), ``epsilon``, ``clip_obs``, ``obs_count``.

    Raises:
        ModelError: naming what is missing or is not a number.
    """
    if not isinstance(given, Mapping):
        raise ModelError(f"{where}: expected a mapping with obs_mean and obs_var, got {type(given).__name__}")
    mean, var = (_numbers(given.get(k), f"{where}: {k}") for k in ("obs_mean", "obs_var"))
    known = (("clip_obs", Scale.clip), ("epsilon", Scale.eps), ("obs_count", Scale.count))
    clip, eps, count = (_numbers([given.get(k, d)], f"{where}: {k}")[0] for k, d in known)
    if len(mean) != len(var):
        raise ModelError(f"{where}: obs_mean has {len(mean)} numbers and obs_var {len(var)}")
    if min(var) < 0 or eps < 0 or min(var) + eps <= 0 or clip <= 0 or count < 0:
        raise ModelError(
            f"{where}: obs_var, obs_count and epsilon must be at least 0 (obs_var and epsilon not both), clip_obs above 0"
        )
    return Scale(mean, var, clip, eps, count)


def scale_of_tensors(found: Mapping[str, Tensor], where: str) -> Scale:
    """Statistics from safetensors of the same names."""
    return scale_of(
        {k: v.double().flatten().tolist() if k in ("obs_mean", "obs_var") else float(v) for k, v in found.items()}, where
    )


def _numbers(given: Any, where: str) -> tuple[float, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ModelError(f"{where}: expected a list of numbers, got {type(given).__name__}")
    flat = torch.tensor(given, dtype=torch.float64).flatten().tolist() if _regular(given) else None
    if flat is None or not all(math.isfinite(x) for x in flat):
        raise ModelError(f"{where}: expected a list of finite numbers")
    return tuple(flat)


def _regular(given: Any) -> bool:
    try:
        torch.tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return True


def _whole(given: Any, where: str) -> int:
    try:
        number = int(given)  # SB3 writes NumPy integers as text
    except (TypeError, ValueError):
        raise ModelError(f"{where}: expected a whole number, got {given!r}") from None
    if number < 1:
        raise ModelError(f"{where}: expected at least 1, got {number}")
    return number


def _space(given: Any, where: str) -> Space | None:
    """A space from the readable part of what SB3 writes of one."""
    if not isinstance(given, Mapping):
        return None
    kind = str(given.get(":type:", "")).rstrip("'>").rsplit(".", 1)[-1]
    if kind == "Discrete":
        if str(given.get("start", "0")) != "0":
            raise ModelError(f"{where} begins at {given['start']}; expected a Discrete that begins at 0")
        return Discrete(_whole(given.get("n"), where))
    if kind == "Box":
        shape = given.get("_shape", given.get("shape"))
        return _box(shape, given.get("low"), given.get("high"), str(given.get("dtype", "float32")), where)
    raise ModelError(f"{where} is a {kind or 'space of no known kind'}; expected a Box or a Discrete")


def _box(shape: Any, low: Any, high: Any, number: str, where: str) -> Box:
    if not isinstance(shape, Sequence) or not all(isinstance(s, int) and s > 0 for s in shape):
        raise ModelError(f"{where}: expected a shape, got {shape!r}")
    size = tuple(shape)
    if number == "uint8" and len(size) == 3 and size[0] < min(size[1:]):  # SB3 stores pictures with their channels first
        return Box((size[1], size[2], size[0]), 0.0, 255.0, "uint8")
    number = number if number in ("float32", "float64", "uint8") else "float32"
    return Box(size, _bound(low, size, -math.inf), _bound(high, size, math.inf), number)


def _bound(text: Any, shape: tuple[int, ...], otherwise: float) -> float | tuple[float, ...]:
    """Bounds out of NumPy's printing of an array; ``otherwise`` where it is missing, or too long to be printed in full."""
    found = [float(torch.tensor(float(x), dtype=torch.float32)) for x in _NUMBER.findall(str(text or ""))[: math.prod(shape) + 1]]
    if len(found) != math.prod(shape):
        return otherwise
    return found[0] if len(set(found)) == 1 else tuple(found)


def _call(text: Any, name: str) -> dict[str, Any]:
    """Keyword arguments out of ``"dict(log_std_init=-2, activation_fn=nn.ReLU)"``, which is read and never run."""
    if isinstance(text, Mapping):
        return dict(text)
    if not text:
        return {}
    try:
        call = ast.parse(str(text)[:10_000], mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "dict" and not call.args):
        raise ModelError(f"{name}: policy_kwargs: expected a mapping or 'dict(name=value, ...)', got {str(text)[:60]!r}")
    out: dict[str, Any] = {}
    for keyword in call.keywords:
        try:
            out[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:  # a name such as nn.ReLU
            out[str(keyword.arg)] = ast.unparse(keyword.value)
    return out
