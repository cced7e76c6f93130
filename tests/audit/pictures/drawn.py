"""A policy whose outputs are pictures, small enough to see through: a disc in its caption's colour, its light learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guerdon.core import Behaviour, Items, Policy, PolicyOutput, Rollout, gaussian_logp

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
CAPTIONS = tuple(f"a {colour} disc" for colour in COLOURS)
SIDE = 8
STEPS, STD = 4, 0.1


def disc(x: Tensor, y: Tensor, colour: Tensor) -> Tensor:
    """[N, 3, SIDE, SIDE] discs on black at (x, y) in [0, 1]."""
    at = (torch.arange(SIDE, dtype=torch.double) + 0.5) / SIDE
    inside = (at[None, None, :] - x[:, None, None]).square() + (at[None, :, None] - y[:, None, None]).square() < 0.06
    return torch.where(inside[:, None], colour[:, :, None, None], -1.0)


def real(n: int = 300, seed: int = 0) -> Tensor:
    """[N, 3, SIDE, SIDE] discs of the three colours, anywhere, with a little noise."""
    g = torch.Generator().manual_seed(seed)
    x, y = 0.3 + 0.4 * torch.rand(2, n, generator=g, dtype=torch.double)
    colours = torch.tensor(list(COLOURS.values()), dtype=torch.double)[torch.arange(n) % 3]
    noise = 0.03 * torch.randn(n, 3, SIDE, SIDE, generator=g, dtype=torch.double)
    return (disc(x, y, colours) + noise).clamp(-1, 1).float()


class Painter(Policy):
    """Four Gaussian steps of (x, y, light); what the last state says is drawn. What it learns is the drift of the steps."""

    name = "painter"

    def __init__(self, frames: int = 0) -> None:
        super().__init__()
        self.frames = frames  # 0: pictures; else videos of a disc that goes right
        self.drift = nn.Parameter(torch.zeros(STEPS, 3, dtype=torch.double))

    @torch.no_grad()
    def sample(self, items: Items, n: int = 1, *, streams, **controls) -> Rollout:
        rows, uid = items.repeat(n), streams.samples(items.uid, n)
        noise = streams("noise", uid).normal(3 * (STEPS + 1)).reshape(len(uid), STEPS + 1, 3)
        x = [0.2 * noise[:, 0]]
        for t in range(STEPS):
            x.append(x[-1] + self.drift[t] + STD * noise[:, t + 1])
        states = torch.stack(x, 1)
        rollout = Rollout(
            contexts=rows.contexts, outputs=self.drawn(rows.contexts, states[:, -1]), actions=states[:, 1:], states=states,
            uid=uid, mask=torch.ones(len(uid), STEPS, dtype=torch.bool), group=items.uid.repeat_interleave(n), info=rows.info,
            behaviour=(Behaviour("painter", self.version, dtype="float64", dims=self.dims),),
            trace={"level": torch.arange(STEPS).expand(len(uid), STEPS)},
        )  # fmt: skip
        return rollout.replace(logp=self(rollout).logp).check()

    def drawn(self, contexts, last: Tensor) -> Tensor:
        """[N, (frames,) 3, SIDE, SIDE]; light above 0 makes all brighter than any real disc."""
        x, y = (0.3 + 0.4 * torch.sigmoid(4 * last[:, k]) for k in (0, 1))
        colour = torch.tensor([COLOURS[c.split()[1]] for c in contexts], dtype=torch.double)
        light = (3 * torch.tanh(last[:, 2] / 3) - 0.5).clamp_min(0)[:, None, None, None]
        steps = torch.linspace(-0.15, 0.15, self.frames) if self.frames else [torch.zeros(())]
        pictures = [(disc(x + s, y, colour) + light).float() for s in steps]
        return torch.stack(pictures, 1) if self.frames else pictures[0]

    def forward(self, rollout: Rollout, *, want=("logp",)) -> PolicyOutput:
        mean, std = rollout.states[:, :-1] + self.drift, torch.tensor(STD, dtype=torch.double)
        return PolicyOutput(logp=gaussian_logp(rollout.actions, mean, std, over=rollout.behaviour[0].dims))
