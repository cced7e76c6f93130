"""A plan brought to life: what was built from it, and what its arrows may call."""

from __future__ import annotations

import copy
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guerdon.core import Batch, Finding, Items, Policy, PolicyOutput, RewardOutput, Rollout, RunError, Streams, mix
from guerdon.core.protocols import Pending, Stateful
from guerdon.core.reward import Scope
from guerdon.core.stepper import Walk
from guerdon.run.events import EventLog, Sink, read_events
from guerdon.run.pictures import opened_measures
from guerdon.run.plan import Plan, dims_of
from guerdon.run.reward_learner import RewardLearner, RewardTrainer
from guerdon.run.reward_tree import Builder, device_of, find, identities
from guerdon.run.spec import Lazy
from guerdon.run.state import load_module_state, module_state
from guerdon.run.walking import begin_of, timed


@dataclass(frozen=True)
class Done:
    """A reward that needed no waiting."""

    value: RewardOutput

    def result(self) -> RewardOutput:
        return self.value


class LiveDraw:
    """What a sampler sees of a run (``core.protocols.Draw``)."""

    def __init__(self, run: Run, policy: Policy, source: Any, streams: Streams, scorer: Any):
        self.run, self.policy, self.source, self.streams, self.scorer = run, policy, source, streams, scorer
        self.calls: Counter[str] = Counter()
        self.begun: Counter[int] = Counter()

    @property
    def scope(self) -> Scope:
        return self.scorer.scope if self.scorer else "sample"

    @property
    def step(self) -> int:
        return self.run.step

    def _fork(self, role: str) -> Streams:
        self.calls[role] += 1
        return self.streams.fork(role, self.calls[role])

    def items(self, n: int) -> Items:
        return self.source.draw(n, streams=self._fork("items"))

    def sample(self, items: Items, n: int, **controls: Any) -> Rollout:
        with self.run.phase("sample"), torch.no_grad():
            return self.policy.sample(items, n, streams=self._fork("sample"), **controls)

    def begin(self, items: Items, n: int, **controls: Any) -> Walk:
        begin, uid = begin_of(self.policy, type(self.run.plan.sampler).__name__), items.uid.tolist()
        again = 1 + max((self.begun[u] for u in uid), default=0)  # counted by item: how items are cut into calls changes nothing
        self.begun.update(dict.fromkeys(uid, 1))
        with self.run.phase("sample"), torch.no_grad():
            walk = begin(items, n, streams=self.streams.fork("begin", again), **controls)
        return timed(walk, lambda: self.run.phase("sample"))

    def read(self, items: Items, outputs: Sequence[Any]) -> Rollout:
        rollout = self.policy.rollout_from(items, outputs, streams=self._fork("read"))
        return rollout.replace(uid=mix(rollout.group, "given", torch.arange(len(rollout))))

    def score(self, rollout: Rollout) -> Pending:
        if self.scorer is None:
            return Done(RewardOutput.of(torch.zeros(len(rollout))))
        with self.run.phase("reward"):
            future = self.scorer.submit(rollout.to("cpu"))
        return _Timed(self.run, future)


@dataclass(frozen=True)
class _Timed:
    """Waiting for a reward counts as time of the reward phase."""

    run: Run
    future: Any

    def result(self) -> RewardOutput:
        with self.run.phase("reward"):
            return self.future.result()


class Run:
    """Everything that exists while a plan is executed. ``stateful()`` is what a checkpoint holds."""

    def __init__(self, plan: Plan):
        from guerdon.rewards import as_reward  # whatever scores lives with the rewards

        self.plan, self.hash = plan, plan.hash
        self.folder: Path | None = None
        self.streams = Streams(plan.seed)
        self.policy: Policy = built(plan.policy)
        self.policy.version = 0
        self.policy.dims = dims_of(plan) or type(self.policy).dims  # what an earlier run asked for is over
        self.source = opened(plan.source, plan.seed)
        self.references = {n: r.build(self.policy) for n, r in plan.references.items()}
        self.critics = {n: c.build(self.policy) for n, c in plan.critics.items()}
        build = Builder(device_of(self.policy))  # a reward that training and evaluation share is made once
        self.reward = None if plan.reward is None else as_reward(build(plan.reward))
        given = plan.evaluation.reward if plan.evaluation is not None else None
        self.held_out = None if given is None else as_reward(build(given))
        self.measures = opened_measures(plan.evaluation)
        self.identities = {"reward": identities(self.reward), "evaluation.reward": identities(self.held_out)}
        self.learners = {n: self._learner(build(spec)) for n, spec in plan.learners.items()}
        self.transform_states = [t.init() for t in plan.transforms]
        self.scorer: Any = None
        self.checks = _default_checks() if plan.checks is None else plan.checks
        self.step = 0
        self.failed_draws = 0
        self.history: list[dict[str, float]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self.events = EventLog(None)

    def _learner(self, spec: Any) -> Any:
        """A learner's spec at work on what it trains."""
        if isinstance(spec, RewardLearner):
            name, reward = find(self.reward, spec.of)
            return spec.build(reward, name, self.streams)
        return spec.build(self.network(getattr(spec, "of", "policy")))

    def open(self, folder: Path | None, offset: int, sinks: tuple[Sink, ...]) -> None:
        """Start writing and scoring; what earlier events say is remembered."""
        from guerdon.rewards import Journal, Scorer

        self.folder = folder
        path = folder / "events.jsonl" if folder else None
        self.events = EventLog(path, offset=offset, sinks=sinks)
        if path is not None:
            past = [e for e in read_events(path) if e["event"] in ("draw", "eval")]
            self.history = [e["metrics"] for e in past if e["event"] == "draw"]
            self.evaluations = [{"step": e["step"], "metrics": e["metrics"]} for e in past if e["event"] == "eval"]
        if self.reward is not None:
            scoring = self.plan.scoring
            journal = Journal(folder / "journal.jsonl") if folder else None
            self.scorer = Scorer(self.reward, workers=scoring.workers, timeout=scoring.timeout, journal=journal)
        if (lost := getattr(self.source, "lost", {})) and self.step < self.plan.steps:
            self.find(_lost_episodes(lost))

    def network(self, of: str | tuple[str, str]) -> Any:
        """What a learner trains: the policy, a critic, or the policy together with a critic on its features."""
        if isinstance(of, str):
            return self.policy if of == "policy" else self.critics[of]
        return self.critics[of[1]].with_policy(self.policy)

    def modules(self) -> dict[str, torch.nn.Module]:
        """name -> every network that some learner may move."""
        named = {"policy": self.policy, **{f"critic/{n}": c for n, c in self.critics.items()}}
        for learner in self.reward_trainers():
            named |= learner.modules
        return named

    def reward_trainers(self) -> list[RewardTrainer]:
        """The learners that train rewards."""
        return [v for v in self.learners.values() if isinstance(v, RewardTrainer)]

    @property
    def reward_version(self) -> int | None:
        """How often the training reward has learned so far; None for one that does not learn."""
        trainers = self.reward_trainers()
        return sum(t.version for t in trainers) if trainers else None

    def find(self, finding: Finding) -> None:
        """Write down what somebody saw."""
        self.events.write("finding", self.step if finding.step is None else finding.step,
                          **{k: v for k, v in vars(finding).items() if k != "step"})  # fmt: skip

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def draw(self, streams: Streams) -> LiveDraw:
        return LiveDraw(self, self.policy, self.source, streams, self.scorer)

    def refer(self, rollout: Rollout) -> dict[str, PolicyOutput]:
        """Every reference's view of a draw, in micro-batches; "old" is the policy itself before this draw's updates."""
        models = {n: r.output for n, r in self.references.items()}
        if "old" in self.needs():
            models["old"] = self.policy
        rows = min((s.rows for s in self.plan.learners.values() if getattr(s, "rows", None)), default=None)
        with self.phase("reference"), torch.no_grad():
            return {n: in_parts(model, rollout, rows) for n, model in models.items()}

    def value(self, rollout: Rollout) -> dict[str, torch.Tensor]:
        with self.phase("value"), torch.no_grad():
            return {n: c.values(rollout) for n, c in self.critics.items()}

    def needs(self) -> frozenset[str]:
        """What the plan's parts ask for."""
        from guerdon.run.compatibility import needs_of

        return needs_of(self.plan)

    def stateful(self) -> dict[str, Any]:
        """name -> what has a state_dict, apart from modules."""
        parts = {f"learner/{n}": v for n, v in self.learners.items()} | {f"reference/{n}": v for n, v in self.references.items()}
        parts["source"] = self.source
        return {n: p for n, p in parts.items() if isinstance(p, Stateful)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "failed_draws": self.failed_draws,
            "version": self.policy.version,
            "plan": self.hash,
            "rewards": self.identities,
            "events": self.events.offset,
            "transforms": list(self.transform_states),
            "modules": {n: module_state(m) for n, m in self.modules().items()},
            "parts": {n: p.state_dict() for n, p in self.stateful().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was made.

        Raises:
            RunError: where it was made by another plan, or with a reward that is another one now.
        """
        if state["plan"] != self.hash:
            raise RunError("the checkpoint was made by another plan; start a new run, or resume with the plan.yaml in its folder")
        for place, before in state.get("rewards", {}).items():
            if changed := {n for n in before.keys() | self.identities[place] if before.get(n) != self.identities[place].get(n)}:
                name = "/".join(filter(None, (place, min(changed))))
                raise RunError(f"{name} has changed on disk since the run began; put the old one back, or start a new run")
        self.step, self.failed_draws = state["step"], state["failed_draws"]
        self.policy.version = state["version"]
        self.transform_states = [copy.deepcopy(s) for s in state["transforms"]]
        for name, module in self.modules().items():
            load_module_state(module, state["modules"][name])
        for name, part in self.stateful().items():
            part.load_state_dict(state["parts"][name])

    def close(self) -> None:
        if self.scorer is not None:
            self.scorer.close()
        self.events.close()
        if self.source is not self.plan.source and hasattr(self.source, "close"):  # opened here, closed here
            self.source.close()


def _lost_episodes(lost: Mapping[int, str]) -> Finding:
    """What a resumed run says of environments that it could not put back."""
    reasons = Counter(lost.values())
    reason, _ = reasons.most_common(1)[0]
    return Finding(
        "resume", "warning",
        f"{len(lost)} environment(s) could not be put back where the run was stopped and begin new episodes: {reason}",
        evidence={"slots": sorted(lost), "reasons": dict(reasons)},
        advice="The run goes on soundly, but not bit for bit as if it had never stopped.",
    )  # fmt: skip


def built(value: Any) -> Any:
    """A Lazy made, anything else as it is."""
    return value.build() if isinstance(value, Lazy) else value


def opened(source: Any, seed: int) -> Any:
    """A source's spec as a running source with its cursor."""
    return source.open(seed) if hasattr(source, "open") else source


def in_parts(model: Any, rollout: Rollout, rows: int | None) -> PolicyOutput:
    """``model(rollout)`` computed ``rows`` rows at a time."""
    if rows is None or len(rollout) <= rows:
        return model(rollout, want=("logp",)).detach()
    parts = [model(rollout[i], want=("logp",)).detach() for i in torch.arange(len(rollout)).split(rows)]
    return PolicyOutput.cat(parts)


def _default_checks() -> Sequence[Any]:
    from guerdon.audit import default_checks

    return default_checks()


def view_of(batch: Batch, transforms: Sequence[Any], states: list[Any]) -> Batch:
    """The batch after all transforms; ``states`` are moved on in place."""
    for k, transform in enumerate(transforms):
        states[k], reward = transform.apply(states[k], batch)
        batch = batch.replace(reward=reward)
    return batch
