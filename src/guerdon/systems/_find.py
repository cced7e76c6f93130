"""Which systems there are: the files of the family folders, by their names; none is imported to be listed."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from guerdon.core.errors import GuerdonError, PlanError, nearest
from guerdon.systems._system import System

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Found:
    """A system's file.

    Args:
        id: Such as ``clip-delta``.
        family: Such as ``reward-shaping``; "" for a file of one's own.
        path: The file.
    """

    id: str
    family: str
    path: Path

    @property
    def place(self) -> str:
        """What is imported: a module of guerdon, or one's own file."""
        return f"guerdon.systems.{self.path.parent.name}.{self.path.stem}" if self.family else str(self.path)

    @property
    def source(self) -> str:
        """Where its study is found, for ``guerdon.study.run_study``."""
        return f"{self.place}:SYSTEM.study"

    def load(self) -> System:
        """Imports the file; one's own is executed.

        Raises:
            PlanError: where it cannot be read or holds no ``SYSTEM``; names the line.
        """
        from guerdon.study.worker import module_of

        try:
            module = module_of(self.place)
        except SyntaxError as e:
            raise PlanError(f"{e.filename or self.path}:{e.lineno}: {e.msg}") from None
        except Exception as e:  # anything may happen in a file that somebody writes; the line says where
            if self.family and isinstance(e, ModuleNotFoundError):
                raise  # a package of an extra
            lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if Path(f.filename) == self.path.resolve()]
            reason = str(e) if isinstance(e, GuerdonError) else f"{type(e).__name__}: {e}"
            raise PlanError(f"{self.path}{f':{lines[-1]}' if lines else ''}: {reason}") from e
        system = getattr(module, "SYSTEM", None)
        if not isinstance(system, System):
            raise PlanError(f"{self.path}: no SYSTEM in it; expected SYSTEM = System(...)")
        return system


@cache
def _all() -> dict[str, Found]:
    files = sorted(p for p in HERE.glob("[!_]*/[!_]*.py"))
    return {f.id: f for p in files for f in [Found(p.stem.replace("_", "-"), p.parent.name.replace("_", "-"), p)]}


def names(family: str | None = None) -> list[str]:
    """The ids of all systems, or of a family's.

    Raises:
        PlanError: for an unknown family, with the nearest known one.
    """
    if family is not None and family not in families():
        raise PlanError(f"no family {family!r}; {nearest(family, families())}")
    return sorted(i for i, f in _all().items() if family in (None, f.family))


def families() -> list[str]:
    """The families there are."""
    return sorted({f.family for f in _all().values()})


def find(name: str) -> Found:
    """A system's file by its id, or one's own by its path (``./mine.py``).

    Raises:
        PlanError: for an unknown id, with the nearest known one.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            near = nearest(path.stem.replace("_", "-"), _all())
            raise PlanError(f"{name}: there is no such file; {near}")
        for known in _all().values():  # guerdon's own file, named by its path
            if known.path == path.resolve():
                return known
        return Found(path.stem.replace("_", "-"), "", path)
    if name not in _all():
        raise PlanError(f"no system {name!r}; {nearest(name, _all())}")
    return _all()[name]


def get(name: str) -> System:
    """A system by its id or its file's path.

    Raises:
        PlanError: for an unknown id, with the nearest known one.
    """
    return find(name).load()
