"""Tensors out of a file that ``torch.save`` wrote, from anybody: nothing in it can run, and no small file becomes a large one."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.core.errors import ModelError
from guerdon.core.hub import line_of

LARGEST = 1 << 30  # bytes of weights that are read
_ENTRIES = 20_000
_PICKLE = 16 << 20  # bytes of names and shapes
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_NEEDED = {  # all that a dict of tensors names
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {s}Storage" for s in _STORAGES),
}
EXPORT = "write torch.save(model.policy.state_dict(), 'policy.pth') where it was trained"


def load_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    """The dict of tensors in a file of ``torch.save``; their numbers are finite, and they share no memory with ``data``.

    The pickle in it is read as a list of instructions first: it may name nothing but what tensors are made of. Only then
    ``torch.load(weights_only=True)`` sees it.

    Args:
        data: The file.
        name: For messages.

    Raises:
        ModelError: in one line.
    """
    with archive(data, name) as z:
        entries = {i.filename: i for i in z.infolist()}
        if any(i.compress_type != zipfile.ZIP_STORED for i in entries.values()):
            raise ModelError(f"{name}: holds compressed weights, which torch.save never writes")
        pickles = [n for n in entries if n.rsplit("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1 or entries[pickles[0]].file_size > _PICKLE:
            raise ModelError(f"{name}: is not a file of torch.save; {EXPORT}")
        foreign = [g for g in _globals(read_entry(z, pickles[0], _PICKLE, name), name) if g not in _NEEDED]
    if foreign:
        raise ModelError(f"{name}: holds more than tensors ({foreign[0].replace(' ', '.')}), which could run code; {EXPORT}")
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as e:  # a broken file can fail in any way, and nothing but the file is at fault
        raise ModelError(f"{name}: cannot be read: {line_of(e).split('. ')[0]}") from e
    return checked(found, name)


def checked(found: Any, name: str) -> dict[str, Tensor]:
    """``found`` where it is a dict of finite tensors of a size that can be meant.

    Raises:
        ModelError: naming the tensor.
    """
    if not isinstance(found, Mapping) or not found:
        raise ModelError(f"{name}: holds a {type(found).__name__}, expected a dict of tensors; {EXPORT}")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelError(f"{name}: {key!r} is a {type(value).__name__}, expected a dict of tensors; {EXPORT}")
    if sum(v.numel() * v.element_size() for v in found.values()) > LARGEST:  # views can be larger than their file
        raise ModelError(f"{name}: its tensors hold more than {LARGEST >> 20} MiB")
    for key, value in found.items():
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{name}: tensor {key} holds numbers that are not finite")
    return {k: v.detach().clone() for k, v in found.items()}


def archive(data: bytes, name: str) -> zipfile.ZipFile:
    """A zip file whose directory was looked through: plain names, no secrets, no more than ``LARGEST`` bytes in all.

    Raises:
        ModelError: in one line.
    """
    try:
        z = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as e:
        known = "a pickle, which can run code when opened" if data[:1] == b"\x80" else f"not a zip file ({line_of(e)})"
        raise ModelError(f"{name}: is {known}; {EXPORT}") from None
    entries = z.infolist()
    names = [i.filename for i in entries]
    if min((i.header_offset for i in entries), default=0) > 0:  # two readers could disagree on what the file holds
        raise ModelError(f"{name}: is cut off, or has something in front of it")
    if len(entries) > _ENTRIES or sum(i.file_size for i in entries) > LARGEST:
        raise ModelError(f"{name}: unpacks to more than {LARGEST >> 20} MiB or {_ENTRIES} entries")
    if len(set(names)) < len(names):
        raise ModelError(f"{name}: holds {next(n for n in names if names.count(n) > 1)!r} twice")
    for i in entries:
        parts = i.filename.replace("\\", "/").split("/")
        if i.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise ModelError(f"{name}: holds an entry that points outside ({i.filename!r})")
        if i.flag_bits & 0x1:
            raise ModelError(f"{name}: its entry {i.filename!r} is encrypted")
        if i.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelError(f"{name}: its entry {i.filename!r} is compressed in a way that is not read (expected deflate)")
    return z


def read_entry(z: zipfile.ZipFile, entry: str, limit: int, name: str) -> bytes:
    """One entry of an archive, at most ``limit`` bytes.

    Raises:
        ModelError: where it is larger or broken.
    """
    if z.getinfo(entry).file_size > limit:
        raise ModelError(f"{name}: its entry {entry!r} unpacks to more than {limit >> 20} MiB")
    try:
        with z.open(entry) as f:
            data = f.read(limit + 1)
    except Exception as e:  # zlib, checksums, lengths that lie: the file is at fault, whatever it raised
        raise ModelError(f"{name}: its entry {entry!r} cannot be unpacked: {line_of(e)}") from e
    if len(data) > limit:
        raise ModelError(f"{name}: its entry {entry!r} unpacks to more than {limit >> 20} MiB")
    return data


def _globals(pickled: bytes, name: str) -> Iterator[str]:
    """``module name`` of everything that a pickle would import, without opening it."""
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name in ("GLOBAL", "INST"):
                yield str(argument)
            elif code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):  # names put together on the fly
                yield code.name
    except Exception as e:  # the reader of instructions raises whatever the bytes provoke
        raise ModelError(f"{name}: its data.pkl is broken: {line_of(e)}") from e
