"""Reward against diversity: the same plan under five KL weights and three seeds, as one picture.

python examples/frontier.py PATH_OR_HUB_NAME --out runs/frontier
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from guerdon.audit import write_frontier
from guerdon.run import Plan, run
from guerdon.transforms import TokenKL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder or hub name of a causal language model")
    parser.add_argument("--out", type=Path, default=Path("runs/frontier"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--betas", type=float, nargs="+", default=[0.0, 0.01, 0.03, 0.1, 0.3], help="KL weights")
    args = parser.parse_args()
    plan = Plan.load(Path(__file__).with_name("sentiment.yaml"), [f"policy.path_or_name={args.model}", f"steps={args.steps}"])
    folders = []
    for beta in args.betas:
        for seed in range(args.seeds):
            folder = args.out / f"beta-{beta:g}-seed-{seed}"
            one = dataclasses.replace(plan, transforms=(TokenKL(beta=beta),), seed=seed, name=folder.name)
            result = run(one, folder, resume_run=True)
            first, last = (e["metrics"] for e in (result.evaluations[0], result.evaluations[-1]))
            print(f"beta {beta:<6g} seed {seed}  reward {first['proxy/mean']:.3f} -> {last['proxy/mean']:.3f}  "
                  f"distinct-2 {first['distinct_2']:.3f} -> {last['distinct_2']:.3f}")  # fmt: skip
            folders.append(folder)
    print("picture:", write_frontier(folders, args.out))


if __name__ == "__main__":
    main()
