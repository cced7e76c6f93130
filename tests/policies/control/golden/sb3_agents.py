"""Writes sb3_agents.json and ppo_tiny.zip: what Stable-Baselines3's policies do and say. Where it is installed:

    python sb3_agents.py FOLDER_OF_TRAINED_AGENTS     (with agents.json and *.safetensors)

Weights, observations and actions come from formulas (``wave``, ``weights``), so that only names, shapes and answers are written down.
``data`` is the JSON entry of an archive, and the archive is one of ``model.save``, both without the pickles within that entry.
"""

import json
import math
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from gymnasium import Env, spaces
from stable_baselines3 import A2C, PPO, SAC
from torch import nn

HERE = Path(__file__).parent
BOX, ACT = spaces.Box(-5, 5, (3,), np.float32), spaces.Box(np.float32([-1, -2]), np.float32([1, 3]))
PICTURE = spaces.Box(0, 255, (36, 40, 2), np.uint8)


def wave(*shape, phase=0.0):
    """Numbers that look random enough, exact in float32."""
    k = np.arange(math.prod(shape))
    return np.float32(np.round(np.sin(12.9898 * k + phase + 0.37 * k * k) * 256) / 256).reshape(shape)


def weights(shapes):
    """name -> tensor, of names -> shapes."""
    return {
        n: torch.from_numpy(wave(*shapes[n], phase=i) * (0.5 if len(shapes[n]) < 3 else 0.1))
        for i, n in enumerate(sorted(shapes))
    }


class Still(Env):
    """Spaces, and nothing that moves."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample() * 0, {}

    def step(self, action):
        return self.observation_space.sample() * 0, 0.0, False, False, {}


CASES = {
    "ppo_discrete": (PPO, "MlpPolicy", BOX, spaces.Discrete(3), {"net_arch": {"pi": [5, 4], "vf": [6]}}, {}),
    "ppo_states": (PPO, "MlpPolicy", spaces.Discrete(5), spaces.Discrete(2), {"net_arch": [4]}, {}),
    "ppo_gaussian": (PPO, "MlpPolicy", BOX, ACT, {"net_arch": [5, 4], "activation_fn": nn.ReLU}, {}),
    "ppo_linear": (PPO, "MlpPolicy", BOX, ACT, {"net_arch": []}, {}),
    "ppo_pixels": (PPO, "CnnPolicy", PICTURE, spaces.Discrete(4), {"features_extractor_kwargs": {"features_dim": 16}}, {}),
    "ppo_gsde_squashed": (
        PPO,
        "MlpPolicy",
        BOX,
        ACT,
        {"net_arch": [4], "squash_output": True, "use_expln": True},
        {"use_sde": True},
    ),
    "a2c_gsde": (A2C, "MlpPolicy", BOX, ACT, {"net_arch": [4], "full_std": False}, {"use_sde": True}),
    "sac": (SAC, "MlpPolicy", BOX, ACT, {"net_arch": [5, 4]}, {}),
    "sac_gsde": (SAC, "MlpPolicy", BOX, ACT, {"net_arch": [4], "clip_mean": 0.5}, {"use_sde": True}),
}


def observations(space, n):
    if isinstance(space, spaces.Discrete):
        return np.arange(n) % space.n
    if space.dtype == np.uint8:
        return (np.arange(n * math.prod(space.shape)).reshape(n, *space.shape) * 37 % 256).astype(np.uint8)
    return 2 * wave(n, *space.shape, phase=0.5)


def actions(space, n):
    """As a policy draws them: before squashing and before they are cut to the box."""
    return np.arange(n) % space.n if isinstance(space, spaces.Discrete) else 1.5 * wave(n, *space.shape, phase=0.25)


def answers(model, observed, drawn):
    """The deterministic action as the environment gets it, and log-probs, entropies, values of given actions."""
    policy = model.policy
    mode = model.predict(observed, deterministic=True)[0]
    with torch.no_grad():
        x, a = policy.obs_to_tensor(observed)[0], torch.from_numpy(drawn)
        if not isinstance(model, SAC):
            if getattr(policy, "squash_output", False):
                a = a.tanh()
            value, logp, entropy = policy.evaluate_actions(x, a)
            entropy = None if entropy is None else entropy.tolist()
            return {"mode": mode.tolist(), "logp": logp.tolist(), "entropy": entropy, "value": value[:, 0].tolist()}
        actor = policy.actor
        mean, log_std, more = actor.get_action_dist_params(x)
        dist = actor.action_dist.proba_distribution(mean, log_std, *more.values())
        logp = dist.log_prob(a.tanh(), a) if not more else dist.log_prob(a.tanh())
        return {"mode": mode.tolist(), "logp": logp.tolist(), "entropy": None, "value": None}


def readable(tree):
    """Without pickles and without addresses."""
    return (
        {k: readable(v) for k, v in tree.items() if k != ":serialized:" and " at 0x" not in str(v)}
        if isinstance(tree, dict)
        else tree
    )


def lines(parts):
    """One line for each part."""
    return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in parts.items()) + "\n}"


def build(kind, policy, observation, action, options, more):
    torch.manual_seed(0)
    short = {"buffer_size": 4} if kind is SAC else {"n_steps": 4} | ({"batch_size": 4} if kind is PPO else {})
    return kind(policy, Still(observation, action), policy_kwargs=dict(options), device="cpu", **short, **more)


def case(kind, policy, observation, action, options, more):
    model = build(kind, policy, observation, action, options, more)
    shapes = {n: list(t.shape) for n, t in model.policy.state_dict().items()}
    model.policy.load_state_dict(weights(shapes))
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/a.zip")
        data = json.loads(zipfile.ZipFile(f"{folder}/a.zip").read("data"))
    data = {k: readable(data[k]) for k in ("policy_kwargs", "observation_space", "action_space", "use_sde", "num_timesteps")}
    return {"data": data, "shapes": shapes, **answers(model, observations(observation, 4), actions(action, 4))}


def safetensors(path):
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    head, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    return {n: torch.from_numpy(np.frombuffer(body[slice(*h["data_offsets"])], "<f4").reshape(h["shape"]).copy())
            for n, h in head.items() if n != "__metadata__"}  # fmt: skip


def trained(folder, entry):
    """A trained agent's answers to four observations on the scale of what it saw."""
    kind = {"ppo": PPO, "a2c": A2C, "sac": SAC}[entry["algo"]]
    tensors = safetensors(folder / f"{entry['name']}.safetensors")
    size = entry["obs_shape"][0]
    bounds = [
        np.float32(json.loads(entry[k].replace(".", ".0").replace(" ", ","))) if entry[k] else None
        for k in ("action_low", "action_high")
    ]
    action = spaces.Discrete(int(entry["action_n"])) if entry["action_n"] else spaces.Box(*bounds)
    options = {"net_arch": [64, 64]} if kind is SAC else {}
    model = build(
        kind, "MlpPolicy", spaces.Box(-np.inf, np.inf, (size,), np.float32), action, options, {"use_sde": entry["use_sde"]}
    )
    model.policy.load_state_dict({**model.policy.state_dict(), **tensors})
    observed, norm = wave(4, size, phase=0.5), entry["obs_normalisation"]
    if norm:
        mean, var = np.array(norm["obs_mean"]), np.array(norm["obs_var"])
        raw = np.float32(mean + 2 * np.sqrt(var) * observed)
        observed = np.clip((raw - mean) / np.sqrt(var + norm["epsilon"]), -norm["clip_obs"], norm["clip_obs"]).astype(np.float32)
    else:
        raw = observed
    return {"observations": raw.tolist(), **answers(model, observed, actions(action, 4))}


def main():
    folder = Path(sys.argv[1])
    found = {n: case(*c) for n, c in CASES.items()}
    agents = {e["name"]: trained(folder, e) for e in json.loads((folder / "agents.json").read_text())}
    versions = {p: version(p) for p in ("stable-baselines3", "torch")}
    about = json.dumps({"made by": "python sb3_agents.py", **versions})
    text = f'{{"about": {about},\n"cases": {lines(found)},\n"trained": {lines(agents)}}}\n'
    (HERE / "sb3_agents.json").write_text(text)
    tiny = build(PPO, "MlpPolicy", BOX, ACT, {"net_arch": [2]}, {})
    tiny.policy.load_state_dict(weights({n: list(t.shape) for n, t in tiny.policy.state_dict().items()}))
    with tempfile.TemporaryDirectory() as folder:
        tiny.save(f"{folder}/a.zip")
        with (
            zipfile.ZipFile(f"{folder}/a.zip") as saved,
            zipfile.ZipFile(HERE / "ppo_tiny.zip", "w", zipfile.ZIP_DEFLATED) as kept,
        ):
            for entry in saved.namelist():
                if entry != "system_info.txt":  # which names a machine, as pickles do
                    content = saved.read(entry)
                    kept.writestr(entry, json.dumps(readable(json.loads(content))) if entry == "data" else content)


if __name__ == "__main__":
    main()
