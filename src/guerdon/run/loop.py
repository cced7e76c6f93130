"""The loop: draw, score, transform, select, credit, learn.

Offline, online and iterative training are choices of source, sampler and learners, not other loops.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from guerdon.core import Batch, RunError
from guerdon.run.evaluate import evaluate, is_best, should_stop
from guerdon.run.live import Run, view_of
from guerdon.run.metrics import draw_metrics, show_samples


def loop(run: Run) -> str:
    """Draw after draw until the plan's end; returns why it ended. Every boundary between draws is a place to resume from."""
    plan = run.plan
    reason = should_stop(run)
    if run.step == 0 and not run.evaluations:
        assess(run)
        checkpoint(run)
    while run.step < plan.steps and not reason:
        batch = credit(run, draw(run))
        figures = learn(run, batch)
        run.step += 1
        log(run, batch, figures)
        for role in (run.source, *run.references.values()):
            if hasattr(role, "tell"):
                role.tell(batch if role is run.source else run.step)
        stop_if_failing(run, batch)
        del batch  # the next draw and evaluations need its room
        if plan.evaluation and (run.step % plan.evaluation.every == 0 or run.step == plan.steps):
            assess(run)
        reason = should_stop(run)
        regular = plan.checkpoint_every and run.step % plan.checkpoint_every == 0
        if run.step == plan.steps or reason or regular or is_best(run):
            checkpoint(run)
    return reason or "finished"


def draw(run: Run) -> Batch:
    """Rollouts with their rewards and what the references say of them."""
    rollout, raw = run.plan.sampler(run.draw(run.streams.fork("draw", run.step)))
    rollout = rollout.check()
    if len(raw) != len(rollout):
        raise RunError(f"the sampler returned {len(rollout)} rows and {len(raw)} rewards")
    batch = Batch.of(rollout, raw, run.step / run.plan.steps)
    return batch.replace(refs=run.refer(rollout), values=run.value(rollout))


def credit(run: Run, batch: Batch) -> Batch:
    """Transforms, selection and advantages."""
    with run.phase("credit"):
        batch = view_of(batch, run.plan.transforms, run.transform_states)
        for k, select in enumerate(run.plan.select):
            batch = select(batch, run.streams.fork("select", run.step, k))
        advantage = run.plan.advantage
        named = advantage if isinstance(advantage, dict) else {} if advantage is None else {"main": advantage}
        return batch.replace(advantage={n: a(batch) for n, a in named.items()})


def learn(run: Run, batch: Batch) -> dict[str, float]:
    """Every due learner learns; its figures under its name."""
    figures: dict[str, float] = {}
    if run.reward_version is not None:
        figures["reward/version"] = float(run.reward_version)  # of the reward that scored this draw
    if not bool(batch.reward.ok.any()):
        return figures
    for name, learner in run.learners.items():
        if not learner.due.at(run.step):
            continue
        with run.phase("update"):
            for _ in range(learner.due.repeat):
                for figure, value in learner.update(batch, run).items():
                    head, _, tail = figure.partition("/")
                    shared = head in ("mismatch", "ratio", "clipped", "approx_kl") and name == "policy"
                    figures[figure if shared else f"{head}/{name}" + (f".{tail}" if tail else "")] = value
    run.policy.version += 1
    return figures


def log(run: Run, batch: Batch, figures: dict[str, float]) -> None:
    """Write down what happened, and what the checks say of it."""
    metrics = {**draw_metrics(batch, run.history), **figures}
    run.history.append(metrics)
    failures = Counter(r for r, ok in zip(batch.reward.reason, batch.reward.ok.tolist(), strict=True) if not ok)
    seconds = {k: round(v, 4) for k, v in run.seconds.items()}
    run.seconds.clear()
    run.events.write("draw", run.step, metrics=metrics, seconds=seconds, failures=dict(failures.most_common(20)))
    if run.step in (1, run.plan.steps) or (run.plan.checkpoint_every and run.step % run.plan.checkpoint_every == 0):
        run.events.write("samples", run.step, samples=show_samples(batch, 6))
    for check in run.checks:
        for finding in check(batch, run):
            run.find(replace(finding, step=run.step))


def stop_if_failing(run: Run, batch: Batch) -> None:
    """A run without a single reward does not pretend to learn."""
    run.failed_draws = 0 if bool(batch.raw.ok.any()) else run.failed_draws + 1
    if run.failed_draws and (run.step == 1 or run.failed_draws >= run.plan.stop.failed_draws):
        (reason, count), *_ = Counter(batch.raw.reason).most_common(1)
        checkpoint(run)
        raise RunError(f"every reward failed in the last {run.failed_draws} draw(s), {count} of {len(batch)} rows with: {reason}")


def assess(run: Run) -> None:
    """A held-out evaluation, written to the events and remembered."""
    if run.plan.evaluation is None:
        return
    metrics, samples = evaluate(run)
    run.evaluations.append({"step": run.step, "metrics": metrics})
    run.events.write("eval", run.step, metrics=metrics, samples=samples)


def checkpoint(run: Run) -> None:
    """The state of everything, under the step's name; the best one is kept beside the last two."""
    from guerdon.run.checkpoints import write_checkpoint

    if run.folder is not None:
        with run.phase("checkpoint"):
            write_checkpoint(run)
