from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def drawn(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """The policy that draws discs, beside this file."""
    return loaded(Path(__file__).with_name("drawn.py"))
