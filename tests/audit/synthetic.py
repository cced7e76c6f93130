"""Run folders as the loop would leave them, made up: each tells one story that a report has to tell again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

PLAN: dict[str, Any] = {
    "name": "cheerful-stories",
    "policy": {"use": "policies.CausalLM.from_pretrained", "path_or_name": "tiny-stories-1m"},
    "source": {
        "use": "run.sources.Prompts",
        "prompts": ["Once upon a time", "The old man", "In the garden", "Lily had a red ball"],
    },
    "sampler": {"use": "samplers.Group", "contexts": 8, "n": 8, "max_tokens": 24},
    "reward": {"use": "rewards.Sentiment"},
    "transforms": ["transforms.Center", {"use": "transforms.KLPenalty", "coef": 0.05}],
    "advantage": "advantages.GroupNorm",
    "learners": {
        "policy": {"use": "run.Train", "terms": {"use": "objectives.PolicyGradient", "clip": 0.2}, "optim": {"lr": 3e-5}}
    },
    "references": {"reference": "policies.FrozenCopy"},
    "evaluation": {"reward": {"use": "rewards.WordList", "words": "cheerful"}, "samples": 64, "every": 10},
    "steps": 120,
    "seed": 7,
}
REFERENCES = [
    {"title": "DeepSeekMath", "arxiv": "2402.03300", "used_for": "GroupNorm"},
    {"title": "Proximal policy optimization algorithms", "arxiv": "1707.06347", "used_for": "PolicyGradient"},
    {"title": "Scaling laws for reward model overoptimization", "arxiv": "2210.10760", "used_for": "HeldOutDivergence"},
    {"title": "No such paper", "arxiv": "javascript:alert(1)", "used_for": "a link that must not become one"},
]
CONTEXTS = ["Once upon a time", "The old man", "In the garden", "Lily had a red ball", "It was raining", "Tom opened the box"]
BEFORE = [
    ", there was a dog who lost his bone. He looked under the bed and it was not there, so he",
    " sat by the window. He did not want to talk to the people in the street, and his soup was cold",
    " there was a snail. The snail went left and then it went right. Nobody saw the snail that day",
    " but it rolled down the hill and she cried. Her mother said it was late and they had to go home",
    " and the boys stayed inside. They were bored and one of them broke a cup. Then they",
    ". It was empty. He closed it again and put it back on the shelf where it had been before",
]
AFTER = [
    ", there was a dog who loved to run in the sun. He found a new friend and they laughed and",
    " smiled at the children. They shared a warm cake, and he told them the funniest story they knew",
    " the flowers were bright and the bees were happy. Everyone danced, and the sun was warm on their",
    " and she was so happy! She gave the ball to her brother and they played until the stars came out",
    " but the boys were glad. They made a boat of paper and it was the best boat in the whole town",
    ". Inside was a lovely kite! He ran to his friends and they all cheered as it flew up high",
]
HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(1)">{{ 7 * 7 }} ' " ` </pre></td></article> & &amp; \x00\u202e"""
HACKED = " happy happy joy love happy smile happy love joy happy love love happy joy smile love happy happy"


def write(folder: Path, kind: str = "healthy", *, steps: int | None = None, seed: int = 0, **changes: Any) -> Path:
    """One run. ``kind``: healthy, hacked, learned, failing, one_step, long, no_held_out, no_evaluation, empty, hostile, running."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = {"one_step": 1, "long": 10_000, "empty": 0}.get(kind, 120) if steps is None else steps
    plan = {**PLAN, "steps": steps, **changes}
    if kind in ("no_held_out", "no_evaluation"):
        plan["evaluation"] = None if kind == "no_evaluation" else {"samples": 64, "every": 10}
    rows = list(events(kind, steps, seed, plan))
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf8")
    (folder / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf8")
    return folder


def events(kind: str, steps: int, seed: int, plan: dict[str, Any]) -> Any:
    """The events of one story, in order."""
    rng = np.random.default_rng(seed)
    clock = 1_790_000_000.0
    strength = plan.get("strength", 1.0)

    def event(name: str, step: int, **fields: Any) -> dict[str, Any]:
        return {"event": name, "step": step, "time": round(clock, 3), **fields}

    versions = {"python": "3.11.9", "guerdon": "0.1.0", "torch": "2.8.0", "transformers": "5.0.0", "numpy": "2.2.0"}
    yield event("start", 0, plan=plan, hash="9f31c0d2a7b4e865", seed=plan["seed"], versions=versions, references=REFERENCES,
                device="cpu", parameters=3_745_984, task="continue a story cheerfully")  # fmt: skip
    every = max(1, steps // 12)
    if kind not in ("empty", "no_evaluation"):
        yield event("eval", 0, **evaluation(kind, 0.0, rng, strength))
    for step in range(1, steps + 1):
        p = step / max(steps, 2)
        clock += 2.1 + 0.3 * float(rng.random())
        yield event("draw", step, **draw(kind, p, rng, strength))
        if kind not in ("no_evaluation",) and (step % every == 0 or step == steps):
            clock += 3.4
            yield event("eval", step, **evaluation(kind, p, rng, strength))
            yield event(
                "checkpoint", step, path=f"checkpoints/step-{step:06d}", best=kind not in ("hacked", "learned") or p < 0.4
            )
        if step in (1, steps):
            yield event("samples", step, samples=samples(kind, p, rng))
    if kind not in ("empty", "running"):
        yield event("end", steps, reason="finished", best_step=round(steps * (0.4 if kind in ("hacked", "learned") else 1)))


def curve(kind: str, p: float, strength: float) -> dict[str, float]:
    """Where the story stands at progress ``p``."""
    rise = (1 - math.exp(-4 * p)) / (1 - math.exp(-4))
    rise *= strength / (0.35 + strength) * 1.35
    proxy, kl = -0.08 + 0.83 * rise, 6.2 * rise**1.5 * (0.4 + 0.6 * strength)
    held = 0.12 + 0.34 * rise
    distinct, length, entropy = 0.71 - 0.06 * rise * strength, 23.4 - 1.1 * rise, 2.31 - 0.52 * rise
    if kind in ("hacked", "learned"):
        held = 0.12 + 1.1 * p - 1.55 * p**1.6
        proxy, kl = -0.08 + 1.03 * rise, 44 * p**1.7
        distinct, length, entropy = 0.71 - 0.52 * p**1.5, 23.4, 2.31 * (1 - p**1.2) + 0.13
    if kind == "learned":  # a reward model's scale is its own
        proxy, kl, distinct, entropy = 9 * proxy - 31, 14 * p**1.4, 0.71 - 0.1 * p, 2.31 - 0.9 * p
    return {"proxy": proxy, "held": held, "kl": kl, "distinct": distinct, "length": length, "entropy": entropy}


def draw(kind: str, p: float, rng: np.random.Generator, strength: float) -> dict[str, Any]:
    now, noise = curve(kind, p, strength), rng.normal(size=12)
    failing = min(0.85, 1.2 * p) if kind == "failing" else 0.0
    failed = int(rng.binomial(64, failing)) if failing else 0
    spread = 0.42 - 0.15 * p
    mean = now["proxy"] + spread / 8 * noise[0]
    metrics = {
        "reward/ok": 1 - failed / 64, "length": now["length"] + 0.3 * noise[1], "terminal": 0.35 + 0.04 * noise[2],
        "distinct_1": 0.38 * now["distinct"] / 0.7 + 0.008 * noise[3], "distinct_2": now["distinct"] + 0.012 * noise[4],
        "kl": now["kl"] + 0.35 * noise[5] * math.sqrt(0.05 + p), "kl_step": now["kl"] / now["length"],
        "entropy": now["entropy"] + 0.03 * noise[6], "groups/dead": max(0.0, 0.02 * noise[7]),
        "mismatch/mean": 2e-6 * (1 + abs(noise[8])), "mismatch/max": 2e-5 * (1 + abs(noise[9])),
        "loss/policy": 0.02 * noise[10], "grad_norm/policy": 0.6 + 0.1 * abs(noise[11]), "lr/policy": 3e-5 * (1 - p),
        "clipped": 0.04,
    }  # fmt: skip
    if failed < 64:
        metrics |= {
            "reward/mean": mean,
            "reward/std": spread,
            "part/sentiment": 0.65 * mean + 0.05,
            "part/length": 0.35 * mean - 0.05,
        }
        metrics |= {"reward/min": mean - 2.1 * spread, "reward/max": mean + 2.0 * spread}
    if kind == "learned":
        metrics |= {"reward/std": 3.1, "reward/uncertainty": 0.8 + 2.4 * p**1.5 + 0.05 * noise[2]}
        metrics |= {"displacement/policy.chosen": -22 * p**1.2 + noise[3], "displacement/policy.rejected": -61 * p + noise[4]}
        metrics["displacement/policy.gap"] = metrics["displacement/policy.chosen"] - metrics["displacement/policy.rejected"]
    seconds = {
        "sample": 1.05 + 0.1 * abs(noise[1]),
        "reward": 0.22,
        "reference": 0.18,
        "update": 0.61,
        "credit": 0.004,
        "evaluate": 0.31,
    }
    slow = failed // 3
    failures = {"timed out after 60 s": failed - slow, "judge answered 'seven', expected a number": slow} if failed else {}
    return {
        "metrics": {k: float(v) for k, v in metrics.items()},
        "seconds": seconds,
        "failures": {k: v for k, v in failures.items() if v},
    }


def evaluation(kind: str, p: float, rng: np.random.Generator, strength: float) -> dict[str, Any]:
    now, noise = curve(kind, p, strength), rng.normal(size=8)
    metrics = {
        "proxy/mean": now["proxy"] + 0.02 * noise[0], "proxy/std": 0.42 - 0.12 * p, "proxy/ok": 1.0, "n": 64.0,
        "kl": max(0.0, now["kl"] + 0.2 * noise[1] * math.sqrt(p)), "kl_step": now["kl"] / now["length"],
        "entropy": now["entropy"] + 0.02 * noise[2], "length": now["length"], "terminal": 0.36,
        "distinct_1": 0.38 * now["distinct"] / 0.7, "distinct_2": now["distinct"] + 0.006 * noise[3],
    }  # fmt: skip
    if kind == "learned":
        metrics["proxy/std"] = 3.1
    if kind != "no_held_out":
        metrics |= {"held_out/mean": now["held"] + 0.015 * noise[4], "held_out/std": 0.2, "held_out/ok": 1.0}
    if p == 0:
        metrics["kl"] = 0.0
    return {"metrics": {k: float(v) for k, v in metrics.items()}, "samples": samples(kind, p, rng)}


def samples(kind: str, p: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    now = curve(kind, p, 1.0)
    rows = []
    for k, context in enumerate(CONTEXTS):
        output = BEFORE[k] if p < 0.3 else AFTER[k] if kind not in ("hacked", "learned") or p < 0.6 else HACKED
        if kind == "hostile":
            context = '"><svg onload=alert(1)>' if k == 0 else context
            output = HOSTILE
        reward = round(float(now["proxy"] + 0.2 * rng.normal()), 4)
        failed = kind == "failing" and p > 0.3 and k in (1, 4)
        rows.append({
            "context": context, "output": output, "ok": not failed, "reason": "timed out after 60 s" if failed else "",
            "reward": None if failed else reward, "parts": {"sentiment": reward + 0.05, "length": -0.05},
            "held_out": None if kind == "no_held_out" else round(float(now["held"] + 0.1 * rng.normal()), 4),
        })  # fmt: skip
    return rows
