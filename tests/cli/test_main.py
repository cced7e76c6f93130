"""One line and an exit code for everything that can go wrong, and a quick answer to --help."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from guerdon.cli import _app, main
from guerdon.core.errors import PlanError

RUN = [sys.executable, "-c", "import sys; from guerdon.cli import main; sys.exit(main())"]


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.fixture
def broken(monkeypatch):
    """A command ``broken`` that raises what it is told to."""

    def plant(error: BaseException) -> None:
        app = typer.Typer()
        app.callback()(lambda: None)
        app.command("broken")(raising(error))
        monkeypatch.setattr(_app, "app", app)

    return plant


def test_help_is_quick_and_loads_no_torch():
    code = (
        "import sys; from guerdon.cli import main; main(['--help']); print({'torch', 'transformers', 'yaml'} & set(sys.modules))"
    )
    start = time.perf_counter()
    wide = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=wide)
    took = time.perf_counter() - start
    assert done.stdout.rstrip().endswith("set()")
    for command in ("demo", "init", "fit", "feedback", "train", "score", "audit", "compare", "frontier", "schema", "doctor"):
        assert f" {command} " in done.stdout
    assert took < 2.0  # 0.2 s on an idle machine


def test_every_command_has_help_with_an_example(guerdon):
    for command in ("demo", "init", "fit", "train", "score", "audit", "compare", "frontier", "schema", "doctor"):
        said = guerdon(command, "--help")
        assert said.code == 0
        assert f"Example: guerdon {command}" in " ".join(said.out.split())


def test_version_and_no_words_at_all(guerdon):
    assert guerdon("--version").out.startswith("guerdon 0.")
    assert "Usage: guerdon" in guerdon().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["trian"], "guerdon: no such command 'trian'; did you mean 'train'?"),
        (["doctor", "--jsn"], "guerdon: no such option: --jsn"),
        (["score", "rewards.Length"], "guerdon: missing argument"),
        (["train", "--seeds", "many"], "guerdon: invalid value for '--seeds'"),
    ],
)
def test_wrong_words_get_one_line(guerdon, words, complaint):
    assert guerdon(*words).complaint().startswith(complaint)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PlanError("plan.steps: expected\na whole number"), 2, "guerdon: plan.steps: expected a whole number\n"),
        (KeyboardInterrupt(), 130, "guerdon: interrupted\n"),
        (MemoryError(), 2, "guerdon: out of memory; compute fewer rows at once"),
        (OSError(28, "No space left on device", "x/y.json"), 2, "guerdon: x/y.json: the disk is full\n"),
        (PermissionError(13, "Permission denied", "x"), 2, "guerdon: x: Permission denied\n"),
    ],
)
def test_what_is_raised_becomes_one_line(broken, guerdon, error, code, line):
    broken(error)
    said = guerdon("broken")
    assert said.code == code
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1


def test_a_fault_of_our_own_leaves_a_traceback_file(broken, guerdon, monkeypatch):
    broken(ZeroDivisionError("planted"))
    said = guerdon("broken")
    assert said.code == 1
    assert said.err.startswith("guerdon: unexpected ZeroDivisionError: planted (traceback in ")
    assert said.err.count("\n") == 1
    file = Path(said.err.partition("traceback in ")[2].partition(";")[0])
    assert "raise error" in file.read_text()
    file.unlink()
    monkeypatch.setenv("GUERDON_DEBUG", "1")
    said = guerdon("broken")
    assert "Traceback (most recent call last)" in said.err
    Path(said.err.partition("traceback in ")[2].partition(";")[0]).unlink()


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*RUN, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_main_is_the_console_script():
    assert main(["--version"]) == 0


def test_a_missing_extra_is_one_line_that_says_what_to_type(guerdon, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    (here / "a.jsonl").write_text('{"prompt": "q", "output": "a"}\n')
    (here / "judge").mkdir()
    (here / "judge/config.json").write_text("{}")
    (here / "judge/model.safetensors").touch()
    assert guerdon("score", "judge", "a.jsonl").complaint() == "guerdon: this needs transformers: pip install 'guerdon[text]'"
