import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """Made rewards and comparisons, from the file beside this one."""
    spec = importlib.util.spec_from_file_location("audit_reward_made", Path(__file__).with_name("made.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
