"""A denoising policy that was saved comes back bit for bit, and a folder that is not one is refused in a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from guerdon.core import Items, ModelError, Streams
from guerdon.policies import (
    DDIM,
    DDPM,
    ByConfidence,
    Consistency,
    Cosine,
    DenoiserMLP,
    Denoising,
    Diffusion,
    Edit,
    Edits,
    Fill,
    Flow,
    FlowSDE,
    Labels,
    Linear,
    MaskedDiffusion,
    Straight,
    TokenMLP,
    TokenTable,
    TokenTransformer,
    UNet,
    Words,
)
from guerdon.policies._plain import from_plain, to_plain
from guerdon.testing._pictures import shaken

SMALL, WORDS = DenoiserMLP((4,)), Words(("red", "circle", "inf"), 4, 3)
MADE: dict[str, Callable[[], tuple[Any, Any]]] = {  # policy, a context of its kind
    "points": lambda: (Diffusion.of((2,), network=SMALL, predict="noise", kernel=DDPM("large"), clip=1.5, steps=3), None),
    "captions": lambda: (
        Diffusion.of((3, 4, 4), network=UNet((4, 8), dense=3), condition=WORDS, guidance=2.0, noise=Linear(spacing="leading")),
        "inf red",
    ),
    "edits": lambda: (Flow.of((1, 4, 4), network=UNet((4,)), condition=Edits(WORDS, 1)), Edit(torch.ones(1, 4, 4), "red")),
    "labels": lambda: (Flow.of((1, 3, 3), network=SMALL, condition=Labels(2, 3), noise=Straight(3.0), predict="data"), 1),
    "videos": lambda: (Flow.of((2, 1, 4, 4), network=UNet((4,)), kernel=FlowSDE(0.3, constant=True), dtype="float64"), None),
    "few steps": lambda: (Consistency.of((2,), network=SMALL, steps=2), None),
    "letters": lambda: (MaskedDiffusion.of(4, "ACGT", network=TokenMLP((4,)), condition=Labels(2, 3), temperature=0.5), 0),
    "tokens": lambda: (MaskedDiffusion.of(3, 5, network=TokenTransformer(8, 1, 2), kernel=ByConfidence(), train_steps=7), None),
    "a table": lambda: (MaskedDiffusion.of(2, "ab", network=TokenTable(1.0), dtype="float64"), Fill("a?")),
}


def of(folder: Path) -> Any:
    return Denoising.from_pretrained(str(folder))


@pytest.mark.parametrize("name", MADE)
def test_a_saved_policy_is_the_same_policy(name: str, tmp_path: Path) -> None:
    made, context = MADE[name]()
    policy = shaken(made)
    folder = policy.save(tmp_path / "policy")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = type(policy).from_pretrained(str(folder))
    assert type(again) is type(policy) and again.spec == policy.spec and again.dtype == policy.dtype
    assert (again.how, again.shape, again.source) == (policy.how, policy.shape, str(folder))
    for key in ("schedule", "predict", "clip", "vocabulary", "train_steps"):
        assert getattr(again, key, None) == getattr(policy, key, None)
    mine, theirs = policy.state_dict(), again.state_dict()
    assert list(mine) == list(theirs) and all(torch.equal(mine[k], theirs[k]) and mine[k].dtype == theirs[k].dtype for k in mine)
    items = Items([context, context], Streams(0).uids(2))
    a, b = (p.sample(items, 1, streams=Streams(1)) for p in (policy, again))
    assert torch.equal(a.states, b.states) and torch.equal(a.logp, b.logp)
    second = again.save(tmp_path / "second")
    assert (second / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert json.loads((second / "config.json").read_text()) == json.loads((folder / "config.json").read_text())


def test_other_settings_than_the_folder_s(tmp_path: Path) -> None:
    policy = shaken(Diffusion.of((2,), network=SMALL, condition=Labels(2, 3)))
    folder = str(policy.save(tmp_path / "p"))
    again = Diffusion.from_pretrained(folder, steps=5, kernel=DDIM(0.5), guidance=3.0, dtype="float64")
    assert (again.how.steps, again.how.kernel, again.how.guidance) == (5, DDIM(0.5), 3.0)
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    assert all(torch.equal(again.state_dict()[k], v.double()) for k, v in policy.state_dict().items())


def test_the_levels_of_given_outputs_keep_their_weight(tmp_path: Path) -> None:
    policy = Diffusion.of((2,), network=SMALL)
    policy.weight = "elbo"
    assert of(policy.save(tmp_path / "p")).weight == "elbo"
    assert of(Diffusion.of((2,), network=SMALL).save(tmp_path / "q")).weight == "simple"


@pytest.mark.parametrize(
    ("name", "tag"),
    [("points", None), ("captions", "text-to-image"), ("edits", "image-to-image"), ("labels", "unconditional-image-generation")],
)
def test_the_card(name: str, tag: str | None, tmp_path: Path) -> None:
    folder = MADE[name]()[0].save(tmp_path / "p", card={"plan_hash": "ab12", "metrics": {"reward": 3.25}})
    text = (folder / "README.md").read_text()
    task = [f"pipeline_tag: {tag}"] if tag else []
    assert text.startswith("\n".join(["---", "library_name: guerdon", *task, "tags: [guerdon]", "---", "", "# p\n"]))
    assert "Trained with guerdon from `random weights`." in text and "| reward | 3.25 |" in text and "- plan hash: ab12" in text
    json.loads((folder / "config.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


def test_saving_again_replaces_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Diffusion.of((2,), network=SMALL).save(tmp_path / "p")
    before = (folder / "model.safetensors").read_bytes()
    policy = shaken(Diffusion.of((2,), network=SMALL))
    with monkeypatch.context() as m:
        m.setattr("safetensors.torch.save_file", lambda *a: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="full"):
            policy.save(folder)
    assert (folder / "model.safetensors").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    policy.save(folder)
    assert (folder / "model.safetensors").read_bytes() != before


class _Still(DDIM):
    """A sampler that no file can name."""


class _Own(nn.Module):
    """A network that no file can name."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def test_parts_of_ones_own_are_saved_and_not_guessed(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"noise": Cosine(), "predict": "data", "kernel": DDIM(), "steps": 2}
    folder = Diffusion((2,), _Own(), None, **parts).save(tmp_path / "network")
    assert list(load_file(folder / "model.safetensors")) == ["network.scale"]
    for made, key in (
        (Diffusion((2,), _Own(), None, **parts), "network"),
        (Diffusion.of((2,), network=SMALL, kernel=_Still()), "kernel"),
    ):
        with pytest.raises(ModelError, match=f"config.json: {key} was one of its own when it was saved"):
            of(made.save(tmp_path / "p"))
    given = Diffusion.of((2,), network=SMALL)
    given.condition, given.spec = _Own(), (SMALL, None)  # a condition that no spec tells
    with pytest.raises(ModelError, match="condition was one of its own"):
        of(given.save(tmp_path / "p"))


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("network", {"use": "DenoiserMPL", "widths": [4]}, r"'DenoiserMPL' is not a network, .*; did you mean 'DenoiserMLP'\?"),
        ("network", {"use": "DenoiserMLP", "width": [4]}, r"network: DenoiserMLP has no 'width'; did you mean 'widths'\?"),
        ("network", {"use": "DenoiserMLP", "widths": [0]}, "network: DenoiserMLP: widths must be one or more"),
        ("network", {"use": "DenoiserMLP", "widths": "4"}, r"DenoiserMLP: widths is '4', expected tuple\[int, ...\]"),
        ("network", {"use": "DenoiserMLP", "widths": [2.5]}, r"DenoiserMLP: widths is \(2.5,\), expected tuple"),
        (
            "network",
            {"use": "DenoiserMLP", "widths": [5]},
            r"does not fit its config.json: network\.\S+ is float32 \(.*, expected",
        ),
        ("network", {"use": "DenoiserMLP", "widths": [4, 4]}, r"config.json: it lacks tensor network\.films\.1\.bias"),
        ("network", {"use": "UNet"}, r"config.json: UNet: it reads \(channels, H, W\)"),
        ("network", {"use": "DDIM"}, "config.json: network is DDIM, expected one of UNet, DenoiserMLP"),
        ("network", {"use": "MLP"}, "network is MLP, expected one of UNet, DenoiserMLP"),
        ("network", {"use": "TokenMLP"}, "network is TokenMLP, expected one of UNet"),
        ("network", {"use": "Edit", "source": [1], "text": "a"}, "network is Edit, expected one of UNet"),
        ("network", {"use": "DenoiserMLP", "widths": [10**9]}, "network: 1000000000 is more than the weights"),
        ("network", {"use": "DenoiserMLP", "widths": [1] * 100_001}, "network: 100001 is more than the weights"),
        ("shape", [10**12], "shape: 1000000000000 is more than the weights"),
        ("steps", 10**30, "steps: 10+ is more than the weights"),
        ("noise", {"use": "Cosine", "train_steps": 10**10}, "noise: 10000000000 is more than the weights"),
        ("shape", [], r"shape is \[\], expected a list of whole numbers from 1"),
        ("shape", "2", "shape is '2'"),
        ("shape", [True], r"shape is \[True\]"),
        ("shape", [3], "does not fit its config.json"),
        ("noise", {"use": "Straight"}, None),
        ("noise", {"use": "Cosine", "train_steps": True}, "noise: Cosine: train_steps is True, expected int"),
        ("noise", {"use": "Cosine", "offset": -1.0}, "noise: Cosine: expected offset >= 0"),
        ("noise", {"use": "Greedy"}, "noise is Greedy, expected a noise schedule"),
        ("noise", None, "noise was one of its own"),
        ("kernel", {"use": "DDIM", "eta": 7}, r"kernel: DDIM: eta must be in \[0, 1\], got 7"),
        ("kernel", {"use": "DDIM", "eta": "inf"}, r"kernel: DDIM: eta must be in \[0, 1\], got inf"),
        ("kernel", {"use": "RandomOrder"}, "kernel is RandomOrder, expected a sampler"),
        ("kernel", "DDIM", "kernel is 'DDIM', expected a sampler"),
        ("condition", "own", "condition was one of its own"),
        ("condition", {"use": "DenoiserMLP"}, "condition is DenoiserMLP, expected one of Labels, Words, Edits"),
        ("condition", {"use": "Labels", "n": 2}, "it lacks tensor condition.table"),
        ("steps", 0, "steps must be at least 1, got 0"),
        ("steps", 5000, "Cosine has 1 to 1000 steps, got steps=5000"),
        ("steps", "16", "steps is '16', expected a whole number"),
        ("steps", 2.5, "steps is 2.5, expected a whole number"),
        ("guidance", None, "guidance is None, expected a number"),
        ("predict", "nose", "predict is 'nose'; did you mean 'noise'"),
        ("predict", ["noise"], "predict is"),
        ("clip", -1, "clip must be above 0"),
        ("weight", "ebo", "weight is 'ebo', expected one of elbo, simple"),
        ("kind", "difusion", "kind is 'difusion', expected one of consistency, diffusion, flow, masked-diffusion"),
        ("kind", ["flow"], r"kind is \['flow'\]"),
        ("kind", "masked-diffusion", "network is DenoiserMLP, expected one of TokenTransformer"),
        ("dtype", "float64", r"is float32 \(.*\), expected float64"),
        ("dtype", "float8", "dtype is 'float8', expected float32 or float64"),
        ("format", 7, "config.json has format 7, expected 1"),
        ("guerdon", "control", "config.json is not that of a denoising policy"),
    ],
)
def test_a_folder_that_contradicts_itself(tmp_path: Path, key: str, value: object, line: str | None) -> None:
    folder = Diffusion.of((2,), network=SMALL).save(tmp_path / "p")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    if line is None:
        assert of(folder).schedule == Straight()
        return
    with pytest.raises(ModelError, match=line) as caught:
        of(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("vocabulary", "AACGT", "the characters of the vocabulary must differ"),
        ("vocabulary", None, "vocabulary is None, expected a whole number"),
        ("length", 0, "length must be at least 1"),
        ("length", 3, "does not fit its config.json"),
        ("temperature", -1.0, "temperature must be at least 0"),
        ("train_steps", 0, "train_steps must be at least 1"),
        ("kernel", {"use": "DDIM"}, "kernel is DDIM, expected an order of revealing"),
        ("network", {"use": "DenoiserMLP"}, "network is DenoiserMLP, expected one of TokenTransformer"),
    ],
)
def test_a_folder_of_tokens_that_contradicts_itself(tmp_path: Path, key: str, value: object, line: str) -> None:
    folder = MaskedDiffusion.of(2, "ACGT", network=TokenMLP((4,))).save(tmp_path / "p")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match=line) as caught:
        of(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_weights_that_are_not_there_or_not_weights(tmp_path: Path) -> None:
    folder = Diffusion.of((2,), network=SMALL).save(tmp_path / "p")
    whole = load_file(folder / "model.safetensors")
    save_file({**whole, "virus": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="has an unknown tensor virus"):
        of(folder)
    (folder / "model.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        of(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read") as caught:
        of(folder)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_config(tmp_path: Path) -> None:
    folder = Diffusion.of((2,), network=SMALL).save(tmp_path / "p")
    deep = (
        '{"guerdon": "denoising", "format": 1, "dtype": "float32", "weight": "simple", "network": ' + "[" * 500 + "]" * 500 + "}"
    )
    for text, line in (
        (deep, "network is nested too deep"),
        ('{"guerdon": ' + "[" * 100_000, "config.json cannot be read"),
        ('{"guerdon": "denoising"', "config.json cannot be read"),
        ('["guerdon"]', "config.json is not that of a denoising policy"),
    ):
        (folder / "config.json").write_text(text)
        with pytest.raises(ModelError, match=line) as caught:
            of(folder)
        assert "\n" not in str(caught.value)


def test_a_condition_without_its_weights(tmp_path: Path) -> None:
    folder = Diffusion.of((2,), network=SMALL, condition=Labels(2, 3)).save(tmp_path / "p")
    config = json.loads((folder / "config.json").read_text())
    for spec, line in (
        ({"use": "Labels", "n": 3, "width": 3}, r"condition\.table is float32 \(3, 3\), expected float32 \(4, 3\)"),
        ({"use": "Words", "vocabulary": ["red"], "width": 3}, r"it lacks tensor condition\.mix\.0\.bias"),
        ({"use": "DenoiserMLP"}, "condition is DenoiserMLP, expected one of Labels, Words, Edits"),
        ({"use": "Edits", "words": "red"}, "config.json: "),
    ):
        (folder / "config.json").write_text(json.dumps({**config, "condition": spec}))
        with pytest.raises(ModelError, match=line) as caught:
            of(folder)
        assert "\n" not in str(caught.value)


def test_a_name_that_means_a_number_stays_a_name() -> None:
    for value in (WORDS, Edits(WORDS, 2)):
        assert from_plain(json.loads(json.dumps(to_plain(value))), "here") == value


def test_another_kind_of_policy(tmp_path: Path) -> None:
    folder = Flow.of((2,), network=SMALL).save(tmp_path / "p")
    with pytest.raises(ModelError, match="holds a Flow, not a Diffusion"):
        Diffusion.from_pretrained(str(folder))
