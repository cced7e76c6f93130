"""What every test shares: offline, few threads, the same examples each time, a cache of its own."""

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# Before torch, transformers and matplotlib are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait do not take the core from other workers
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; the processes that tests interrupt inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("guerdon", derandomize=True, deadline=None)
hypothesis.settings.load_profile("guerdon")


def pytest_configure(config: pytest.Config) -> None:
    # For doctests too, which see no fixture of this folder. Workers of `-n 2` inherit the controller's cache.
    if not hasattr(config, "workerinput"):
        os.environ["GUERDON_CACHE"] = tempfile.mkdtemp(prefix="guerdon-test-cache-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["GUERDON_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """The cache of this test session: what one test puts there, later ones find."""
    return Path(os.environ["GUERDON_CACHE"])


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets and small models that are not part of the repository."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GUERDON_SHARED_DATA") or beside_checkout)
    if not folder.is_dir():
        pytest.skip("no shared data: set GUERDON_SHARED_DATA to its folder, or put it at ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def loaded() -> Callable[[Path], ModuleType]:
    """A file of helpers as a module, for tests that are no package."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location("_".join(path.with_suffix("").parts[-3:]), path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
