"""Renderings by closed form: areas, edges and centres that can be worked out by hand; captions that say what is shown."""

import itertools
import math

import pytest
import torch

from guerdon.core import DataError
from guerdon.tasks import Scene, Shapes, render
from guerdon.tasks.picture_worlds._render import SHIFT, coverage, distance
from guerdon.tasks.picture_worlds._scene import ATTRIBUTES, BACKGROUNDS, COLOURS, FORMS, PLACES, SIZES, caption, colour, said

MIDDLE = torch.tensor([[0.5, 0.5]], dtype=torch.double)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_one_radius_have_the_area_of_the_circle(form: str) -> None:
    radius = 8 / 64  # 8 pixels: an area of 64 pi
    area = float(coverage(form, MIDDLE, torch.tensor([radius]).double(), 64).sum())
    assert area == pytest.approx(64 * math.pi, rel=0.02)


def test_the_edge_of_a_square_covers_its_pixels_by_their_share() -> None:
    # Half a side of 3.25 pixels around x = 8: pixel centres at 8.5, 9.5, ... are 0.5, 1.5, 2.5, 3.5 away; the last one's signed
    # distance is 3.5 - 3.25 = 0.25, so that a quarter of it (0.5 - 0.25) is covered, and the next one not at all.
    radius = torch.tensor([3.25 * 2 / math.sqrt(math.pi) / 16], dtype=torch.double)
    row = coverage("square", MIDDLE, radius, 16)[0, 8]
    assert row[8:].tolist() == pytest.approx([1, 1, 1, 0.25, 0, 0, 0, 0])
    assert torch.equal(row, row.flip(0))


def test_distances_by_hand() -> None:
    one, zero = torch.tensor(1.0), torch.zeros(())
    side = math.sqrt(4 * math.pi / math.sqrt(3))  # of the triangle with area pi
    height = side * math.sqrt(3) / 2
    assert float(distance("triangle", zero, torch.tensor(-height / 2), one)) == pytest.approx(0, abs=1e-6)  # its point
    assert float(distance("triangle", torch.tensor(side / 2), torch.tensor(height / 2), one)) == pytest.approx(0, abs=1e-6)
    assert float(distance("triangle", zero, torch.tensor(height / 2 + 2), one)) == pytest.approx(2)
    assert float(distance("ring", zero, zero, one)) > 0 > float(distance("circle", zero, zero, one))
    assert float(distance("diamond", torch.tensor(math.sqrt(math.pi / 2)), zero, one)) == pytest.approx(0, abs=1e-6)  # a corner


def test_jitter_moves_the_centre_and_nothing_else() -> None:
    scene = Scene("circle", "red", "middle", "small", "black")
    still, moved = render([scene] * 2, 32, torch.tensor([[0.0, 0.0, 0.0], [1.0, -0.5, 0.0]]))
    ink = [(p[0] - p[0, 0, 0]).double() for p in (still, moved)]
    at = torch.arange(32).double()
    x, y = ([float((i.sum(d) * at).sum() / i.sum()) for i in ink] for d in (0, 1))
    assert x[1] - x[0] == pytest.approx(32 * SHIFT, abs=0.02)
    assert y[1] - y[0] == pytest.approx(-16 * SHIFT, abs=0.02)
    assert float(ink[0].sum()) == pytest.approx(float(ink[1].sum()), rel=0.01)


def test_pictures_are_a_pure_function_of_their_row() -> None:
    known = Shapes().examples(40, seed=3)
    again = Shapes().examples(7, seed=3)
    assert torch.equal(known.pictures[:7], again.pictures) and known.contexts[:7] == again.contexts
    assert known.pictures.dtype == torch.float32 and float(known.pictures.abs().max()) <= 1
    white = render([Scene("cross", "pink", "left", "small", "white")])[0]
    assert white[:, 0, 15].tolist() == pytest.approx(colour("white"))


def test_captions_say_what_is_shown_and_nothing_else() -> None:
    for values in itertools.product(FORMS, COLOURS, PLACES, SIZES, BACKGROUNDS):
        scene = Scene(*values)
        assert said(caption(scene)) == scene._asdict()
        assert said(caption(scene, ("colour", "place"))) == {"colour": scene.colour, "place": scene.place}
    assert said("a CROSS, bottom right!") == {"shape": "cross", "place": "bottom right"}
    assert said("") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red circel", "'circel' says nothing here; did you mean 'circle'?"),
        ("a red blue circle", "names two: red and blue"),
        ("a circle on the left at the right", "names two places: left and right"),
    ],
)
def test_captions_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(DataError) as e:
        said(text)
    assert words in str(e.value)


def test_splits_are_disjoint_and_all_attributes_are_in_both() -> None:
    task = Shapes()
    told = {s: set(task.examples(800, split=s).contexts) for s in ("train", "held_out")}
    assert not told["train"] & told["held_out"]
    assert 0.05 < len(told["held_out"]) / 720 < 0.15  # 4 x 6 x 5 x 2 x 3 combinations, one in ten held out
    for side in told.values():
        seen = [said(c) for c in side]
        assert all({s[n] for s in seen} == set(task.values[n]) for n in ATTRIBUTES)
