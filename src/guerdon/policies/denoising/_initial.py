"""Weights from a given generator: building a network neither reads nor moves the shared one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def initialise(build: Callable[[], Module], generator: torch.Generator) -> Module:
    """What ``build`` gives, with weights and biases of its layers uniform in +-1/sqrt(fan-in), norms as they are.

    >>> a, b = (initialise(lambda: nn.Linear(2, 1), torch.Generator().manual_seed(0)) for _ in range(2))
    >>> torch.equal(a.weight, b.weight), bool(a.weight.abs().max() < 2**-0.5)
    (True, True)
    """
    with torch.random.fork_rng(devices=[]):
        module = build()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)
    return module


def zero(layer: Module) -> Module:
    """The layer with weights and biases of 0, so that what it adds begins at nothing."""
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
    return layer
