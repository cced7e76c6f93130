"""Pictures of environments, on machines with and without a screen.

MuJoCo needs an OpenGL library that draws off-screen; where none works, its renderer may end the whole process. So each is tried
once in a process of its own.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import numpy as np

from guerdon.worlds._making import quiet, reason_of

_TRY = """
import mujoco
from mujoco.{name} import GLContext
context = GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
print("draws")
"""


def draw(env: Any) -> tuple[np.ndarray | None, str]:
    """What an environment made with ``render_mode="rgb_array"`` shows, [H, W, 3] uint8, or why there is nothing."""
    if not _screen():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame looks for a screen and complains, even where it needs none
    if hasattr(env.unwrapped, "mujoco_renderer") and (why := _choose_library()):
        return None, why
    try:
        with quiet():
            picture = env.render()
    except (Exception, SystemExit) as e:  # noqa: BLE001  no picture is no failure of the episode; the reason says what is missing
        return None, f"render raised {reason_of(e)}"
    if isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8:
        return np.ascontiguousarray(picture).copy(), ""
    return None, f"render gave something of type {type(picture).__name__}, expected [H, W, 3] uint8"


def _screen() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@functools.cache
def _choose_library() -> str:
    """Have MuJoCo draw by a library that works here (``MUJOCO_GL``, which may also be set from outside); why none does."""
    named = os.environ.get("MUJOCO_GL")
    for name in [named] if named else [*(["glfw"] if _screen() else []), "egl", "osmesa"]:
        try:
            told = subprocess.run([sys.executable, "-c", _TRY.format(name=name)], capture_output=True, timeout=60,
                                  stdin=subprocess.DEVNULL, env={**os.environ, "MUJOCO_GL": name}, check=False)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        if b"draws" in told.stdout:
            os.environ["MUJOCO_GL"] = name
            return ""
    tried = f"MUJOCO_GL={named} does not draw here" if named else "MuJoCo found no OpenGL library that draws here"
    return f"{tried}; type: apt install libegl1 libgl1 libgl1-mesa-dri (Debian, without a screen)"
