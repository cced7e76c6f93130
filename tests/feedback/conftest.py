"""Places for a store: the same tests run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import importlib.util
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def load(name: str) -> Any:
    """A file of this folder as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """A real PostgreSQL server, on loopback, of this session alone."""
    postgres = load("postgres")
    folder = postgres.binaries()
    if folder is None:
        pytest.skip(
            "no PostgreSQL: neither initdb in PATH nor /usr/lib/postgresql/*/bin/initdb (Debian: apt-get install postgresql)"
        )
    running = postgres.Server(folder)
    yield running
    running.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the URL of a new, empty place each time it is called."""
    if request.param == "postgresql":
        return request.getfixturevalue("server").fresh
    names = iter(string.ascii_letters)
    return lambda: f"sqlite:///{tmp_path}/{next(names)}.db"


@pytest.fixture
def place(fresh: Callable[[], str]) -> str:
    """URL of a new, empty place."""
    return fresh()
