"""One token a row: the inverse of the cumulated distribution at a given number, over all ids or over those kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.core import PlanError

WIDEST = 256  # ids of a kept set that are recorded; of wider sets only the mass is


@dataclass(frozen=True)
class Ways:
    """How tokens are drawn.

    Args:
        temperature: Divisor of the logits; 0 takes the most probable token.
        top_p: Mass of the smallest set of most probable tokens that is kept, of what ``top_k`` left (1: all).
        top_k: Number of most probable tokens kept (0: all).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise PlanError(f"temperature is {self.temperature}, expected 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise PlanError(f"top_p is {self.top_p}, expected more than 0 and at most 1")
        if self.top_k < 0:
            raise PlanError(f"top_k is {self.top_k}, expected 0 (all) or more")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def cut(self) -> bool:
        """Whether some tokens may be left out."""
        return not self.greedy and (self.top_p < 1 or self.top_k > 0)


@dataclass(frozen=True)
class Drawn:
    """Tokens as drawn.

    Args:
        token: [n] ids.
        logp: [n] nats under the distribution drawn from.
        kept: [n, K] ids of the support after a cut, padded with -1; a set too wide to record is all -1.
        log_kept: [n] log of the mass of such a wide set, 0 elsewhere.
    """

    token: Tensor
    logp: Tensor
    kept: Tensor | None = None
    log_kept: Tensor | None = None


def draw(logits: Tensor, u: Tensor, ways: Ways) -> Drawn:
    """One token for each row of ``logits`` [n, V], by the numbers ``u`` [n] in (0, 1).

    The logits carry the temperature already. Log-probs are those of the distribution drawn from: over the kept ids only.

    >>> u = torch.tensor([0.1, 0.9], dtype=torch.float64)
    >>> draw(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), u, Ways()).token.tolist()
    [0, 1]
    """
    if ways.greedy:
        token = logits.argmax(-1)
        return Drawn(token, _at(logits.log_softmax(-1), token))
    p = logits.softmax(-1)
    if not ways.cut:
        token = _invert(p, u)
        return Drawn(token, _at(p, token).log())
    kept = _kept(p, ways)
    p = torch.where(kept < 0, 0, p.gather(1, kept.clamp(min=0)))
    place, mass = _invert(p, u), p.double().sum(-1)
    token, logp = _at(kept, place), (_at(p, place) / mass).log().to(p)
    if kept.shape[1] <= WIDEST:
        return Drawn(token, logp, kept, torch.zeros_like(logp))
    wide = (kept >= 0).sum(1) > WIDEST
    return Drawn(token, logp, torch.where(wide[:, None], -1, kept[:, :WIDEST]), torch.where(wide, mass.log(), 0).to(p))


def support(kept: Tensor, size: int) -> Tensor:
    """[n, V] bool: the ids in ``kept`` [n, K] (-1: none); a row without any keeps everything."""
    inside = torch.zeros(kept.shape[0], size + 1, dtype=torch.bool, device=kept.device)
    inside.scatter_(1, torch.where(kept < 0, size, kept), True)
    return inside[:, :-1] | (kept < 0).all(1, keepdim=True)


def _at(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[:, None])[:, 0]


def _invert(p: Tensor, u: Tensor) -> Tensor:
    """[n] first index whose cumulated weight exceeds ``u`` times the total; never one of weight 0."""
    cdf = p.cumsum(-1, dtype=torch.float64)
    total = cdf[:, -1:]
    target = torch.minimum(u.to(cdf)[:, None] * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cdf, target, right=True)[:, 0]


def _kept(p: Tensor, ways: Ways, width: int = 32) -> Tensor:
    """[n, K] ids of the support, ascending, padded with -1 at the end.

    Ascending, not by probability: ids of nearly equal probability then keep their places under rounding. ``width`` most probable
    ids are looked at first; rows that need more get more.
    """
    size = p.shape[1]
    width = min(ways.top_k or width, size)
    top, ids = p.topk(width, -1)
    keep = torch.ones_like(ids, dtype=torch.bool)
    if ways.top_p < 1:
        before = top.double().cumsum(-1) - top
        keep = before < ways.top_p * (top.double().sum(-1, keepdim=True) if ways.top_k else 1.0)
    ids = torch.where(keep, ids, size).sort(-1).values[:, : int(keep.sum(-1).max())]
    ids = torch.where(ids == size, -1, ids)
    more = keep[:, -1] & (width < size and not ways.top_k)
    if bool(more.any()):
        wider = _kept(p[more], ways, 4 * width)
        ids = torch.nn.functional.pad(ids, (0, wider.shape[1] - ids.shape[1]), value=-1)
        ids[more] = wider
    return ids
