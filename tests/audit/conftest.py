from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def synthetic(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """The generator of made-up run folders beside this file."""
    return loaded(Path(__file__).with_name("synthetic.py"))
