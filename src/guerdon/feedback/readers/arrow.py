"""Folders that ``datasets.Dataset.save_to_disk`` wrote, read with pyarrow alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guerdon.core.errors import DataError

STATE, PARTS = "state.json", "dataset_dict.json"


def is_saved(path: Path) -> bool:
    """Whether a path is a folder with a saved data set, or with several parts of one."""
    return path.is_dir() and any((path / name).is_file() for name in (STATE, PARTS))


def rows_of_saved(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, row) of a saved data set.

    Raises:
        DataError: for a folder of several parts, or files that cannot be read.
    """
    if not (path / STATE).is_file():
        parts = sorted(p.name for p in path.iterdir() if (p / STATE).is_file())
        raise DataError(f"{path}: a folder of several parts ({', '.join(parts) or 'none'}); read one, such as {path.name}/train")
    try:
        names = [str(f["filename"]) for f in json.loads((path / STATE).read_bytes())["_data_files"]]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path / STATE}: expected the names of the data files, as save_to_disk writes them") from None
    if any(Path(name).name != name for name in names):
        raise DataError(f"{path / STATE}: names a data file outside of its folder")
    return _rows([path / name for name in names])


def _rows(files: list[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        pyarrow = importlib.import_module("pyarrow")
    except ImportError:
        raise DataError(f"{files[0].parent}: reading saved data sets needs pyarrow: pip install pyarrow") from None
    number = 0
    for file in files:
        try:
            with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, 256):
                        for row in batch.slice(start, 256).to_pylist():
                            number += 1
                            yield number, row
        except (pyarrow.ArrowException, OSError) as e:
            raise DataError(f"{file}: not an Arrow file that can be read: {str(e).splitlines()[0]}") from None
