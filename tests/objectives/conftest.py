"""Makes the problem that is shared with the peer, and the peer's driver, importable; one thread for tiny tensors."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

collect_ignore_glob = ["golden/*"]  # no doctests there, and one file needs the peer
sys.path.insert(0, str(Path(__file__).parent / "golden"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Starting a second thread costs more than these tests compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
