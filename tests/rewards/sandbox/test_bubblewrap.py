"""The command line for bubblewrap, and when there is none. What its world keeps out is tested with the namespaces."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guerdon.rewards.sandbox import bubblewrap
from guerdon.rewards.sandbox.layout import Layout, python_layout

LAYOUT = Layout(read=("/usr/lib", "/opt/py/bin/python"), links=(("usr/lib", "/lib"),), devices=("/dev/null",))


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(bubblewrap, "version", lambda: request.param)


@pytest.mark.parametrize("old", [(0, 8, 0)], indirect=True)
@pytest.mark.usefixtures("old")
def test_command_for_root_and_for_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "privileged", lambda: True)
    line = bubblewrap.command(LAYOUT, ["/opt/py/bin/python", "-c", "pass"], uid=61200)
    assert line[line.index("--") :] == ["--", "/opt/py/bin/python", "-c", "pass"]
    text = " ".join(line)
    assert "--unshare-user" not in text and "--cap-add CAP_SETUID" in text
    # Folders above a mount are made first, open to all; the scratch folder too.
    assert "--dir /opt --dir /opt/py --dir /opt/py/bin" in text and "--ro-bind /opt/py/bin/python /opt/py/bin/python" in text
    assert "--symlink usr/lib /lib" in text and "--dev-bind /dev/null /dev/null" in text
    assert "--perms 1777 --size 33554432 --tmpfs /scratch --remount-ro /" in text
    assert not {"--proc", "--dev", "--share-net", "--bind", "--die-with-parent"} & set(line)

    monkeypatch.setattr(bubblewrap, "privileged", lambda: False)
    text = " ".join(bubblewrap.command(LAYOUT, ["x"], uid=None))
    assert "--unshare-user" in text and "CAP_SETUID" not in text and "--perms" not in text


@pytest.mark.parametrize("old", [(0, 4, 1)], indirect=True)
@pytest.mark.usefixtures("old")
def test_an_old_version_gets_no_new_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "privileged", lambda: False)
    assert not {"--clearenv", "--size", "--perms"} & set(bubblewrap.command(LAYOUT, ["x"], uid=None))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bubblewrap is Linux's")
@pytest.mark.parametrize(
    ("old", "root", "wanted"),
    [
        ((), False, "bubblewrap is not installed (no program 'bwrap'; most systems call the package bubblewrap)"),
        ((0, 3, 1), False, "bubblewrap 0.3.1 is too old (0.4, for root 0.5)"),
        ((0, 4, 1), True, "bubblewrap 0.4.1 is too old (0.4, for root 0.5)"),
    ],
    indirect=["old"],
)
@pytest.mark.usefixtures("old")
def test_why_not_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, root: bool, wanted: str) -> None:
    monkeypatch.setattr(bubblewrap, "privileged", lambda: root)
    assert bubblewrap.why_not.__wrapped__(LAYOUT) == wanted


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bubblewrap is Linux's")
def test_why_not_passes_on_what_bwrap_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit\necho "bwrap: No permissions to make one" >&2; exit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(bubblewrap, "version", bubblewrap.version.__wrapped__)
    assert bubblewrap.version() == (0, 9, 0)
    assert bubblewrap.why_not.__wrapped__() == "bwrap: No permissions to make one"


def test_not_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert bubblewrap.why_not.__wrapped__() == "bubblewrap needs Linux"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("bwrap") is None, reason="needs root and bwrap")
def test_the_trial_works_and_protects_the_devices() -> None:
    layout = python_layout()
    if why := bubblewrap.why_not.__wrapped__(layout):
        pytest.skip(why)
    # bwrap binds device nodes writable: without `finish`, user 0 could close /dev/null for the whole machine.
    try_it = "import os, stat\ntry:\n    os.chmod('/dev/null', stat.S_IMODE(os.stat('/dev/null').st_mode))\n    print('done')\nexcept OSError as e:\n    print(e.strerror)\n"
    with open(bubblewrap.__file__) as f:
        finished = f.read() + "\n"
    for code, wanted in ((try_it, "done\n"), (finished + try_it, "Read-only file system\n")):
        inside = [sys.executable, "-I", "-S", "-B", "-c", code, layout.scratch, "65536", "/dev/null"]
        done = subprocess.run(bubblewrap.command(layout, inside, uid=None), capture_output=True, text=True, timeout=60)
        assert done.stdout == wanted, done.stderr
