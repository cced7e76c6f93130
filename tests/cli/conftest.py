"""Calling the command line as its users do, in this process."""

from __future__ import annotations

import json
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
