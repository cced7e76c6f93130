"""Pictures: contexts from a file whose columns name picture files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.core import DataError, PlanError
from guerdon.core.pictures import DRAWN, read_picture
from guerdon.run.sources.cycle import Cycle, Row
from guerdon.run.sources.file import File
from guerdon.run.sources.file import column as value_of
from guerdon.run.sources.table import FileTable


@dataclass(frozen=True)
class Pictures:
    r"""A table of captions and picture files: demonstrations, comparisons, pictures to edit.

    Every file that is named must be there before the first row is used; it is read when its row is drawn, so memory does not
    grow with their number. ``samplers.Given(columns)`` makes rows of them.

    Args:
        path: The table: ``.jsonl``, ``.json``, ``.csv`` or ``.parquet``.
        columns: Which columns name pictures (``.png``, ``.jpg``, ``.bmp``, ``.webp``); relative paths begin beside the table.
        size: (H, W) that pictures are scaled and cut to; None: as they are.
        channels: 3: colours; 1: grey.
        prompt: Column with the context; None: there is none, and contexts are None.
        limit: Rows used, from the first.
        shuffle: Whether each epoch has an order of its own.

    Raises:
        DataError: when it is opened; one line that names the file and the line.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from guerdon.core import Streams
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 2), (255, 0, 0)).save(folder / "red.png")
        >>> _ = (folder / "table.csv").write_text("prompt,picture\nred,red.png\n")
        >>> items = Pictures(str(folder / "table.csv")).open().draw(1, streams=Streams(0))
        >>> items.contexts, items.info["picture"][0].shape, items.info["picture"][0][:, 0, 0].tolist()
        (['red'], torch.Size([3, 2, 4]), [1.0, -1.0, -1.0])
    """

    path: str
    columns: tuple[str, ...] = ("picture",)
    size: tuple[int, int] | None = None
    channels: int = 3
    prompt: str | None = "prompt"
    limit: int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        given: Any = self.columns
        if isinstance(given, str) or not given:
            raise PlanError(f"Pictures: columns must be a list of names, got {given!r}")
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.channels not in (1, 3):
            raise PlanError(f"Pictures: channels must be 1 (grey) or 3 (colours), got {self.channels}")
        if self.size is not None:
            size: tuple[int, ...] = tuple(self.size)
            object.__setattr__(self, "size", size)
            if len(size) != 2 or min(size) < 1:
                raise PlanError(f"Pictures: size must be (height, width), got {size}")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source, after the table was checked; a relative path begins in ``folder`` (None: the current one)."""
        place = Path(folder or ".") / self.path
        file = File(self.path, self.prompt or "", None, self.limit, self.shuffle)

        def read(row: dict[str, Any]) -> Row:
            context, info = (None, row) if self.prompt is None else file._read(row)
            return context, {**info, **{c: self._found(info, c, place.parent) for c in self.columns}}

        return Cycle(_Read(self, FileTable(place, read, self.limit)), seed, self.shuffle)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of rows, after all were checked."""
        return len(self.open(folder=folder))

    def _found(self, info: dict[str, Any], column: str, beside: Path) -> Path:
        """The file that a row's column names.

        Raises:
            ValueError: where it names none.
        """
        name = value_of(info, column)
        if not isinstance(name, str) or Path(name).suffix.lower() not in DRAWN:
            raise ValueError(f"{column!r} is {str(name)[:60]!r}, expected a file ending in {', '.join(DRAWN)}")
        path = beside / name
        if not path.is_file():
            raise ValueError(f"{column!r} names {name!r}, and there is no such file in {beside}")
        return path


class _Read:
    """A table whose picture columns are read when rows are taken."""

    def __init__(self, spec: Pictures, table: FileTable):
        self.spec, self.table, self.name, self.columns = spec, table, table.name, table.columns

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, index: Sequence[int]) -> list[Row]:
        """Some rows, their pictures as tensors.

        Raises:
            DataError: naming a file that is no picture, or has another size than the others of the draw.
        """
        found = self.table.rows(index)
        shape: tuple[Any, ...] | None = None
        out = []
        for context, info in found:
            seen = {c: read_picture(info[c], channels=self.spec.channels, size=self.spec.size) for c in self.spec.columns}
            for c, x in seen.items():
                shape = shape or tuple(x.shape)
                if tuple(x.shape) != shape:
                    raise DataError(f"{info[c]}: {x.shape[2]} x {x.shape[1]} pixels, and others have {shape[2]} x {shape[1]}: "
                                    "say size=(height, width)")  # fmt: skip
            out.append((context, {**info, **seen}))
        return out
