"""``main``: runs a command; whatever goes wrong becomes one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

BAD_INPUT, INTERNAL, INTERRUPTED = 2, 1, 130


class Stop(Exception):
    """Ends a command with one line; for what the command line itself finds wrong, before torch is loaded."""

    def __init__(self, message: str, exit_code: int = BAD_INPUT):
        super().__init__(message)
        self.exit_code = exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``guerdon ARGV``.

    Returns:
        0: done; 1: findings (``audit``), or a fault of guerdon's own; 2: bad input; 130: interrupted.
    """
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):  # their advice would drown ours
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait cost up to 8x on a busy machine
    try:
        from typer.main import get_command

        from guerdon.cli._app import app

        code = get_command(app).main(args=argv, prog_name="guerdon", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:
            _say("interrupted")
        return code if isinstance(code, int) else 0
    except SystemExit as e:  # how typer answers a closed pipe
        return e.code if isinstance(e.code, int) else INTERNAL
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _pipe_closed()
    except Exception as e:  # noqa: BLE001 (the last place that can turn a fault into a line)
        return _report(e)


def _pipe_closed() -> int:
    """The reader of our output has gone (``| head``): say nothing, and keep the interpreter's last flush from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return INTERNAL


def _report(error: Exception) -> int:
    """One line for an error, and its exit code."""
    if os.environ.get("GUERDON_DEBUG") == "1":
        traceback.print_exception(error)
    code = getattr(error, "exit_code", None)  # GuerdonError, Stop, and what typer raises
    if code is not None:
        _say(_usage(error) if hasattr(error, "format_message") else str(error))
        return BAD_INPUT if hasattr(error, "format_message") else int(code)
    if type(error).__name__ == "Abort":
        _say("interrupted")
        return INTERRUPTED
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        _say("out of memory; compute fewer rows at once (--learners.policy.rows=4), or draw fewer or shorter samples")
        return BAD_INPUT
    if isinstance(error, OSError) and error.strerror and error.filename:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _say(f"{error.filename}: {'the disk is full' if full else error.strerror}")
        return BAD_INPUT
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error.name)):
        _say(f"this needs {error.name}: pip install 'guerdon[{extra}]'")
        return BAD_INPUT
    _say(f"unexpected {type(error).__name__}: {error} (traceback in {_keep_traceback(error)}; GUERDON_DEBUG=1 shows it)")
    return INTERNAL


def _extra_of(module: str | None) -> str:
    """The extra that installs a module; "" for one of our own or of nobody's."""
    from guerdon.cli._doctor import EXTRAS

    return next((extra for extra, packages in EXTRAS.items() if module in packages.values()), "")


def _usage(error: Exception) -> str:
    """What typer found wrong with the words on the command line, and where to read how they should be."""
    message = error.format_message().rstrip(".").replace(". Did you mean", "; did you mean")  # type: ignore[attr-defined]
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return message if context is None or message.endswith("?") else f"{message}; see {context.command_path} --help"


def _keep_traceback(error: Exception) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="guerdon-", suffix=".txt", delete=False, encoding="utf8") as f:
        f.writelines(traceback.format_exception(error))
    return f.name


def _say(message: str) -> None:
    print("guerdon:", " ".join(message.split()), file=sys.stderr)
