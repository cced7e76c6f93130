"""Ensemble: several rewards of the same outputs as one, with their disagreement as its uncertainty."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch

from guerdon.core import ModelError, PlanError, RewardError, RewardOutput, Rollout, nearest
from guerdon.core.hub import find
from guerdon.core.reward import Scope
from guerdon.rewards.journal import identity
from guerdon.rewards.learned import folder
from guerdon.rewards.learned.model import RewardModel
from guerdon.rewards.lift import as_reward

COMBINE = ("mean", "worst", "uncertainty")


@dataclass(frozen=True)
class Ensemble:
    r"""Several rewards combined row by row.

    ``"mean"`` $\mu = \frac1M \sum_m r_m$; ``"worst"`` $\min_m r_m$; ``"uncertainty"``
    $\mu - \lambda \frac1M \sum_m (r_m - \mu)^2$. ``std`` is the members' standard deviation with Bessel's correction, whatever
    ``combine`` is. Each member's reward is the part ``member-0``, ``member-1`` ...; a row that one member could not score is not
    ok. Members should be on one scale, as those of ``fit_reward`` are.

    Args:
        members: At least two rewards, or anything that ``as_reward`` takes.
        combine: How they become one.
        penalty: $\lambda \ge 0$ of ``"uncertainty"``.
        temperature: Of ``probability``; None where it was not fitted.

    Source: conservative combinations against over-optimisation, arXiv:2310.02743.

    Example:
        >>> from guerdon.rewards import Keywords, Length, recorded
        >>> out = Ensemble((Length(high=1), Keywords(("b",))), combine="worst")(recorded(["q"] * 2, ["a", "b"]))
        >>> out.total.tolist(), [round(s, 3) for s in out.std.tolist()], sorted(out.parts)
        ([0.0, 1.0], [0.707, 0.0], ['member-0', 'member-1'])
    """

    members: Sequence[Any]
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    penalty: float = 1.0
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.combine not in COMBINE:
            raise PlanError(f"Ensemble: combine is {self.combine!r}; {nearest(str(self.combine), COMBINE)}")
        if isinstance(self.members, str | Mapping) or len(self.members) < 2:
            raise PlanError("Ensemble: members must be two or more rewards")
        if not self.penalty >= 0:
            raise PlanError(f"Ensemble: penalty must be at least 0, got {self.penalty}")
        object.__setattr__(self, "members", tuple(as_reward(m) for m in self.members))

    @property
    def scope(self) -> Scope:
        scopes = {m.scope for m in self.members}
        return "batch" if "batch" in scopes else "group" if "group" in scopes else "sample"

    @property
    def differentiable(self) -> bool:
        return all(m.differentiable for m in self.members)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        outputs = [member(rollout) for member in self.members]
        table = torch.stack([o.total for o in outputs])
        ok = torch.stack([o.ok for o in outputs]).all(0)
        mean = table.mean(0)
        squares = (table - mean).square()
        total = {
            "mean": mean,
            "worst": table.min(0).values,
            "uncertainty": mean - self.penalty * squares.mean(0),
        }[self.combine]
        reasons = [
            "; ".join(f"member-{m}: {o.reason[k]}" for m, o in enumerate(outputs) if o.reason[k]) for k in range(len(rollout))
        ]
        parts = {f"member-{m}": o.total for m, o in enumerate(outputs)}
        return RewardOutput(total, ok, reasons, parts=parts, std=(squares.sum(0) / (len(table) - 1)).sqrt()).checked()

    @property
    def identity(self) -> str:
        """Follows from the members' identities and how they are combined."""
        text = json.dumps([self.combine, self.penalty, self.temperature, [identity(m) for m in self.members]])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def probability(self, delta: torch.Tensor) -> torch.Tensor:
        r"""$\sigma(\Delta r / T)$: how likely the first of two outputs is better, from the difference of their rewards."""
        return torch.sigmoid(delta / (self.temperature or 1.0))

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str,
        *,
        device: str = "auto",
        dtype: str = "float32",
        combine: str | None = None,
        penalty: float | None = None,
    ) -> Self:
        """The ensemble of a folder that ``save`` wrote.

        Args:
            path_or_name: The folder.
            device: As for ``RewardModel.from_pretrained``.
            dtype: As for ``RewardModel.from_pretrained``.
            combine: In place of the one it was saved with.
            penalty: In place of the one it was saved with.

        Raises:
            ModelError: for another folder.
        """
        place = find(str(path_or_name))
        recipe = folder.read_recipe(place)
        if recipe.get("kind") != "ensemble":
            raise ModelError(f"{place}: holds no ensemble (expected {folder.RECIPE} of the kind 'ensemble')")
        count = int(recipe.get("members", 0))
        members = [RewardModel.from_pretrained(str(Path(place, f"member-{m}")), device=device, dtype=dtype) for m in range(count)]
        how: Any = combine or recipe.get("combine", "mean")
        return cls(members, how, recipe.get("penalty", 1.0) if penalty is None else penalty, recipe.get("temperature"))

    def save(self, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
        """A folder with one of ``RewardModel`` for each member.

        Raises:
            RewardError: where a member is not a ``RewardModel``.
        """
        return folder.write(path, lambda new: self.put(new, card or {}))

    def recipe(self) -> dict[str, Any]:
        """Settings beside the members, for ``guerdon.json``."""
        base = getattr(self.members[0], "source", "")
        return {"kind": "ensemble", "format": 1, "base": base, "members": len(self.members), "combine": self.combine,
                "penalty": self.penalty, "temperature": self.temperature}  # fmt: skip

    def put(self, new: Path, card: Mapping[str, Any]) -> None:
        """The files of ``save``."""
        for m, member in enumerate(self.members):
            if not isinstance(member, RewardModel):
                raise RewardError(f"member-{m} is a {type(member).__name__}; only ensembles of RewardModel can be saved")
            (new / f"member-{m}").mkdir()
            folder.put_model(member, new / f"member-{m}", member.recipe())
        folder.put_recipe(new, {**self.recipe(), **card})


def load_learned(path: str, *, device: str = "auto", dtype: str = "float32") -> RewardModel | Ensemble:
    """The reward model or the ensemble of a folder.

    Raises:
        ModelError: for a folder that holds neither.
    """
    if folder.read_recipe(find(str(path))).get("kind") == "ensemble":
        return Ensemble.from_pretrained(path, device=device, dtype=dtype)
    return RewardModel.from_pretrained(path, device=device, dtype=dtype)
