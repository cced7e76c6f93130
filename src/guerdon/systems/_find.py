"""Which systems there are: the files of the family folders, by their names; none is imported to be listed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from guerdon.core.errors import PlanError, nearest
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
        """Imports the file.

        Raises:
            PlanError: where it holds no ``SYSTEM``.
        """
        from guerdon.study.worker import module_of

        system = getattr(module_of(self.place), "SYSTEM", None)
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
            raise PlanError(f"{name}: there is no such file")
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
