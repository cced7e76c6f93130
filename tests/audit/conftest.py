import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The generator of made-up run folders beside this file."""
    spec = importlib.util.spec_from_file_location("audit_synthetic", Path(__file__).with_name("synthetic.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
