"""Held-out evaluation, the best checkpoint, and early stopping."""

from __future__ import annotations

from typing import Any

from guerdon.core import Batch, Items, RewardOutput, Rollout, Streams
from guerdon.core.world import Slot, Start
from guerdon.run.episodes import is_control, steps_before, with_returns
from guerdon.run.frames import SHOWN, write_frames
from guerdon.run.live import Run, in_parts, opened
from guerdon.run.metrics import reward_metrics, rollout_metrics, show_samples
from guerdon.run.pictures import SHOWN as SHOWN_PICTURES
from guerdon.run.pictures import measured, write_pictures
from guerdon.run.sources.control import Episodes, Fragments


def evaluate(run: Run) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Metrics and samples of the present policy; the same contexts and random streams at every call."""
    from guerdon.rewards import Scorer

    plan, spec = run.plan, run.plan.evaluation
    assert spec is not None
    streams = Streams(plan.seed).fork("evaluation")
    with run.phase("evaluate"):
        items, controls = questions(run, streams.fork("items"))
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
                named = reward_metrics(with_returns(rollout, reward), name)
                metrics |= {k: v for k, v in named.items() if not k.startswith("part/") or name == "proxy"}
        if run.reward_version is not None:
            metrics["reward/version"] = float(run.reward_version)
        if is_control(rollout):
            metrics["env/steps"] = steps_before(run.history)
        metrics |= measured(run.measures, rollout)
    film(run, rollout, metrics)
    pictures = depict(run, rollout, metrics, proxy, held_out)
    scored = proxy if proxy is not None else held_out
    batch = Batch.of(rollout, None if scored is None else with_returns(rollout, scored))
    others = None if held_out is None else with_returns(rollout, held_out)
    return metrics, show_samples(batch, spec.show, others, pictures)


def questions(run: Run, streams: Streams) -> tuple[Items, dict[str, Any]]:
    """What is asked, and how to sample. Where training goes on in persistent environments, whole episodes are evaluated."""
    plan, spec = run.plan, run.plan.evaluation
    assert spec is not None
    items = opened(spec.source if spec.source is not None else plan.source, plan.seed + 1).draw(spec.samples, streams=streams)
    controls = dict(getattr(plan.sampler, "controls", {}))
    first = items.contexts[0] if len(items) else None
    if isinstance(first, Slot):
        items = Episodes(first.world).open().draw(spec.samples, streams=streams)
    if isinstance(first, Slot) or (isinstance(first, Start) and isinstance(plan.source, Fragments)):
        controls.pop("steps", None)  # so many steps were meant for a fragment; an episode runs to its end
    return items, {**controls, **spec.controls}


def film(run: Run, rollout: Rollout, metrics: dict[str, float]) -> None:
    """Strips of pictures of a few episodes; those of the first, the best and this evaluation stay."""
    shown = run.plan.evaluation.show if run.plan.evaluation is not None else 0
    if run.folder is None or not shown or not is_control(rollout):
        return
    best, keep = standing(run, metrics)
    with run.phase("frames"):
        strips = write_frames(run.folder, run.step, rollout, keep, min(shown, SHOWN))
    if strips:
        run.events.write("frames", run.step, best=best, strips=strips)


def depict(
    run: Run, rollout: Rollout, metrics: dict[str, float], proxy: RewardOutput | None, held_out: RewardOutput | None
) -> str:
    """A grid of the first samples, where they are pictures; its file. Those of the first, the best and this evaluation stay."""
    shown = run.plan.evaluation.show if run.plan.evaluation is not None else 0
    if run.folder is None or not shown:
        return ""
    best, keep = standing(run, metrics)
    with run.phase("frames"):
        entry = write_pictures(
            run.folder, run.step, rollout, proxy=proxy, held_out=held_out, keep=keep, shown=min(shown, SHOWN_PICTURES)
        )
    if entry is None:
        return ""
    run.events.write("pictures", run.step, best=best, **entry)
    return str(entry.get("file", ""))


def standing(run: Run, metrics: dict[str, float]) -> tuple[bool, list[int]]:
    """Whether these figures are the best so far, and the evaluations whose pictures stay besides: the first and the best."""
    best = not run.evaluations or score_of(metrics) > max(score_of(e["metrics"]) for e in run.evaluations)
    before = best_step(run)
    return best, [e["step"] for e in run.evaluations[:1]] + ([] if best or before is None else [before])


def score_of(metrics: dict[str, float]) -> float:
    """What "best" means: the held-out reward, or the training reward without one, or the return where nothing is scored."""
    value = metrics.get("held_out/mean", metrics.get("proxy/mean", metrics.get("episode/return")))
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
