"""Soft actor-critic swings a pendulum up: 4,800 steps, about two minutes on one core.

python examples/pendulum_sac.py             # writes runs/pendulum_sac with its report
python examples/pendulum_sac.py --steps=17  # only to see that everything is there
"""

import argparse
import dataclasses
from pathlib import Path

from guerdon import policies, rewards, samplers, worlds
from guerdon.run import TD, AdamW, Due, EntropyTarget, Evaluation, Expected, Fragments, Improve, Plan, Replay, lazy, run

PENDULUM = worlds.Gym("Pendulum-v1")
BODY = policies.MLP((256, 256), "relu")

plan = Plan(
    policy=lazy(policies.Control.of, world=PENDULUM, body=BODY, head=policies.TanhGaussian()),
    critics={"q": policies.ActionValue(body=BODY, copies=2)},
    source=Replay(Fragments(PENDULUM), capacity=20_000),
    sampler=samplers.Group(contexts=8, n=1, controls={"steps": 4}),  # 32 environment steps a draw
    reward=rewards.Environment(),
    learners={
        "critic": TD(of="q", backup=Expected(alpha="actor"), updates=32, optim=AdamW(lr=1e-3), due=Due(start=15)),
        "actor": Improve(critic="q", alpha=EntropyTarget(lr=1e-3), updates=32, optim=AdamW(lr=1e-3), due=Due(start=15)),
    },
    evaluation=Evaluation(samples=10, every=50, controls={"temperature": 0.0}),
    steps=150,
    checkpoint_every=50,
    name="pendulum_sac",
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=plan.steps, help="draws of 32 environment steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--out", type=Path, default=Path("runs/pendulum_sac"))
    asked = parser.parse_args()
    result = run(dataclasses.replace(plan, steps=asked.steps, seed=asked.seed), asked.out, resume_run=asked.resume, progress=True)
    for point in result.evaluations:
        print(f"after {point['step'] * 32:5d} steps: return {point['metrics']['episode/return']:.0f}")
