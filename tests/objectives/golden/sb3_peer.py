"""Writes sb3_*.json: what Stable-Baselines3's PPO makes of given numbers. ``python <this file>``, where it is installed.

A scripted vector environment plays three lanes of twelve steps with given observations, rewards and ends (some by themselves, some
cut off), the actions are given, and so are the weights. Written down are the log-probs and values PPO computes, its advantages and
returns, its losses, the order of its minibatches, and its weights after one call of ``train``. The log-probs that it compares with
are moved by given amounts in between, so that ratios leave the clip range at the first update already.

``sb3_cartpole.json`` is three whole iterations on CartPole: acting, episodes that end and begin, and updates. Its random numbers are
given: the uniform ones that actions are taken from by the inverse distribution function, the seeds of episodes, and minibatches.

``sb3_rewards.json`` is what ``VecNormalize`` makes of the lanes' rewards.

In ``float32`` nothing of PPO is touched. In ``float64`` its policy, its buffer and its reading of observations are made to keep
double precision; the formulas are the same lines.
"""

import itertools
import json
import math
from importlib.metadata import version
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common import policies
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

LANES, STEPS, DIM, WIDTH = 3, 12, 3, 4
GAMMA, LAM, CLIP, ENTROPY, VALUE, NORM, LR = 0.95, 0.9, 0.2, 0.01, 0.5, 0.5, 0.01
TERMINATED = {(3, 0), (7, 0), (11, 1)}  # (step, lane): after this step the episode had ended by itself
TRUNCATED = {(5, 1), (2, 2), (11, 2)}  # or was cut off


def wave(*shape, scale, phase):
    """Numbers that look random enough, exact in float32."""
    k = np.arange(math.prod(shape))
    return np.round(scale * np.sin(12.9898 * k + phase + 0.37 * k * k) * 256).reshape(shape) / 256


class Lanes(VecEnv):
    """The scripted lanes."""

    render_mode = None

    def __init__(self, action_space, dtype):
        self.dtype = dtype
        self.seen = wave(STEPS + 1, LANES, DIM, scale=1.5, phase=0.3).astype(dtype)
        self.last = wave(STEPS, LANES, DIM, scale=1.5, phase=1.1).astype(dtype)  # shown where an episode is over
        self.gain = wave(STEPS, LANES, scale=2.0, phase=2.2).astype(dtype)
        super().__init__(LANES, spaces.Box(-np.inf, np.inf, (DIM,), dtype), action_space)

    def reset(self):
        self.t = 0
        return self.seen[0]

    def step_async(self, actions):
        pass

    def step_wait(self):
        t, infos, done = self.t, [], []
        for lane in range(LANES):
            over = (t, lane) in TERMINATED or (t, lane) in TRUNCATED
            infos.append(
                {"terminal_observation": self.last[t, lane], "TimeLimit.truncated": (t, lane) in TRUNCATED} if over else {}
            )
            done.append(over)
        self.t += 1
        return self.seen[self.t], self.gain[t].copy(), np.array(done), infos

    def close(self):
        pass

    def get_attr(self, attr_name, indices=None):
        return [None] * LANES

    def set_attr(self, attr_name, value, indices=None):
        pass

    def env_method(self, method_name, *args, indices=None, **kwargs):
        return [None] * LANES

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * LANES


class DoubleBuffer(RolloutBuffer):
    """A buffer that keeps what it is given in double precision."""

    def reset(self):
        super().reset()
        for name in ("rewards", "returns", "values", "log_probs", "advantages", "episode_starts"):
            setattr(self, name, np.zeros_like(getattr(self, name), dtype=np.float64))


class Nothing(BaseCallback):
    def _on_step(self):
        return True


def case(continuous, precision, epochs, batch):
    """One update."""
    dtype = np.dtype(precision)
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    env = Lanes(box if continuous else spaces.Discrete(3), dtype)
    double = precision == "float64"
    plain = policies.preprocess_obs
    if double:
        policies.preprocess_obs = lambda obs, space, normalize_images=True: obs.double()
    try:
        model = PPO(
            "MlpPolicy", env, learning_rate=LR, n_steps=STEPS, batch_size=batch, n_epochs=epochs, gamma=GAMMA, gae_lambda=LAM,
            clip_range=CLIP, ent_coef=ENTROPY, vf_coef=VALUE, max_grad_norm=NORM, seed=0, device="cpu",
            rollout_buffer_class=DoubleBuffer if double else None, policy_kwargs={"net_arch": {"pi": [WIDTH], "vf": [WIDTH + 1]}},
        )  # fmt: skip
        if double:
            model.policy.double()
        with torch.no_grad():
            for k, p in enumerate(model.policy.parameters()):
                p.copy_(torch.from_numpy(wave(*p.shape, scale=0.8, phase=float(k))))
        before = weights(model)
        if continuous:
            actions = wave(STEPS, LANES, 2, scale=1.8, phase=0.9).astype(np.float32)
        else:
            actions = np.arange(STEPS * LANES).reshape(STEPS, LANES) ** 2 % 7 % 3
        given = iter(torch.from_numpy(actions).to(getattr(torch, precision) if continuous else torch.long))
        model.policy.action_dist.get_actions = lambda deterministic=False: next(given)
        orders = []
        shuffle = np.random.permutation

        def remembered(n):
            orders.append(shuffle(n))
            return orders[-1]

        model.set_logger(Logger(None, []))
        _, callback = model._setup_learn(LANES * STEPS, Nothing())
        model.collect_rollouts(env, callback, model.rollout_buffer, STEPS)
        buffer = model.rollout_buffer
        found = {k: getattr(buffer, k).tolist() for k in ("log_probs", "values", "advantages", "returns")}
        moved = wave(STEPS, LANES, scale=0.4, phase=5.0)
        buffer.log_probs = (buffer.log_probs + moved).astype(buffer.log_probs.dtype)
        np.random.permutation = remembered
        try:
            model.train()
        finally:
            np.random.permutation = shuffle
        said = model.logger.name_to_value
        losses = {k: float(said[f"train/{k}"]) for k in ("policy_gradient_loss", "value_loss", "entropy_loss", "loss")}
        return {
            "epochs": epochs, "batch": batch, "observations": env.seen.tolist(), "last": env.last.tolist(),
            "rewards": env.gain.tolist(), "actions": actions.tolist(), "moved": moved.tolist(), **found, "losses": losses,
            "orders": [o.tolist() for o in orders], "before": before, "after": weights(model),
        }  # fmt: skip
    finally:
        policies.preprocess_obs = plain


class Seeded(gymnasium.Wrapper):
    """Episode k of lane i begins from the seed 1000 i + k."""

    def __init__(self, env, lane):
        super().__init__(env)
        self.seeds = itertools.count(1000 * lane)

    def reset(self, **kwargs):
        return self.env.reset(seed=next(self.seeds))


def cartpole(lanes=4, steps=32, limit=20, iterations=3, width=6):
    """Whole iterations, each two epochs of four minibatches."""
    make = [lambda k=k: Seeded(gymnasium.make("CartPole-v1", max_episode_steps=limit), k) for k in range(lanes)]
    env = DummyVecEnv(make)
    model = PPO(
        "MlpPolicy", env, learning_rate=LR, n_steps=steps, batch_size=lanes * steps // 4, n_epochs=2, gamma=GAMMA, gae_lambda=LAM,
        clip_range=CLIP, ent_coef=ENTROPY, vf_coef=VALUE, max_grad_norm=NORM, seed=0, device="cpu",
        policy_kwargs={"net_arch": {"pi": [width], "vf": [width]}},
    )  # fmt: skip
    with torch.no_grad():
        for k, p in enumerate(model.policy.parameters()):
            p.copy_(torch.from_numpy(wave(*p.shape, scale=0.5, phase=float(k))))
    uniform = (np.abs(wave(iterations, steps, lanes, scale=1e4, phase=0.7)) % 1 + 1 / 512).round(6)
    given = iter(torch.from_numpy(uniform.reshape(-1, lanes)))
    dist = model.policy.action_dist
    dist.get_actions = lambda deterministic=False: (
        (next(given)[:, None] > dist.distribution.probs.cumsum(-1)).sum(-1).clamp(max=1)
    )
    before, found = weights(model), []
    shuffle, orders = np.random.permutation, []

    def remembered(n):
        orders.append(shuffle(n).tolist())
        return np.array(orders[-1])

    model.set_logger(Logger(None, []))
    _, callback = model._setup_learn(iterations * lanes * steps, Nothing())
    for _ in range(iterations):
        model.collect_rollouts(env, callback, model.rollout_buffer, steps)
        actions = model.rollout_buffer.actions[..., 0].astype(int)
        advantages = model.rollout_buffer.advantages.tolist()
        orders.clear()
        np.random.permutation = remembered
        try:
            model.train()
        finally:
            np.random.permutation = shuffle
        taken = ["".join(map(str, lane)) for lane in actions.T.tolist()]
        found.append({"actions": taken, "advantages": advantages, "orders": list(orders), "after": weights(model)})
    return {"steps": steps, "limit": limit, "uniform": uniform.tolist(), "before": before, "iterations": found}


class Paying(Lanes):
    """Lanes that begin again after twelve steps; only their rewards matter."""

    def step_wait(self):
        self.t %= STEPS
        return super().step_wait()


def rewards(draws=3, clip=0.75):
    """What VecNormalize makes of the lanes' rewards, draw after draw."""
    env = VecNormalize(Paying(spaces.Discrete(3), np.dtype(np.float64)), norm_obs=False, clip_reward=clip, gamma=GAMMA)
    env.reset()
    found = []
    for _ in range(draws):
        draw = {"rewards": [], "dones": [], "scaled": []}
        for _ in range(STEPS):
            _, scaled, done, _ = env.step(np.zeros(LANES))
            for name, x in (("rewards", env.old_reward), ("dones", done.astype(int)), ("scaled", scaled)):
                draw[name].append(x.tolist())
        found.append(draw)
    return {"clip": clip, "draws": found, "mean": float(env.ret_rms.mean), "var": float(env.ret_rms.var)}


def weights(model):
    return {n: p.detach().tolist() for n, p in model.policy.named_parameters()}


def main():
    torch.set_num_threads(1)
    facts = {
        "made": "by sb3_peer.py beside this file, which says how",
        "stable-baselines3": version("stable-baselines3"), "torch": version("torch"), "gamma": GAMMA, "lam": LAM, "clip": CLIP,
        "entropy": ENTROPY, "value": VALUE, "norm": NORM, "lr": LR,
    }  # fmt: skip
    for name, found in (("cartpole", cartpole()), ("rewards", rewards())):
        text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in (facts | found).items())
        Path(__file__).with_name(f"sb3_{name}.json").write_text("{" + text + "}\n", encoding="utf-8")
    cases = {"one": (1, LANES * STEPS), "several": (2, LANES * STEPS // 3)}
    for name, continuous in (("discrete", False), ("continuous", True)):
        found = {f"{n}.{p}": case(continuous, p, *how) for n, how in cases.items() for p in ("float32", "float64")}
        head = facts | {"terminated": sorted(TERMINATED), "truncated": sorted(TRUNCATED)}
        given = {k: found["one.float32"][k] for k in ("observations", "last", "rewards", "actions", "moved", "before")}
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in (head | given).items()]
        rows = []
        for key, entry in found.items():
            assert all(entry[k] == v for k, v in given.items()), "the same problem in either precision"
            rows.append(f"{json.dumps(key)}: {json.dumps({k: v for k, v in entry.items() if k not in given})}")
        text = "{" + ",\n".join(lines) + ',\n"cases": {\n' + ",\n".join(rows) + "\n}}\n"
        Path(__file__).with_name(f"sb3_{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
