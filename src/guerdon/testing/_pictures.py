"""Tiny generators of pictures and of masked sequences in float64, with weights that are not at their start."""

from __future__ import annotations

from typing import Any

import torch

from guerdon.core import Items, Policy, Streams


def shaken(policy: Any, seed: int = 0, by: float = 0.1) -> Any:
    """The policy with noise on every weight: a fresh network foresees 0 everywhere, and an error in a 0 cannot be seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(by * torch.randn(p.shape, generator=generator, dtype=torch.double).to(p))
    return policy


def example_pictures() -> dict[str, tuple[Policy, Items]]:
    """name -> (a tiny policy that goes from noise to data, items to sample from)."""
    from guerdon.policies import (
        DDPM,
        Consistency,
        DenoiserMLP,
        Diffusion,
        Fill,
        Flow,
        Labels,
        MaskedDiffusion,
        RandomOrder,
        TokenMLP,
        UNet,
    )

    labels = Items([0, 1, 1], Streams(0).uids(3))
    small: dict[str, Any] = {"network": DenoiserMLP((8,)), "dtype": "float64", "steps": 4}
    made = {
        "diffusion": Diffusion.of(
            (1, 4, 4), network=UNet((4, 8)), condition=Labels(2, 4), guidance=1.5, steps=4, dtype="float64"
        ),
        "diffusion-ddpm": Diffusion.of((3,), predict="noise", kernel=DDPM("large"), **small),
        "flow": Flow.of((1, 3, 3), condition=Labels(2, 4), **small),
        "consistency": Consistency.of((3,), predict="data", **small),
    }
    tokens: dict[str, Any] = {"network": TokenMLP((8,)), "dtype": "float64"}
    infilling = Items([None, Fill("AC??"), Fill("????")], labels.uid)
    texts = {
        "masked-diffusion": (MaskedDiffusion.of(4, "ACGT", condition=Labels(2, 4), guidance=1.5, steps=3, **tokens), labels),
        "masked-diffusion-infilling": (MaskedDiffusion.of(4, "ACGT", kernel=RandomOrder(), steps=4, **tokens), infilling),
    }
    return {name: (shaken(policy), labels) for name, policy in made.items()} | texts
