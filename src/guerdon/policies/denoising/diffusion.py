"""Diffusion: DDPM and DDIM chains over discrete timesteps, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from guerdon.policies.denoising._chain import GaussianDenoising
from guerdon.policies.denoising._kernels import DDIM, Kernel
from guerdon.policies.denoising._levels import Cosine, Noise
from guerdon.policies.denoising._predictions import Predict
from guerdon.policies.denoising.networks import UNet


class Diffusion(GaussianDenoising):
    r"""A variance-preserving diffusion model, $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$, as a policy.

    Every step but the last is a Gaussian choice with an exact log-prob; the last one, to the data, has no noise and is not
    trained by objectives over log-probs.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.policies import DenoiserMLP
        >>> policy, streams = Diffusion.of((2,), network=DenoiserMLP((16,)), steps=5), Streams(0)
        >>> rollout = policy.sample(Items(["anything"], streams.uids(1)), 3, streams=streams)
        >>> rollout.states.shape, rollout.mask[0].tolist()
        (torch.Size([3, 6, 2]), [True, True, True, True, False])
        >>> bool((policy(rollout).logp - rollout.logp).abs().max() < 1e-4)
        True

    Sources: DDPM (arXiv:2006.11239), DDIM (arXiv:2010.02502), guidance (arXiv:2207.12598), its steps as a decision process
    (DDPO, arXiv:2305.13301).
    """

    kind: ClassVar[str] = "diffusion"
    predictions: ClassVar[tuple[Predict, ...]] = ("noise", "data", "velocity")

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        *,
        network: Any = UNet(),
        condition: Any = None,
        noise: Noise = Cosine(),
        predict: Literal["noise", "data", "velocity"] = "velocity",
        kernel: Kernel = DDIM(1.0),
        steps: int = 16,
        guidance: float = 1.0,
        clip: float | None = None,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> Diffusion:
        """A new model with fresh weights.

        Args:
            shape: Of a sample: (channels, height, width), (frames, channels, height, width), or (numbers,).
            network: ``UNet`` or ``DenoiserMLP``.
            condition: What contexts are: ``Labels``, ``Words`` or ``Edits``; None: nothing is asked.
            noise: ``Cosine`` or ``Linear``.
            predict: What the network's output stands for. ``"noise"`` at the noisiest levels of a short chain divides by what
                is hardly left of the data, and rounding with it; ``"velocity"`` does not (arXiv:2202.00512).
            kernel: ``DDIM(eta)`` or ``DDPM(variance)``.
            steps: Of a chain, at most the schedule's.
            guidance: Weight of the condition against none; 1: as it is.
            clip: Foreseen data is kept in [-clip, clip]; None: not.
            seed: Of the weights.
            dtype: Number format.

        Raises:
            PlanError: for parts that do not fit each other.
        """
        return cls._built(
            shape, network, condition, seed, dtype, noise=noise, predict=predict, kernel=kernel, steps=steps,
            guidance=guidance, clip=clip,
        )  # fmt: skip

    @classmethod
    def from_parts(cls, unet: Any, *, scheduler: Any, **parts: Any) -> Diffusion:
        """Live objects of Hugging Face diffusers as a policy; they are not copied.

        Args:
            unet: A ``UNet2DModel``, with class labels (contexts are whole numbers) or without; or a ``UNet2DConditionModel``.
            scheduler: Its noise: a ``DDPMScheduler``, a ``DDIMScheduler``, or another one of the same chains.
            parts: ``vae``, ``text_encoder`` and ``tokenizer`` of a text-to-image model (contexts are prompts); ``kernel``,
                ``steps``, ``guidance``; ``null_label``, the label that stands for none.

        Raises:
            ModelError: in one line, for a scheduler or a network that gives no Gaussian chain.
            PlanError: for parts that are missing, or have no use.

        Example:
            >>> import diffusers
            >>> unet = diffusers.UNet2DModel(
            ...     8, 1, 1, block_out_channels=(8,), norm_num_groups=4, down_block_types=("DownBlock2D",),
            ...     up_block_types=("UpBlock2D",),
            ... )
            >>> policy = Diffusion.from_parts(unet, scheduler=diffusers.DDPMScheduler(100), steps=10)
            >>> policy.shape, policy.how.kernel
            ((1, 8, 8), DDPM(variance='small'))
        """
        from guerdon.policies.denoising._diffusers import wrap

        return wrap(unet, scheduler=scheduler, **parts)
