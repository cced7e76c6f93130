"""Pictures of scenes by closed form: the signed distance to an outline, and the share of each pixel that it covers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.tasks.picture_worlds._scene import PLACES, SIZES, Scene, colour

SHIFT, SWELL = 0.04, 0.05  # jitter: of the centre as a share of the picture, of the radius as a share of itself
_ARM = 0.36  # half the width of a cross's arms, as a share of half its length
_TRIANGLE = math.sqrt(4 * math.pi / math.sqrt(3))  # side of the equilateral triangle with the area of the unit circle
_HOLE = 0.5  # radius of a ring's hole, as a share of its own


def distance(form: str, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Signed distance in pixels to a form's outline, negative inside (outside of a corner: to the nearer edge's line).

    All forms of one radius have the area of the circle of that radius.

    Args:
        form: One of ``FORMS``.
        x: Pixels to the right of the form's centre (of its box).
        y: Pixels below it.
        radius: Pixels.

    >>> at = torch.tensor([0.0, 3.0])
    >>> distance("circle", at, torch.zeros(2), torch.tensor(2.0)).tolist()
    [-2.0, 1.0]
    """
    if form == "circle":
        return torch.hypot(x, y) - radius
    if form == "ring":
        outer = radius / math.sqrt(1 - _HOLE**2)
        away = torch.hypot(x, y)
        return torch.maximum(away - outer, _HOLE * outer - away)
    if form == "square":
        return torch.maximum(x.abs(), y.abs()) - radius * math.sqrt(math.pi) / 2
    if form == "diamond":
        return (x.abs() + y.abs()) / math.sqrt(2) - radius * math.sqrt(math.pi) / 2
    if form == "cross":
        half = radius * math.sqrt(math.pi / (4 * _ARM * (2 - _ARM)))
        thin = half * _ARM
        lying = torch.maximum(x.abs() - half, y.abs() - thin)
        return torch.minimum(lying, torch.maximum(x.abs() - thin, y.abs() - half))
    side = radius * _TRIANGLE  # triangle, point up; its box is centred, so that it reaches as far up as down
    height = side * math.sqrt(3) / 2
    flank = (x.abs() * math.sqrt(3) - (y + height / 2)) / 2
    return torch.maximum(flank, y - height / 2)


def coverage(form: str, centre: Tensor, radius: Tensor, pixels: int) -> Tensor:
    """[N, pixels, pixels] share of every pixel that a form covers, from its signed distance.

    Args:
        form: One of ``FORMS``.
        centre: [N, 2] from the left and from the top, as shares of the picture.
        radius: [N] as shares of the picture.
        pixels: Width and height.
    """
    at = torch.arange(pixels, dtype=centre.dtype, device=centre.device) + 0.5
    x = at[None, None, :] - centre[:, 0, None, None] * pixels
    y = at[None, :, None] - centre[:, 1, None, None] * pixels
    return (0.5 - distance(form, x, y, radius[:, None, None] * pixels)).clamp(0, 1)


def where(scenes: Sequence[Scene], jitter: Tensor) -> tuple[Tensor, Tensor]:
    """[N, 2] centres and [N] radii as shares of the picture; ``jitter`` [N, 3] in [-1, 1] moves and swells them."""
    place = torch.tensor([PLACES[s.place] for s in scenes], dtype=torch.double).reshape(-1, 2)
    radius = torch.tensor([SIZES[s.size] for s in scenes], dtype=torch.double)
    return place + SHIFT * jitter[:, :2].double(), radius * (1 + SWELL * jitter[:, 2].double())


def painted(scenes: Sequence[Scene], centre: Tensor, radius: Tensor, pixels: int) -> Tensor:
    """[N, 3, pixels, pixels] float32 in [-1, 1]: the scenes' forms and colours at given places.

    Args:
        scenes: [N]; their place and size are not looked at.
        centre: [N, 2] shares of the picture.
        radius: [N] shares of the picture.
        pixels: Width and height.
    """
    mask = torch.zeros(len(scenes), pixels, pixels, dtype=torch.double)
    for form in dict.fromkeys(s.shape for s in scenes):
        rows = torch.tensor([k for k, s in enumerate(scenes) if s.shape == form])
        mask[rows] = coverage(form, centre[rows], radius[rows], pixels)
    ink, ground = (torch.tensor([colour(getattr(s, n)) for s in scenes], dtype=torch.double).reshape(-1, 3, 1, 1)
                   for n in ("colour", "background"))  # fmt: skip
    return (ground + mask[:, None] * (ink - ground)).float()


def render(scenes: Sequence[Scene], pixels: int = 16, jitter: Tensor | None = None) -> Tensor:
    """[N, 3, pixels, pixels] float32 in [-1, 1]: anti-aliased pictures, a pure function of attributes and jitter.

    Args:
        scenes: [N].
        pixels: Width and height.
        jitter: [N, 3] in [-1, 1]: to the right, down, larger; None: none.

    >>> red = render([Scene("square", "red", "middle", "large", "black")])[0]
    >>> [round(float(v), 2) for v in red[:, 8, 8]]  # its middle is red all over
    [0.76, -0.73, -0.69]
    """
    jitter = torch.zeros(len(scenes), 3) if jitter is None else jitter
    return painted(scenes, *where(scenes, jitter), pixels)
