"""Memory of chains over pictures: what sampling, reading and whole runs hold, against one stored trace.

96 trajectories of 16 steps over states of 3 x 148 x 148 = 65,712 numbers in float32. Their states, x_16 .. x_0, are stored once:
96 x 17 x 65,712 x 4 bytes = 409 MiB, the trace. Actions are a view of them, log-probs and masks are small.

Every line is a process of its own. Its baseline is the resident memory after everything was imported, the model made, and one row
of two steps sampled and, before runs, read with gradients and stepped on (torch loads parts of itself then). Its peak is
``VmHWM`` at the end. The ratio is (peak - baseline) / trace.

Two networks: one that treats every point of a picture by itself and holds next to nothing of its own, so that what is left is
the library's; and a ``UNet`` of 4 and 8 channels, whose activations count as well: in an update a few rows' at a time.
Runs make and free many tensors of a megabyte, and glibc keeps what was freed as holes in its heap; the middle column has it give
them back (``MALLOC_MMAP_THRESHOLD_=262144``).

    OMP_NUM_THREADS=1 python benchmarks/picture_memory.py     (about eight minutes on one core)
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

PARTS = {
    "sample": "`policy.sample(...)`",
    "read": "then `policy(rollout)` without gradients",
    "rows": "the same, 8 rows at a time",
    "draw": "a run of one draw: reward, `Frozen` reference, `GroupNorm`, `PolicyGradient` with KL, one update",
    "draws": "a run of two such draws",
    "evaluated": "a run of one draw with an evaluation of as many rows before and after",
    "pathwise": "a run of one draw with `Pathwise(grad_steps=1, rows=8)`",
    "chunks": "a run of one draw whose sampler draws a quarter at a time (`Group(chunk=...)`)",
}

NETWORKS: dict[str, tuple[int, ...]] = {"points": (), "returned": (), "unet": (4, 8)}
MEASURED = {"points": tuple(PARTS), "returned": tuple(PARTS), "unet": ("sample", "read", "rows", "draw")}
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "262144"}


def trace(rows: int, steps: int, side: int) -> int:
    """Bytes of the states."""
    return rows * (steps + 1) * 3 * side * side * 4


def resident(field: str = "VmRSS") -> int:
    """Bytes at present, or (``VmHWM``) at most so far: ``ru_maxrss`` would count what the parent held when it started us."""
    lines = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def measured(part: str, rows: int, steps: int, side: int, channels: tuple[int, ...]) -> dict[str, float]:
    """In this process: peak and baseline of a part."""
    import torch

    from guerdon import advantages, objectives, samplers
    from guerdon.core import Items, RewardOutput, Rollout, Streams
    from guerdon.policies import DDIM, Cosine, Diffusion, Frozen, UNet
    from guerdon.run import AdamW, Evaluation, Pathwise, Plan, Prompts, Train, run
    from guerdon.run.plan import Stop

    class Brightness:
        scope, differentiable = "sample", True

        def __call__(self, rollout: Rollout) -> RewardOutput:
            assert isinstance(rollout.outputs, torch.Tensor)
            return RewardOutput.of(rollout.outputs.flatten(1).mean(1))

    class Colours(torch.nn.Module):
        """Every point by itself: next to no memory of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object) -> torch.Tensor:
            return self.layer(x)

    torch.set_num_threads(1)
    streams, n = Streams(0), 4
    how: dict[str, Any] = {"noise": Cosine(), "predict": "velocity", "kernel": DDIM(1.0), "steps": steps}
    shape = (3, side, side)
    policy = Diffusion.of(shape, network=UNet(channels), steps=steps) if channels else Diffusion(shape, Colours(), None, **how)
    items = Items([""] * (rows // n), streams.uids(rows // n))

    def plan(draws: int, learner: Any, chunk: int | None = None, evaluation: Evaluation | None = None) -> Plan:
        return Plan(
            policy=policy, source=Prompts(tuple(str(k) for k in range(rows // n))), reward=Brightness(), steps=draws, checks=(),
            sampler=samplers.Group(contexts=rows // n, n=n, chunk=chunk), references={"reference": Frozen()},
            advantage=advantages.GroupNorm(), learners={"policy": learner}, evaluation=evaluation, stop=Stop(),
        )  # fmt: skip

    def reading(at_once: int) -> None:
        rollout = policy.sample(items, n, streams=streams)
        with torch.no_grad():
            for index in torch.arange(rows).split(at_once):
                policy(rollout if at_once == rows else rollout[index])

    update = Train(objectives.PolicyGradient(kl=objectives.KL(0.01, estimator="k2")), AdamW(lr=1e-5))
    work: dict[str, Callable[[], object]] = {
        "sample": lambda: policy.sample(items, n, streams=streams),
        "read": lambda: reading(rows),
        "rows": lambda: reading(8),
        "draw": lambda: run(plan(1, update)),
        "draws": lambda: run(plan(2, update)),
        "evaluated": lambda: run(plan(1, update, evaluation=Evaluation(samples=rows, every=1, show=0, keep_best=False))),
        "pathwise": lambda: run(plan(1, Pathwise(rows=8, optim=AdamW(lr=1e-5)))),
        "chunks": lambda: run(plan(1, update, chunk=max(1, rows // n // 4))),
    }
    one = policy.sample(items[0], 1, streams=streams, steps=2)
    if part not in ("sample", "read", "rows"):
        policy(one).need("logp").sum().backward()
        torch.optim.AdamW(policy.parameters(), lr=1e-9).step()
        policy.zero_grad(set_to_none=True)
    del one
    gc.collect()
    baseline, begun = resident(), time.perf_counter()
    kept = work[part]()  # alive until the peak is read
    took, peak = time.perf_counter() - begun, resident("VmHWM")
    del kept
    size = trace(rows, steps, side)
    return {"trace": size, "baseline": baseline, "peak": peak, "ratio": (peak - baseline) / size, "seconds": took}


def child(part: str, network: str, options: argparse.Namespace) -> dict[str, float]:
    """The part in a fresh process."""
    size = [f"--{n}={getattr(options, n)}" for n in ("rows", "steps", "side")]
    command = [sys.executable, __file__, "--part", part, "--network", network, *size]
    environment = {**os.environ, **(RETURNED if network == "returned" else {})}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def page(found: dict[str, dict[str, dict[str, float]]], options: argparse.Namespace) -> str:
    """The result as a page."""
    size = trace(options.rows, options.steps, options.side)

    def cell(name: str, network: str) -> str:
        f = found.get(network, {}).get(name)
        return "" if f is None else f"{(f['peak'] - f['baseline']) / 2**20:,.0f} MiB: {f['ratio']:.2f}"

    lines = [
        f"| {told} | {cell(name, 'points')} | {cell(name, 'returned')} | {cell(name, 'unet')} |" for name, told in PARTS.items()
    ]
    return "\n".join([
        "# Memory of chains over pictures", "",
        "Made by `benchmarks/picture_memory.py`, whose head says how it is measured. "
        f"{options.rows} trajectories of {options.steps} steps over {3 * options.side**2:,} numbers in float32: one stored trace "
        f"is {size / 2**20:,.0f} MiB.",
        f"One core; torch {version('torch')}, Python {platform.python_version()}.", "",
        "Memory over the baseline, and its ratio to one trace:", "",
        "| what | every point by itself | the same, freed memory returned | `UNet((4, 8))` |", "|---|---|---|---|", *lines, "",
        "With a quarter at a time, the parts and the rollout they are joined into exist at once.",
        "What the UNet adds to runs are activations of the rows that an update computes together, whatever the trace's size. "
        "What the first column has beyond the second are holes in glibc's heap: `MALLOC_MMAP_THRESHOLD_=262144` closes them.", "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="measure this one in this process and print JSON")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--network", choices=NETWORKS, help="only this one")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--side", type=int, default=148)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if options.part:
        channels = NETWORKS[options.network or "unet"]
        print(json.dumps(measured(options.part, options.rows, options.steps, options.side, channels)))
        return
    kept = options.out / "picture_memory.json"
    found: dict[str, dict[str, dict[str, float]]] = json.loads(kept.read_text(encoding="utf8")) if kept.exists() else {}
    for network in [options.network] if options.network else NETWORKS:
        for name in [n for n in options.only if n in MEASURED[network]]:
            found.setdefault(network, {})[name] = child(name, network, options)
            print(network, name, json.dumps(found[network][name]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    (options.out / "picture_memory.md").write_text(page(found, options), encoding="utf8")


if __name__ == "__main__":
    main()
