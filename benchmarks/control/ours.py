"""Our side of the comparison: the tasks of ``settings.py`` as plans.

    python benchmarks/control/ours.py cartpole --seeds 1 2 3 4 5 --out runs/control

It writes one JSON per task and seed, in the form of ``sb3.py``'s: every training episode's end (in environment steps) and return,
and the seconds. What is there already is not run again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from settings import SEEDS, SETTINGS, Setting

import guerdon
from guerdon import advantages, objectives, policies, rewards, samplers, transforms, worlds
from guerdon.core import Batch
from guerdon.run import AdamW, Fragments, ObservationStatistics, Plan, Term, Train, run


class Episodes:
    """Return of every episode, with the number of environment steps at its end. It is called as a check of every draw."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.ends: list[int] = []
        self.returns: list[float] = []

    def __call__(self, batch: Batch, run: Any) -> tuple[()]:
        s, info = self.setting, batch.rollout.info
        taken = dict.fromkeys(range(s.envs), 0)
        found = []
        rows = zip(
            info["slot"], batch.rollout.mask.sum(1).tolist(), info["length"].tolist(), info["return"].tolist(), strict=True
        )
        for slot, steps, length, gain in rows:
            taken[slot] += steps
            if length:
                found.append((((run.step - 1) * s.horizon + taken[slot]) * s.envs, gain))
        for end, gain in sorted(found):
            self.ends.append(end)
            self.returns.append(gain)
        return ()


def plan_of(s: Setting, seed: int) -> tuple[Plan, Episodes]:
    """PPO with separate networks for policy and values, as a plan; and what will know its episodes."""
    world, episodes = worlds.Gym(s.env), Episodes(s)
    learners: dict[str, Any] = {
        "policy": Train(
            (
                Term(objectives.PolicyGradient(clip=s.clip, entropy=s.entropy)),
                Term(objectives.ValueLoss(target="return"), weight=2 * s.value),  # ours has the factor 1/2
            ),
            AdamW(lr=s.lr, eps=1e-5, decay="linear" if s.decay else "constant"),
            of=("policy", "critic"),
            epochs=s.epochs,
            minibatches=s.envs * s.horizon // s.batch,
            by="step",
            whiten=True,
            max_grad_norm=s.max_grad_norm,
        )
    }
    if s.normalise:
        learners["observations"] = ObservationStatistics()
    plan = Plan(
        policy=policies.Control.of(world, normalise=s.normalise, seed=seed),
        source=Fragments(world),
        sampler=samplers.Group(contexts=s.envs, n=1, controls={"steps": s.horizon}),
        reward=rewards.Environment(),
        transforms=(transforms.ScaleByReturn(gamma=s.gamma),) if s.normalise else (),
        advantage={"main": advantages.GAE(s.gamma, s.lam), "return": advantages.LambdaReturns(s.gamma, s.lam)},
        critics={"critic": policies.StateValue(normalise=s.normalise, seed=1000 + seed)},
        learners=learners,
        checks=(episodes,),
        steps=math.ceil(s.steps / (s.envs * s.horizon)),
        checkpoint_every=0,
        seed=seed,
        name=s.env,
    )
    return plan, episodes


def train(s: Setting, seed: int) -> dict[str, object]:
    """One training run."""
    plan, episodes = plan_of(s, seed)
    start = time.perf_counter()
    run(plan)
    seconds = time.perf_counter() - start
    versions = {"guerdon": guerdon.__version__} | {p: importlib.metadata.version(p) for p in ("gymnasium", "torch")}
    return {"ends": episodes.ends, "returns": episodes.returns, "seconds": round(seconds, 1), "versions": versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", choices=sorted(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/control"))
    parser.add_argument("--steps", type=int, help="environment steps, for a trial (default: those of the settings)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # the first optimiser imports much, and the peer's clock begins behind that
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for task in args.tasks:
            path = args.out / f"guerdon_{task}_{seed}.json"
            if path.exists():
                continue
            setting = SETTINGS[task] if args.steps is None else replace(SETTINGS[task], steps=args.steps)
            result = train(setting, seed)
            path.write_text(json.dumps({"task": task, "seed": seed, **result}) + "\n")
            print(task, seed, result["seconds"], "s", flush=True)


if __name__ == "__main__":
    main()
