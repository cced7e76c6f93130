"""User code, from a file that the plan names openly: ``file.py:name``. There is no other way in."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.core import Reward, RewardError, RewardOutput, Rollout, nearest
from guerdon.core.reward import Scope
from guerdon.rewards import worker
from guerdon.rewards.lift import Function, as_reward


@dataclass(frozen=True)
class Loaded:
    """A Reward object from a user's file, which remembers where it came from."""

    origin: str
    reward: Reward = field(repr=False, compare=False)
    file: str = ""

    @property
    def scope(self) -> Scope:
        return self.reward.scope

    @property
    def differentiable(self) -> bool:
        return self.reward.differentiable

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return self.reward(rollout)


def load_reward(spec: str, folder: str | Path | None = None) -> Reward:
    """The reward that ``file.py:name`` stands for: a function (see ``as_reward``), a Reward, or a class of Rewards without
    required fields. The file is executed.

    Args:
        spec: Path of a Python file and a name in it.
        folder: Where a relative path begins; None: the current folder.

    Raises:
        RewardError: one line that names the file (and its line), and what is wrong there.
    """
    found, file, public = load_name(spec, folder)
    if not callable(found):
        name = spec.rpartition(":")[2]
        raise RewardError(f"{file}: {name} is a {type(found).__name__}, not a function or a Reward; {nearest(name, public)}")
    reward = as_reward(found)
    if isinstance(reward, Function):
        return Function(spec, reward.fn, reward.scope, str(file))
    return Loaded(spec, reward, str(file))


def load_name(spec: str, folder: str | Path | None = None) -> tuple[Any, Path, list[str]]:
    """(what ``file.py:name`` stands for, the file, names of what can be called in it); a class is made without arguments.

    Raises:
        RewardError: one line that names the file (and its line), and what is wrong there.
    """
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise RewardError(f"{spec!r}: expected 'file.py:name'")
    file = (Path(folder or ".") / path).resolve()
    if not file.is_file():
        raise RewardError(f"{file}: no such file; {_neighbours(file)}")
    try:
        module = worker.load_module(str(file))
    except SyntaxError as e:
        raise RewardError(f"{e.filename or file}:{e.lineno}: {type(e).__name__}: {e.msg}") from None
    except (Exception, SystemExit) as e:  # noqa: BLE001  a user's file may do anything; one line says where and what
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == str(file)]
        raise RewardError(f"{file}{f':{lines[-1]}' if lines else ''}: {worker.reason_of(e)}") from None
    public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    if not hasattr(module, name):
        raise RewardError(f"{file}: no {name!r} in it; {nearest(name, public)}")
    found = getattr(module, name)
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as e:
            raise RewardError(f"{file}: {name} is a class that cannot be made without arguments ({e})") from None
    return found, file, public


def _neighbours(file: Path) -> str:
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}"
    found = sorted(p.name for p in file.parent.glob("*.py"))
    return nearest(file.name, found[:20]) if found else f"no Python file in {file.parent}"
