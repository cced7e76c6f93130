"""Asked: what a network is told of some rows, with and without what was asked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from guerdon.policies.denoising._conditions import Condition


@dataclass(frozen=True)
class Asked:
    """The condition of N rows.

    Args:
        given: As asked.
        nothing: As if nothing had been asked; None where no guidance contrasts the two.
    """

    given: Condition = Condition()
    nothing: Condition | None = None

    def take(self, rows: Tensor) -> Asked:
        """Some of them."""
        return Asked(self.given.take(rows), None if self.nothing is None else self.nothing.take(rows))
