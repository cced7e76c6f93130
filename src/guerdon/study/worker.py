"""A process that runs trials: ``python -m guerdon.study.worker SOURCE``, one JSON task a line in, one JSON trial a line out."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import queue
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guerdon.core.errors import DataError, PlanError
from guerdon.study.budget import Budget
from guerdon.study.study import Study
from guerdon.study.trial import Task, perform


def load(source: str) -> Study:
    """The study that ``module:name`` or ``file.py:name`` stands for; the name may have dots. The file is executed.

    Raises:
        DataError: where there is no such file or module.
        PlanError: where the name is not there or no study.
    """
    place, _, names = source.rpartition(":")
    found: Any = module_of(place)
    for name in names.split("."):
        if not hasattr(found, name):
            raise PlanError(f"{place}: there is no {name!r} in it")
        found = getattr(found, name)
    if not isinstance(found, Study):
        raise PlanError(f"{source} is a {type(found).__name__}, not a Study")
    return found


def module_of(place: str) -> Any:
    """The module of a dotted name, or of a file's path; it may import its neighbours."""
    if not place.endswith(".py"):
        _reach(Path.cwd())
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as e:
            if e.name is None or not place.startswith(e.name):
                raise  # something that it needs
            raise DataError(f"there is no module {place}") from None
    path = Path(place)
    if not path.is_file():
        raise DataError(f"{place}: there is no such file")
    name = f"guerdon_study_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise DataError(f"{place}: not a Python file")
    _reach(path.resolve().parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reach(folder: Path) -> None:
    """Makes a folder's files importable, after everything else: a file called ``random.py`` there shadows nothing."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def main() -> None:
    """Serve until the other side closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # whatever an arm prints is no answer
    import torch

    torch.set_num_threads(1)
    study = load(sys.argv[1])
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        order = json.loads(lines.get())
        trial = perform(study, Task(**order["task"]), Budget(order["budget"]))
        out.write(json.dumps(asdict(trial)) + "\n")
        out.flush()


def _read(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # whoever asked is gone, and with it the use of an answer


if __name__ == "__main__":
    main()
