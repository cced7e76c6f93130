"""Edits and videos: what is asked must happen, and nothing else."""

import pytest
import torch

from guerdon.core import PlanError
from guerdon.core.rollout import recorded
from guerdon.policies import Edit
from guerdon.tasks import Scene, ShapesEdit, ShapesEditReward, ShapesVideo, motion, render
from guerdon.tasks.picture_worlds._video import SPEEDS, WAYS

RED = Scene("square", "red", "left", "large", "white")
BLUE = RED._replace(colour="blue")


def test_right_edits_score_one_and_the_source_half() -> None:
    task = ShapesEdit()
    known = task.examples(60)
    out = task.reward()(recorded(known.contexts, known.pictures))
    assert bool(out.ok.all()) and float(out.total.min()) > 0.95 and float(out.parts["changed"].min()) == 1.0
    same = task.reward()(recorded(known.contexts, [c.source for c in known.contexts]))
    assert not same.parts["changed"].any() and float(same.parts["kept"].min()) == 1.0
    assert same.total.tolist() == pytest.approx([0.5] * 60)
    assert set(known.info["attribute"]) == set(task.choices)


def test_what_should_stay_must_stay() -> None:
    asked = Edit(render([RED])[0], "make it blue")
    moved = render([BLUE], jitter=torch.tensor([[1.0, 0.0, 0.0]]))  # 0.04 of the picture to the right
    shown = [render([BLUE])[0], render([BLUE._replace(background="black")])[0], moved[0], render([BLUE._replace(place="right")])[0],
             render([RED._replace(colour="green")])[0], torch.zeros(3, 16, 16)]  # fmt: skip
    out = ShapesEditReward()(recorded([asked] * 6, shown))
    assert out.parts["changed"].tolist() == [1, 1, 1, 1, 0, 0]
    assert out.parts["kept"].tolist() == pytest.approx([1, 0.75, 1, 0.75, 1, 0])
    assert out.parts["still"].tolist() == pytest.approx([1, 1, 0.6, 0, 1, 0], abs=0.07)
    assert (
        float(out.total[0]) > float(out.total[1:3].max()) > float(out.total[3]) > float(out.total[4]) > float(out.total[5]) == 0
    )


def test_edits_that_cannot_be_scored() -> None:
    good = render([RED])[0]
    contexts = [
        Edit(good, "make it blu"),
        Edit(torch.zeros(3, 16, 16), "make it blue"),
        "make it blue",
        Edit(good, "make it blue"),
    ]
    out = ShapesEditReward()(recorded(contexts, [good, good, good, good * float("inf")]))
    assert not out.ok.any()
    for reason, words in zip(out.reason, ["did you mean 'blue'", "the source cannot be read: nothing stands out", "is str", "NaN"],
                             strict=True):  # fmt: skip
        assert words in reason
    with pytest.raises(PlanError, match="attributes with a choice"):
        ShapesEdit(asked_of=("size",), sizes=("large",))


def test_the_true_displacement_is_measured() -> None:
    task = ShapesVideo()
    known = task.examples(60, seed=2)
    assert float(task.reward()(recorded(known.contexts, known.pictures)).total.min()) == 1.0
    frames = task.oracle().read(known.pictures.flatten(0, 1))
    for k in range(60):
        way, speed = known.info["way"][k], known.info["speed"][k]
        seen = motion(frames[6 * k : 6 * k + 6])
        for d in range(2):
            assert seen.step[d] == pytest.approx(SPEEDS[speed] * WAYS[way][d], abs=0.02)
        assert (seen.way, seen.speed) == (way, speed) and seen.bend < 0.01


def test_videos_that_do_something_else() -> None:
    task = ShapesVideo(speeds=("fast",))
    known = task.examples(8)
    video, asked = known.pictures[:1], known.contexts[:1]
    still = video[:, :1].expand_as(video)
    shuffled = video[:, [0, 5, 1, 4, 2, 3]]
    garbage = torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    half = torch.cat([video[:, :3], garbage[:, 3:]], 1)
    out = task.reward()(recorded(asked * 6, torch.cat([video, video.flip(1), still, shuffled, half, garbage])))
    assert out.parts["way"].tolist() == [1, 0, 0, 0, 0, 0]
    assert out.parts["colour"].tolist() == pytest.approx([1, 1, 1, 1, 0.5, 0]) and out.parts["steady"].tolist()[-1] == 0
    bad = task.reward()(recorded(["a red circle moving", "left left up", 3], [video[0][:5], video[0], video[0]]))
    assert not bad.ok.any() and "expected (6, 3, 12, 12)" in bad.reason[0] and "names two" in bad.reason[1]


def test_splits_of_variants_are_disjoint() -> None:
    video = ShapesVideo()
    told = [set(video.examples(400, split=s).contexts) for s in ("train", "held_out")]
    assert not told[0] & told[1] and min(map(len, told)) > 5
    edits = [ShapesEdit().examples(300, split=s).info for s in ("train", "held_out")]
    keys = [set(zip(*(i[n] for n in ("shape", "colour", "place", "size", "background")), strict=True)) for i in edits]
    assert not keys[0] & keys[1]
