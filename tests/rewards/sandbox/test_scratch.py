"""The scratch folder: counted, and emptied whatever was made of it."""

from __future__ import annotations

import os

import pytest

from guerdon.rewards.sandbox import scratch


def test_wipe_removes_what_resists(tmp_path):
    inside = tmp_path / "scratch"
    inside.mkdir()
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (inside / "link").symlink_to(outside)
    (inside / "folder link").symlink_to(tmp_path)
    os.link(outside, inside / "hard")
    (inside / ".lifted-0").mkdir()
    closed = inside / "closed"
    (closed / "below").mkdir(parents=True)
    (closed / "below" / "file").write_text("x")
    (closed / "below").chmod(0)
    closed.chmod(0)
    os.mkfifo(inside / "pipe")
    here = os.open(inside, os.O_RDONLY)
    for _ in range(1500):  # deeper than any path may be long
        os.mkdir("x" * 20, dir_fd=here)
        below = os.open("x" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    inside.chmod(0)
    folder = os.open(inside, os.O_RDONLY) if os.geteuid() == 0 else None
    if folder is None:
        inside.chmod(0o700)
        folder = os.open(inside, os.O_RDONLY)
    inside.rename(tmp_path / "moved")
    inside.symlink_to(tmp_path)  # what a program may leave in its place
    assert not scratch.is_at(folder, str(inside)) and scratch.is_at(folder, str(tmp_path / "moved"))
    scratch.wipe(folder)
    os.close(folder)
    inside.unlink()
    (tmp_path / "moved").rename(inside)
    assert os.listdir(inside) == []
    assert outside.read_text() == "kept"


def test_used_counts_entries_and_what_the_disk_holds(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "full").write_bytes(b"x" * 10_000)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "a" / "b").chmod(0)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        tmp_path.chmod(0)
        size, count = scratch.used(folder, 10, whole=False)
        assert count == 4
        assert 10_000 <= size < 1 << 20
        assert scratch.used(folder, 2, whole=False)[1] == 3  # and no further
    finally:
        tmp_path.chmod(0o700)
        os.close(folder)


def test_files_of_a_job(tmp_path):
    scratch.put(str(tmp_path), {"a.txt": "é\n", "d/e/b": ""})
    assert (tmp_path / "a.txt").read_text(encoding="utf8") == "é\n"
    assert (tmp_path / "d/e/b").exists()
    for name in ("/etc/x", "../x", "a/../../x", "", "a\0b"):
        with pytest.raises(ValueError, match="is no name of a file"):
            scratch.put(str(tmp_path), {name: ""})
