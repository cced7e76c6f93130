"""What PPO is set to on each world that comes with settings: the one table of ``tasks.control``.

The comparison in ``benchmarks/control`` has numbers of its own, written down before it was run. They stay as they are; these here
may be improved at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from guerdon.core.errors import PlanError


@dataclass(frozen=True)
class PPOSettings:
    """Settings of PPO with two networks, one for actions and one for values.

    Args:
        steps: Environment steps of the whole run.
        envs: Environments that are stepped together.
        horizon: Steps that each of them takes for one draw.
        batch: Steps in a minibatch.
        epochs: Passes over each draw.
        lr: Learning rate.
        decay: Whether it falls linearly to 0 over the run.
        gamma: Discount per step.
        lam: Of generalised advantage estimates.
        clip: How far a probability ratio may move from 1.
        entropy: Weight of the entropy bonus.
        value: Weight of the mean squared error of the values.
        max_grad_norm: Gradients are scaled down to this norm.
        normalise: Scale observations by running statistics, and rewards by the deviation of the discounted return.
        widths: Units of each hidden layer.
    """

    steps: int = 100_000
    envs: int = 8
    horizon: int = 256
    batch: int = 64
    epochs: int = 10
    lr: float = 3e-4
    decay: bool = False
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    entropy: float = 0.0
    value: float = 0.5
    max_grad_norm: float = 0.5
    normalise: bool = False
    widths: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        for name in ("steps", "envs", "horizon", "batch", "epochs"):
            if getattr(self, name) < 1:
                raise PlanError(f"PPOSettings.{name} must be at least 1, got {getattr(self, name)}")
        if self.batch > self.envs * self.horizon:
            raise PlanError(f"PPOSettings.batch: {self.batch} steps, but a draw has {self.envs} x {self.horizon}")


def _mujoco(**changes: Any) -> PPOSettings:
    """2048 steps a draw, ten passes in minibatches of 64, everything normalised: as PPO's paper has it for these worlds."""
    return replace(PPOSettings(steps=1_000_000, normalise=True), **changes)


# By a Gymnasium id, or by the name of a world's class. From RL Baselines3 Zoo, with a constant clip range and without
# state-dependent noise: CartPole, Acrobot, MountainCar, Pendulum, LunarLander, BipedalWalker. What was tried here says what came
# of it, with one seed; ``benchmarks/control`` compares CartPole, Acrobot, LunarLander and HalfCheetah over several.
TUNED: dict[str, PPOSettings] = {
    "CartPole-v1": PPOSettings(horizon=32, batch=256, epochs=20, lr=1e-3, decay=True, gamma=0.98, lam=0.8),
    "Acrobot-v1": PPOSettings(steps=200_000, envs=16, epochs=4, lam=0.94, normalise=True),
    "MountainCar-v0": PPOSettings(steps=1_000_000, envs=16, horizon=16, epochs=4, lam=0.98, normalise=True),
    "Pendulum-v1": PPOSettings(envs=4, horizon=1024, lr=1e-3, gamma=0.9),  # -1193 to -187 in 60 000 steps
    "LunarLander-v3": PPOSettings(steps=1_000_000, envs=16, horizon=1024, epochs=4, gamma=0.999, lam=0.98, entropy=0.01),
    "BipedalWalker-v3": PPOSettings(steps=5_000_000, envs=32, horizon=2048, gamma=0.999, clip=0.18, normalise=True),
    "HalfCheetah-v5": _mujoco(),
    "Hopper-v5": _mujoco(),
    "Walker2d-v5": _mujoco(),
    "Ant-v5": _mujoco(),
    "Humanoid-v5": _mujoco(steps=10_000_000),
    "Swimmer-v5": _mujoco(gamma=0.9999),
    "Reacher-v5": _mujoco(gamma=0.9),
    "InvertedPendulum-v5": _mujoco(steps=100_000),
    "InvertedDoublePendulum-v5": _mujoco(),
    # Tuned here. Four-rooms: its goal in every episode after 15 000 steps. Mazes paid for progress: "avoiding" crossed without
    # a touch after 12 000, "u" after 36 000. Without that pay "u" was not found in 60 000: that is a matter of exploration.
    "GridWorld": PPOSettings(steps=50_000, envs=16, horizon=64, batch=256, epochs=4, lr=2e-3, entropy=0.01),
    "PointMaze": PPOSettings(steps=100_000, envs=16, horizon=128, batch=256, lr=1e-3),
}
