"""A denoising policy as a folder: config.json, model.safetensors and a card, moved to its place when all of it is there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from guerdon.core.errors import ModelError, PlanError
from guerdon.core.files import replacing_folder
from guerdon.core.hub import line_of
from guerdon.policies._plain import FORMAT, from_plain, read_config, to_plain
from guerdon.policies._save import readme
from guerdon.policies.denoising._how import Weight

if TYPE_CHECKING:
    from guerdon.policies.denoising._base import Denoising

_GAUSSIAN = ("diffusion", "flow", "consistency")
_SPECS = "a network, condition, noise schedule or sampler"


def save(policy: Denoising, folder: Path, card: Mapping[str, Any]) -> Path:
    """Writes ``policy`` to ``folder``, which is replaced when everything is there."""
    from safetensors.torch import save_file

    folder = folder.expanduser().resolve()
    config = {
        "guerdon": "denoising",
        "format": FORMAT,
        "kind": policy.kind,
        "dtype": str(policy.dtype).removeprefix("torch."),
        **settings(policy),
    }
    facts = {"base_model": policy.source or "random weights", **card}
    with replacing_folder(folder) as new:
        save_file({k: v.detach().cpu().contiguous() for k, v in policy.state_dict().items()}, new / "model.safetensors")
        (new / "config.json").write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (new / "README.md").write_text(readme(folder.name, facts, "guerdon", _task(policy)), encoding="utf-8")
    return folder


def settings(policy: Any) -> dict[str, Any]:
    """All of a policy but its weights, as plain data; None stands for specs that are not guerdon's."""
    network, condition = policy.spec or (None, None)
    plain = {
        "network": to_plain(network),
        "condition": None if policy.condition is None else to_plain(condition) or "own",
        "kernel": to_plain(policy.how.kernel),
        "steps": policy.how.steps,
        "guidance": policy.how.guidance,
        "weight": policy.weight,
    }
    if policy.kind in _GAUSSIAN:
        own = {"shape": list(policy.shape), "noise": to_plain(policy.schedule), "predict": policy.predict, "clip": policy.clip}
    else:
        own = {
            "length": policy.length, "vocabulary": policy.vocabulary, "train_steps": policy.train_steps,
            "temperature": policy.how.temperature,
        }  # fmt: skip
    return own | plain


def load_folder(folder: Path, name: str, dtype: str | None = None) -> Denoising:
    """The policy in a folder of ``save``, of the class that was saved.

    Args:
        folder: Where it is.
        name: What messages call it.
        dtype: Number format; None: as saved.

    Raises:
        ModelError: in one line, naming the key or tensor that does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder, name, "denoising", "a denoising policy")
    if config.get("weight") not in get_args(Weight):
        raise ModelError(
            f"{name}: config.json: weight is {config.get('weight')!r}, expected one of {', '.join(get_args(Weight))}"
        )
    if dtype not in (None, "float32", "float64"):
        raise PlanError(f"{name}: dtype is {dtype!r}, expected float32 or float64")
    try:
        weights = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError, ValueError) as e:
        raise ModelError(f"{name}: model.safetensors cannot be read: {line_of(e)}") from None
    _modest(config, max(100_000, sum(w.numel() for w in weights.values())), name)
    try:
        policy = _build(config, f"{name}: config.json")
    except (PlanError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as e:
        raise ModelError(f"{name}: config.json: {line_of(e)}") from None
    _fill(policy, weights, name)
    if config["weight"] != policy.weight:
        policy.weight = config["weight"]
    policy.source = name
    return policy if dtype is None else policy.to(getattr(torch, dtype))


def _build(config: Mapping[str, Any], where: str) -> Denoising:
    """A new policy as config.json describes it."""
    from guerdon.policies.denoising._conditions import Edits, Labels, Words
    from guerdon.policies.denoising._kernels import Kernel
    from guerdon.policies.denoising._levels import Noise
    from guerdon.policies.denoising._reveal import Reveal
    from guerdon.policies.denoising._token_networks import TokenMLP, TokenTable, TokenTransformer
    from guerdon.policies.denoising.consistency import Consistency
    from guerdon.policies.denoising.diffusion import Diffusion
    from guerdon.policies.denoising.flow import Flow
    from guerdon.policies.denoising.masked import MaskedDiffusion
    from guerdon.policies.denoising.networks import DenoiserMLP, UNet

    kinds: dict[str, Any] = {c.kind: c for c in (Consistency, Diffusion, Flow, MaskedDiffusion)}
    if str(config.get("kind")) not in kinds:
        raise ModelError(f"{where}: kind is {config.get('kind')!r}, expected one of {', '.join(sorted(kinds))}")
    made, gaussian = kinds[config["kind"]], config["kind"] in _GAUSSIAN

    def spec(key: str, kind: Any, expected: str) -> Any:
        value = from_plain(config.get(key), f"{where}: {key}", _SPECS)
        if value in (None, "own"):
            raise ModelError(f"{where}: {key} was one of its own when it was saved, which config.json cannot describe; build the "
                             "policy and load model.safetensors into it")  # fmt: skip
        if not isinstance(value, kind):
            said = repr(value) if isinstance(value, str | int | float) else type(value).__name__
            raise ModelError(f"{where}: {key} is {said}, expected {expected}")
        return value

    parts: dict[str, Any] = {
        "network": spec("network", *_one_of(*((UNet, DenoiserMLP) if gaussian else (TokenTransformer, TokenMLP, TokenTable)))),
        "condition": spec("condition", *_one_of(Labels, Words, Edits)) if config.get("condition") is not None else None,
        "kernel": spec("kernel", Kernel if gaussian else Reveal, "a sampler" if gaussian else "an order of revealing"),
        "steps": _number(config, "steps", int, where),
        "guidance": _number(config, "guidance", float, where),
        "dtype": config["dtype"],
    }
    if not gaussian:
        letters = config.get("vocabulary")
        length, vocabulary = (
            _number(config, "length", int, where),
            letters if isinstance(letters, str) else _number(config, "vocabulary", int, where),
        )
        train = None if config.get("train_steps") is None else _number(config, "train_steps", int, where)
        return made.of(length, vocabulary, **parts, train_steps=train, temperature=_number(config, "temperature", float, where))
    shape = config.get("shape")
    if not isinstance(shape, list) or not shape or any(type(s) is not int or s < 1 for s in shape):
        raise ModelError(f"{where}: shape is {shape!r}, expected a list of whole numbers from 1")
    parts["clip"] = None if config.get("clip") is None else _number(config, "clip", float, where)
    return made._built(shape, seed=0, noise=spec("noise", Noise, "a noise schedule"), predict=config.get("predict"), **parts)


def _one_of(*kinds: type) -> tuple[tuple[type, ...], str]:
    return kinds, f"one of {', '.join(k.__name__ for k in kinds)}"


def _number(config: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = config.get(key)
    if type(value) is int or (kind is float and isinstance(value, float) and math.isfinite(value)):
        return value
    raise ModelError(f"{where}: {key} is {value!r}, expected a {'whole ' if kind is int else ''}number")


def _modest(config: Mapping[str, Any], most: int, name: str) -> None:
    """Sizes that the weights at hand cannot have are refused before memory is asked for them."""

    def numbers(tree: Any, key: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
        if depth > 20:
            raise ModelError(f"{name}: config.json: {key} is nested too deep")
        if isinstance(tree, Mapping):
            for k, v in tree.items():
                yield from numbers(v, key or str(k), depth + 1)
        elif isinstance(tree, list):
            yield key, len(tree)
            for v in tree:
                yield from numbers(v, key, depth + 1)
        elif isinstance(tree, int):
            yield key, tree

    for key, value in numbers(config, ""):
        if abs(value) > most:
            raise ModelError(f"{name}: config.json: {key}: {value} is more than the weights in model.safetensors can bear out")


def _fill(policy: Denoising, weights: Mapping[str, Tensor], name: str) -> None:
    """Puts the weights in place, to the last bit.

    Raises:
        ModelError: naming a tensor that is missing, unknown, or of another shape or number format.
    """
    mine = policy.state_dict()
    for what, keys in (("lacks", mine.keys() - weights.keys()), ("has an unknown", weights.keys() - mine.keys())):
        if keys:
            raise ModelError(f"{name}: model.safetensors does not fit its config.json: it {what} tensor {min(keys)}")
    for key, value in mine.items():
        given = weights[key]
        if given.shape != value.shape or given.dtype != value.dtype:
            said, expected = (f"{str(w.dtype).removeprefix('torch.')} {tuple(w.shape)}" for w in (given, value))
            raise ModelError(f"{name}: model.safetensors does not fit its config.json: {key} is {said}, expected {expected}")
    policy.load_state_dict(weights)


def _task(policy: Any) -> str | None:
    """What the hub calls it."""
    from guerdon.policies.denoising._conditions import Edits, Words

    asked = (policy.spec or (None, None))[1]
    if len(policy.shape) not in (3, 4):
        return None
    if isinstance(asked, Edits):
        return "image-to-image"
    made = "image" if len(policy.shape) == 3 else "video"
    return f"text-to-{made}" if isinstance(asked, Words) else "unconditional-image-generation" if made == "image" else None
