"""Held-out evaluation, the best checkpoint, and early stopping."""

from __future__ import annotations

from typing import Any

from guerdon.core import Batch, Streams
from guerdon.run.live import Run, in_parts, opened
from guerdon.run.metrics import reward_metrics, rollout_metrics, show_samples


def evaluate(run: Run) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Metrics and samples of the present policy; the same contexts and random streams at every call."""
    from guerdon.rewards import Scorer

    plan, spec = run.plan, run.plan.evaluation
    assert spec is not None
    streams = Streams(plan.seed).fork("evaluation")
    source = opened(spec.source if spec.source is not None else plan.source, plan.seed + 1)
    controls = {**getattr(plan.sampler, "controls", {}), **spec.controls}
    with run.phase("evaluate"):
        items = source.draw(spec.samples, streams=streams.fork("items"))
        rollout = run.policy.sample(items, 1, streams=streams, **controls)
        proxy = run.scorer.score(rollout.to("cpu")) if run.scorer is not None else None
        held_out = None
        if run.held_out is not None:
            with Scorer(run.held_out, workers=plan.scoring.workers, timeout=plan.scoring.timeout) as scorer:
                held_out = scorer.score(rollout.to("cpu"))
        reference = run.references.get("reference")
        rows = min((s.rows for s in plan.learners.values() if getattr(s, "rows", None)), default=None)
        logp = in_parts(reference.output, rollout, rows).logp if reference is not None else None
        first = run.evaluations[0]["metrics"] if run.evaluations else None
        metrics = rollout_metrics(rollout, logp, first) | {"n": float(len(rollout))}
        for name, reward in (("proxy", proxy), ("held_out", held_out)):
            if reward is not None:
                named = reward_metrics(reward, name)
                metrics |= {k: v for k, v in named.items() if not k.startswith("part/") or name == "proxy"}
        if run.reward_version is not None:
            metrics["reward/version"] = float(run.reward_version)
    batch = Batch.of(rollout, proxy if proxy is not None else held_out)
    return metrics, show_samples(batch, spec.show, held_out)


def score_of(metrics: dict[str, float]) -> float:
    """What "best" means: the held-out reward, or the training reward without one."""
    value = metrics.get("held_out/mean", metrics.get("proxy/mean"))
    return float("-inf") if value is None else value


def best_step(run: Run) -> int | None:
    """Step of the best evaluation; the earliest of equals.

    Without a held-out reward, only evaluations by the present version of a learning reward can be compared.
    """
    if not run.evaluations:
        return None
    last = run.evaluations[-1]["metrics"]
    version = None if "held_out/mean" in last else last.get("reward/version")
    comparable = [e for e in run.evaluations if version in (None, e["metrics"].get("reward/version"))]
    return max(comparable, key=lambda e: (score_of(e["metrics"]), -e["step"]))["step"]


def is_best(run: Run) -> bool:
    """Whether the present weights gave the best evaluation so far."""
    return bool(run.evaluations) and run.evaluations[-1]["step"] == run.step == best_step(run)


def should_stop(run: Run) -> str:
    """Why the run ends early; empty where it goes on."""
    stop = run.plan.stop
    if stop.kl is not None and run.history and run.history[-1].get("kl", 0.0) > stop.kl:
        return f"early stop: KL {run.history[-1]['kl']:.3g} above {stop.kl:g} nats per sample"
    best = best_step(run)
    if stop.patience is not None and best is not None:
        later = sum(e["step"] > best for e in run.evaluations)
        if later >= stop.patience:
            return f"early stop: no better evaluation for {later} evaluations"
    return ""
