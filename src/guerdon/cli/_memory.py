"""Whether a fit can fit the machine's memory: its weights, gradients and optimiser, from the headers of the base's files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from guerdon.core.errors import PlanError

if TYPE_CHECKING:
    from guerdon.rewards import FitSettings

WIDTH = 4  # bytes of a number: rewards are fitted in float32


def needed(base: str, members: int, settings: FitSettings) -> tuple[int, int]:
    """(bytes of weights, bytes of gradients and the optimiser's two moments) that a fit cannot do without; 0 where unknown.

    Members are fitted one after the other and stay in memory.
    """
    from safetensors import SafetensorError, safe_open

    parameters = 0
    for file in sorted(Path(base).glob("*.safetensors")):
        try:
            with safe_open(file, "np") as tensors:
                parameters += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError):
            return 0, 0  # loading it says what is wrong
    return parameters * WIDTH * members, 3 * parameters * WIDTH if settings.train_layers == "all" else 0


def check_memory(base: str, members: int, settings: FitSettings) -> None:
    """Refuse what cannot fit.

    Raises:
        PlanError: where weights, gradients and optimiser alone need more than the device has.
    """
    from guerdon.core.hub import device_of
    from guerdon.run.estimate import memory_of

    weights, training = needed(base, members, settings)
    device = str(device_of(settings.device))
    there = memory_of(device)
    if there and weights + training > there:
        gib = [f"{n / 2**30:.1f} GiB" for n in (weights + training, weights, training, there)]
        raise PlanError(
            f"the fit needs at least {gib[0]} of memory on {device} (weights {gib[1]}, gradients and optimiser {gib[2]}), "
            f"and there are {gib[3]}: take a smaller base, fewer --members or --train-layers head; --yes tries it all the same"
        )
