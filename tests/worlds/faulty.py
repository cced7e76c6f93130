"""Environments with one fault each, for the tests of ``worlds.Gym``."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np

GOOD = np.zeros(2, dtype=np.float32)
ANSWERS: dict[str, tuple[Any, ...]] = {  # what step returns once the fault strikes
    "nan observation": (np.array([0.0, np.nan], dtype=np.float32), 1.0, False, False, {}),
    "inf observation": (np.array([np.inf, 0.0], dtype=np.float32), 1.0, False, False, {}),
    "nan reward": (GOOD, float("nan"), False, False, {}),
    "text reward": (GOOD, "one", False, False, {}),
    "no reward": (GOOD, None, False, False, {}),
    "shape": (np.zeros(3, dtype=np.float32), 1.0, False, False, {}),
    "dtype": (np.zeros(2, dtype=np.float64), 1.0, False, False, {}),
    "kind": ({"position": GOOD}, 1.0, False, False, {}),
    "number": (3, 1.0, False, False, {}),
    "four": (GOOD, 1.0, False, {}),
    "flag": (GOOD, 1.0, "no", False, {}),
    "nothing": None,  # type: ignore[dict-item]
}


class Faulty(gymnasium.Env):  # type: ignore[type-arg]
    """Adds the action to its state; breaks at its third step, where it was reset with an odd seed."""

    made = closed = 0
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, fault: str = "", at: int = 3):
        type(self).made += 1
        self.fault, self.at = fault, at
        if fault == "make" and type(self).made > 1:
            raise OSError("no such device\nat all")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.bad, self.steps = bool(seed and seed % 2), 0
        if self.bad and self.fault == "reset":
            raise KeyError("lost")
        if self.bad and self.fault == "reset nan":
            return ANSWERS["nan observation"][0], {}
        if self.bad and self.fault == "reset shape":
            return np.zeros((1, 2), dtype=np.float32), {}
        if self.bad and self.fault == "reset bare":
            return GOOD, {}, "more"  # type: ignore[return-value]
        self.state = self.np_random.random(2).astype(np.float32)
        return self.state.copy(), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        if self.bad and self.steps == self.at:
            if self.fault == "raise":
                raise ValueError("wheels came off\nlong story")
            if self.fault == "exit":
                raise SystemExit(3)
            if self.fault == "die":
                os._exit(7)
            if self.fault == "hang":
                time.sleep(1000)
            if self.fault in ANSWERS:
                return ANSWERS[self.fault]
        noise = int.from_bytes(os.urandom(3), "big") if self.fault == "chance" else self.np_random.random()
        self.state = (self.state + np.float32(action) + np.float32(noise)).astype(np.float32)
        return self.state.copy(), float(self.state[0]), False, False, {}

    def close(self) -> None:
        type(self).closed += 1
        if self.fault == "raise":
            raise RuntimeError("does not even close")


class Odd(gymnasium.Env):  # type: ignore[type-arg]
    """Spaces that cannot be taken, and one that counts from 1."""

    def __init__(self, what: str = "dict"):
        number = gymnasium.spaces.Discrete(3, start=1)
        box = gymnasium.spaces.Box(-1e300, 1e300, (2,), np.float64)
        self.observation_space, self.action_space = {
            "dict": (gymnasium.spaces.Dict({"a": number}), number),
            "binary": (number, gymnasium.spaces.MultiBinary(4)),
            "half": (gymnasium.spaces.Box(0, 1, (2,), np.float16), number),
            "start": (number, number),
            "wide": (box, gymnasium.spaces.Box(-1, 1, (2,), np.float32)),
        }[what]
        self.what = what

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return (1 if self.what == "start" else np.zeros(2)), {}

    def step(self, action: Any) -> Any:
        if self.what == "start":
            return np.int64(action), np.float32(action), np.False_, np.False_, {}
        action *= 10  # writes into what it was given
        return action.astype(np.float64) * 1e30, np.ones(1), False, False, {}


def not_an_environment() -> dict[str, int]:
    return {}
