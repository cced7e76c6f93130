"""One update of Stable-Baselines3's SAC on numbers that are written down: ``python sb3_sac_peer.py`` makes sb3_sac.json beside it.

Needs stable-baselines3 (2.9.2 made the file); the tests do not. SB3's own ``SAC.train`` runs once with its replay
buffer answering one given batch and its normal distribution one given noise, and with alpha learned. Written down are the weights
before and after, and what SB3 logs. The numbers of the batch are fixed draws of a seeded generator.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def main() -> None:
    import gymnasium
    import numpy as np
    import stable_baselines3
    import torch
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    class Pretend(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
        action_space = gymnasium.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict]:
            return np.zeros(3, np.float32), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            return np.zeros(3, np.float32), 0.0, False, False, {}

    rows = 6
    torch.manual_seed(0)
    model = SAC("MlpPolicy", Pretend(), learning_rate=1e-3, gamma=0.9, tau=0.25, ent_coef="auto_0.2", target_entropy=-2.0,
                policy_kwargs={"net_arch": [5, 4]}, seed=0)  # fmt: skip
    model.set_logger(configure(None, []))
    for parameter in model.critic_target.parameters():  # so that the copy is not the network
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    draw = torch.Generator().manual_seed(1)
    made = {n: torch.randn(*s, generator=draw) for n, s in
            {"states": (rows, 3), "following": (rows, 3), "noise": (rows, 2), "next_noise": (rows, 2)}.items()}  # fmt: skip
    made["actions"] = 1.8 * torch.rand(rows, 2, generator=draw) - 0.9  # scaled to [-1, 1]
    made["reward"] = torch.randn(rows, generator=draw)
    made["terminal"] = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    batch = ReplayBufferSamples(made["states"], made["actions"], made["following"], made["terminal"][:, None],
                                made["reward"][:, None], None)  # fmt: skip
    model.replay_buffer.sample = lambda *_, **__: batch
    noises = iter([made["noise"], made["next_noise"]])
    torch.distributions.Normal.rsample = lambda self, *_: self.loc + self.scale * next(noises)

    def weights() -> dict[str, dict[str, Any]]:
        parts = {"actor": model.actor, "critic": model.critic, "target": model.critic_target}
        return {n: {k: v.tolist() for k, v in m.state_dict().items()} for n, m in parts.items()}

    before = weights()
    model.train(gradient_steps=1, batch_size=rows)
    logged = model.logger.name_to_value
    out = {
        "note": "tests/run/golden/sb3_sac_peer.py made this file and says how",
        "versions": {"stable_baselines3": stable_baselines3.__version__, "torch": torch.__version__},
        "settings": {"lr": 1e-3, "gamma": 0.9, "tau": 0.25, "alpha": 0.2, "target_entropy": -2.0, "widths": [5, 4],
                     "low": [-2.0, 0.0], "high": [2.0, 1.0]},
        "batch": {n: v.tolist() for n, v in made.items()},
        "before": before,
        "after": weights(),
        "log_alpha_after": float(model.log_ent_coef),
        "logged": {n: float(logged[f"train/{n}"]) for n in ("critic_loss", "actor_loss", "ent_coef_loss", "ent_coef")},
    }  # fmt: skip
    Path(__file__).with_name("sb3_sac.json").write_text(json.dumps(_rounded(out)) + "\n", encoding="utf8")


def _rounded(tree: Any) -> Any:
    if isinstance(tree, float):
        return float(f"{tree:.12g}")
    if isinstance(tree, dict):
        return {k: _rounded(v) for k, v in tree.items()}
    return [_rounded(v) for v in tree] if isinstance(tree, list) else tree


if __name__ == "__main__":
    main()
