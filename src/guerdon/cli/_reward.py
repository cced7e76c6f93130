"""The REWARD argument: ``file.py:name``, ``rewards.Name``, a YAML file, an inline mapping, or a learned reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from guerdon.cli._output import note
from guerdon.core.errors import ModelError, PlanError, nearest

HUB = "hf:"  # what stands before a name of the hub, so that a mistyped path never becomes a download
SPELLINGS = "file.py:name, rewards.Name, a YAML file, {use: rewards.Name}, the folder of a learned reward, or hf:ORG/NAME"


def read_reward(text: str) -> Any:
    """The reward that the argument names: loaded, and user code announced before it runs.

    Raises:
        GuerdonError: one line that says what was expected.
    """
    from guerdon.rewards import as_reward
    from guerdon.run.plan import read_tree, user_code
    from guerdon.run.reward_tree import build_reward
    from guerdon.run.spec import from_tree

    if text.startswith(HUB) or Path(text).is_dir():
        return _learned(text)
    folder: Path | None = None
    tree: Any = text
    where = "REWARD"
    if text.endswith((".yaml", ".yml")):
        tree, folder, where = read_tree(text), Path(text).resolve().parent, text
        if "use" not in tree:  # a plan, or a mapping around the reward
            if "reward" not in tree:
                raise PlanError(f"{text}: expected 'use: rewards.Name', or a key 'reward'; it has: {', '.join(map(str, tree))}")
            tree = tree["reward"]
    elif text.startswith("{"):
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as e:
            raise PlanError(f"REWARD {text!r}: not a valid YAML mapping ({getattr(e, 'problem', e)})") from None
    elif not names_reward(text):
        raise PlanError(f"REWARD {text!r}: {_unknown(text)}")
    announce(user_code(tree))
    return as_reward(build_reward(from_tree(tree, Any, where, folder)))


def names_reward(text: str) -> bool:
    """Whether an argument is written like a reward, whatever lies in the folders here.

    >>> names_reward("reward.py:reward"), names_reward("runs/demo")
    (True, False)
    """
    return ".py:" in text or text.startswith((HUB, "rewards.", "{")) or text.endswith((".yaml", ".yml"))


def _learned(text: str) -> Any:
    """A learned reward of a folder, or of the hub.

    Raises:
        ModelError: for a folder that holds none.
    """
    from guerdon.rewards import RewardModel, load_learned

    if text.startswith(HUB):
        return RewardModel.from_pretrained(text.removeprefix(HUB))
    folder = Path(text)
    if (folder / "events.jsonl").exists():
        raise ModelError(f"{text}: is a run, expected a reward; the reward it was trained with is in {folder / 'plan.yaml'}")
    if not is_learned(folder):
        raise ModelError(f"{text}: no learned reward in this folder (expected guerdon.json, or config.json and *.safetensors)")
    return load_learned(text)


def is_learned(folder: Path) -> bool:
    """Whether a folder looks like that of a learned reward."""
    return any((folder / name).is_file() for name in ("guerdon.json", "config.json"))


def time_limit(reward: Any) -> float | None:
    """Seconds of a call: a learned reward computes as long as it must, anything else counts as hung after a minute."""
    from guerdon.run.reward_tree import networks

    return None if networks(reward) else 60.0


def _unknown(text: str) -> str:
    """What a REWARD that fits nothing was perhaps meant to be."""
    from guerdon import rewards

    if "/" in text or text.startswith("."):
        beside = Path(text).parent
        near = nearest(Path(text).name, [p.name for p in beside.iterdir()][:200]) if beside.is_dir() else f"no folder {beside}"
        return f"no such folder; {near}" + (f" (a model of the hub is written {HUB}{text})" if text.count("/") == 1 else "")
    names = [f"rewards.{n}" for n in rewards.__all__ if n[0].isupper()]
    return f"expected {SPELLINGS}; {nearest(f'rewards.{text}', names)}"


def announce(code: list[str], *, quiet: bool = False) -> None:
    """Say whose code is about to run, before it does."""
    for name in code:
        note(f"this runs your code: {name}", quiet=quiet)
