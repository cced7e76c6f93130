"""The peer's side, in an environment of its own.

    pip install stable-baselines3 "gymnasium[box2d,mujoco]"

    python benchmarks/control/sb3.py cartpole --seeds 1 2 3 4 5 --out runs/control

It writes one JSON per task and seed: every training episode's end (in environment steps) and return, and the seconds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from pathlib import Path

import torch
from settings import SEEDS, SETTINGS, Setting
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize


class Episodes(BaseCallback):
    """Return of every episode, with the number of environment steps at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.ends.append(self.num_timesteps)
                self.returns.append(float(info["episode"]["r"]))
        return True


def run(s: Setting, seed: int) -> dict[str, object]:
    """One training run."""
    env = make_vec_env(s.env, n_envs=s.envs, seed=seed)
    if s.normalise:
        env = VecNormalize(env, gamma=s.gamma)
    lr = (lambda left: s.lr * left) if s.decay else s.lr
    model = PPO(
        "MlpPolicy", env, learning_rate=lr, n_steps=s.horizon, batch_size=s.batch, n_epochs=s.epochs, gamma=s.gamma,
        gae_lambda=s.lam, clip_range=s.clip, ent_coef=s.entropy, vf_coef=s.value, max_grad_norm=s.max_grad_norm, seed=seed,
        device="cpu",
    )  # fmt: skip
    episodes, start = Episodes(), time.perf_counter()
    model.learn(s.steps, callback=episodes)
    seconds = time.perf_counter() - start
    versions = {p: importlib.metadata.version(p) for p in ("stable-baselines3", "gymnasium", "torch")}
    return {"ends": episodes.ends, "returns": episodes.returns, "seconds": round(seconds, 1), "versions": versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", choices=sorted(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/control"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for task in args.tasks:
            path = args.out / f"sb3_{task}_{seed}.json"
            if path.exists():
                continue
            result = run(SETTINGS[task], seed)
            path.write_text(json.dumps({"task": task, "seed": seed, **result}) + "\n")
            print(task, seed, result["seconds"], "s", flush=True)


if __name__ == "__main__":
    main()
