"""The attribute oracle: right on renderings, tolerant of noise, silent on garbage."""

import re

import pytest
import torch

from guerdon.core import PlanError, Streams
from guerdon.core.rollout import recorded
from guerdon.tasks import Scene, Shapes, ShapesOracle, ShapesReward, render
from guerdon.tasks.picture_worlds._scene import ATTRIBUTES, PLACES

TASK = Shapes()


def noise(n: int, seed: int = 0) -> torch.Tensor:
    s = Streams(seed)
    return s("noise", s.uids(n)).normal(3 * 256).reshape(-1, 3, 16, 16).float()


@pytest.mark.parametrize(("std", "least"), [(0.0, 1.0), (0.05, 1.0), (0.1, 1.0), (0.2, 0.99), (0.3, 0.97)])
def test_right_on_renderings_and_under_noise(std: float, least: float) -> None:
    known = TASK.examples(150, seed=5)
    out = TASK.reward()(recorded(known.contexts, known.pictures + std * noise(150)))
    assert bool(out.ok.all()) and float(out.parts["all"].mean()) >= least


def test_all_nine_places_and_all_six_forms() -> None:
    task = Shapes(shapes=("circle", "square", "triangle", "cross", "diamond", "ring"), places=tuple(PLACES))
    known = task.examples(120)
    assert float(task.reward()(recorded(known.contexts, known.pictures)).total.min()) == 1.0


def garbage() -> dict[str, torch.Tensor]:
    n = noise(40, seed=1)
    ramp = torch.linspace(-1, 1, 16).expand(1, 3, 16, 16) * n[:, :, :1, :1]
    flat = n[:, :, :1, :1].clamp(-1, 1).expand(-1, 3, 16, 16)
    smooth = torch.nn.functional.interpolate(n[:, :, :4, :4], size=16, mode="bilinear")
    half = torch.where(torch.arange(16) < 8, flat, -flat)
    red, blue = (render([Scene("circle", c, p, "large", "white")]) for c, p in (("red", "left"), ("blue", "right")))
    both = torch.where((red - red[:, :, :1, :1]).abs() > 0.01, red, blue)
    return {"noise": n, "faint noise": 0.1 * n, "flat": flat, "flat and noise": flat + 0.1 * n, "smooth": smooth,
            "faint smooth": 0.5 * smooth, "ramp": ramp, "half": half, "two shapes": both, "black and white": n.sign()}  # fmt: skip


@pytest.mark.parametrize("name", garbage())
def test_garbage_has_no_attributes(name: str) -> None:
    pictures = garbage()[name]
    for reading in TASK.oracle().read(pictures):
        assert reading.reason and reading.centre is None
        assert set(reading.attributes.values()) == {None} and set(reading.confidence.values()) == {0.0}
    out = ShapesReward(soft=True)(recorded(["a large red circle on the left, on white"] * len(pictures), pictures))
    assert bool(out.ok.all()) and not out.total.any()


def test_a_strange_colour_is_none_of_them_and_the_rest_is_still_seen() -> None:
    picture = render([Scene("square", "red", "top", "large", "black")])
    ink = (picture - picture[:, :, :1, :1]).abs().sum(1, keepdim=True) > 1
    brown = torch.where(ink, torch.tensor([-0.1, -0.4, -0.6])[:, None, None], picture)
    reading = TASK.oracle().read(brown)[0]
    assert reading.attributes["colour"] is None and reading.confidence["colour"] < 0.5
    assert [reading.attributes[n] for n in ("shape", "place", "size", "background")] == ["square", "top", "large", "black"]


def test_values_beyond_the_screen_are_cut_off() -> None:
    scene = Scene("cross", "yellow", "left", "large", "black")
    picture = render([scene])
    loud = torch.where(picture > 0.9, 40.0, picture)
    assert TASK.oracle().read(loud)[0].attributes == scene._asdict()


def test_the_reward_by_hand() -> None:
    picture = render([Scene("square", "red", "left", "small", "white")])[0]
    said = ["a small red square on the left, on white", "a large blue square on the left, on white", "a cross", "a red square"]
    out = ShapesReward()(recorded(said, [picture] * 4))
    assert out.total.tolist() == pytest.approx([1.0, 3 / 5, 0.0, 1.0])
    assert out.parts["colour"].tolist() == [1.0, 0.0, 0.0, 1.0] and out.parts["all"].tolist() == [1.0, 0.0, 0.0, 1.0]
    soft = ShapesReward(soft=True)(recorded(said, [picture] * 4)).total
    assert torch.allclose(soft, out.total, atol=0.02)


def test_what_is_no_picture_fails_with_a_reason() -> None:
    good = render([Scene("square", "red", "left", "small", "white")])[0]
    said = ["a red square"] * 5 + ["a red sqare", 7, ""]
    outputs = [good, good * float("nan"), good[:, :8], "text", good[:1], good, good, good]
    out = ShapesReward()(recorded(said, outputs))
    assert out.ok.tolist() == [True] + [False] * 7 and not out.total[1:].any()
    expected = ["", "NaN", "(3, 8, 16), expected (3, 16, 16)", "is str, not a tensor", "(1, 16, 16)", "did you mean 'square'?",
                "is int, not a caption", "asks for nothing"]  # fmt: skip
    assert all(e in r for e, r in zip(expected, out.reason, strict=True))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Shapes(colours=("red", "bleu")), "Shapes.colours: no colour 'bleu'; did you mean 'blue'?"),
        (lambda: Shapes(sizes=()), "Shapes.sizes must name at least one size"),
        (lambda: Shapes(pixels=4), "Shapes.pixels must be from 8 to 64, got 4"),
        (lambda: ShapesOracle(sure=1.0), "sure must be between 0 and 1"),
        (lambda: ShapesOracle().read(torch.zeros(1, 3, 8, 8)), "[N, 3, 16, 16], got (1, 3, 8, 8)"),
    ],
)
def test_what_cannot_be_is_named(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PlanError, match=re.escape(words)):
        make()


def test_readings_do_not_depend_on_the_rows_beside() -> None:
    known = TASK.examples(70)
    together, alone = TASK.oracle().read(known.pictures), TASK.oracle().read(known.pictures[66:67])[0]
    assert together[66].attributes == alone.attributes
    assert all(together[66].confidence[n] == pytest.approx(alone.confidence[n], abs=1e-3) for n in ATTRIBUTES)
