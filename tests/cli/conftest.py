"""Calling the command line as its users do, in this process."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guerdon.cli import main


@dataclass(frozen=True)
class Said:
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def complaint(self) -> str:
        """The one line that bad input gets."""
        assert self.code == 2, (self.code, self.out, self.err)
        lines = [line for line in self.err.splitlines() if line.startswith("guerdon: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0])
        return lines[0]


Command = Callable[..., Said]


@pytest.fixture
def guerdon(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(w) for w in words])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLAN = """
name: tiny
policy: {use: policies.CausalLM.from_pretrained, path_or_name: model}
source: {use: run.File, path: prompts.jsonl}
sampler: {use: samplers.Group, contexts: 2, n: 2, controls: {max_tokens: 4}}
reward: reward.py:reward
references: {reference: policies.Frozen}
transforms: [{use: transforms.TokenKL, beta: 0.1}]
advantage: advantages.GroupNorm
learners:
  policy: {use: run.Train, terms: objectives.PolicyGradient, optim: {lr: 1e-2}}
evaluation: {samples: 2, every: 1}
checkpoint_every: 1
steps: 2
"""
REWARD = """
import helper


def reward(output, answer):
    return helper.share(output, "aeiou") + 0.0 * len(answer)


def broken(output):
    raise ValueError("planted")


def hangs(output):
    while True:
        pass


def nan(output):
    return float("nan")


def short(completions, **kwargs):
    return [1.0]


def needs(output, tests):
    return 1.0


def slow(output):
    import time

    time.sleep(0.05)
    return float(len(output))
"""
HELPER = """
def share(text, letters):
    return sum(c in letters for c in text) / max(1, len(text))
"""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers in Hugging Face format."""
    from guerdon.testing._models import tiny_model, tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_model(dtype="float32").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def project(here: Path, tiny_folder: Path) -> Path:
    """A folder with a plan of two steps that runs as it is."""
    shutil.copytree(tiny_folder, here / "model")
    (here / "plan.yaml").write_text(PLAN)
    (here / "reward.py").write_text(REWARD)
    (here / "helper.py").write_text(HELPER)
    (here / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p, "answer": "x"}) + "\n" for p in ("ab", "cd", "ef")))
    return here


# ---------------------------------------------------------------- feedback, and a reward fitted to it
FIT = ("--reward", "bradley-terry", "--epochs", "6", "--lr", "3e-3", "--batch", "16")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def pairs(n: int = 120, noise: float = 0.0, seed: int = 0) -> list[dict[str, Any]]:
    """Two pairs for each prompt. The answer made of z is the better one, unless a label is flipped; length says nothing."""
    draw = random.Random(seed)
    rows = []
    for k in range(n):
        both = ["z" * draw.randint(3, 9), "a" * draw.randint(3, 9)]
        chosen, rejected = both[::-1] if draw.random() < noise else both
        rows.append({"prompt": f"say {k // 2}", "chosen": chosen, "rejected": rejected, "topic": "ab"[k // 2 % 2]})
    return rows


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of one layer and width 32 whose tokens are characters."""
    transformers = pytest.importorskip("transformers")
    import torch

    from guerdon.core.hub import quiet
    from guerdon.testing._models import CHARACTERS, SPECIAL, tiny_tokenizer

    folder = tmp_path_factory.mktemp("base") / "base"
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(SPECIAL) + len(CHARACTERS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=48, max_position_embeddings=64, pad_token_id=0,
        )  # fmt: skip
        transformers.BertModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def fitted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward that ``guerdon fit`` made of sound pairs."""
    folder = tmp_path_factory.mktemp("fitted")
    data = write_rows(folder / "pairs.jsonl", pairs())
    assert main(["fit", str(data), *FIT, "--base", str(base), "--out", str(folder / "judge"), "--quiet", "--json"]) == 0
    return folder / "judge"


@pytest.fixture
def put(here: Path) -> Callable[..., Path]:
    """Writes pairs (see ``pairs``), or the rows given, to a file of the current folder."""

    def write(name: str, rows: list[dict[str, Any]] | None = None, **how: Any) -> Path:
        return write_rows(here / name, pairs(**how) if rows is None else rows)

    return write


@pytest.fixture
def judge(here: Path, base: Path, fitted: Path, put: Callable[..., Path]) -> Path:
    """A folder with a base, sound pairs, and a reward fitted to them."""
    shutil.copytree(base, here / "base")
    shutil.copytree(fitted, here / "judge")
    put("pairs.jsonl")
    return here
