"""What can be looked at: which outputs are pictures or short videos, and how a value is told of in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.audit.formats import number, percent
from guerdon.core.errors import DataError

FEW = 16  # numbers that are shown one by one
MANY = 1024  # whole numbers (tokens, cells) that are
LEAST = 4  # pixels along each side of a picture
UNSEEN = 0.05  # beyond [-1, 1]


def frames_of(value: Any) -> Tensor | None:
    """[F, C, H, W] in [-1, 1]: the frames of a picture (one) or a video; None for what cannot be looked at.

    Args:
        value: A float tensor [C, H, W] or [F, C, H, W] with one or three channels and at least four pixels along each side
            (values beyond [-1, 1] stay), whole numbers from 0 to 255 as [H, W, 3], or a picture of Pillow.

    Example:
        >>> frames_of(torch.zeros(3, 16, 16)).shape, frames_of(torch.zeros(8, 1, 16, 16)).shape
        (torch.Size([1, 3, 16, 16]), torch.Size([8, 1, 16, 16]))
        >>> frames_of(torch.zeros(4, 16, 16)) is None, frames_of("a red circle") is None
        (True, True)
    """
    if callable(getattr(value, "convert", None)) and hasattr(value, "size"):  # Pillow's
        value = np.asarray(value.convert("RGB"))
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value)) if value.dtype.kind in "uf" else None
    if not isinstance(value, Tensor):
        return None
    if value.dtype == torch.uint8 and value.dim() == 3 and value.shape[-1] == 3:
        value = value.movedim(-1, 0).float() / 127.5 - 1
    if not value.is_floating_point() or value.dim() not in (3, 4) or min(value.shape[-2:]) < LEAST or not value.numel():
        return None
    frames = value.detach().cpu()[None] if value.dim() == 3 else value.detach().cpu()
    return frames if frames.shape[1] in (1, 3) else None


def stacked(outputs: Sequence[Any] | Tensor, name: str) -> Tensor:
    """[N, ...] all outputs as one float tensor on the CPU.

    Args:
        outputs: Tensors of one shape, or anything ``frames_of`` reads.
        name: Who asks, for the message.

    Raises:
        DataError: where they are no numbers, or differ in shape.
    """
    if isinstance(outputs, Tensor) and outputs.is_floating_point():
        return outputs.detach().cpu()
    rows = []
    for x in outputs:
        if isinstance(x, Tensor) and x.is_floating_point():
            rows.append(x.detach().cpu())
        elif (frames := frames_of(x)) is not None:
            rows.append(frames[0] if len(frames) == 1 else frames)
        else:
            raise DataError(f"{name}: measures pictures (float tensors of one shape), and an output is a {type(x).__name__}")
    if shapes := sorted({tuple(r.shape) for r in rows})[1:]:
        raise DataError(f"{name}: outputs differ in shape: {tuple(rows[0].shape)} and {shapes[-1]}")
    return torch.stack(rows) if rows else torch.zeros(0, 1)


def told(value: Any) -> str:
    """A value in a few words: texts as they are, pictures and large tensors by their shape and range.

    >>> told(torch.zeros(3, 16, 16)), told(torch.tensor([0.5, 2.0])), told("a red circle")
    ('picture, 16 × 16', '[0.5, 2.0]', 'a red circle')
    >>> told(torch.full((8, 3, 32, 24), 1.5))
    'video of 8 frames, 24 × 32; 100 % of its values lie well outside [−1, 1]'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict) or not (isinstance(value, Tensor | np.ndarray) or hasattr(value, "convert")):
        source, text = getattr(value, "source", None), getattr(value, "text", None)
        if isinstance(source, Tensor) and isinstance(text, str):  # what an edit is asked for
            return text
        return "" if value is None else str(value)
    frames = frames_of(value)
    if frames is not None:
        size = f"{frames.shape[-1]} × {frames.shape[-2]}"
        what = f"picture, {size}" if len(frames) == 1 else f"video of {len(frames)} frames, {size}"
        if not bool(torch.isfinite(frames).all()):
            return f"{what}; {percent(float((~torch.isfinite(frames)).float().mean()))} of its values are not finite"
        beyond = share_beyond(frames)
        return f"{what}; {percent(beyond)} of its values lie well outside [−1, 1]" if beyond else what
    tensor = torch.as_tensor(np.asarray(value)) if not isinstance(value, Tensor) else value.detach().cpu()
    if tensor.numel() <= (FEW if tensor.is_floating_point() else MANY):
        return str(tensor.tolist())
    shape = " × ".join(map(str, tensor.shape))
    return f"numbers, {shape}, from {number(float(tensor.min()))} to {number(float(tensor.max()))}"


def share_beyond(frames: Tensor) -> float:
    """Share of values clearly outside [-1, 1]: by more than 0.05, which nobody would see."""
    return float((frames.abs() > 1 + UNSEEN).double().mean()) if frames.numel() else 0.0
