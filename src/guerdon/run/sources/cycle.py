"""Cycle: a table's rows, drawn epoch after epoch in new orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from guerdon.core import Batch, DataError, Items, Streams

Row = tuple[Any, dict[str, Any]]  # a context and its columns


class Table(Protocol):
    """Rows that can be looked up in any order."""

    name: str
    columns: tuple[str, ...]

    def __len__(self) -> int: ...
    def rows(self, index: Sequence[int]) -> list[Row]: ...


class Cycle:
    """A running source. Epoch k goes through all rows in an order that depends on (seed, k) alone; there is no last epoch.

    Args:
        table: The rows.
        seed: Of the orders.
        shuffle: Whether epochs have orders of their own; else all go from the first row to the last.
    """

    def __init__(self, table: Table, seed: int = 0, shuffle: bool = True):
        self.table, self.seed, self.shuffle = table, seed, shuffle
        self.epoch = self.position = 0
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def draw(self, n: int, *, streams: Streams) -> Items:
        """The next ``n`` rows, over the ends of epochs; their identities come from ``streams``."""
        index: list[int] = []
        while len(index) < n:
            if self.position == len(self.table):
                self.epoch, self.position = self.epoch + 1, 0
            stop = min(len(self.table), self.position + n - len(index))
            index += self._places(self.position, stop)
            self.position = stop
        rows = self.table.rows(index)
        info = {c: [columns.get(c) for _, columns in rows] for c in self.table.columns}
        return Items([context for context, _ in rows], streams.uids(n), info)

    def _places(self, start: int, stop: int) -> list[int]:
        if not self.shuffle:
            return list(range(start, stop))
        if self._order is None or self._order[0] != self.epoch:
            self._order = self.epoch, Streams(self.seed).fork("epoch", self.epoch)("order").permutation(len(self.table))
        return self._order[1][start:stop].tolist()

    def tell(self, batch: Batch) -> None:
        """Nothing is learned from what became of the rows."""

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position, "rows": len(self.table)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind the rows that were drawn.

        Raises:
            DataError: where the number of rows has changed.
        """
        if state["rows"] != len(self.table):
            raise DataError(
                f"{self.table.name}: it has {len(self.table)} rows now, and had {state['rows']} when the run was saved"
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


class Memory:
    """A table that is held in memory."""

    def __init__(self, name: str, rows: Sequence[Row], columns: tuple[str, ...]):
        self.name, self.columns, self._rows = name, columns, rows

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, index: Sequence[int]) -> list[Row]:
        return [self._rows[k] for k in index]
