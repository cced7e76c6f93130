"""What a run will cost, told before it starts: memory, and time as a range. Rough by design; it is for orders of magnitude."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.core import PlanError, Streams
from guerdon.run.plan import Plan
from guerdon.run.reward_learner import RewardLearner
from guerdon.run.reward_tree import unbuilt
from guerdon.run.spec import Lazy
from guerdon.run.train import STEPS_AT_ONCE

if TYPE_CHECKING:
    from guerdon.run.live import Run

PROMPT = 64  # tokens of a prompt, where it would take long to see
ANSWER = 128  # tokens of an answer, where the plan does not say
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1}
_DTYPES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Network:
    """What of a network decides its cost.

    Args:
        parameters: All of them.
        trainable: Those that a learner moves.
        width: Number of bytes of one.
        layers: Blocks.
        hidden: Features between blocks.
        cached: Numbers kept per token and layer while sampling (keys and values).
        vocabulary: Different tokens.
    """

    parameters: int
    trainable: int
    width: int = 4
    layers: int = 0
    hidden: int = 0
    cached: int = 0
    vocabulary: int = 0


@dataclass(frozen=True)
class Estimate:
    """The cost of a run.

    Args:
        network: The policy.
        weights: Bytes of weights, references and learned rewards included.
        training: Bytes of gradients and the optimiser's state.
        cache: Bytes of keys and values while sampling.
        activations: Bytes kept for the backward pass; the roughest figure of all.
        flops: Floating-point operations of one draw.
        seconds: (low, high) for the whole run.
        available: Bytes that the device has; 0 where unknown.
        device: Where the policy will be.
    """

    network: Network
    weights: int
    training: int
    cache: int
    activations: int
    flops: float
    seconds: tuple[float, float]
    available: int
    device: str

    @property
    def memory(self) -> int:
        """Bytes at the peak: sampling and training take turns."""
        return self.weights + self.training + max(self.cache, self.activations)

    def __str__(self) -> str:
        low, high = (_time(s) for s in self.seconds)
        there = f" of {_size(self.available)}" if self.available else ""
        parts = {"weights": self.weights, "training": self.training, "sampling": self.cache, "activations": self.activations}
        size, trained = _count(self.network.parameters), _count(self.network.trainable)
        return (
            f"{size} parameters, {trained} trained; {self.flops:.1e} FLOPs a draw, "
            f"about {low if low == high else f'{low} to {high}'} on {self.device}\n"
            f"about {_size(self.memory)}{there} memory ({', '.join(f'{n} {_size(b)}' for n, b in parts.items())})"
        )

    def check(self) -> None:
        """Refuse what cannot fit.

        Raises:
            PlanError: where weights, gradients and optimiser alone need more than the device has.
        """
        certain = self.weights + self.training
        if self.available and certain > self.available:
            parts = f"weights {_size(self.weights)}, gradients and optimiser {_size(self.training)}"
            raise PlanError(
                f"the run needs at least {_size(certain)} of memory on {self.device} ({parts}), and there are "
                f"{_size(self.available)}: take a smaller model or train adapters (--policy.lora=8); --yes tries it all the same"
            )


def estimate(plan: Plan | Run, throughput: float | None = None) -> Estimate | None:
    """Memory and time of a run, from its plan (nothing is built) or from the live run.

    With P parameters, a sampled token costs about 2P operations, a trained one 6P, one seen by a reference 2P.

    Args:
        plan: What is to be run.
        throughput: FLOP/s of the device; None: measured, which takes a fraction of a second.

    Returns:
        None where nothing is known of the policy's size.
    """
    choices: Plan = plan if isinstance(plan, Plan) else plan.plan
    network = _network_of(plan.policy)
    if network is None:
        return None
    device = _device(plan.policy)
    rows, answer = _rows(choices.sampler), _answer(choices)
    steps = _prompt(choices, network) + answer
    epochs = sum(getattr(s, "epochs", 1) for s in choices.learners.values() if getattr(s, "of", "policy") == "policy")
    fastest = math.ceil(STEPS_AT_ONCE / steps) if device.startswith("cpu") else rows
    at_once = min((s.rows for s in choices.learners.values() if getattr(s, "rows", None)), default=fastest)
    copies = sum(type(r).__name__ != "AdaptersOff" for r in choices.references.values())
    tokens = rows * steps
    flops = network.parameters * (2.0 * tokens + 6.0 * tokens * epochs + 2.0 * tokens * len(choices.references))
    speed = throughput or measure_throughput(device)
    judges = [_costs(value, rows * steps) for value in (choices.reward, choices.evaluation and choices.evaluation.reward)]
    flops += judges[0][1]
    learning, learned = _learning(choices, steps)
    flops += learned
    overhead = 1e-4 * max(1, network.layers) * (answer + 10 * epochs)  # launching small operations, one after the other
    evaluations = 0.0
    if choices.evaluation is not None:
        often = 2 + choices.steps // choices.evaluation.every
        evaluations = 2.0 * network.parameters * choices.evaluation.samples * steps * often
    total = flops * choices.steps + evaluations
    return Estimate(
        network,
        weights=network.parameters * network.width * (1 + copies) + sum(held for held, _ in judges),
        training=network.trainable * network.width * 3 + learning,
        cache=rows * steps * network.layers * network.cached * network.width,
        activations=min(at_once, rows) * steps * max(1, network.layers) * network.hidden * 20 * network.width,
        flops=flops,
        seconds=(total / speed, 5 * total / speed + overhead * choices.steps),
        available=memory_of(device),
        device=device,
    )


def _costs(reward: Any, tokens: int) -> tuple[int, float]:
    """(bytes of weights, operations for so many tokens) of the learned rewards that a plan names."""
    found = [n for lazy in unbuilt(reward) if (folder := _folder_of(lazy.kwargs)) for n in _members_of(folder)]
    return sum(n.parameters * n.width for n in found), sum(2.0 * n.parameters * tokens for n in found)


def _learning(plan: Plan, steps: int) -> tuple[int, float]:
    """(bytes of gradients and optimisers, operations of a draw) of learners of rewards; all of a reward is taken to learn."""
    memory, operations = 0, 0.0
    for spec in plan.learners.values():
        if isinstance(spec, RewardLearner):
            weights, seen = _costs(plan.reward, 2 * spec.batch * steps)
            memory, operations = memory + 3 * weights, operations + 3 * seen * spec.steps / spec.due.every
    return memory, operations


def _members_of(folder: Path) -> list[Network]:
    """The networks in the folder of a learned reward."""
    many = sorted(folder.glob("member-*")) or [folder]
    return [n for f in many if (n := _from_folder(f, {})) is not None]


def _rows(sampler: Any) -> int:
    sampler = getattr(sampler, "sampler", sampler)  # one that is moved, samplers.SlidingWindow
    columns = getattr(sampler, "columns", ())
    per_context = len(columns) if columns else getattr(sampler, "rows", getattr(sampler, "n", 1))
    return int(getattr(sampler, "contexts", 8)) * int(per_context)


def _answer(plan: Plan) -> int:
    return int(getattr(plan.sampler, "controls", {}).get("max_tokens", ANSWER))


def _prompt(plan: Plan, network: Network) -> int:
    """Tokens of a prompt: about a quarter of its characters, or as many where the tokens are characters."""
    path = getattr(plan.source, "path", None)
    if path is not None and (not Path(path).is_file() or Path(path).stat().st_size > 1 << 24):
        return PROMPT  # too large to be looked at twice
    if hasattr(plan.source, "state_dict"):
        return PROMPT  # running already: drawing from it would move it
    source = plan.source.open(plan.seed) if hasattr(plan.source, "open") else plan.source
    items = source.draw(16, streams=Streams(plan.seed))
    longest = max((len(c if isinstance(c, str) else json.dumps(c, default=str)) for c in items.contexts), default=0)
    return 1 + (longest if 0 < network.vocabulary < 1000 else longest // 4)


def _network_of(policy: Any) -> Network | None:
    if isinstance(policy, Lazy):
        folder = _folder_of(policy.kwargs)
        return _from_folder(folder, policy.kwargs) if folder else None
    parameters = list(policy.parameters()) if hasattr(policy, "parameters") else []
    if not parameters:
        return None
    config: Any = getattr(getattr(policy, "model", None), "config", None)
    shape = _shape(config.to_dict() if hasattr(config, "to_dict") else {})
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return Network(sum(p.numel() for p in parameters), trainable, parameters[0].element_size(), **shape)


def _folder_of(arguments: Mapping[str, Any]) -> Path | None:
    """Where a model's files lie, if they lie on this machine."""
    name = next((str(arguments[k]) for k in ("path_or_name", "path", "name") if k in arguments), "")
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name)
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json")
    except (ImportError, ValueError):  # ValueError: not a repository's name
        return None
    return Path(found).parent if isinstance(found, str) else None


def _from_folder(folder: Path, arguments: Mapping[str, Any]) -> Network | None:
    """Sizes from config.json and the headers of the safetensors files, which hold every tensor's shape."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
        tensors = [t for f in sorted(folder.glob("*.safetensors")) for t in _header(f)]
    except (OSError, ValueError):
        return None
    if not tensors or not isinstance(config, dict):
        return None
    shape = _shape(config)
    parameters = sum(math.prod(s) for _, s, _ in tensors)
    lora = arguments.get("lora") or 0
    rank = int(getattr(lora, "rank", lora))
    adapters = sum(rank * sum(s) for n, s, _ in tensors if len(s) == 2 and "emb" not in n and "head" not in n and "wte" not in n)
    width = _DTYPES.get(str(arguments.get("dtype")), 4)
    return Network(parameters + (adapters if rank else 0), adapters if rank else parameters, width, **shape)


def _header(file: Path) -> Iterator[tuple[str, list[int], int]]:
    with open(file, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(min(size, 100 << 20)))
    for name, tensor in header.items():
        if name != "__metadata__":
            yield name, tensor["shape"], _BYTES.get(tensor["dtype"], 4)


def _shape(config: Mapping[str, Any]) -> dict[str, int]:
    """Layers, features, and keys and values per token, under the names that configurations use."""

    def first(*names: str) -> int:
        return int(next((config[n] for n in names if config.get(n)), 0))

    hidden, heads = first("hidden_size", "n_embd", "d_model"), first("num_attention_heads", "n_head") or 1
    kv_heads = first("num_key_value_heads") or heads
    return {"vocabulary": first("vocab_size"), "layers": first("num_hidden_layers", "n_layer", "num_layers"), "hidden": hidden,
            "cached": 2 * kv_heads * (first("head_dim") or hidden // heads)}  # fmt: skip


def _device(policy: Any) -> str:
    import torch

    if isinstance(policy, Lazy):
        asked = policy.kwargs.get("device")
        return str(asked) if asked and asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return str(next(policy.parameters()).device)


def measure_throughput(device: str = "cpu", seconds: float = 0.1) -> float:
    """FLOP/s of a float32 matrix product of the size that small models have."""
    import torch

    n = 512 if device.startswith("cpu") else 4096
    a = torch.ones(n, n, device=device)
    a @ a
    done, start = 0, time.perf_counter()
    while done < 3 or time.perf_counter() - start < seconds:
        float((a @ a)[0, 0])  # reading a number waits for the device
        done += 1
    return 2.0 * n**3 * done / (time.perf_counter() - start)


def memory_of(device: str) -> int:
    """Bytes of memory that the device has in all; 0 where the system does not say."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[1])
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's share
    text = limit.read_text().strip() if limit.exists() else ""
    return min(total, int(text)) if text.isdigit() else total


def _count(n: float) -> str:
    """A number for people.

    >>> _count(124_439_808), _count(960)
    ('124M', '960')
    """
    for unit in ("", "k", "M"):
        if n < 999.5:
            return f"{n:.3g}{unit}"
        n /= 1000
    return f"{n:.3g}B"


def _size(n: float) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB" if n >= 2**20 else f"{n / 2**10:.0f} KiB"


def _time(seconds: float) -> str:
    """Seconds for people.

    >>> _time(0.2), _time(95), _time(7300)
    ('1 s', '2 min', '2.0 h')
    """
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
