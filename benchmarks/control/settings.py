"""What both sides of the comparison are given: tasks, budgets and hyper-parameters, written down before any run.

They are the tuned settings of RL Baselines3 Zoo where these fit the budget (CartPole, Acrobot, LunarLander), with a constant clip
range; HalfCheetah has the defaults of Stable-Baselines3 over eight environments.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One task of the comparison. ``steps`` counts environment steps over all ``envs``."""

    env: str
    steps: int
    envs: int
    horizon: int
    batch: int
    epochs: int
    lr: float = 3e-4
    decay: bool = False
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    entropy: float = 0.0
    value: float = 0.5
    max_grad_norm: float = 0.5
    normalise: bool = False


SETTINGS = {
    "cartpole": Setting("CartPole-v1", 100_000, 8, 32, 256, 20, lr=1e-3, decay=True, gamma=0.98, lam=0.8),
    "acrobot": Setting("Acrobot-v1", 200_000, 16, 256, 64, 4, lam=0.94, normalise=True),
    "lunarlander": Setting("LunarLander-v3", 500_000, 16, 1024, 64, 4, gamma=0.999, lam=0.98, entropy=0.01),
    "halfcheetah": Setting("HalfCheetah-v5", 300_000, 8, 256, 64, 10, normalise=True),
}
SEEDS = tuple(range(1, 11))
