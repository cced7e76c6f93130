"""Tiny bases on disk: a language model and an encoder of pairs, both of two layers."""

from pathlib import Path

import pytest

from guerdon.testing import tiny_lm, tiny_reward_model


@pytest.fixture(scope="session")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_lm("llama").save(tmp_path_factory.mktemp("lm") / "base")


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only the body of an encoder, as encoders are published."""
    folder = tmp_path_factory.mktemp("bert") / "base"
    reward = tiny_reward_model("bert")
    reward.model.bert.save_pretrained(folder)
    reward.template.tokenizer.save_pretrained(folder)
    return folder
