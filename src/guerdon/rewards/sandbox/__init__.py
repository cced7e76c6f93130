"""Where programs run that nobody vouches for; the threat model, a page of the docs, says what is kept from them, and how."""

from guerdon.rewards.sandbox.level import KINDS, Level, level_named, levels
from guerdon.rewards.sandbox.limits import Limits
from guerdon.rewards.sandbox.results import Called, Ended, Examined, Raised, Returned
from guerdon.rewards.sandbox.sandbox import Sandbox, shared_sandbox

__all__ = [
    "KINDS", "Called", "Ended", "Examined", "Level", "Limits", "Raised", "Returned", "Sandbox", "level_named", "levels",
    "shared_sandbox",
]  # fmt: skip
