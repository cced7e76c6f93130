"""Policies that turn noise into data step by step: diffusion, flows, consistency models, masked diffusion."""

from guerdon.policies.denoising._base import Denoising
from guerdon.policies.denoising._conditions import Condition, Edit, Edits, Labels, Words
from guerdon.policies.denoising._distillation import Distillation
from guerdon.policies.denoising._fill import Fill
from guerdon.policies.denoising._kernels import CPS, DDIM, DDPM, FlowSDE, Renoise
from guerdon.policies.denoising._levels import Cosine, Linear, Straight
from guerdon.policies.denoising._reveal import Ancestral, ByConfidence, Greedy, RandomOrder
from guerdon.policies.denoising._token_networks import TokenMLP, TokenTable, TokenTransformer
from guerdon.policies.denoising.consistency import Consistency
from guerdon.policies.denoising.diffusion import Diffusion
from guerdon.policies.denoising.flow import Flow
from guerdon.policies.denoising.masked import MaskedDiffusion
from guerdon.policies.denoising.networks import DenoiserMLP, UNet

__all__ = [
    "CPS", "DDIM", "DDPM", "Ancestral", "ByConfidence", "Condition", "Consistency", "Cosine", "DenoiserMLP", "Denoising",
    "Diffusion", "Distillation", "Edit", "Edits", "Fill", "Flow", "FlowSDE", "Greedy", "Labels", "Linear", "MaskedDiffusion",
    "RandomOrder", "Renoise", "Straight", "TokenMLP", "TokenTable", "TokenTransformer", "UNet", "Words",
]  # fmt: skip
