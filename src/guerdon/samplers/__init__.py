"""Which trajectories are drawn. A sampler calls ``draw.items``, ``draw.sample`` and ``draw.score`` as it needs.

Those that look at trajectories under way (``Branch``, ``SoftValue``, ``Particles``, ``Reset``) call ``draw.begin`` and walk.
"""

from guerdon.samplers._branch import Branch
from guerdon.samplers._given import Given
from guerdon.samplers._group import Group
from guerdon.samplers._moving_fork import MovingFork
from guerdon.samplers._particles import Particles
from guerdon.samplers._refill import Refill
from guerdon.samplers._reset import Reset
from guerdon.samplers._sliding_window import SlidingWindow
from guerdon.samplers._soft_value import SoftValue
from guerdon.samplers._with_greedy import WithGreedy

__all__ = [
    "Branch", "Given", "Group", "MovingFork", "Particles", "Refill", "Reset", "SlidingWindow", "SoftValue", "WithGreedy",
]  # fmt: skip
