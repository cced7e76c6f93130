"""What a program in the sandbox can see."""

import os
import sys
from pathlib import Path

import pytest

import guerdon
from guerdon.rewards.sandbox.layout import Layout, below, command_layout, of_paths, python_layout, trail


def visible(path: str, layout: Layout) -> bool:
    """Whether a path can be reached by what the layout shows, following its links and no others."""
    links = {place: target for target, place in layout.links}
    here, rest = "/", path.split("/")[::-1]
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        here = os.path.dirname(here) if part == ".." else os.path.join(here, part)
        if here in links:
            rest += links[here].split("/")[::-1]
            here = "/" if links[here].startswith("/") else os.path.dirname(here)
        elif below(here, layout.read):
            return os.path.exists(os.path.join(here, *rest[::-1]))
    return False


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program behind three links: a relative one, an absolute one, and one of a folder."""
    root = Path(os.path.realpath(tmp_path))
    (root / "real/bin").mkdir(parents=True)
    (root / "real/bin/tool3").write_text("#!/bin/sh\n")
    (root / "real/bin/tool3").chmod(0o755)
    (root / "real/bin/tool").symlink_to("tool3")
    (root / "current").symlink_to("real")
    (root / "bin").mkdir()
    (root / "bin/tool").symlink_to(root / "current/bin/tool")
    return root


def test_trail_names_every_link_at_its_real_place(tree: Path) -> None:
    assert trail(f"{tree}/bin/tool") == (
        f"{tree}/real/bin/tool3",
        [(f"{tree}/current/bin/tool", f"{tree}/bin/tool"), ("real", f"{tree}/current"), ("tool3", f"{tree}/real/bin/tool")],
    )
    assert trail(f"{tree}/bin/../current/bin")[0] == f"{tree}/real/bin"


def test_trail_ends_for_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(OSError, match="too many symbolic links"):
        trail(str(tmp_path / "a"))


def test_only_the_outermost_paths_are_shown(tree: Path) -> None:
    layout = of_paths([f"{tree}/real/bin", f"{tree}/real", f"{tree}/bin/tool", f"{tree}/missing"])
    assert layout.read == (f"{tree}/real",)
    # The link inside the folder that is shown comes with it.
    assert layout.links == ((f"{tree}/current/bin/tool", f"{tree}/bin/tool"), ("real", f"{tree}/current"))
    assert visible(f"{tree}/bin/tool", layout) and not visible(f"{tree}/bin", layout)


def test_scratch_never_covers_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    assert of_paths(["/usr/lib"]).scratch == "/scratch"
    assert of_paths(["/scratch/me/venv/lib"]).scratch == "/scratch_"
    assert of_paths(["/scratch/me/venv/lib"], scratch="/mine").scratch == "/mine"


def test_python_layout_shows_the_interpreter_and_little_else(tmp_path: Path) -> None:
    layout = python_layout([str(tmp_path)], scratch_bytes=123, scratch_files=4)
    assert (layout.scratch_bytes, layout.scratch_files) == (123, 4)
    assert all(os.path.realpath(p) == p and os.path.exists(p) for p in layout.read)
    for path in (sys.executable, os.path.realpath(sys.executable), os.__file__, pytest.__file__, str(tmp_path)):
        assert visible(path, layout), path
    for path in ("/etc", "/etc/passwd", "/home", "/root", "/usr", "/usr/bin", "/proc", "/sys", "/tmp", "/var", __file__):
        assert not below(path, layout.read), path
    if "site-packages" not in guerdon.__file__:  # an editable install shows no source
        assert not visible(guerdon.__file__, layout)
    assert Layout.from_json(layout.to_json()) == layout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where Linux has its programs")
def test_command_layout_adds_programs(tree: Path) -> None:
    assert not visible("/bin/sh", python_layout())
    layout = command_layout(["sh"])
    assert visible("/bin/sh", layout) and visible(sys.executable, layout)
    assert not below("/etc/passwd", layout.read) and not below("/usr/local", layout.read)
    assert Layout.from_json(layout.to_json()) == layout

    (tree / "real/lib").mkdir()
    mine = command_layout([f"{tree}/bin/tool"])
    assert visible(f"{tree}/bin/tool", mine) and f"{tree}/real/lib" in mine.read


def test_command_layout_names_a_missing_program() -> None:
    with pytest.raises(FileNotFoundError, match="no program 'no-such-program'"):
        command_layout(["no-such-program"])
