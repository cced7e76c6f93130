"""Molecules: a SMILES string that is valid, and how good its molecule is."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guerdon.core import PlanError, nearest
from guerdon.rewards.child import Target
from guerdon.rewards.verifiers.processes import check_in_processes
from guerdon.rewards.verifiers.verifier import Checked, Verifier

_TARGET = Target(str(Path(__file__).with_name("molecules_worker.py")), "measure", prepare="prepare", memory=2 << 30)
# Goal -> the values that are worth 0 and 1.
ENDS: dict[str, tuple[float, float] | None] = {
    "valid": (0.0, 1.0), "qed": (0.0, 1.0), "logp": (-5.0, 10.0), "sa": (10.0, 1.0), "logp_minus_sa": (-15.0, 8.0),
    "penalized_logp": (-20.0, 10.0), "weight": None, "similarity": (0.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Molecules(Verifier):
    """How good the molecule in an output is, in [0, 1]; 0 where the output is no valid SMILES (RDKit).

    What can be asked for, and the values worth 0 and 1:

    - ``valid``: 1 for every molecule.
    - ``qed``: drug-likeness (Bickerton et al. 2012), 0 to 1.
    - ``logp``: octanol-water partition (Wildman and Crippen 1999), -5 to 10.
    - ``sa``: synthetic accessibility (Ertl and Schuffenhauer 2009; 1 is easy), 10 to 1.
    - ``logp_minus_sa``: what constrained optimisation starts from (arXiv:1802.04364), -15 to 8.
    - ``penalized_logp``: logP - SA - max(0, largest ring - 6), each normalised over ZINC (arXiv:1806.02473), -20 to 10.
    - ``weight``: molecular weight in g/mol; ``ends`` must be given.
    - ``similarity``: Tanimoto similarity to ``similar_to``, by Morgan fingerprints of radius 2 in 2,048 bits, 0 to 1.

    A value counts linearly between its two ends and no more beyond them, so that an invalid output is never better than a valid
    one, as it would be with a logP of -2 against a plain 0. Parts hold the values in their own units and ``valid``; they are 0 in
    rows that are not valid. A molecule without an atom other than hydrogen, or with the wildcard ``*``, is not valid; several,
    joined by a dot, are one. Uniqueness and novelty are questions about many outputs, not about one. RDKit runs in processes
    that are killed after ``timeout``; such a row is not ok, and neither is one whose reference molecule cannot be read.

    Args:
        goal: One of these, or several: the total is then the geometric mean of what they are worth.
        ends: Goal -> the values worth 0 and 1, such as ``{"weight": (600, 300)}``.
        similar_to: Column with a reference molecule as SMILES; gives the part ``similarity``.
        at_least: Similarity below which the total is 0.
        tag: Where the output is more than a SMILES string: the molecule is in the last ``<tag>...</tag>``.
        longest: Characters of the longest SMILES that is tried; a longer one is not valid.
        timeout: Seconds per row.

    Raises:
        PlanError: for an unknown goal, or where the package ``rdkit`` is missing.

    Example:
        >>> from guerdon.rewards import recorded
        >>> out = Molecules("qed")(recorded(["q"] * 3, ["CC(=O)Oc1ccccc1C(=O)O", "CCCCCCCCCC", "C1CC("]))
        >>> [round(t, 3) for t in out.total.tolist()], out.parts["valid"].tolist()
        ([0.55, 0.468, 0.0], [1.0, 1.0, 0.0])
    """

    goal: str | tuple[str, ...] = "qed"
    ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    similar_to: str = ""
    at_least: float = 0.0
    tag: str = ""
    longest: int = 500
    timeout: float = 10.0

    def __post_init__(self) -> None:
        for name in (*self.goals, *self.ends):
            if name not in ENDS:
                raise PlanError(f"Molecules: unknown goal {name!r}; {nearest(str(name), ENDS)}")
        if not self.goals or len(set(self.goals)) < len(self.goals):
            raise PlanError(f"Molecules: goal must name at least one property, each once, got {self.goal!r}")
        for name, given in self.ends.items():
            pair: Any = given
            if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] != pair[1]):
                raise PlanError(f"Molecules: ends[{name!r}] must be two different numbers (worth 0, worth 1), got {pair!r}")
        for name in self.goals:
            if name not in self.ends and ENDS[name] is None:
                raise PlanError(f"Molecules: {name!r} needs ends, such as {{{name!r}: (600, 300)}}: the values worth 0 and 1")
        if not self.similar_to and (self.at_least or "similarity" in self.goals):
            raise PlanError("Molecules: similarity needs similar_to, the column with the reference molecules")
        if not 0 <= self.at_least <= 1:
            raise PlanError(f"Molecules: at_least is a similarity in [0, 1], got {self.at_least}")
        if not self.timeout > 0 or not self.longest > 0:
            raise PlanError(f"Molecules: timeout and longest must be above 0, got {self.timeout} s and {self.longest}")
        if importlib.util.find_spec("rdkit") is None:
            raise PlanError("Molecules needs the package rdkit: pip install 'guerdon[molecules]'")

    @property
    def goals(self) -> tuple[str, ...]:
        """``goal`` as a tuple."""
        return (self.goal,) if isinstance(self.goal, str) else tuple(self.goal)

    def columns(self) -> Mapping[str, str]:
        return {"reference": self.similar_to} if self.similar_to else {}

    def check(self, output: str, **task: Any) -> Checked:
        return self.checks([output], [task])[0]

    def checks(self, outputs: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> list[Checked]:
        texts = [self._smiles(output) for output in outputs]
        goals = [g for g in self.goals if g != "valid"]
        calls = [{"goals": goals, "reference": str(t["reference"] or "") if self.similar_to else None} for t in tasks]
        sent = [text if len(text) <= self.longest else "" for text in texts]
        found = check_in_processes(_TARGET, sent, calls, self.timeout)
        return [self._judged(checked, text) for checked, text in zip(found, texts, strict=True)]

    def _smiles(self, output: str) -> str:
        if not self.tag:
            return output.strip()
        before, end, _ = output.rpartition(f"</{self.tag}>")
        _, start, inside = before.rpartition(f"<{self.tag}>")
        return inside.strip() if start and end else ""

    def _judged(self, checked: Checked, text: str) -> Checked:
        if checked.reason:
            return checked
        if not checked.total:
            return replace(checked, note=self._complaint(text))
        similarity = checked.parts.get("similarity", 1.0)
        if similarity < self.at_least:
            return replace(checked, total=0.0, note=f"similarity {similarity:.3f} is below {self.at_least:g}")
        worth = [self._worth(goal, checked.parts[goal]) for goal in self.goals]
        return replace(checked, total=math.prod(worth) ** (1 / len(worth)))

    def _worth(self, goal: str, value: float) -> float:
        worst, best = self.ends.get(goal) or ENDS[goal] or (0.0, 1.0)
        return min(1.0, max(0.0, (value - worst) / (best - worst)))

    def _complaint(self, text: str) -> str:
        if not text:
            return f"nothing in <{self.tag}>" if self.tag else "no text"
        if len(text) > self.longest:
            return f"{len(text)} characters, above {self.longest}"
        return f"no molecule in {text[:80]!r}"
