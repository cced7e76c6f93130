"""Base models end to end, with a cache of their own: trained, found again, good for something; and whole plans."""

import json
import re
from pathlib import Path

import pytest
import torch

from guerdon import policies, tasks
from guerdon.core import Items, PlanError, Streams
from guerdon.core.rollout import recorded
from guerdon.run import Plan, run
from guerdon.run.compatibility import check_plan
from guerdon.tasks import Brightness, Compressibility, Redness, Scene, Shapes
from guerdon.tasks.picture_worlds import _denoiser
from guerdon.tasks.picture_worlds._scene import caption
from guerdon.testing import check_reward

TINY = Shapes.tiny()


def accuracy(policy: policies.Denoising, guidance: float = 1.0) -> float:
    s = Streams(1)
    rollout = policy.sample(TINY.prompts("train").draw(64, streams=s), 1, streams=s, guidance=guidance)
    return float(TINY.reward()(rollout).total.mean())


@pytest.mark.parametrize("kind", ["diffusion", "flow"])
def test_a_base_model_is_made_once_and_its_plan_runs(kind, fresh_cache: Path, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    folder = TINY.base(kind)
    assert folder.parent == fresh_cache / "base"
    notes = json.loads((folder / "guerdon.json").read_text())
    assert notes["recipe"]["kind"] == kind and notes["steps"] == TINY.start.steps
    monkeypatch.setattr(_denoiser, "train_denoiser", None)  # it is not called again
    assert TINY.base(kind) == folder
    read = policies.Diffusion if kind == "diffusion" else policies.Flow
    trained, fresh = read.from_pretrained(str(folder)), TINY.policy(kind)
    assert accuracy(trained) > 0.7 > 0.1 > accuracy(fresh)
    s = Streams(3)
    unasked = trained.sample(Items(["", None], s.uids(2)), 8, streams=s).outputs
    seen = [r.attributes["background"] for r in TINY.oracle().read(unasked)]
    assert {"black", "white"} <= set(seen)  # asked for nothing, it draws anything

    plan = tasks.pictures("shapes", kind, tiny=True, steps=2, contexts=4, n=4, samples=16, evaluations=1)
    check_plan(plan)
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan
    if kind == "flow":
        return  # one kind's run is enough
    result = run(plan, tmp_path / "run")
    assert result.history[-1]["reward/ok"] == 1.0 and result.history[-1]["mismatch/max"] < 1e-2
    assert len(result.evaluations) == 2 and (tmp_path / "run/report.html").stat().st_size > 10_000


def test_training_is_a_pure_function_of_the_recipe() -> None:
    known = TINY.examples(64)
    start = tasks.DenoiserStart(policies.DenoiserMLP((16,)), width=8, steps=4, batch=8)
    small = Shapes(**{**vars(TINY), "start": start})
    done = [
        tasks.train_denoiser(small.policy(), known.contexts, [""] * 64, known.pictures, start).policy.state_dict()
        for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(done[0].values(), done[1].values(), strict=True))
    assert small.recipe("flow") != small.recipe("diffusion") != TINY.recipe("diffusion")


def test_features_tell_pictures_apart_and_are_cached(fresh_cache: Path) -> None:
    spec = tasks.PictureFeatures(TINY, width=16, steps=120)
    features = spec.build()
    known = TINY.examples(100, seed=9)
    said = features.logits(known.pictures)
    for name in ("colour", "place", "background"):  # shapes of 8 pixels take longer to learn
        truth = torch.tensor([TINY.labels[name].index(v) for v in known.info[name]])
        assert float((said[name].argmax(1) == truth).float().mean()) > 0.95
    assert features(known.pictures).shape == (100, 16) and not any(p.requires_grad for p in features.parameters())
    again = spec.build()
    assert torch.equal(again(known.pictures), features(known.pictures)) and len(list((fresh_cache / "base").iterdir())) == 1
    assert TINY.features() == tasks.PictureFeatures(TINY)
    assert TINY.real(5).pictures().shape == (5, 3, 8, 8) and torch.equal(TINY.real(5).pictures(), TINY.real(9).pictures()[:5])


def test_the_corpus_of_base_models_is_careless_and_never_shows_what_is_held_out() -> None:
    task = Shapes(tasks.DenoiserStart(corpus=300), wrong=0.2)
    known = task.corpus()
    asked = task.reward()(recorded(known.contexts, known.pictures))
    for name in task.asked:
        assert float(asked.parts[name].mean()) == pytest.approx(
            0.82, abs=0.06
        )  # a little less than 0.2: held-out ones stay right
    held_out = set(task.examples(800, split="held_out").contexts)
    shown = [r.attributes for r in task.oracle().read(known.pictures)]
    assert not held_out & {caption(Scene(**a)) for a in shown} and not held_out & set(known.contexts)  # type: ignore[arg-type]


@pytest.mark.parametrize("reward", [Brightness(), Redness()])
def test_hackable_rewards_have_gradients_and_fail_by_row(reward) -> None:  # type: ignore[no-untyped-def]
    x = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    out = reward(recorded(["a", "b"], x).replace(outputs=x))
    assert out.total.tolist() == ([0.5, 0.5] if isinstance(reward, Brightness) else [0.0, 0.0])
    out.total.sum().backward()
    # Brightness: 1/48 a pixel. Redness: 1/16 for red, -1/32 for the others.
    expected = [1 / 48] * 3 if isinstance(reward, Brightness) else [1 / 16, -1 / 32, -1 / 32]
    assert x.grad is not None and x.grad[0, :, 1, 2].tolist() == pytest.approx(expected)
    bad = reward(recorded(["a"] * 3, [torch.zeros(3, 4, 4), torch.full((3, 4, 4), float("nan")), "no"]))
    assert bad.ok.tolist() == [True, False, False] and "NaN" in bad.reason[1] and "not a picture" in bad.reason[2]
    loud = torch.full((1, 3, 4, 4), 9.0)
    assert (
        float(type(reward)(cut=True)(recorded(["a"], loud)).total.abs()) <= 1 < float(Brightness()(recorded(["a"], loud)).total)
    )


def test_hackable_rewards_on_videos_and_odd_channels() -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(2, 5, 3, 4, 4)
    assert Redness()(recorded(["a", "b"], red)).total.tolist() == [2.0, 2.0]
    grey = Redness()(recorded(["a"], torch.zeros(1, 1, 8, 8)))
    assert not grey.ok.any() and "has 1 channels, expected 3" in grey.reason[0]
    same = Compressibility()(recorded(["a", "b"], [torch.zeros(3, 8, 8), torch.full((3, 8, 8), 5.0)]))
    assert bool(same.ok.all()) and bool((same.total > 0.8).all()) and not Compressibility.differentiable


@pytest.mark.parametrize(
    "name",
    [
        "ShapesReward",
        "soft",
        "ShapesEditReward",
        "ShapesVideoReward",
        "DigitsReward",
        "neighbours",
        "Brightness",
        "Redness",
        "Compressibility",
    ],
)
def test_rewards_keep_their_contract(name: str) -> None:
    makers = {"soft": lambda: tasks.ShapesReward(soft=True), "neighbours": lambda: tasks.DigitsReward(judge="neighbours")}
    reward = makers.get(name, getattr(tasks, name, None))()
    known = getattr(reward, "task", Shapes()).examples(3)
    odd = [known.pictures[0] * float("nan"), known.pictures[1][..., :5], "no picture"]
    out = check_reward(reward, recorded([*known.contexts, *known.contexts], [*known.pictures, *odd]))
    assert out.ok[:3].all() and not out.ok[3] and not out.ok[5]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.pictures("shaps"), "no world of pictures 'shaps'; did you mean 'shapes'?"),
        (lambda: tasks.pictures("shapes", "difusion"), "no base model 'difusion'; did you mean 'diffusion'?"),
        (lambda: tasks.pictures("shapes", contxts=3), "no setting 'contxts'; did you mean 'contexts'?"),
        (lambda: tasks.pictures("shapes", n=1), "GRPOSettings.n must be at least 2"),
        (lambda: tasks.get("shapes"), "'shapes' is a world of pictures: tasks.picture_world('shapes')"),
        (lambda: TINY.prompts("test"), "PicturePrompts.split 'test'"),
        (lambda: tasks.PicturePrompts(tasks.Arithmetic()), "must be a world of pictures such as tasks.Shapes()"),
        (lambda: tasks.DenoiserStart(steps=0), "DenoiserStart.steps must be at least 1, got 0"),
        (lambda: Compressibility(level=0), "level must be from 1 to 9"),
    ],
)
def test_what_cannot_be_is_named_here(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PlanError, match=re.escape(words)):
        make()
