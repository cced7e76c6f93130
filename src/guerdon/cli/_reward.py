"""The REWARD argument: ``file.py:name``, ``rewards.Name``, a YAML file, or an inline mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from guerdon.cli._output import note
from guerdon.core.errors import PlanError, nearest


def read_reward(text: str) -> Any:
    """The reward that the argument names. User code is announced before it runs.

    Raises:
        GuerdonError: one line that says what was expected.
    """
    from guerdon.rewards import as_reward
    from guerdon.run.plan import read_tree, user_code
    from guerdon.run.spec import from_tree

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
    elif ".py:" not in text and not text.startswith("rewards."):
        from guerdon import rewards

        hint = nearest(f"rewards.{text}", [f"rewards.{n}" for n in rewards.__all__ if n[0].isupper()])
        raise PlanError(f"REWARD {text!r}: expected file.py:name, rewards.Name, a YAML file or {{use: rewards.Name}}; {hint}")
    announce(user_code(tree))
    return as_reward(from_tree(tree, Any, where, folder))


def announce(code: list[str], *, quiet: bool = False) -> None:
    """Say whose code is about to run, before it does."""
    for name in code:
        note(f"this runs your code: {name}", quiet=quiet)
