"""Which trajectories are drawn. A sampler calls ``draw.items``, ``draw.sample`` and ``draw.score`` as it needs."""

from guerdon.samplers._given import Given
from guerdon.samplers._group import Group
from guerdon.samplers._refill import Refill
from guerdon.samplers._with_greedy import WithGreedy

__all__ = ["Given", "Group", "Refill", "WithGreedy"]
