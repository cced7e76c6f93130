"""Writes trl.json: losses and gradients of the installed TRL over the shared problem. ``PYTHONPATH=src python <this file>``."""

import json
from importlib.metadata import version
from pathlib import Path

import torch
import trl_peer
from trl_problem import VARIANTS, problem


def main() -> None:
    torch.set_num_threads(1)
    found = {}
    for name, variant in VARIANTS.items():
        loss, gradient = trl_peer.loss_and_gradient(problem(), variant)
        found[name] = {"loss": f"{loss:.12g}", "gradient": [float(f"{g:.9g}") for g in gradient.flatten().tolist()]}
        found[name]["loss"] = float(found[name]["loss"])
    lines = [f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in found.items()]
    head = json.dumps({"trl": version("trl"), "shape": list(problem().logits.shape)})[1:-1]
    text = "{" + head + ',\n"variants": {\n' + ",\n".join(lines) + "\n}}\n"
    Path(__file__).with_name("trl.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
