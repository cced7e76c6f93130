"""A Control policy as a folder: config.json, model.safetensors and a card, written beside its place, then moved there at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from guerdon.core.errors import ModelError, PlanError
from guerdon.core.files import replacing_folder
from guerdon.core.hub import line_of, reading
from guerdon.core.world import Box, Space, Spaces, WorldSpec
from guerdon.policies._plain import FORMAT, from_plain, read_config, to_plain
from guerdon.policies._save import readme
from guerdon.policies.control._bodies import BodySpec

if TYPE_CHECKING:
    from guerdon.policies.control.policy import Control

_NEEDED = ["config.json", "*.safetensors", "*.zip", "*.pkl", "*.json"]  # pickles only to see that they are there


def save(policy: Control, folder: Path, card: Mapping[str, Any]) -> Path:
    """Writes ``policy`` to ``folder``, which is replaced when everything is there."""
    from safetensors.torch import save_file

    folder = folder.expanduser().resolve()
    scale = policy.front.scale
    body, head = policy.spec if policy.spec is not None else (None, None)
    config = {
        "guerdon": "control",
        "format": FORMAT,
        "observation": to_plain(policy.observation),
        "action": to_plain(policy.action),
        "body": to_plain(body),
        "head": to_plain(head),
        "normalise": None if scale is None else {"clip": scale.clip, "eps": scale.eps},
        "dtype": str(policy.dtype).removeprefix("torch."),
        "world": None if isinstance(policy.world, Spaces) else str(policy.world),  # for readers
    }
    facts = {"base_model": policy.source or "random weights", "world": config["world"], **card}
    about = readme(folder.name, {k: v for k, v in facts.items() if v is not None}, "guerdon", "reinforcement-learning")
    with replacing_folder(folder) as new:
        save_file({k: v.detach().cpu().contiguous() for k, v in policy.state_dict().items()}, new / "model.safetensors")
        (new / "config.json").write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (new / "README.md").write_text(about, encoding="utf-8")
    return folder


def find_folder(name: str) -> Path | str:
    """The folder of a saved policy; a path to the one Stable-Baselines3 archive where there is that instead.

    Raises:
        ModelError: where there is neither.
    """
    folder = Path(name).expanduser()
    if not folder.exists():
        if name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise ModelError(f"{name}: no such file or folder")
        folder = _from_hub(name)
    if not folder.is_dir():
        raise ModelError(f"{name}: is a file of no known kind; expected a folder, or *.zip, *.pth, *.safetensors")
    if _is_ours(folder / "config.json"):
        return folder
    archives = sorted(p.name for p in folder.glob("*.zip"))
    if len(archives) == 1:
        return str(folder / archives[0])
    if archives or (folder / "agents.json").is_file():
        names = [f"{name}/{a}" for a in archives] or [f"{name}#{p.stem}" for p in sorted(folder.glob("*.safetensors"))]
        raise ModelError(f"{name}: holds {len(names)} agents; name one of them, such as {next(iter(names), 'folder#name')!r}")
    if (folder / "config.json").is_file():
        raise ModelError(f"{name}: holds another kind of model; its config.json is not that of a Control policy")
    raise ModelError(f"{name}: has no config.json")


def load_folder(
    folder: Path, name: str, world: WorldSpec | Spaces | None, dtype: Literal["float32", "float64"] | None
) -> Control:
    """The policy in a folder of ``save``."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from guerdon.policies.control.policy import Control

    config = read_config(folder, name, "control", "a Control policy")
    number = config["dtype"]
    body, head, observation, action = (
        from_plain(config.get(k), f"{name}: config.json: {k}", "a body, head or space")
        for k in ("body", "head", "observation", "action")
    )
    if body is None or head is None:
        raise ModelError(f"{name}: was saved with modules of its own, which config.json cannot describe; build the policy and "
                         "load model.safetensors into it")  # fmt: skip
    for key, part, fits in (("body", body, isinstance(body, BodySpec)), ("head", head, hasattr(head, "build")),
                            ("observation", observation, isinstance(observation, Space)),
                            ("action", action, isinstance(action, Space))):  # fmt: skip
        if not fits:
            raise ModelError(f"{name}: config.json: {key} is {part!r}")
    _fits(name, "observes", observation, None if world is None else world.observation)
    _fits(name, "does", action, None if world is None else world.action)
    scale = config.get("normalise")
    try:
        weights = load_file(folder / "model.safetensors")
        policy = Control.of(world or Spaces(observation, action), body=body, head=head, normalise=scale is not None, dtype=number)
        if scale is not None and policy.front.scale is not None:
            policy.front.scale.clip, policy.front.scale.eps = float(scale["clip"]), float(scale["eps"])
        policy.load_state_dict(weights)
    except PlanError as e:
        raise ModelError(f"{name}: config.json: {e}") from None
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as e:
        said = line_of(e) if not isinstance(e, RuntimeError) else " ".join(str(e).split())[:200]  # which tensor comes later
        raise ModelError(f"{name}: model.safetensors does not fit its config.json: {said}") from None
    policy.source = name
    return policy if dtype is None or dtype == number else _as(policy, dtype)


def _as(policy: Control, dtype: Literal["float32", "float64"]) -> Control:
    """Statistics of observations keep their own precision."""
    policy.front.dtype = getattr(torch, dtype)
    policy.body.to(policy.front.dtype)
    policy.head.to(policy.front.dtype)
    return policy


def _fits(name: str, verb: str, saved: Space, given: Space | None) -> None:
    if given is None or saved == given:
        return
    if isinstance(saved, Box) and isinstance(given, Box) and verb == "observes" and saved.shape == given.shape:
        if (saved.number == "uint8") == (given.number == "uint8"):
            return  # bounds of what is seen change nothing
    raise ModelError(f"{name}: the policy {verb} {saved}, and the world has {given}")


def _is_ours(path: Path) -> bool:
    try:
        return '"guerdon"' in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _from_hub(name: str) -> Path:
    """A copy of what is needed of a name on the hub."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(f"{name}: no such file or folder (names on the hub need: pip install 'guerdon[text]')") from None
    with reading(name):
        return Path(snapshot_download(name, allow_patterns=_NEEDED))
