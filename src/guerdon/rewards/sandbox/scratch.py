"""The scratch folder of a lane: how much is in it, and emptying it, whatever a program made of it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import stat

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def used(folder: int, most: int, whole: bool) -> tuple[int, int]:
    """(bytes, entries) in a folder, by what the disk holds of each file.

    Args:
        folder: A descriptor of it, opened before any program could close it.
        most: Entries at which counting may stop.
        whole: The folder is a file system of its own. Then files that have no name any more count too.
    """
    if whole:
        found = os.fstatvfs(folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree - 1
    size = count = 0
    folders = [os.dup(folder)]  # by descriptors: no path may be as long as a tree can be deep
    try:
        while folders and count <= most:
            here = folders.pop()
            try:
                with os.scandir(here) as entries:
                    for entry in entries:
                        count += 1
                        with contextlib.suppress(OSError):
                            size += entry.stat(follow_symlinks=False).st_blocks * 512
                            if entry.is_dir(follow_symlinks=False):
                                folders.append(_opened(entry.name, here))
                        if count > most:
                            break
            finally:
                os.close(here)
    finally:
        for left in folders:
            os.close(left)
    return size, count


def _opened(name: str, above: int) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=above)
    except PermissionError:
        if os.geteuid() == 0:  # never by a name that may be a link by now, with more rights than the program has
            raise
        os.chmod(name, 0o700, dir_fd=above)
        return os.open(name, FOLDER, dir_fd=above)


def wipe(folder: int) -> None:
    """Remove all that is in a folder. Nothing runs there any more.

    Folders are lifted to the top before they are emptied, so that there is no depth. All goes by descriptors: a program may have
    put something else in the folder's place.
    """
    with contextlib.suppress(PermissionError):  # where it is not ours, no program could close it either
        os.fchmod(folder, 0o700)
    lifted = 0
    while names := os.listdir(folder):
        for name in names:
            if not _is_folder(name, folder):
                os.unlink(name, dir_fd=folder)
                continue
            os.chmod(name, 0o700, dir_fd=folder)
            inner = os.open(name, FOLDER, dir_fd=folder)
            try:
                for below in os.listdir(inner):
                    if not _is_folder(below, inner):
                        os.unlink(below, dir_fd=inner)
                        continue
                    os.chmod(below, 0o700, dir_fd=inner)  # moving a folder writes to it
                    while _is_there(f".lifted-{lifted}", folder):
                        lifted += 1
                    os.rename(below, f".lifted-{lifted}", src_dir_fd=inner, dst_dir_fd=folder)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)


def _is_folder(name: str, above: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)


def _is_there(name: str, above: int) -> bool:
    try:
        os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_at(folder: int, path: str) -> bool:
    """Whether a path, no link, still leads to a folder."""
    try:
        return os.path.samestat(os.fstat(folder), os.lstat(path))
    except FileNotFoundError:
        return False


def put(folder: str, files: dict[str, str]) -> None:
    """Write a job's own files; names may have folders in them.

    Raises:
        ValueError: for a name that leads out of the folder.
    """
    for name, text in files.items():
        if name.startswith("/") or ".." in name.split("/") or "\0" in name or not name:
            raise ValueError(f"{name!r} is no name of a file in the scratch folder")
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf8", errors="surrogateescape") as file:
            file.write(text)
