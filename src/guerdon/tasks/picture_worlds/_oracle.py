"""The attribute oracle: what a picture shows, found by comparing it with every rendering, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.core.errors import PlanError, nearest
from guerdon.tasks.picture_worlds._render import coverage
from guerdon.tasks.picture_worlds._scene import ATTRIBUTES, BACKGROUNDS, COLOURS, FORMS, PLACES, SIZES, colour

_EDGE, _GRID = 0.15, 23  # centres that are tried: from this share of the picture to one minus it, so many a side
_RADII = 4  # tried for each size
_REACH = 0.15  # a centre farther than this share of the picture from every place is in none of them
_CONTRAST = 0.4  # least distance in RGB of a shape from its background
_OFF = 0.45  # a colour farther than this in RGB from every known one is none of them
_NOISE, _SMEAR = 0.45, 0.2  # most that may be left unexplained, rms: of a pixel; of means over two by two, noise apart
_REST = 0.3  # most of such means' variance that may be left, as a share
_EVIDENCE = 60.0  # least gain of a shape over plain background, in variances of what is left; noise alone reaches 30
_FLOOR, _TINT = 0.12, 0.12  # least noise that likelihoods assume: of a pixel; of a mean colour
_AT_ONCE = 64

KNOWN: dict[str, Sequence[str]] = {
    "shape": FORMS, "colour": tuple(COLOURS), "place": tuple(PLACES), "size": tuple(SIZES), "background": tuple(BACKGROUNDS),
}  # fmt: skip


class Reading(NamedTuple):
    """What the oracle sees in a picture.

    Attributes:
        attributes: name -> value; None where it is not sure, or sees no shape at all.
        probability: name -> value -> probability; what is missing to 1 stands for "none of these".
        centre: (from the left, from the top) of the shape as shares of the picture; None where there is none.
        rest: Root mean square of what the best rendering leaves unexplained, a pixel and channel.
        reason: Why no shape was recognised; "" where one was.
    """

    attributes: Mapping[str, str | None]
    probability: Mapping[str, Mapping[str, float]]
    centre: tuple[float, float] | None
    rest: float
    reason: str = ""

    @property
    def confidence(self) -> dict[str, float]:
        """name -> probability of the likeliest value; 0 where nothing was recognised."""
        return {n: max(p.values(), default=0.0) for n, p in self.probability.items()}


@dataclass(frozen=True)
class ShapesOracle:
    r"""Reads attributes back from pictures by Bayes' rule over renderings; nothing is learned.

    A picture is explained as $p = b + m_k (f - b) + \text{noise}$ by every coverage $m_k$ of a bank (forms, radii and centres
    on a grid finer than a pixel) with its own best foreground $f$ and background $b$. Probabilities of shape, size and place
    are sums over the bank, weighed by likelihood at the noise that the best one leaves; those of the two colours come from
    $f$ and $b$. Where no rendering explains the picture well enough (noise, one colour, smears), nothing is recognised.

    Args:
        pixels: Width and height of the pictures.
        shapes: The forms that there are; likewise the other lists.
        colours: Of the shape.
        places: Of its centre.
        sizes: Of its radius.
        backgrounds: Of the rest.
        sure: Least probability at which a value is given.

    Example:
        >>> from guerdon.tasks import Scene, render
        >>> seen = ShapesOracle().read(render([Scene("cross", "blue", "top", "small", "white")]))[0]
        >>> seen.attributes
        {'shape': 'cross', 'colour': 'blue', 'place': 'top', 'size': 'small', 'background': 'white'}
        >>> ShapesOracle().read(torch.zeros(1, 3, 16, 16))[0].reason
        'nothing stands out from the background'
    """

    pixels: int = 16
    shapes: tuple[str, ...] = ("circle", "square", "triangle", "cross")
    colours: tuple[str, ...] = ("red", "green", "blue", "yellow", "purple", "cyan")
    places: tuple[str, ...] = ("left", "right", "top", "bottom", "middle")
    sizes: tuple[str, ...] = ("small", "large")
    backgrounds: tuple[str, ...] = ("black", "white", "grey")
    sure: float = 0.5

    def __post_init__(self) -> None:
        check_lists(self)
        if not 0 < self.sure < 1:
            raise PlanError(f"ShapesOracle: sure must be between 0 and 1, got {self.sure}")

    def read(self, pictures: Tensor) -> list[Reading]:
        """One reading for each of [N, 3, pixels, pixels]; values beyond [-1, 1] are seen as a screen shows them, cut off.

        Raises:
            PlanError: for pictures of another shape.
        """
        if tuple(pictures.shape[1:]) != (3, self.pixels, self.pixels):
            raise PlanError(f"the oracle reads pictures [N, 3, {self.pixels}, {self.pixels}], got {tuple(pictures.shape)}")
        found: list[Reading] = []
        for part in pictures.detach().float().cpu().clamp(-1, 1).split(_AT_ONCE):
            found += self._read(part)
        return found

    def _read(self, pictures: Tensor) -> list[Reading]:
        bank = _bank(self.pixels, self.shapes, self.sizes)
        n, size = len(pictures), 3 * self.pixels**2
        flat = pictures.flatten(2)
        level = flat.mean(2)  # [N, 3]
        away = flat - level[..., None]
        spread = away.square().sum((1, 2))
        reach = (away.reshape(-1, flat.shape[2]) @ bank.unit.T).reshape(n, 3, -1)
        gain, best = (evidence := reach.square().sum(1)).max(1)
        row = torch.arange(n)
        height = reach[row, :, best] / bank.norm[best, None]  # foreground minus background
        ground = level - height * bank.share[best, None]
        left = flat - ground[..., None] - height[..., None] * bank.cover[best][:, None]
        variance = (spread - gain).clamp(min=0) / size
        smear, coarse = (_structure(x, variance, self.pixels) for x in (left, away))
        noise = variance.clamp(min=_FLOOR**2)
        weight = torch.softmax((evidence - gain[:, None]) / (2 * noise[:, None]) + bank.prior, 1)
        place = _places(bank.centre, self.places)
        centre = bank.centre[best] + _finer(evidence, best)
        tables = {
            "shape": weight @ _one_hot(bank.form, len(self.shapes)),
            "size": weight @ _one_hot(bank.size, len(self.sizes)),
            "place": weight @ _one_hot(place, len(self.places) + 1)[:, :-1],
            "colour": _tints(ground + height, self.colours),
            "background": _tints(ground, self.backgrounds),
        }
        values = {n: getattr(self, f"{n}s") for n in ATTRIBUTES}
        out = []
        for k in range(n):
            reason = _unrecognised(height[k], variance[k], smear[k], coarse[k], gain[k])
            given = {a: {} if reason else dict(zip(values[a], tables[a][k].tolist(), strict=True)) for a in ATTRIBUTES}
            said = {a: _likeliest(p, self.sure) for a, p in given.items()}
            x, y = (round(c, 4) for c in centre[k].tolist())  # what lies behind depends on the rows beside
            out.append(Reading(said, given, None if reason else (x, y), float(variance[k].sqrt()), reason))
        return out


def check_lists(spec: object) -> None:
    """Raises PlanError unless every list of attribute values names known ones, each once, and there are enough pixels."""
    name = type(spec).__name__
    for attribute in ATTRIBUTES:
        values = tuple(getattr(spec, f"{attribute}s"))
        object.__setattr__(spec, f"{attribute}s", values)
        for value in values:
            if value not in KNOWN[attribute]:
                raise PlanError(f"{name}.{attribute}s: no {attribute} {value!r}; {nearest(str(value), KNOWN[attribute])}")
        if not values or len(set(values)) < len(values):
            raise PlanError(f"{name}.{attribute}s must name at least one {attribute}, each once, got {list(values)}")
    pixels = getattr(spec, "pixels")  # noqa: B009
    if not 8 <= pixels <= 64:
        raise PlanError(f"{name}.pixels must be from 8 to 64, got {pixels}")


class _Bank(NamedTuple):
    """K renderings: coverage [K, P], the same less its mean and of length 1, that length, the mean, and what they show."""

    cover: Tensor
    unit: Tensor
    norm: Tensor
    share: Tensor
    centre: Tensor
    form: Tensor
    size: Tensor
    prior: Tensor


@lru_cache(maxsize=8)
def _bank(pixels: int, shapes: tuple[str, ...], sizes: tuple[str, ...]) -> _Bank:
    line = torch.linspace(_EDGE, 1 - _EDGE, _GRID)
    spots = torch.cartesian_prod(line, line)
    radii, size = [], []
    for k, name in enumerate(sizes):
        # Up to where the next size begins: half-way, in logarithms, and as far on the other side.
        reach = (max(SIZES.values()) / min(SIZES.values())) ** 0.5
        steps = torch.linspace(-1 + 1 / _RADII, 1 - 1 / _RADII, _RADII)
        radii.append(SIZES[name] * reach ** (0.8 * steps))
        size.append(torch.full((_RADII,), k))
    radius, size_of = torch.cat(radii), torch.cat(size)
    each = len(radius) * len(spots)
    centre = spots.repeat(len(radius), 1)
    cover = torch.cat([coverage(f, centre, radius.repeat_interleave(len(spots)), pixels).flatten(1) for f in shapes])
    share = cover.mean(1)
    unit = cover - share[:, None]
    norm = unit.norm(dim=1)
    prior = torch.full((len(cover),), -float(len(cover))).log_softmax(0)
    return _Bank(
        cover, unit / norm[:, None], norm, share, centre.repeat(len(shapes), 1),
        torch.arange(len(shapes)).repeat_interleave(each), size_of.repeat_interleave(len(spots)).repeat(len(shapes)), prior,
    )  # fmt: skip


def _places(centre: Tensor, places: Sequence[str]) -> Tensor:
    """[K] index of the nearest place; one more than there are where none is near."""
    gap = torch.cdist(centre, torch.tensor([PLACES[p] for p in places]))
    near = gap.min(1)
    return torch.where(near.values <= _REACH, near.indices, len(places))


def _finer(evidence: Tensor, best: Tensor) -> Tensor:
    """[N, 2] from the best centre of the grid to the top of the parabola through its evidence and its neighbours'."""
    line = (1 - 2 * _EDGE) / (_GRID - 1)
    spot = best % _GRID**2
    moves = []
    for place, stride in ((spot // _GRID, _GRID), (spot % _GRID, 1)):
        inside = (place > 0) & (place < _GRID - 1)
        here = torch.where(inside, best, best.clamp(stride, evidence.shape[1] - 1 - stride))
        low, mid, high = (evidence.gather(1, (here + d * stride)[:, None])[:, 0] for d in (-1, 0, 1))
        bend = (low - 2 * mid + high).clamp(max=-1e-9)
        moves.append(torch.where(inside, line * ((low - high) / (2 * bend)).clamp(-0.5, 0.5), 0.0))
    return torch.stack(moves, 1)


def _one_hot(index: Tensor, n: int) -> Tensor:
    return torch.nn.functional.one_hot(index, n).float()


def _tints(found: Tensor, names: Sequence[str]) -> Tensor:
    """[N, len(names)] probability of each colour; a colour that is none of them is an alternative too."""
    gap = torch.cdist(found, torch.tensor([colour(n) for n in names]))
    off = torch.full((len(found), 1), _OFF)
    return torch.softmax(-torch.cat([gap, off], 1).square() / (2 * _TINT**2), 1)[:, :-1]


def _likeliest(probability: Mapping[str, float], sure: float) -> str | None:
    value = max(probability, key=probability.__getitem__, default=None)
    return value if value is not None and probability[value] >= sure else None


def _structure(x: Tensor, variance: Tensor, pixels: int) -> Tensor:
    """[N] mean square of means over two by two pixels, less what pure noise of that variance leaves there: a quarter."""
    means = torch.nn.functional.avg_pool2d(x.unflatten(2, (pixels, -1)), 2)
    return means.square().mean((1, 2, 3)) - variance / 4


def _unrecognised(height: Tensor, variance: Tensor, smear: Tensor, coarse: Tensor, gain: Tensor) -> str:
    """Why no shape is seen; "" where one is."""
    if float(height.norm()) < _CONTRAST:
        return "nothing stands out from the background"
    if float(gain) < _EVIDENCE * float(variance):
        return "nothing stands out from the noise"
    if float(variance) > _NOISE**2 or float(smear) > min(_SMEAR**2, _REST * float(coarse)):
        return "it is not one shape on a plain background"
    return ""
