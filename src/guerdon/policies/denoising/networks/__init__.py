"""Networks of a denoiser: small, deterministic, without dropout or batch norm."""

from guerdon.policies.denoising.networks._base import Denoiser, NetworkSpec
from guerdon.policies.denoising.networks._mlp import DenoiserMLP
from guerdon.policies.denoising.networks._unet import UNet

__all__ = ["Denoiser", "DenoiserMLP", "NetworkSpec", "UNet"]
