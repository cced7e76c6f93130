"""IcuSepsis: treating sepsis, a tabular world estimated from hospital records."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from guerdon.core.errors import DataError, PlanError, nearest
from guerdon.core.world import Discrete
from guerdon.worlds.mdp import MDP, Array, read_arrays
from guerdon.worlds.tabular import TabularWorld, check_horizon

DEATH, SURVIVAL, AFTERWARDS = 713, 714, 715
Inadmissible = Literal["mean", "terminate"]
_DYNAMICS = ("tx_mat", "r_mat", "d_0")
_CLINICAL = ("expert_policy", "state_cluster_centers", "sofa_scores")


@dataclass(frozen=True)
class IcuSepsis:
    """One patient per episode: 713 states of health, 25 treatments (five levels of vasopressor by five of fluids).

    Surviving pays 1, everything else 0. The numbers are read from the package ``icu-sepsis``, which is not imported (it wants the
    retired ``gym``); ``pip install --no-deps icu-sepsis`` is enough.

    Args:
        path: Folder with ``dynamics.npz`` and ``admissible_actions.txt``; None: that of the installed package.
        inadmissible: What a treatment does that was too rare in the records to know: ``"mean"``, the average of those that were
            not (the benchmark's own rule); ``"terminate"``, the patient dies.
        horizon: An episode is cut off after this many steps (None: never).

    Raises:
        DataError: on opening, where the package or its files are missing, with what to type.

    Example:
        >>> IcuSepsis(inadmissible="terminate").action
        Discrete(n=25)

    Source: ICU-Sepsis (arXiv:2406.05646).
    """

    path: str | None = None
    inadmissible: Inadmissible = "mean"
    horizon: int | None = 500

    def __post_init__(self) -> None:
        if self.inadmissible not in get_args(Inadmissible):
            hint = nearest(self.inadmissible, get_args(Inadmissible))
            raise PlanError(f"IcuSepsis: inadmissible is {self.inadmissible!r}; {hint}")
        check_horizon("IcuSepsis", self.horizon)

    @property
    def observation(self) -> Discrete:
        return Discrete(AFTERWARDS + 1)

    @property
    def action(self) -> Discrete:
        return Discrete(25)

    @property
    def folder(self) -> Path:
        """Where the numbers are."""
        if self.path is not None:
            return Path(self.path)
        found = importlib.util.find_spec("icu_sepsis")  # finds the package without running it
        if found is None or not found.submodule_search_locations:
            raise DataError("IcuSepsis: its numbers are not installed; type: pip install --no-deps icu-sepsis")
        return Path(found.submodule_search_locations[0]) / "envs" / "assets"

    @cached_property
    def mdp(self) -> MDP:
        return _mdp(self.folder, self.inadmissible)

    @property
    def expert(self) -> Array:
        """[716, 25] how often clinicians chose each treatment, rare ones left out."""
        return _clinical(self.folder)["expert_policy"]

    @property
    def features(self) -> Array:
        """[716, 47] the average patient of every state, in clinical measurements."""
        return _clinical(self.folder)["state_cluster_centers"]

    @property
    def sofa(self) -> Array:
        """[716] average score of organ failure (SOFA) in every state."""
        return _clinical(self.folder)["sofa_scores"]

    @property
    def admissible(self) -> Array:
        """[716, 25] bool, treatments that were common enough in the records to know what they do."""
        return _admissible(self.folder)

    def open(self, n: int) -> TabularWorld:
        return TabularWorld(self.mdp, n, self.horizon)


@lru_cache(maxsize=1)
def _clinical(folder: Path) -> dict[str, Array]:
    arrays = read_arrays(folder / "dynamics.npz", _CLINICAL)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


@lru_cache(maxsize=2)
def _mdp(folder: Path, inadmissible: Inadmissible) -> MDP:
    p, r, start = read_arrays(folder / "dynamics.npz", _DYNAMICS).values()
    expected = (AFTERWARDS + 1, 25, AFTERWARDS + 1)
    if p.shape != expected or r.shape != expected:
        raise DataError(
            f"{folder}: expected transitions and rewards of shape {list(expected)}, got {list(p.shape)} and {list(r.shape)}"
        )
    if inadmissible == "terminate":
        p[~_admissible(folder)] = np.eye(len(p))[DEATH]
    terminal = np.isin(np.arange(len(p)), (DEATH, SURVIVAL, AFTERWARDS))
    return MDP(p, r, start, terminal)


@lru_cache(maxsize=1)
def _admissible(folder: Path) -> Array:
    """The text file: first how many treatments each state admits, then a line with them for every state."""
    path = folder / "admissible_actions.txt"
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    counts, *lines = path.read_text(encoding="utf8").splitlines()
    table = np.zeros((AFTERWARDS + 1, 25), dtype=bool)
    if len(counts.split()) != len(table) or len(lines) < len(table):
        raise DataError(f"{path}: expected a line for each of {len(table)} states after the first")
    for state, (count, line) in enumerate(zip(counts.split(), lines, strict=False)):
        try:
            table[state, [int(a) for a in line.split()]] = True
        except (ValueError, IndexError):
            raise DataError(f"{path}, line {state + 2}: expected numbers of treatments from 0 to 24") from None
        if table[state].sum() != int(count):
            raise DataError(f"{path}, line {state + 2}: expected {count} treatments, got {line.strip()!r}")
    return table
