"""What several studies have in common: small worlds at every budget, learned rewards that can be gamed, and what is measured."""

from guerdon.systems._shared.floored import Floored
from guerdon.systems._shared.learned import learned_reward, plausible_verdicts
from guerdon.systems._shared.measured import measured

__all__ = ["Floored", "learned_reward", "measured", "plausible_verdicts"]
