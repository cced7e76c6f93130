"""A Control policy that was saved comes back bit for bit, and a folder that is not one is refused in a line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from guerdon import advantages, objectives, policies, rewards, samplers
from guerdon.core import Items, ModelError, Policy, Streams
from guerdon.core.markdown import plain
from guerdon.core.world import Box, Discrete, Spaces, Start
from guerdon.policies import CNN, GRU, MLP, Control, Gaussian, StateDependentGaussian, TanhGaussian
from guerdon.policies.control._heads import ActionHead
from guerdon.run import Episodes, Plan, Train, run
from guerdon.worlds import GridWorld

GRID = GridWorld("corridor")
VECTOR, PICTURE, ARM = Box((3,)), Box((12, 14, 3), 0.0, 255.0, "uint8"), Box((2,), -1.0, (1.0, 2.0))
SMALL = CNN((2,), (4,), (2,), width=5)


def shaken(policy: Control) -> Control:
    """Every number moved, buffers included."""
    for k, v in enumerate(policy.state_dict().values()):
        v.add_(torch.linspace(0.01, 0.1 + 0.01 * k, v.numel()).reshape(v.shape).to(v))
    return policy


MADE = {
    "numbered states": lambda: Control.of(GRID),
    "a memory": lambda: Control.of(Spaces(VECTOR, Discrete(4)), body=GRU(3, MLP((2,), "elu"))),
    "pixels": lambda: Control.of(Spaces(PICTURE, Discrete(2)), body=SMALL),
    "a memory of pixels": lambda: Control.of(Spaces(PICTURE, Discrete(2)), body=GRU(4, SMALL), seed=3),
    "vectors": lambda: Control.of(Spaces(VECTOR, ARM), body=MLP((4, 3), "relu"), head=Gaussian(-1.0), normalise=True),
    "float64": lambda: Control.of(Spaces(VECTOR, ARM), normalise=True, dtype="float64"),
    "squashed": lambda: Control.of(Spaces(VECTOR, ARM), body=MLP((4,)), head=TanhGaussian((-5.0, 1.0))),
    "gSDE": lambda: Control.of(Spaces(VECTOR, ARM), body=MLP((4,)), head=StateDependentGaussian(squash=True, clip=2.0)),
    "an unbounded box": lambda: Control.of(Spaces(Box((3,), -1.0), Box((1,)))),
}


@pytest.mark.parametrize("name", MADE)
def test_a_saved_policy_is_the_same_policy(name: str, tmp_path: Path) -> None:
    policy = shaken(MADE[name]())
    if policy.front.scale is not None:
        policy.front.scale.clip, policy.front.scale.eps = 5.0, 1e-3
    folder = policy.save(tmp_path / "policy")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = Control.from_pretrained(str(folder))
    assert again.spec == policy.spec and again.dtype == policy.dtype and again.source == str(folder)
    assert (again.observation, again.action) == (policy.observation, policy.action)
    mine, theirs = policy.state_dict(), again.state_dict()
    assert list(mine) == list(theirs) and all(torch.equal(mine[k], theirs[k]) and mine[k].dtype == theirs[k].dtype for k in mine)
    space = policy.observation
    seen = (
        torch.arange(3) % space.n
        if isinstance(space, Discrete)
        else (torch.arange(3 * len(torch.zeros(space.shape).flatten())) % 7)
    )
    seen = seen.to(space.dtype).reshape(3, *space.shape)
    noise = torch.full((3, policy.head.noise), 0.3, dtype=torch.float64)
    a, b = (p.act(seen, noise, 0.7, p.blank(3)) for p in (policy, again))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    second = again.save(tmp_path / "second")
    assert (second / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_it_acts_as_before(tmp_path: Path) -> None:
    policy = shaken(Control.of(GRID))
    again = Control.from_pretrained(str(policy.save(tmp_path / "p")), world=GRID)
    streams = Streams(0)
    items = Items([Start(GRID, s) for s in range(3)], streams.uids(3))
    a, b = (p.sample(items, 2, streams=Streams(1), steps=20) for p in (policy, again))
    assert torch.equal(a.actions, b.actions) and a.logp is not None and b.logp is not None and torch.equal(a.logp, b.logp)


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    plan = Plan(
        policy=Control.of(GRID, body=MLP((4,))), source=Episodes(GRID),
        sampler=samplers.Group(contexts=2, n=2, controls={"steps": 8}), reward=rewards.Environment(dense=False),
        advantage=advantages.GroupNorm(), learners={"policy": Train(objectives.PolicyGradient())}, steps=1,
    )  # fmt: skip
    result = run(plan, tmp_path / "run")
    again = Control.from_pretrained(str(tmp_path / "run" / "policy"), world=GRID)
    mine = result.policy.state_dict()
    assert all(torch.equal(mine[k], v) for k, v in again.state_dict().items())
    assert plan.hash in (tmp_path / "run" / "policy" / "README.md").read_text()


def test_the_card(tmp_path: Path) -> None:
    card = {"plan_hash": "ab12", "metrics": {"return": 3.25}}
    folder = Control.of(GRID).save(tmp_path / "p", card=card)
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: guerdon\npipeline_tag: reinforcement-learning\ntags: [guerdon]\n---\n\n# p\n")
    assert "Trained with guerdon from `random weights`." in text and "| return | 3.25 |" in text and "- plan hash: ab12" in text
    assert f"- world: {plain(GRID)}" in text
    json.loads((folder / "config.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


def test_another_number_format(tmp_path: Path) -> None:
    policy = shaken(Control.of(Spaces(VECTOR, ARM), normalise=True))
    wide = Control.from_pretrained(str(policy.save(tmp_path / "p")), dtype="float64")
    assert wide.dtype == torch.float64 and {p.dtype for p in wide.parameters()} == {torch.float64}
    assert torch.equal(wide.head.mean.weight, policy.head.mean.weight.double())


def test_saving_again_replaces_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Control.of(GRID).save(tmp_path / "p")
    before = (folder / "model.safetensors").read_bytes()
    policy = shaken(Control.of(GRID))
    with monkeypatch.context() as m:
        m.setattr("safetensors.torch.save_file", lambda *a: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="full"):
            policy.save(folder)
    assert (folder / "model.safetensors").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    policy.save(folder)
    assert (folder / "model.safetensors").read_bytes() != before


class _Own(ActionHead):
    """A head that no plan can name."""

    noise, kind = 1, "uniform"


def test_modules_of_ones_own_are_saved_and_not_guessed(tmp_path: Path) -> None:
    made = Control.of(GRID)
    folder = Control(GRID, made.front, made.body, _Own()).save(tmp_path / "p")
    assert "body.layers.0.weight" in load_file(folder / "model.safetensors")
    with pytest.raises(ModelError, match="was saved with modules of its own"):
        Control.from_pretrained(str(folder))


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("body", {"use": "MPL", "widths": [4]}, r"config.json: body: 'MPL' is not a body, head or space; did you mean 'MLP'\?"),
        ("body", {"use": "MLP", "width": [4]}, r"config.json: body: MLP has no 'width'; did you mean 'widths'\?"),
        ("body", {"use": "MLP", "widths": [0]}, r"config.json: body: MLP: sizes must be at least 1"),
        ("body", {"use": "MLP", "widths": "4"}, "config.json: body"),
        ("body", {"use": "MLP", "widths": [5]}, r"model.safetensors does not fit its config.json: .*body\.layers\.0\.weight"),
        ("body", {"use": "Box", "shape": [4]}, r"config.json: body is Box"),
        ("head", {"use": "MLP"}, "does not fit its config.json"),
        ("head", {"use": "Gaussian"}, "config.json: Gaussian: the actions are Discrete"),
        ("head", {"use": "OwnTrunk"}, "does not fit its config.json"),
        ("head", "Categorical", "config.json: head is 'Categorical'"),
        ("action", {"use": "Discrete", "n": 9}, "does not fit its config.json"),
        ("dtype", "float8", "dtype is 'float8', expected float32 or float64"),
        ("format", 7, "config.json has format 7, expected 1"),
        ("normalise", {"clip": 1.0, "eps": 0.0}, "does not fit its config.json"),
        ("guerdon", "text", "config.json is not that of a Control policy"),
    ],
)
def test_a_folder_that_contradicts_itself(tmp_path: Path, key: str, value: object, line: str) -> None:
    folder = Control.of(Spaces(VECTOR, Discrete(2)), body=MLP((4,))).save(tmp_path / "p")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match=line) as caught:
        Control.from_pretrained(str(folder))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_folders_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        Control.from_pretrained(str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match=r"has no config\.json"):
        Control.from_pretrained(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="holds another kind of model"):
        Control.from_pretrained(str(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ModelError, match="is a file of no known kind"):
        Control.from_pretrained(str(tmp_path / "notes.txt"))
    folder = Control.of(GRID).save(tmp_path / "p")
    (folder / "model.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"model\.safetensors does not fit"):
        Control.from_pretrained(str(folder))
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors does not fit its config\.json: .*Missing key"):
        Control.from_pretrained(str(folder))


def test_a_name_that_the_hub_cannot_give() -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(ModelError, match=r"^nobody/nothing-here: cannot be loaded") as caught:  # tests are offline
        Control.from_pretrained("nobody/nothing-here")
    assert "\n" not in str(caught.value)


def test_a_world_of_other_spaces(tmp_path: Path) -> None:
    folder = str(Control.of(Spaces(VECTOR, Discrete(2))).save(tmp_path / "p"))
    Control.from_pretrained(folder, world=Spaces(Box((3,), -1.0, 1.0), Discrete(2)))  # bounds of what is seen change nothing
    with pytest.raises(ModelError, match="the policy does Discrete"):
        Control.from_pretrained(folder, world=Spaces(VECTOR, Discrete(3)))
    with pytest.raises(ModelError, match="the policy observes Box"):
        Control.from_pretrained(folder, world=Spaces(Box((4,)), Discrete(2)))


def test_every_public_body_and_head_can_be_saved() -> None:
    from guerdon.policies._plain import from_plain, to_plain

    for spec in (MLP(), CNN(), GRU(), policies.Categorical(), Gaussian(), TanhGaussian(), StateDependentGaussian(), VECTOR, ARM):
        assert from_plain(json.loads(json.dumps(to_plain(spec))), "here") == spec
    assert issubclass(Control, Policy)
