"""Tiny language models on one thread: completions a second, training rows a second, and what a whole run makes of them.

Models: the three shapes of ``LMConfig.sized`` with the vocabulary of the stories and fresh weights, whose answers end by chance
or after 40 tokens. One thread: two runs side by side use two cores better than one run with two threads.

- Sampling: completions a second of ``CausalLM.sample`` for batches of 16 prompts and several answers to each.
- Training: rows a second of ``Train.update`` (forward, backward, AdamW) on 256 sampled rows, by the rows computed at once; the
  last line is the default, which takes parts of equal size of about a thousand tokens each.
- Runs: samples a second of ``run(plan)``: PolicyGradient, GroupNorm, and TokenKL to a Frozen reference, with the events, checks
  and report of any run and no evaluation; and the shares of time, of which "rest" is whatever no phase counts. "Start and end"
  are the seconds before the first draw and after the last: loading, checkpoints, the report.

Every figure is a median of repeated measurements, a run's of its draws. "Of the products" compares with a machine that does the
matrix products of the network at the measured speed of large ones and nothing else: 2 operations per parameter and token for
sampling, 6 for training; the prompt's tokens count for training, and for sampling once per prompt. The output layer is counted at
every token, although training needs it at the answer's only.

Timings mean something on an idle machine only: OMP_NUM_THREADS=1 python benchmarks/tiny_lm.py   (less than three minutes)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from guerdon import advantages, objectives, policies, samplers, transforms
from guerdon.core import Batch, RewardOutput, Streams
from guerdon.run import AdamW, Plan, Train, lazy, run
from guerdon.run.events import read_events
from guerdon.tasks import LMConfig, Stories, TaskPrompts

SIZES = ("100k", "340k", "1m")
ANSWERS = (1, 4, 16, 64)  # to each of 16 prompts
AT_ONCE = (8, 32, 128, 256, None)
RUNS = ((64, 4), (16, 8))  # contexts, answers to each
MAX_TOKENS = 40
PHASES = ("sample", "reward", "reference", "update")


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The median of repeated measurements, after one that does not count."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found[1:])


def product_speed() -> float:
    """Operations a second of products of 1,024 rows with weights of the largest shape."""
    x, w = torch.randn(1024, 128), torch.randn(352, 128)
    return 2 * x.numel() * len(w) * 50 / seconds(lambda: [x @ w.T for _ in range(50)], 9)


def sampling(policy: policies.CausalLM, products: float, repeats: int) -> list[dict[str, float]]:
    items, rows = Stories().prompts().draw(16, streams=Streams(0)), []
    for n in ANSWERS:
        rollout = policy.sample(items, n, streams=Streams(1), max_tokens=MAX_TOKENS)
        took = seconds(lambda n=n: policy.sample(items, n, streams=Streams(1), max_tokens=MAX_TOKENS), repeats)  # type: ignore[misc]
        answered, prompts = int(rollout.mask.sum()), sum(int(m.nonzero()[0]) for m in rollout.mask[::n])
        ideal = 2 * parameters(policy) * (answered + prompts) / products
        rows.append({"batch": len(rollout), "completions/s": len(rollout) / took, "tokens/s": answered / took,
                     "tokens": answered / len(rollout), "of the products": ideal / took})  # fmt: skip
    return rows


def training(policy: policies.CausalLM, products: float, repeats: int) -> list[dict[str, Any]]:
    rollout = policy.sample(Stories().prompts().draw(32, streams=Streams(0)), 8, streams=Streams(1), max_tokens=MAX_TOKENS)
    total = torch.randn(len(rollout), generator=torch.Generator().manual_seed(0))
    batch = Batch.of(rollout, RewardOutput.of(total))
    batch = batch.replace(advantage={"main": advantages.GroupNorm()(batch)})
    ideal = 6 * parameters(policy) * int(rollout.lengths.sum()) / products
    rows = []
    for at_once in AT_ONCE:
        learner = Train(objectives.PolicyGradient(), AdamW(lr=0.0), rows=at_once).build(policy)
        took = seconds(lambda x=learner: x.update(batch, SimpleNamespace(streams=Streams(0), step=0)), repeats)  # type: ignore[misc]
        rows.append({"rows at once": at_once, "rows/s": len(rollout) / took, "of the products": ideal / took})
    return rows


def whole_run(folder: Path, contexts: int, n: int, draws: int) -> dict[str, Any]:
    plan = Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=str(folder), device="cpu"),
        source=TaskPrompts(Stories()),
        sampler=samplers.Group(contexts=contexts, n=n, controls={"max_tokens": MAX_TOKENS}),
        reward=Stories().reward(),
        references={"reference": policies.Frozen()},
        transforms=(transforms.TokenKL(beta=0.05),),
        advantage=advantages.GroupNorm(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=1e-4))},
        steps=draws,
    )
    with tempfile.TemporaryDirectory() as place:
        begun = time.time()
        run(plan, Path(place) / "run", progress=False)
        ended = time.time()
        events = list(read_events(Path(place) / "run" / "events.jsonl"))
    made = [e for e in events if e["event"] == "draw"]
    times = [next(e["time"] for e in events if e["event"] == "start"), *(e["time"] for e in made)]
    took = [b - a for a, b in pairwise(times)]
    spent: Counter[str] = Counter()
    for event in made:
        spent.update(event["seconds"])
    shares = {name: spent[name] / sum(took) for name in PHASES}
    return {
        "contexts": contexts, "answers": n, "draws": draws, "samples/s": contexts * n / statistics.median(took),
        "shares": shares | {"rest": 1 - sum(shares.values())}, "start and end": ended - begun - sum(took),
    }  # fmt: skip


def parameters(policy: policies.CausalLM) -> int:
    return sum(p.numel() for p in policy.model.parameters())


def measured(size: str, products: float, repeats: int) -> dict[str, Any]:
    config = LMConfig.sized(size, vocabulary=Stories().warm_start.model.vocabulary, positions=160)
    model, tokenizer = config.build(0), config.vocabulary.tokenizer()
    policy = policies.CausalLM.from_parts(model, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        policy.save(folder)
        runs = [whole_run(Path(folder), contexts, n, 2 + 2 * repeats) for contexts, n in RUNS]
    shape = {name: getattr(config, name) for name in ("width", "layers", "heads", "hidden")}
    return {"parameters": parameters(policy), **shape, "sampling": sampling(policy, products, repeats),
            "training": training(policy, products, repeats), "runs": runs}  # fmt: skip


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    said = [[f"{x:,.0f}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *said))


def page(found: dict[str, Any]) -> str:
    sizes, facts = found["sizes"], found["machine"]
    names = [f"{name} ({s['parameters']:,})" for name, s in sizes.items()]
    sampled = [
        (row["batch"], *(f"{s['sampling'][k]['completions/s']:,.0f} ({s['sampling'][k]['of the products']:.0%})"
                         for s in sizes.values()))
        for k, row in enumerate(sizes[SIZES[0]]["sampling"])
    ]  # fmt: skip
    trained = [
        (row["rows at once"] or "default", *(f"{s['training'][k]['rows/s']:,.0f} ({s['training'][k]['of the products']:.0%})"
                                             for s in sizes.values()))
        for k, row in enumerate(sizes[SIZES[0]]["training"])
    ]  # fmt: skip
    runs = [
        (name, f"{r['contexts']} x {r['answers']}", r["samples/s"], *(f"{share:.0%}" for share in r["shares"].values()),
         f"{r['start and end']:.1f}")
        for name, s in zip(names, sizes.values(), strict=True) for r in s["runs"]
    ]  # fmt: skip
    return f"""# Tiny language models on one thread

Made by `benchmarks/tiny_lm.py`, whose head says how. {facts["cores"]} cores, of which one is used; {facts["instructions"]};
large matrix products at {found["products"] / 1e9:.0f} GFLOP/s; torch {facts["torch"]}, transformers {facts["transformers"]}, \
Python {facts["python"]}.
In brackets: of the speed that the matrix products alone would allow.

## Sampling: completions a second, by batch

Prompts of 12 tokens, answers of at most {MAX_TOKENS}.

{table(("batch", *names), sampled)}

## Training: rows a second, by rows computed at once

{table(("rows at once", *names), trained)}

## Whole runs

{table(("model", "contexts x answers", "samples/s", *PHASES, "rest", "start and end, s"), runs)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    products, begun = product_speed(), time.perf_counter()
    found = {
        "machine": {
            "cores": os.cpu_count(), "instructions": torch.backends.cpu.get_cpu_capability(), "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "products": products, "sizes": {},
    }  # fmt: skip
    for size in options.sizes:
        found["sizes"][size] = measured(size, products, options.repeats)
        print(size, json.dumps(found["sizes"][size]), flush=True)
    print(f"{time.perf_counter() - begun:.0f} s")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tiny_lm.json").write_text(json.dumps(_rounded(found), indent=1) + "\n", encoding="utf8")
    (options.out / "tiny_lm.md").write_text(page(found), encoding="utf8")


def _rounded(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _rounded(v) for k, v in x.items()}
    if isinstance(x, list):
        return [_rounded(v) for v in x]
    return float(f"{x:.3g}") if isinstance(x, float) else x


if __name__ == "__main__":
    main()
