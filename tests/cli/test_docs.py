"""The how-to pages: every command and option they show exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from guerdon.cli._app import app

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs/how-to").glob("*.md"))
LINES = [line for p in PAGES for block in re.findall(r"```sh\n(.*?)```", p.read_text(), re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("guerdon ")]


def test_there_are_pages():
    assert {p.stem for p in PAGES} >= {"first-plan", "command-line"}
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("line", COMMANDS)
def test_what_the_pages_show_exists(line):
    _, name, *words = shlex.split(line, comments=True)
    command = get_command(app).commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in (w.partition("=")[0] for w in words if w.startswith("--")):
        assert word in known or (name == "train" and word.lstrip("-").split(".")[0] in PLAN_KEYS), word


PLAN_KEYS = {"steps", "learners", "transforms", "evaluation", "sampler", "policy"}
