"""Real pictures to compare with: from a file, a folder, or an atom of a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.core.errors import DataError, PlanError, nearest
from guerdon.core.pictures import DRAWN, read_picture

_KINDS = (".safetensors", ".npy", ".npz")


@dataclass(frozen=True)
class PictureFile:
    """Pictures in a file of arrays, or a folder of picture files.

    Args:
        path: ``.safetensors``, ``.npy`` or ``.npz`` with [N, C, H, W] or [N, H, W] (videos: [N, F, C, H, W]); or a folder of
            ``.png``, ``.jpg``, ``.webp``, all of one size, which needs Pillow. Whole numbers are read as 0 to 255, others as
            they are, and must lie in [-1, 1] (a tenth beyond is allowed).
        key: Name of the array, where the file has several.
        channels: Of pictures in a folder: 3, or 1 for grey.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/real.npy", np.zeros((5, 8, 8), np.uint8))
        ...     x = PictureFile(f"{folder}/real.npy").pictures()
        >>> x.shape, float(x.max())
        (torch.Size([5, 1, 8, 8]), -1.0)
    """

    path: str
    key: str = ""
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.path:
            raise PlanError("PictureFile: path must name a file or a folder")
        if self.channels not in (1, 3):
            raise PlanError(f"PictureFile: channels must be 1 or 3, got {self.channels!r}")

    def pictures(self) -> Tensor:
        """[N, ...] float32 in [-1, 1].

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        path = Path(self.path)
        if path.is_dir():
            return self._folder(path)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if path.suffix not in _KINDS:
            raise DataError(f"{path}: expected a folder of pictures, or a file ending in {', '.join(_KINDS)}")
        try:
            x = torch.as_tensor(np.ascontiguousarray(self._array(path)))
        except (OSError, ValueError, TypeError) as e:
            raise DataError(f"{path}: cannot be read: {str(e).splitlines()[0] if str(e) else type(e).__name__}") from None
        if x.dtype == torch.uint8 or not x.is_floating_point():
            if x.numel() and (int(x.min()) < 0 or int(x.max()) > 255):
                raise DataError(f"{path}: whole numbers from {int(x.min())} to {int(x.max())}, expected 0 to 255")
            x = x.float() / 127.5 - 1
        x = x[:, None] if x.dim() == 3 else x
        if x.dim() not in (4, 5) or not len(x):
            raise DataError(f"{path}: has shape {tuple(x.shape)}, expected [N, C, H, W]")
        if not bool(torch.isfinite(x).all()):
            raise DataError(f"{path}: holds a NaN or an infinite number")
        if float(x.abs().max()) > 1.1:
            raise DataError(f"{path}: values from {float(x.min()):.3g} to {float(x.max()):.3g}, expected [-1, 1]")
        return x.float()

    def _array(self, path: Path) -> Any:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                named: dict[str, Any] = load_file(path)
            except SafetensorError as e:
                raise ValueError(str(e)) from None
        else:
            with np.load(path, allow_pickle=False) as archive:
                named = {k: archive[k] for k in archive.files}
        if self.key and self.key not in named:
            raise DataError(f"{path}: no array {self.key!r}; {nearest(self.key, named)}")
        if not self.key and len(named) != 1:
            raise DataError(f"{path}: holds {len(named)} arrays, so `key` must name one; {nearest('', named)}")
        return named[self.key or next(iter(named))]

    def _folder(self, folder: Path) -> Tensor:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in DRAWN)
        if not files:
            raise DataError(f"{folder}: no picture in it; expected files ending in {', '.join(DRAWN)}")
        rows: list[Tensor] = []
        for file in files:
            rows.append(read_picture(file, channels=self.channels))
            if rows[-1].shape != rows[0].shape:
                size, first = tuple(rows[-1].shape[1:]), tuple(rows[0].shape[1:])
                raise DataError(f"{file}: {size[1]} × {size[0]} pixels, and {files[0].name} has {first[1]} × {first[0]}")
        return torch.stack(rows)


def pictures_of(data: Any, name: str) -> Tensor:
    """[N, ...] the pictures that ``data`` names: a path, a tensor, or a spec with ``pictures()``.

    Args:
        data: What was given.
        name: Who asks, for the message.

    Raises:
        PlanError: where it is none of these.
        DataError: where the file cannot be read.
    """
    if isinstance(data, str | Path):
        return PictureFile(str(data)).pictures()
    if isinstance(data, Tensor):
        return data.detach().cpu()
    if callable(getattr(data, "pictures", None)) and not isinstance(data, type):
        found = data.pictures()
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.dim() < 2:
            raise DataError(f"{name}: {type(data).__name__}.pictures() must give a float tensor [N, C, H, W]")
        return found.detach().cpu()
    raise PlanError(f"{name}: data must be a path, or a spec with pictures() -> [N, C, H, W], got {type(data).__name__}")
