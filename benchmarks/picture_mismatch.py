"""How far a replayed log-prob of a denoising step is from the sampled one in float32, by the number of dimensions.

Networks with fresh weights (the small ``UNet``; its last layer, which begins at zero, is filled so that outputs are of size 1)
sample chains of 16 steps, all rows at once through the network. Then the same rows are replayed with 16, 3 and 1 steps at once.
Other batch sizes choose other orders of summation in the products and convolutions, so the means of the steps differ in their
last bits. Log-probs are summed in float64 from there on. (Left alone, a policy takes as many steps at once as fit a bound on the
numbers in them; pictures of 65,712 go one by one then, in sampling and in replay, and nothing differs at all.)

"sum" is the log-density of the whole step, whose ratio objectives exponentiate; "mean" is that divided by the dimensions. The
figures are over all chosen steps of all rows, in the replay that differs most: the median and the largest of the differences in
nats. Policies differ in how a difference of the means weighs: a step of small deviation multiplies it by 1 / deviation, and a
prediction of noise at a level with hardly any data (cosine schedule, few steps) by s / a.

Rounding errors do not depend on timings, but on the machine's instructions and threads: OMP_NUM_THREADS=1 python
benchmarks/picture_mismatch.py   (about two minutes)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from guerdon.core import Items, Streams
from guerdon.policies import DDIM, Cosine, Diffusion, Flow, FlowSDE, Linear, UNet
from guerdon.policies.denoising import Denoising

SHAPES = ((1, 8, 8), (3, 8, 8), (3, 16, 16), (3, 32, 32), (3, 64, 64), (3, 148, 148))
ROWS, FEW = 6, 2  # sampled together; the few of the two largest sizes
STEPS = 16
CONTRACT = 1e-3  # nats per step, in float32
POLICIES: dict[str, Callable[[tuple[int, ...]], Denoising]] = {
    "flow, FlowSDE(0.7)": lambda shape: Flow.of(shape, network=UNet(), kernel=FlowSDE(0.7), steps=STEPS),
    "diffusion, cosine, velocity, DDIM(1)": lambda shape: Diffusion.of(
        shape, network=UNet(), noise=Cosine(), predict="velocity", kernel=DDIM(1.0), steps=STEPS
    ),
    "diffusion, linear, noise, DDIM(1)": lambda shape: Diffusion.of(
        shape, network=UNet(), noise=Linear(), predict="noise", kernel=DDIM(1.0), steps=STEPS
    ),
    "diffusion, cosine, noise, DDIM(1)": lambda shape: Diffusion.of(
        shape, network=UNet(), noise=Cosine(), predict="noise", kernel=DDIM(1.0), steps=STEPS
    ),
}


@torch.no_grad()
def measured(make: Callable[[tuple[int, ...]], Denoising], shape: tuple[int, ...]) -> dict[str, float]:
    """Differences in nats per step."""
    policy = make(shape)
    generator = torch.Generator().manual_seed(1)
    last = policy.network.last
    last.weight.copy_(torch.randn(last.weight.shape, generator=generator) / last.weight[0].numel() ** 0.5)
    n = ROWS if torch.Size(shape).numel() < 10_000 else FEW
    rollout = at_once(make(shape), policy, n).sample(Items(["a"], Streams(0).uids(1)), n, streams=Streams(0))
    replays = [at_once(make(shape), policy, k)(rollout).logp for k in (16, 3, 1)]
    gap = max(((r - rollout.logp).abs() for r in replays), key=lambda x: float(x.max()))
    by_step, gap = gap.amax(0), gap[rollout.mask]
    size = float(rollout.states[0, 0].numel())
    return {
        "dimensions": size, "median": float(gap.median()), "largest": float(gap.max()), "at step": int(by_step.argmax()),
        "largest/sqrt(D)": float(gap.max()) / size**0.5, "mean largest": float(gap.max()) / size,
    }  # fmt: skip


def at_once(other: Denoising, policy: Denoising, steps: int) -> Denoising:
    """The policy with so many steps at once through its network."""
    other.load_state_dict(policy.state_dict())
    kind = type(other)
    other.__class__ = type(kind.__name__, (kind,), {"steps_at_once": steps})
    return other


def page(found: dict[str, Any]) -> str:
    lines = []
    for name, rows in found["policies"].items():
        lines += [f"## {name[0].upper()}{name[1:]}", "", "| dimensions | sum: median | sum: largest | of step | mean: largest |",
                  "| --- | --- | --- | --- | --- |"]  # fmt: skip
        for r in rows:
            sums = f"{r['median']:.1e} | {_marked(r['largest'])} | {r['at step'] + 1}"
            lines.append(f"| {r['dimensions']:,.0f} | {sums} | {r['mean largest']:.1e} |")
        lines.append("")
    facts = found["machine"]
    tables = "\n".join(lines)
    return f"""# Replayed against sampled log-probs of pictures, float32

Made by `benchmarks/picture_mismatch.py`, whose head says how: {ROWS} rows ({FEW} of the two largest sizes) of {STEPS} steps,
sampled together and replayed with 16, 3 and 1 steps at once; nats per step. Bold: above {CONTRACT:g}, what replayed log-probs of
float32 are held to. {facts["instructions"]}, one thread; torch {facts["torch"]}, Python {facts["python"]}.

{verdict(found["policies"])}

{tables}"""


def _marked(x: float) -> str:
    return f"**{x:.1e}**" if x > CONTRACT else f"{x:.1e}"


def verdict(policies: dict[str, list[dict[str, float]]]) -> str:
    """What the tables say, from the tables."""
    said = []
    for name, rows in policies.items():
        broken = [int(r["dimensions"]) for r in rows if r["largest"] > CONTRACT]
        kept = f"holds at every size measured (largest {max(r['largest'] for r in rows):.1e})"
        said.append(f"- {name}: the sum {f'is above {CONTRACT:g} from {min(broken):,} dimensions on' if broken else kept}; "
                    f"the mean differs by at most {max(r['mean largest'] for r in rows):.0e}.")  # fmt: skip
    return "\n".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the sizes, from the smallest")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "instructions": torch.backends.cpu.get_cpu_capability(),
                    "python": platform.python_version(), "torch": version("torch")},
        "policies": {},
    }  # fmt: skip
    for name, make in POLICIES.items():
        found["policies"][name] = [measured(make, shape) for shape in SHAPES[: options.shapes]]
        print(name, json.dumps(found["policies"][name]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "picture_mismatch.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    (options.out / "picture_mismatch.md").write_text(page(found), encoding="utf8")


if __name__ == "__main__":
    main()
