"""What the processes behind ``Molecules`` run: RDKit reads a SMILES string and computes what is asked of the molecule."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

# Mean and standard deviation over the 250k molecules of ZINC (arXiv:1806.02473): logP, -SA, -(largest ring - 6).
_ZINC = (
    (2.4570953396190123, 1.434324401111988),
    (-3.0525811293166134, 0.8335207024513095),
    (-0.0485696876403053, 0.2860212110245455),
)
_SIGNS = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$:/\\.%]+")  # of SMILES, without the wildcards * and ~


class UnreadableReference(Exception):
    """The molecule to be similar to, given with the data, cannot be read, so nothing can be said of the output."""


def prepare() -> None:
    """Load what takes long, and compute everything once, before any clock runs."""
    _rdkit("RDLogger").DisableLog("rdApp.*")  # an invalid SMILES is nothing to report
    measure("CCO", [*MEASURES, "similarity"], "CCN")


def measure(smiles: str, goals: Sequence[str], reference: str | None) -> dict[str, float]:
    """The goals' values in their own units, and "valid": whether the text is a molecule; "total" is a stand-in."""
    wanted = molecule(reference) if reference is not None else None
    if reference is not None and wanted is None:
        raise UnreadableReference(f"no molecule in the data's {reference[:80]!r}")
    mol = molecule(smiles)
    if mol is None:
        return {"total": 0.0, "valid": 0.0}
    values = {goal: float(MEASURES[goal](mol)) for goal in goals if goal != "similarity"}
    if wanted is not None:
        values["similarity"] = similarity(mol, wanted)
    return {"total": 1.0, "valid": 1.0, **values}


def _rdkit(name: str) -> Any:
    return importlib.import_module(f"rdkit.{name}")


def molecule(smiles: str) -> Any:
    """A molecule with at least one atom other than hydrogen, or None."""
    if not _SIGNS.fullmatch(smiles):  # else RDKit would take what follows a blank for a name
        return None
    chem = _rdkit("Chem")
    settings = chem.SmilesParserParams()
    settings.parseName = settings.allowCXSMILES = False
    mol = chem.MolFromSmiles(smiles, settings)
    return mol if mol is not None and any(a.GetAtomicNum() > 1 for a in mol.GetAtoms()) else None


def qed(mol: Any) -> float:
    """Drug-likeness, in [0, 1]."""
    return _rdkit("Chem.QED").qed(mol)


def logp(mol: Any) -> float:
    """Octanol-water partition coefficient after Wildman and Crippen."""
    return _rdkit("Chem.Crippen").MolLogP(mol)


def weight(mol: Any) -> float:
    """Molecular weight in g/mol, isotopes averaged."""
    return _rdkit("Chem.Descriptors").MolWt(mol)


def sa(mol: Any) -> float:
    """Synthetic accessibility, from 1 (easy) to 10."""
    return _scorer().calculateScore(mol)


def logp_minus_sa(mol: Any) -> float:
    """What constrained optimisation starts from (arXiv:1802.04364); it has no term for rings."""
    return logp(mol) - sa(mol)


def penalized_logp(mol: Any) -> float:
    """The sum of logP, -SA and the penalty of the largest ring above six atoms, each normalised over ZINC."""
    terms = logp(mol), -sa(mol), -float(max([0, *(len(ring) - 6 for ring in mol.GetRingInfo().AtomRings())]))
    return sum((term - mean) / std for term, (mean, std) in zip(terms, _ZINC, strict=True))


MEASURES: dict[str, Callable[[Any], float]] = {
    "qed": qed, "logp": logp, "sa": sa, "logp_minus_sa": logp_minus_sa, "penalized_logp": penalized_logp, "weight": weight,
}  # fmt: skip


def similarity(a: Any, b: Any) -> float:
    """Tanimoto similarity of Morgan fingerprints."""
    return _rdkit("DataStructs").TanimotoSimilarity(_fingerprints().GetFingerprint(a), _fingerprints().GetFingerprint(b))


@cache
def _fingerprints() -> Any:
    return _rdkit("Chem.rdFingerprintGenerator").GetMorganGenerator(radius=2, fpSize=2048)


@cache
def _scorer() -> Any:
    """RDKit's contributed script, which lies beside the package and brings its table of fragments."""
    file = Path(_rdkit("RDConfig").RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("sascorer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
