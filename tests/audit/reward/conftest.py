from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """Made rewards and comparisons, from the file beside this one."""
    return loaded(Path(__file__).with_name("made.py"))
