"""Small policies in float64, for each kind of step: a token, a Gaussian move, an environment step (``Control``).

They are references: short enough to read whole, exact enough to hold every objective to closed forms. What they share
(``_act`` and ``_replay``) is what any policy needs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import Behaviour, Items, Policy, PolicyOutput, Rollout, Streams, gaussian_logp, pad
from guerdon.core.policy import Want
from guerdon.core.world import Start
from guerdon.testing._pictures import example_pictures
from guerdon.testing._worlds import Counting


def _network(inputs: int, outputs: int, seed: int, width: int = 16) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layers.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return layers


def _finish(logp: Tensor, entropy: Tensor, value: Tensor, mask: Tensor, lengths: Tensor, want: Collection[Want]) -> PolicyOutput:
    zero = logp.new_zeros(())
    behind = torch.arange(mask.shape[1] + 1) > lengths[:, None]
    return PolicyOutput(
        logp=torch.where(mask, logp, zero) if "logp" in want else None,
        entropy=torch.where(mask, entropy, zero) if "entropy" in want else None,
        value=torch.where(behind, zero, value) if "value" in want else None,
    )


class TinyText(Policy):
    """A language model that sees its last two tokens; ids 0 .. vocab-1, id 0 ends the answer. Contexts are lists of ids."""

    def __init__(self, vocab: int = 7, seed: int = 0):
        super().__init__()
        self.vocab = vocab
        self.net = _network(2 * vocab, vocab, seed)
        self.head = _network(2 * vocab, 1, seed + 1)

    def _features(self, before: Tensor) -> Tensor:
        """[..., 2] last two ids (-1: none) to one-hot features."""
        return nn.functional.one_hot(before + 1, self.vocab + 1)[..., 1:].flatten(-2).double()

    @torch.no_grad()
    def sample(self, items: Items, n: int = 1, *, streams: Streams, max_tokens: int = 6, temperature: float = 1.0) -> Rollout:  # type: ignore[override]
        rows, uid = items.repeat(n), streams.samples(items.uid, n)
        uniform = streams("token", uid).uniform(max_tokens)
        prompt = torch.tensor([len(c) for c in rows.contexts])
        ids = torch.full((len(uid), int(prompt.max()) + max_tokens + 2), -1)  # two places before the first, for what is not there
        logp, chosen = torch.zeros(ids.shape, dtype=torch.double), torch.zeros(ids.shape, dtype=torch.bool)
        for k, context in enumerate(rows.contexts):
            ids[k, 2 : 2 + len(context)] = torch.tensor(context, dtype=torch.long)
        going = torch.arange(len(uid))
        for t in range(max_tokens):
            place = 2 + prompt[going] + t
            before = torch.stack([ids[going, place - 2], ids[going, place - 1]], 1)
            lp = (self.net(self._features(before)) / temperature).log_softmax(-1)
            token = torch.searchsorted(lp.exp().cumsum(1), uniform[going, t, None]).clamp(max=self.vocab - 1)
            ids[going, place], chosen[going, place] = token[:, 0], True
            logp[going, place] = lp.gather(1, token)[:, 0]
            going = going[token[:, 0] != 0]
            if not len(going):
                break
        ends = (torch.arange(ids.shape[1]) * (ids >= 0)).max(1).values + 1
        ids, logp, chosen = (x[:, 2 : int(ends.max())] for x in (ids, logp, chosen))
        last = ids.gather(1, ends[:, None] - 3)[:, 0]
        ids = ids.clamp(min=0)
        return Rollout(
            contexts=rows.contexts, outputs=[i[m].tolist() for i, m in zip(ids, chosen, strict=True)], actions=ids, mask=chosen,
            group=items.uid.repeat_interleave(n), uid=uid, logp=logp, terminal=last == 0,
            behaviour=(Behaviour("tiny-text", self.version, temperature, dtype="float64"),), info=rows.info,
        ).check()  # fmt: skip

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        ids = nn.functional.pad(rollout.actions, (2, 0), value=-1)
        features = self._features(ids.unfold(1, 2, 1))  # [B, T+1, 2 vocab]: state t is what came before action t
        heat = torch.tensor([b.temperature for b in rollout.behaviour], dtype=torch.double)[rollout.actor]
        lp = (self.net(features[:, :-1]) / heat[:, None, None]).log_softmax(-1)
        logp = lp.gather(-1, rollout.actions[..., None])[..., 0]
        entropy = -(lp.exp() * lp).sum(-1)
        return _finish(logp, entropy, self.head(features)[..., 0], rollout.mask, rollout.lengths, want)

    def rollout_from(self, items: Items, outputs: Sequence[Any], *, streams: Streams) -> Rollout:
        ids = [torch.tensor([*c, *o]) for c, o in zip(items.contexts, outputs, strict=True)]
        masks = [torch.arange(len(i)) >= len(c) for i, c in zip(ids, items.contexts, strict=True)]
        return Rollout(
            contexts=items.contexts, outputs=list(outputs), actions=pad(ids)[0], mask=pad(masks)[0], group=items.uid,
            uid=streams.samples(items.uid, 1), info=items.info,
            behaviour=(Behaviour("tiny-text", engine="recorded", dtype="float64"),),
        ).check()  # fmt: skip


class GaussianChain(Policy):
    """A denoiser in the plane: ``steps`` Gaussian moves from noise, the mean of each by a network. Contexts are ignored."""

    def __init__(self, steps: int = 4, std: float = 0.5, seed: int = 0):
        super().__init__()
        self.steps, self.std = steps, std
        self.net = _network(3, 2, seed)
        self.head = _network(3, 1, seed + 1)

    def _features(self, x: Tensor) -> Tensor:
        """[B, S, 2] states 0 .. S-1 with their time appended."""
        time = torch.arange(x.shape[1], dtype=torch.double).expand(x.shape[:2]) / self.steps
        return torch.cat([x, time[..., None]], -1)

    @torch.no_grad()
    def sample(self, items: Items, n: int = 1, *, streams: Streams) -> Rollout:  # type: ignore[override]
        rows, uid = items.repeat(n), streams.samples(items.uid, n)
        noise = streams("noise", uid).normal(2 * (self.steps + 1)).reshape(len(uid), self.steps + 1, 2)
        x = [noise[:, 0]]
        for t in range(self.steps):
            mean = x[-1] + self.net(self._features(torch.stack(x, 1))[:, -1])
            x.append(mean + self.std * noise[:, t + 1])
        states = torch.stack(x, 1)
        rollout = Rollout(
            contexts=rows.contexts, outputs=states[:, -1], actions=states[:, 1:], states=states, uid=uid,
            mask=torch.ones(len(uid), self.steps, dtype=torch.bool), group=items.uid.repeat_interleave(n), info=rows.info,
            behaviour=(Behaviour("gaussian-chain", self.version, dtype="float64"),),
        )  # fmt: skip
        return rollout.replace(logp=self(rollout).logp).check()

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        assert rollout.states is not None
        features, std = self._features(rollout.states), torch.tensor(self.std, dtype=torch.double)
        mean = rollout.states[:, :-1] + self.net(features[:, :-1])
        logp = gaussian_logp(rollout.actions, mean, std)
        entropy = (0.5 + 0.5 * torch.log(2 * torch.pi * std.square())).mul(2).expand_as(logp)
        return _finish(logp, entropy, self.head(features)[..., 0], rollout.mask, rollout.lengths, want)


def example_policies() -> dict[str, tuple[Policy, Items]]:
    """name -> (a tiny policy, items to sample from); every contract test iterates over them.

    >>> sorted(example_policies())
    ['consistency', 'control-categorical', 'control-gaussian', 'control-pixels', 'control-recurrent', 'control-tanh', 'diffusion',
     'diffusion-ddpm', 'flow', 'gaussian-chain', 'masked-diffusion', 'masked-diffusion-infilling', 'tiny-text']
    """
    from guerdon.policies import CNN, GRU, MLP, Control, TanhGaussian
    from guerdon.worlds import GridWorld

    uid, small = Streams(0).uids(3), MLP((8,))
    pixels = GridWorld(("S..", "..G"), pixels=True, horizon=6)
    acting: dict[str, tuple[Any, dict[str, Any]]] = {
        "categorical": (Counting(), {"body": small}),
        "gaussian": (Counting(numbers=3), {"body": small, "normalise": True}),
        "tanh": (Counting(numbers=3), {"body": small, "head": TanhGaussian()}),
        "recurrent": (Counting(), {"body": GRU(8, small)}),
        "pixels": (pixels, {"body": CNN((4,), (3,), (2,), 16)}),
    }
    control = {
        f"control-{name}": (Control.of(world, dtype="float64", **how), Items([Start(world, k) for k in range(3)], uid))
        for name, (world, how) in acting.items()
    }
    return {
        "tiny-text": (TinyText(), Items([[1, 2], [3], [4, 5, 6]], uid)),
        "gaussian-chain": (GaussianChain(), Items(["a", "b", "c"], uid)),
        **control,
        **example_pictures(),
    }
