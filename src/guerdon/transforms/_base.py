"""What transforms share: how a changed reward leaves them, and how one series of numbers is picked out of a reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.protocols import Need
from guerdon.core.reward import RewardOutput


def changed(reward: RewardOutput, **fields: Any) -> RewardOutput:
    """``reward`` with other numbers. Failed rows stay failed, and a row whose number is no longer finite becomes a failure."""
    return reward.replace(**fields).checked()


def part_of(reward: RewardOutput, name: str, asked_by: str) -> Tensor:
    """The named part.

    Raises:
        PlanError: naming the nearest part there is.
    """
    if name not in reward.parts:
        raise PlanError(f"{asked_by}: the reward has no part {name!r}; {nearest(name, reward.parts)}")
    return reward.parts[name]


class Stateless:
    """Base of transforms that remember nothing."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def init(self) -> Any:
        return None

    def apply(self, state: Any, batch: Batch) -> tuple[Any, RewardOutput]:
        return state, self.reward(batch)

    def reward(self, batch: Batch) -> RewardOutput:
        """The new reward."""
        raise NotImplementedError


class Series(ABC):
    """Base of transforms of one series of numbers: ``total`` by themselves, steps or a part through ``On``."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def init(self) -> Any:
        return None

    @abstractmethod
    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        """New numbers for ``x`` ([B] or [B, T]); only entries where ``keep`` may influence others or the state."""

    def apply(self, state: Any, batch: Batch) -> tuple[Any, RewardOutput]:
        reward = batch.reward.checked()
        state, total = self.series(state, reward.total, reward.ok, batch)
        return state, changed(reward, total=total)


def groups_like(x: Tensor, batch: Batch) -> Tensor:
    """The rollout's group for every entry of ``x`` ([B] or [B, T])."""
    group = batch.rollout.group.to(x.device)
    return group if x.dim() == 1 else group[:, None].expand(x.shape)
