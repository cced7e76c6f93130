"""Flow: rectified flow, walked as an SDE where log-probs are needed and as the ODE where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from guerdon.policies.denoising._chain import GaussianDenoising
from guerdon.policies.denoising._kernels import FlowSDE, Kernel
from guerdon.policies.denoising._levels import Noise, Straight
from guerdon.policies.denoising._predictions import Predict
from guerdon.policies.denoising.networks import UNet


class Flow(GaussianDenoising):
    r"""A rectified flow, $x_t = (1 - t)\,x_0 + t\,\epsilon$, whose network foresees the velocity $\epsilon - x_0$.

    The flow itself is deterministic and has no log-probs; the SDE with the same marginals has. So it samples with noise while it
    is trained, and ``sample(..., deterministic=True)`` is the ODE.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.policies import DenoiserMLP
        >>> policy, streams = Flow.of((2,), network=DenoiserMLP((16,)), steps=5), Streams(0)
        >>> items = Items(["anything"], streams.uids(1))
        >>> policy.sample(items, 3, streams=streams).mask.all().item()
        True
        >>> policy.sample(items, 3, streams=streams, deterministic=True).mask.any().item()
        False

    Sources: rectified flow (arXiv:2209.03003), flow matching (arXiv:2210.02747), its SDE as a policy: Flow-GRPO
    (arXiv:2505.05470).
    """

    kind: ClassVar[str] = "flow"
    predictions: ClassVar[tuple[Predict, ...]] = ("flow", "data")

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        *,
        network: Any = UNet(),
        condition: Any = None,
        noise: Noise = Straight(),
        predict: Literal["flow", "data"] = "flow",
        kernel: Kernel = FlowSDE(0.7),
        steps: int = 16,
        guidance: float = 1.0,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> Flow:
        r"""A new model with fresh weights.

        Args:
            shape: Of a sample: (channels, height, width), (frames, channels, height, width), or (numbers,).
            network: ``UNet`` or ``DenoiserMLP``.
            condition: What contexts are: ``Labels``, ``Words`` or ``Edits``; None: nothing is asked.
            noise: ``Straight``.
            predict: What the network's output stands for: the velocity $\epsilon - x_0$, or the data.
            kernel: ``FlowSDE(noise)``; ``CPS(noise)`` and ``DDIM(eta)``, whose last step has no noise.
            steps: Of a chain.
            guidance: Weight of the condition against none; 1: as it is.
            seed: Of the weights.
            dtype: Number format.

        Raises:
            PlanError: for parts that do not fit each other.
        """
        return cls._built(
            shape, network, condition, seed, dtype, noise=noise, predict=predict, kernel=kernel, steps=steps, guidance=guidance,
        )  # fmt: skip
