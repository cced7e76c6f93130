"""RewardLearner: a learned reward that goes on learning while the policy does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guerdon.core import Batch, Due, Finding, PlanError, RunError, Streams, recorded
from guerdon.core.errors import GuerdonError
from guerdon.core.feedback import Comparison
from guerdon.rewards import Ensemble, RewardModel
from guerdon.rewards.learned.losses import PairLoss
from guerdon.run.optim import AdamW
from guerdon.run.queries import Annotator, candidates, choose, disagreement
from guerdon.run.replay import LateLabels, Replay, Said
from guerdon.run.reward_network import Network, prequential
from guerdon.run.reward_tree import HOME, networks

_COUNTS = ("version", "calls", "total", "failures")  # updates learned from, updates, comparisons, failures in a row
PATIENCE = 3  # failures of an annotator in a row before a finding says so


@dataclass(frozen=True)
class RewardLearner:
    """Keeps a learned reward honest about what the policy does now, by learning from comparisons of its fresh samples.

    A reward is only known where somebody compared outputs, and a policy that optimises it moves away from there. The remedy is to
    ask again about the policy's own samples and to go on learning (arXiv:1909.08593, arXiv:2204.05862). At every due draw:

    1. pairs of the draw are shown to ``annotator``, and new records are read from ``store`` (labels that people gave late);
    2. how well the reward predicts them is logged before it has learned from them: ``accuracy/NAME`` and ``loss/NAME``;
    3. every network of the reward takes ``steps`` optimiser steps on mini-batches of new and old comparisons, with the loss that
       ``rewards.fit_reward`` uses; then the new ones go to the replay.

    Verdicts given before are not changed. An annotator that raises is counted (``failed/NAME``), reported after three times in a
    row, and nothing is learned from that draw.

    Args:
        annotator: Whoever compares: one of guerdon's simulated annotators, or ``file.py:name`` of your own.
        store: URL of a ``feedback.Store`` that is looked into for comparisons, rankings and corrections not seen before.
        of: Which reward: ``"reward"``, or ``"reward/NAME"`` for one part of a mixture.
        pairs: How many pairs are asked about at a time, and how many new records of the store are taken.
        pick: ``"random"``, or ``"disagreement"`` for those whose difference the members of an ensemble disagree about most.
        steps: Optimiser steps at a time.
        batch: Comparisons in a step.
        fresh: Share of a step's comparisons that are new, where there are old ones to fill the rest.
        replay: How many old comparisons are kept: a uniform sample of all seen in this run.
        optim: How weights move.
        max_grad_norm: Gradients are scaled down to this norm (None: never).
        loss: Of pairs; None: ``rewards.BradleyTerry``.
        layers: ``"all"``, or k: the last k blocks and the head.
        micro_batch: Comparisons computed at once (None: all of a step); changes memory and speed, never the gradient.
        due: When it learns.
    """

    annotator: Annotator | None = None
    store: str | None = None
    of: str = HOME
    pairs: int = 32
    pick: Literal["random", "disagreement"] = "random"
    steps: int = 4
    batch: int = 32
    fresh: float = 0.5
    replay: int = 2048
    optim: AdamW = AdamW(lr=1e-5)
    max_grad_norm: float | None = 1.0
    loss: PairLoss | None = None
    layers: Literal["all"] | int = "all"
    micro_batch: int | None = None
    due: Due = Due()

    def __post_init__(self) -> None:
        if self.annotator is None and self.store is None:
            raise PlanError("RewardLearner: nobody to learn from; set annotator or store")
        if self.annotator is not None and not hasattr(self.annotator, "compare"):
            raise PlanError(f"RewardLearner: a {type(self.annotator).__name__} is not an annotator; "
                            "expected one of feedback's, or file.py:name")  # fmt: skip
        if self.of != HOME and not self.of.startswith(f"{HOME}/"):
            raise PlanError(f"RewardLearner.of must be {HOME!r} or '{HOME}/NAME of a part', got {self.of!r}")
        if self.pick not in ("random", "disagreement"):
            raise PlanError(f"RewardLearner.pick must be 'random' or 'disagreement', got {self.pick!r}")
        for name in ("pairs", "steps", "batch"):
            if getattr(self, name) < 1:
                raise PlanError(f"RewardLearner.{name} must be at least 1, got {getattr(self, name)}")
        if self.replay < 0:
            raise PlanError(f"RewardLearner.replay must be at least 0, got {self.replay}")
        if not 0 < self.fresh <= 1:
            raise PlanError(f"RewardLearner.fresh is a share above 0 and at most 1, got {self.fresh}")

    def build(self, reward: RewardModel | Ensemble, name: str, streams: Streams) -> RewardTrainer:
        """The learner at work.

        Args:
            reward: A RewardModel, or an Ensemble of them.
            name: Its place in the plan's reward.
            streams: Of the run.
        """
        return RewardTrainer(self, reward, name, streams)


class RewardTrainer:
    """A ``RewardLearner`` at work: optimisers, replay, and how far the store was read."""

    def __init__(self, spec: RewardLearner, reward: RewardModel | Ensemble, name: str, streams: Streams):
        self.spec, self.reward, self.name, self.due = spec, reward, name, spec.due
        self.networks = {n: Network(m, spec, streams.fork("reward", n)) for n, m in networks(reward, name).items()}
        self.modules: dict[str, nn.Module] = {n: v.reward for n, v in self.networks.items()}
        if spec.pick == "disagreement" and len(self.modules) < 2:
            raise PlanError("RewardLearner: pick 'disagreement' needs an Ensemble of at least two reward models")
        self.parameters = [p for v in self.networks.values() for p in v.training.parameters]
        self.replay = Replay(spec.replay, streams)
        self.late = None if spec.store is None else LateLabels(spec.store)
        self.version = self.calls = self.total = self.failures = 0

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """Ask, measure, learn; the figures for the log."""
        scorer = getattr(run, "scorer", None)
        if scorer is not None and scorer.busy:
            raise RunError(f"{scorer.busy} draws are still being scored; the reward cannot learn before they are done")
        self.calls += 1
        streams = run.streams.fork("reward learner", self.name, self.calls)
        figures: dict[str, float] = {}
        asked = [Said(c) for c in self._asked(batch, run, streams, figures)]
        fresh, scores = self._usable([*asked, *self._stored()], figures)
        self.total += len(fresh)
        figures |= {"pairs": float(len(fresh)), "pairs/total": float(self.total)}
        if fresh:
            told = [s.comparison for s in fresh]
            figures |= prequential(told, scores, getattr(self.reward, "temperature", None) or 1.0)
            figures |= self._learn(told, streams, self.spec.optim.rate(batch.progress))
            self.replay.add(fresh)
        return figures

    def _asked(self, batch: Batch, run: Any, streams: Streams, figures: dict[str, float]) -> Sequence[Comparison]:
        """What the annotator says of pairs of this draw."""
        if self.spec.annotator is None:
            return ()
        rollout = batch.rollout.to("cpu")
        pairs = candidates(rollout, batch.raw.ok)
        spread = disagreement(self._members(batch), pairs) if self.spec.pick == "disagreement" else None
        chosen = choose(pairs, self.spec.pairs, streams, spread)
        if not len(chosen):
            return ()
        try:
            said: list[Any] = list(self.spec.annotator.compare(rollout, chosen, streams.fork("annotator")))
            if wrong := next((c for c in said if not isinstance(c, Comparison)), None):
                raise TypeError(f"returned {type(wrong).__name__}, expected comparisons")
        except GuerdonError:  # it cannot be used at all, as when it asks for a column that is not there
            raise
        except Exception as e:  # noqa: BLE001  people and programs fail; the run goes on with the reward it has
            self.failures += 1
            figures["failed"] = 1.0
            if self.failures == PATIENCE:
                run.find(self._finding(e, run.step + 1))
            return ()
        self.failures = 0
        if len(said) < len(chosen):
            figures["unanswered"] = float(len(chosen) - len(said))
        return said

    def _finding(self, error: Exception, step: int) -> Finding:
        who = getattr(self.spec.annotator, "origin", type(self.spec.annotator).__name__)
        return Finding(
            "RewardLearner", "warning", f"The annotator failed {PATIENCE} times in a row, so the reward no longer learns.", step,
            {"annotator": who, "error": f"{type(error).__name__}: {error}"[:300]}, "Look at the error; the run optimises the "
            "reward as it was before.",
        )  # fmt: skip

    def _stored(self) -> list[Said]:
        """What people said since the last time; what they took back is not learned from again."""
        if self.late is None:
            return []
        found = self.late.poll(self.spec.pairs)
        self.replay.forget(self.late.current)
        return found

    def _usable(self, said: Sequence[Said], figures: dict[str, float]) -> tuple[list[Said], Tensor]:
        """(comparisons whose outputs the reward can read, [2, N] what it says of them now)."""
        if not said:
            return [], torch.zeros(2, 0)
        outputs = [*(s.comparison.first for s in said), *(s.comparison.second for s in said)]
        out = self.reward(recorded([s.comparison.context for s in said] * 2, outputs))
        fine = out.ok.reshape(2, -1).all(0)
        if not bool(fine.all()):
            figures["unreadable"] = float((~fine).sum())
        return [s for s, good in zip(said, fine.tolist(), strict=True) if good], out.total.reshape(2, -1)[:, fine]

    def _members(self, batch: Batch) -> Tensor:
        """[B, K] what each member says of the draw."""
        prefix = self.name.removeprefix(HOME).removeprefix("/")
        names = [f"{prefix}/{n}".removeprefix("/") for n in networks(self.reward)]
        if all(n in batch.raw.parts for n in names):
            return torch.stack([batch.raw.parts[n] for n in names], 1)
        return torch.stack([m(batch.rollout.to("cpu")).total for m in self.modules.values()], 1)

    def _learn(self, fresh: Sequence[Comparison], streams: Streams, rate: float) -> dict[str, float]:
        """``steps`` optimiser steps of every network, each on mini-batches of its own."""
        losses = []
        for name, network in self.networks.items():
            for k in range(self.spec.steps):
                losses.append(network.step(self._minibatch(fresh, streams.fork(name, k)), rate))
        taken = [x for x in losses if math.isfinite(x)]
        figures = {"lr": rate}
        if len(taken) < len(losses):
            figures["skipped/not_finite"] = float(len(losses) - len(taken))
        if taken:
            self.version += 1
            figures["loss/fit"] = sum(taken) / len(taken)
        return figures

    def _minibatch(self, fresh: Sequence[Comparison], streams: Streams) -> list[Comparison]:
        """New comparisons for their share, or for all of it while there are no old ones; old ones for the rest."""
        size = self.spec.batch
        share = max(1, round(self.spec.fresh * size))
        room = max(share, size - len(self.replay.kept))
        order = streams("fresh").permutation(len(fresh))[:room].tolist()
        return [fresh[k] for k in order] + self.replay.draw(size - len(order), streams)

    def save(self, folder: Any, card: Mapping[str, Any]) -> None:
        """The reward as it is now, in the Hugging Face layout."""
        self.reward.save(folder, card=card)

    def state_dict(self) -> dict[str, Any]:
        counts = {n: getattr(self, n) for n in _COUNTS}
        late = {} if self.late is None else {"late": self.late.state_dict()}
        networks = {n: v.state_dict() for n, v in self.networks.items()}
        return {**counts, **late, "networks": networks, "replay": self.replay.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in _COUNTS:
            setattr(self, name, state[name])
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        self.replay.load_state_dict(state["replay"])
        if self.late is not None:
            self.late.load_state_dict(state["late"])
