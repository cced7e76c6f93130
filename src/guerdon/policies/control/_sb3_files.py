"""Stable-Baselines3 agents as files: an archive, a ``policy.pth``, or safetensors with an index. No pickle is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from guerdon.core.errors import ModelError, nearest
from guerdon.core.hub import line_of
from guerdon.policies.control._sb3_facts import Facts, Scale, of_archive, of_index, scale_of, scale_of_tensors
from guerdon.policies.control._torch_file import LARGEST, archive, checked, load_tensors, read_entry

_JSON = 64 << 20
_PICKLED = (".pkl", ".pickle", ".joblib", ".npy", ".npz", ".bin", ".ckpt")
_STATISTICS = "vecnormalize.json"


@dataclass(frozen=True)
class Saved:
    """An agent as its file has it.

    Args:
        name: The file, for messages.
        tensors: By Stable-Baselines3's names.
        facts: What else is known.
    """

    name: str
    tensors: Mapping[str, Tensor]
    facts: Facts = Facts()


def is_file(path: str) -> bool:
    """Whether a name means an agent's file rather than a folder that guerdon saved."""
    return "#" in path or Path(path).suffix.lower() in (".zip", ".pth", ".pt", ".safetensors", *_PICKLED)


def read(path: str, normalisation: str | None = None) -> Saved:
    """The agent in a file.

    Args:
        path: ``agent.zip``, ``policy.pth``, ``agent.safetensors``, or ``folder#agent`` for a safetensors file in a folder.
        normalisation: JSON or safetensors with ``obs_mean``, ``obs_var``, ``epsilon``, ``clip_obs``; ``"none"``: they were not
            normalised; None: what lies beside the agent.

    Raises:
        ModelError: in one line.
    """
    folder, _, entry = path.partition("#")
    file = Path(folder, f"{entry}.safetensors") if entry else Path(folder)
    file = file.expanduser()
    if file.suffix.lower() in _PICKLED:
        raise ModelError(f"{path}: is a pickle, which can run code when opened; {_hint(file)}")
    if not file.is_file():
        beside = sorted(p.stem for p in file.parent.glob(f"*{file.suffix}")) if file.parent.is_dir() else []
        raise ModelError(f"{path}: no such file" + (f"; {nearest(file.stem, beside)}" if beside else ""))
    if file.stat().st_size > LARGEST:
        raise ModelError(f"{path}: is larger than {LARGEST >> 20} MiB")
    saved = _safetensors(file, path) if file.suffix.lower() == ".safetensors" else _zip(file, path)
    return replace(saved, facts=replace(saved.facts, scale=_scale(file, saved, normalisation)))


def _zip(file: Path, name: str) -> Saved:
    """An archive of ``model.save``, or what ``torch.save`` wrote (a zip file too)."""
    data = file.read_bytes()
    with archive(data, name) as z:
        names = set(z.namelist())
        if "policy.pth" not in names:
            if "data" in names and "pytorch_variables.pth" in names:
                raise ModelError(f"{name}: has no policy.pth; expected an archive of model.save")
            return Saved(name, load_tensors(data, name))
        tensors = load_tensors(read_entry(z, "policy.pth", LARGEST, name), f"{name}: policy.pth")
        facts = Facts()
        if "data" in names:
            facts = of_archive(_json(read_entry(z, "data", _JSON, name), f"{name}: its entry 'data'"), name)
    return Saved(name, tensors, facts)


def _safetensors(file: Path, name: str) -> Saved:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = checked(load(file.read_bytes()), name)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as e:
        raise ModelError(f"{name}: cannot be read: {line_of(e)}") from e
    index = file.with_name("agents.json")
    if not index.is_file():
        return Saved(name, tensors)
    entries = _json(index.read_bytes(), str(index), list)
    for k, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ModelError(f"{index}: entry {k} has no name")
    found = [e for e in entries if e["name"] == file.stem]
    if len(found) != 1:
        count = f"{len(found)} entries" if found else "no entry"
        raise ModelError(f"{index}: has {count} named {file.stem!r}; {nearest(file.stem, (e['name'] for e in entries))}")
    return Saved(name, tensors, of_index(found[0], f"{index}: {file.stem}"))


def _json(data: bytes, where: str, expected: type = dict) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as e:  # UnicodeDecodeError is a ValueError
        raise ModelError(f"{where} is not valid JSON: {line_of(e)}") from None
    if not isinstance(found, expected):
        raise ModelError(f"{where}: expected a {'list' if expected is list else 'mapping'}, got {type(found).__name__}")
    return found


def _scale(file: Path, saved: Saved, given: str | None) -> Scale | None:
    """How observations are normalised: as told, as the index says, or as a file beside the agent says."""
    if given == "none":
        return None
    if given is not None:
        return _statistics(Path(given).expanduser())
    if saved.facts.scale is not None:
        return saved.facts.scale
    folders = (file.parent, file.with_suffix(""))  # RL Baselines3 Zoo has a folder of the agent's name beside it
    for folder in folders:
        if (folder / _STATISTICS).is_file():
            return _statistics(folder / _STATISTICS)
    for folder in folders:
        pickled = sorted(folder.glob("vec*normalize*.pkl")) if folder.is_dir() and file.suffix.lower() != ".safetensors" else []
        if pickled:
            raise ModelError(f"{saved.name}: was trained on normalised observations, and their statistics are a pickle "
                             f"({folder.name}/{pickled[0].name}), which is not opened; {_hint(pickled[0])}; "
                             "normalisation='none' loads the agent without them")  # fmt: skip
    return None


def _statistics(file: Path) -> Scale:
    if file.suffix.lower() in _PICKLED or not file.is_file():
        why = "is a pickle, which can run code when opened" if file.suffix.lower() in _PICKLED else "no such file"
        raise ModelError(f"{file}: {why}; {_hint(Path('vecnormalize.pkl'))}")
    if file.suffix.lower() == ".safetensors":
        return scale_of_tensors(_safetensors(file, str(file)).tensors, str(file))
    return scale_of(_json(file.read_bytes(), str(file)), str(file))


def _hint(file: Path) -> str:
    if "normalize" in file.name.lower() or "normalise" in file.name.lower():
        return f"write {_STATISTICS} beside the agent, in the two lines that the documentation gives (Trained agents)"
    return "save the agent with model.save('agent.zip'), or its weights as safetensors"
