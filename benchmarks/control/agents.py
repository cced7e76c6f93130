"""Thirteen trained agents of RL Baselines3 Zoo, loaded by ``Control.from_pretrained``: do they earn what is listed of them?

The list (``agents.json``, "verified") holds mean and standard deviation of ten deterministic episodes, seeds 0 to 9, measured
with Stable-Baselines3 in Gymnasium 1.4: one environment that is reset from seed to seed, one observation at a time. Each is run

- in turn: in the same way. Expected: every mean and deviation is the listed one, to the two digits that are listed.
- at once: as guerdon does by itself, ten environments side by side, Box2D's made anew for every episode. A matrix product of ten
  rows may differ from ten products in the last bit. Expected: the same figures, except where contacts are chaotic
  (BipedalWalker), where they are another draw of the same distribution.

    python benchmarks/control/agents.py FOLDER        (with agents.json and *.safetensors; a minute on one core)
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch

from guerdon.core import Items, Streams
from guerdon.core.world import Start
from guerdon.policies import Control
from guerdon.worlds import Gym

SEEDS = range(10)
PACKAGES = ("gymnasium", "box2d", "numpy", "torch")


def world_of(entry: dict[str, Any], fresh: bool | None) -> Gym:
    """The environment that the list names."""
    options = {"continuous": True} if entry["env"] == "LunarLanderContinuous-v2" else {}
    return Gym(entry["verified"]["env"], options, fresh=fresh)


def returns(policy: Control, world: Gym, seeds: list[int]) -> torch.Tensor:
    """Return of the most likely actions from each seed, all of them at once."""
    streams = Streams(0)
    rollout = policy.sample(Items([Start(world, s) for s in seeds], streams.uids(len(seeds))), streams=streams, temperature=0.0)
    if any(rollout.info["failed"]):
        raise SystemExit(f"{world}: {next(f for f in rollout.info['failed'] if f)}")
    return rollout.info["return"]


def measured(found: torch.Tensor) -> dict[str, Any]:
    return {"mean": round(float(found.mean()), 2), "std": round(float(found.std(unbiased=False)), 2),
            "returns": [round(float(r), 2) for r in found]}  # fmt: skip


def study(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """One agent, both ways."""
    listed, out = entry["verified"], {}
    for way, fresh in (("in turn", False), ("at once", None)):
        world = world_of(entry, fresh)
        policy = Control.from_pretrained(f"{folder}#{entry['name']}", world=world)
        found = (
            torch.cat([returns(policy, world, [s]) for s in SEEDS]) if way == "in turn" else returns(policy, world, list(SEEDS))
        )
        out[way] = measured(found)
    out["listed"] = {"mean": listed["deterministic_mean_return"], "std": listed["std"]}
    out["same"] = {way: all(out[way][k] == out["listed"][k] for k in ("mean", "std")) for way in ("in turn", "at once")}
    return out


def page(found: dict[str, Any]) -> str:
    agents = found["agents"]
    rows = [
        f"| {name} | {a['listed']['mean']} ± {a['listed']['std']} | "
        + " | ".join(f"{a[w]['mean']} ± {a[w]['std']}{'' if a['same'][w] else ' (differs)'}" for w in ("in turn", "at once"))
        + " |"
        for name, a in agents.items()
    ]
    equal = {w: sum(a["same"][w] for a in agents.values()) for w in ("in turn", "at once")}
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    return "\n".join([
        "# Trained agents", "", "Made by `benchmarks/control/agents.py`, whose head says how, and what was expected.", "",
        f"{versions}; one thread. Mean and standard deviation of returns of ten deterministic episodes, seeds 0 to 9. In turn, "
        f"{equal['in turn']} of {len(agents)} agents have the listed figures to both digits; at once, {equal['at once']}.", "",
        "| agent | listed | in turn | at once |", "|---|---|---|---|", *rows, "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"versions": {p: importlib.metadata.version(p) for p in PACKAGES}, "agents": {}}
    for entry in json.loads((options.folder / "agents.json").read_text(encoding="utf8")):
        found["agents"][entry["name"]] = study(options.folder, entry)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "control_agents.json"
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    file.with_suffix(".md").write_text(page(found), encoding="utf8")
    print(page(found))


if __name__ == "__main__":
    main()
