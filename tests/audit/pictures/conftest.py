import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def drawn() -> ModuleType:
    """The policy that draws discs, beside this file."""
    spec = importlib.util.spec_from_file_location("audit_pictures_drawn", Path(__file__).with_name("drawn.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
