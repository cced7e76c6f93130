"""SFT: likelihood of what was shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.policy import PolicyOutput
from guerdon.core.protocols import Need
from guerdon.core.reduction import Unit
from guerdon.objectives._base import counted, new_logp


@dataclass(frozen=True)
class SFT:
    r"""$L_t = -\log \pi_\theta(a_t \mid s_t)$ at every chosen step; ``batch.weight`` weighs rows.

    Over demonstrations it is supervised fine-tuning; after ``selection.BestOfN`` it is rejection sampling; after weights that
    grow with the reward it is weighted regression.

    Returns:
        [B, T] nats per step, 0 where nothing counts.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> batch = example_batch()
        >>> bool((SFT()(example_output(batch), batch) >= 0).all())
        True
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"logp"})
    unit: ClassVar[Unit] = "step"

    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor:
        return -new_logp(new, counted(batch))
