"""A growing table of numbers by step: appended row by row, cut when steps are done again, halved when it grows too long."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SUMMED = ("seconds/", "failures/")  # totals: two rows merged into one add up


class Table:
    """Columns of doubles, made on first use.

    Args:
        limit: Rows kept. A longer table is halved: neighbours become one row, of their mean (or sum, for totals).
        names: Columns kept; further names are ignored.

    >>> t = Table()
    >>> t.add(1, {"a": 1.0}); t.add(2, {"b": 5.0}); t.add(3, {"a": 3.0}); t.cut(3)
    >>> t.steps().tolist(), {k: v.tolist() for k, v in t.columns().items()}
    ([1, 2], {'a': [1.0, nan], 'b': [nan, 5.0]})
    """

    def __init__(self, limit: int = 100_000, names: int = 400):
        self.limit, self.names = limit, names
        self._steps = array("q")
        self._columns: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last(self) -> int:
        """The last row's step, -1 where there is none."""
        return self._steps[-1] if self._steps else -1

    def add(self, step: int, row: Mapping[str, float]) -> None:
        """One row; its step must be larger than the last one's."""
        rows = len(self._steps)
        for name, value in row.items():
            column = self._columns.get(name)
            if column is None:
                if len(self._columns) >= self.names:
                    continue
                column = self._columns[name] = array("d")
            if len(column) < rows:  # absent for a while
                column.extend([math.nan] * (rows - len(column)))
            column.append(value)
        self._steps.append(step)
        if len(self._steps) > self.limit:
            self._halve()

    def cut(self, step: int) -> None:
        """Forget rows of this step and later ones."""
        rows = bisect_left(self._steps, step)
        del self._steps[rows:]
        for column in self._columns.values():
            del column[rows:]

    def steps(self) -> NDArray[np.int64]:
        return np.array(self._steps, dtype=np.int64)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """name -> [N], NaN where a row has no such number; columns without any are left out."""
        rows = len(self._steps)
        out = {}
        for name, column in self._columns.items():
            full = np.full(rows, math.nan)
            full[: len(column)] = column
            if not np.isnan(full).all():
                out[name] = full
        return out

    def _halve(self) -> None:
        even = len(self._steps) // 2 * 2
        rest = len(self._steps) - even
        full = self.columns()
        self._columns = {name: column for name, column in self._columns.items() if name in full}
        for name, values in full.items():
            pairs = values[:even].reshape(-1, 2)
            known = (~np.isnan(pairs)).sum(1)
            total = np.nansum(pairs, 1)
            merged = np.where(known == 0, math.nan, total if name.startswith(SUMMED) else total / np.maximum(known, 1))
            self._columns[name] = array("d", [*merged.tolist(), *values[even:].tolist()])
        self._steps = array("q", [*self._steps[1:even:2], *self._steps[even : even + rest]])
