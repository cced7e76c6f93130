"""How one Gymnasium environment is made: from its id, a user's file or a callable, with quiet warnings and one-line errors.

Neither torch nor the rest of guerdon is imported here, so that worker processes start in a fraction of a second.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_log = logging.getLogger("guerdon")
_OURS = ("Box2D", "glfw", "imageio", "mujoco", "pygame")  # modules that guerdon[control] brings


class MakeError(Exception):
    """An environment that cannot be made; one line that says why."""


@dataclass(frozen=True)
class Recipe:
    """What it takes to make an environment, as plain data (unless ``id`` is a callable).

    Args:
        id: A registered id, ``file.py:name``, or what makes an environment when it is called.
        options: Named arguments of whatever makes it.
        wrappers: Names in ``gymnasium.wrappers``, or ``{name: named arguments}``; the first is the innermost.
        limit: Steps after which an episode is cut off, in place of the registered limit; None: the registered one.
        fresh: Make a new environment for every episode.
        spec: Gymnasium's own description of the id as JSON, for a process that may not have registered it.
    """

    id: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    wrappers: Sequence[str | Mapping[str, Mapping[str, Any]]] = ()
    limit: int | None = None
    fresh: bool = False
    spec: str = ""

    @property
    def name(self) -> str:
        return self.id if isinstance(self.id, str) else getattr(self.id, "__qualname__", type(self.id).__qualname__)


def make(recipe: Recipe, **more: Any) -> Any:
    """A new environment.

    Args:
        recipe: What to make.
        more: Further named arguments, such as ``render_mode``.

    Raises:
        MakeError: in one line.
    """
    options = {**recipe.options, **more}
    with quiet():
        try:
            import gymnasium
        except ImportError:
            raise MakeError("worlds.Gym needs gymnasium; type: pip install 'guerdon[control]'") from None
        env = None
        try:
            env = _made(recipe, options)
            for wrapper in recipe.wrappers:
                env = _wrapped(env, wrapper)
        except (MakeError, gymnasium.error.DependencyNotInstalled, ImportError) as e:
            raise MakeError(_missing(recipe, e)) from e
        except (Exception, SystemExit) as e:
            raise MakeError(f"{recipe.name} raised {reason_of(e)}") from e
        if not isinstance(env, gymnasium.Env):
            raise MakeError(f"{recipe.name} made {_kind(env)}, expected a gymnasium.Env")
    return env


def _made(recipe: Recipe, options: Mapping[str, Any]) -> Any:
    import gymnasium

    if not isinstance(recipe.id, str):
        return recipe.id(**options)
    if ".py:" in recipe.id:
        return load_name(recipe.id)(**options)
    if recipe.spec and recipe.id not in gymnasium.registry:
        gymnasium.registry[recipe.id] = gymnasium.envs.registration.EnvSpec.from_json(recipe.spec)
    if "mujoco" in str(gymnasium.spec(recipe.id).entry_point):
        _tell_mujoco()
    # The passive checker only warns, and costs more than many environments; what it looks at is checked at every step here.
    limit = {} if recipe.limit is None else {"max_episode_steps": -1}
    return gymnasium.make(recipe.id, disable_env_checker=True, **limit, **options)


def _tell_mujoco() -> None:
    """MuJoCo's warnings go to the log; by itself it writes a file into the current folder. Whoever listens already, goes on."""
    import mujoco

    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(lambda line: _log.info("MuJoCo: %s", str(line).strip()))


def _wrapped(env: Any, wrapper: str | Mapping[str, Mapping[str, Any]]) -> Any:
    from gymnasium import wrappers

    for name, options in {wrapper: {}}.items() if isinstance(wrapper, str) else wrapper.items():
        env = getattr(wrappers, name)(env, **options)
    return env


def _missing(recipe: Recipe, error: Exception) -> str:
    """What to type where a package is missing."""
    if isinstance(error, MakeError):
        return str(error)
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, ImportError) and cause.name):
        cause = cause.__cause__
    name = cause.name if isinstance(cause, ImportError) and cause.name else ""
    lacks = f"no module {name!r}" if name else reason_of(error)
    ours = name.split(".")[0] in _OURS
    return f"{recipe.name} needs a package that is not installed ({lacks})" + (
        "; type: pip install 'guerdon[control]'" if ours else ""
    )


@functools.cache
def load_name(spec: str) -> Callable[..., Any]:
    """What ``file.py:name`` stands for; the file is executed once, and may import its neighbours.

    Raises:
        MakeError: in one line that names the file.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path).resolve()
    if not file.is_file():
        raise MakeError(f"{file}: no such file")
    module_name = f"_guerdon_world_{zlib.crc32(str(file).encode()):08x}"
    if module_name not in sys.modules:
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
        found = importlib.util.spec_from_file_location(module_name, file)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[module_name] = module  # dataclasses look their module up there
        try:
            found.loader.exec_module(module)
        except BaseException as e:
            del sys.modules[module_name]
            if not isinstance(e, Exception | SystemExit):
                raise
            line = f":{e.lineno}" if isinstance(e, SyntaxError) else ""
            raise MakeError(f"{file}{line}: {reason_of(e)}") from e
    target = getattr(sys.modules[module_name], name, None)
    if not callable(target):
        own = vars(sys.modules[module_name]).items()
        public = [n for n, v in own if getattr(v, "__module__", "") == module_name and isinstance(v, type)]
        raise MakeError(f"{file}: no class or function {name!r} in it; classes there: {', '.join(sorted(public)) or 'none'}")
    return target


def close(env: Any) -> None:
    """Close an environment that is done with; that one cannot be closed is only logged."""
    try:
        with quiet():
            env.close()
    except (Exception, SystemExit) as e:  # noqa: BLE001  an environment may raise anything, and nothing is lost any more
        _log.debug("closing an environment raised %s", reason_of(e))


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of packages while an environment is made are theirs, not the caller's; what matters is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_of(error: BaseException) -> str:
    """A raised exception as a short reason: its first line.

    >>> reason_of(ValueError("no wheels"))
    'ValueError: no wheels'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
