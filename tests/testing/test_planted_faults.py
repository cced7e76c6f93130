"""Every contract check finds a planted fault of its kind, and passes the healthy one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from guerdon.core import Batch, Pairs, RewardOutput, Streams
from guerdon.run import AdamW, Train
from guerdon.testing import (
    ContractError,
    check_advantage,
    check_learner,
    check_objective,
    check_policy,
    check_reward,
    check_select,
    check_transform,
    example_policies,
)
from guerdon.testing._base import TableNetwork
from guerdon.testing._policies import TinyText


def sampled():
    policy, items = example_policies()["tiny-text"]
    return policy.sample(items, 3, streams=Streams(4))


def scored():
    rollout = sampled()
    batch = Batch.of(rollout, RewardOutput.of(torch.arange(len(rollout)).double()))
    return batch.replace(advantage={"main": torch.rand(rollout.mask.shape, dtype=torch.double) * rollout.mask})


# ---------------------------------------------------------------- policies
class Sharper(TinyText):
    """Forgets the temperature it acted with."""

    def forward(self, rollout, *, want=("logp",)):
        return super().forward(
            rollout.replace(behaviour=tuple(replace(b, temperature=1.0) for b in rollout.behaviour)), want=want
        )


class Coupled(TinyText):
    """Normalises over the micro-batch."""

    def forward(self, rollout, *, want=("logp",)):
        out = super().forward(rollout, want=want)
        return (
            out.replace(logp=torch.where(rollout.mask, out.logp - out.logp[rollout.mask].mean() * 1e-3, 0.0))
            if len(rollout) < 8
            else out
        )


class Careless(TinyText):
    """Draws from torch's global generator."""

    def sample(self, items, n=1, *, streams, **controls):
        return super().sample(items, n, streams=Streams(int(torch.randint(2**31, ()))), **controls)


class Leaky(TinyText):
    """Gives log-probs where it did not choose."""

    def forward(self, rollout, *, want=("logp",)):
        out = super().forward(rollout, want=want)
        return out.replace(logp=out.logp - 1.0 * ~rollout.mask)


class Detached(TinyText):
    """Loses its gradient."""

    def forward(self, rollout, *, want=("logp",)):
        out = super().forward(rollout, want=want)
        return out.replace(logp=out.logp.detach() + 0 * sum(p.sum() for p in self.parameters()))


class SameNames(TinyText):
    """Gives all rows of an item one identity."""

    def sample(self, items, n=1, *, streams, **controls):
        rollout = super().sample(items, n, streams=streams, **controls)
        return rollout.replace(uid=rollout.group)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [(Sharper, "delta logp"), (Coupled, "delta logp"), (Careless, "same streams"), (Leaky, "not 0 where"), (Detached, "no parameter"),
     (SameNames, "share a uid")],
)  # fmt: skip
def test_broken_policies_are_found(broken, complaint):
    items = example_policies()["tiny-text"][1]
    check_policy(TinyText(), items, temperature=0.6)
    with pytest.raises(ContractError, match=complaint):
        check_policy(broken(), items, temperature=0.6)


# ---------------------------------------------------------------- rewards
class Length:
    scope, differentiable = "sample", False

    def __call__(self, rollout):
        return RewardOutput.of(rollout.mask.sum(1).double())


class Ranked(Length):
    """Says "sample" and ranks the batch."""

    def __call__(self, rollout):
        return RewardOutput.of(rollout.mask.sum(1).double().argsort().argsort().double())


class Silent(Length):
    """Fails without a reason."""

    def __call__(self, rollout):
        return super().__call__(rollout).replace(ok=rollout.mask.sum(1) > 2)


class Fickle(Length):
    calls = 0

    def __call__(self, rollout):
        Fickle.calls += 1
        return RewardOutput.of(rollout.mask.sum(1).double() + Fickle.calls)


class NotFinite(Length):
    def __call__(self, rollout):
        out = super().__call__(rollout)
        return out.replace(total=out.total / 0)


class Short(Length):
    def __call__(self, rollout):
        out = super().__call__(rollout)
        return out[:-1]


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [(Ranked, "scope is not 'sample'|order of rows"), (Silent, "without a reason"), (Fickle, "twice differs"), (NotFinite, "NaN or infinite"),
     (Short, "expected")],
)  # fmt: skip
def test_broken_rewards_are_found(broken, complaint):
    check_reward(Length(), sampled())
    with pytest.raises(ContractError, match=complaint):
        check_reward(broken(), sampled())


# ---------------------------------------------------------------- transforms
@dataclass(frozen=True)
class Shift:
    needs: ClassVar = frozenset()

    def init(self):
        return {"n": 0.0}

    def apply(self, state, batch):
        return {"n": state["n"] + 1}, batch.reward.replace(total=batch.reward.total + state["n"])


class CentreAll(Shift):
    """Counts failed rows in the mean."""

    def apply(self, state, batch):
        return state, batch.reward.replace(total=batch.reward.total - batch.reward.total.mean())


class Revive(Shift):
    def apply(self, state, batch):
        return state, batch.reward.replace(ok=torch.ones_like(batch.reward.ok))


class InPlace(Shift):
    def apply(self, state, batch):
        batch.reward.total.add_(1)
        return state, batch.reward


class Hidden(Shift):
    """Keeps its state where no checkpoint sees it."""

    seen = 0

    def apply(self, state, batch):
        Hidden.seen += 1
        return state, batch.reward.replace(total=batch.reward.total + Hidden.seen)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (CentreAll, "reach other rows"),
        (Revive, "became ok"),
        (InPlace, "in place"),
        (Hidden, "order of rows|checkpoint|reach other"),
    ],
)
def test_broken_transforms_are_found(broken, complaint):
    check_transform(Shift(), scored())
    with pytest.raises(ContractError, match=complaint):
        check_transform(broken(), scored())


# ---------------------------------------------------------------- advantages
@dataclass(frozen=True)
class Plain:
    needs: ClassVar = frozenset({"reward"})

    def __call__(self, batch):
        keep = batch.rollout.mask & batch.reward.ok[:, None]
        return torch.where(keep, batch.reward.total[:, None], 0.0)


class Everywhere(Plain):
    def __call__(self, batch):
        return batch.reward.total[:, None].expand(batch.rollout.mask.shape)


class OverPadding(Plain):
    def __call__(self, batch):
        return super().__call__(batch) / batch.rollout.steps


class PoisonedMean(Plain):
    def __call__(self, batch):
        return torch.where(super().__call__(batch) == 0, 0.0, super().__call__(batch) - batch.reward.total.mean())


@pytest.mark.parametrize(
    ("broken", "complaint"), [(Everywhere, "not 0"), (OverPadding, "padding"), (PoisonedMean, "garbage|reach other")]
)
def test_broken_advantages_are_found(broken, complaint):
    check_advantage(Plain(), scored())
    with pytest.raises(ContractError, match=complaint):
        check_advantage(broken(), scored())


# ---------------------------------------------------------------- selections
@dataclass(frozen=True)
class TopHalf:
    def __call__(self, batch, streams):
        total = torch.where(batch.reward.ok, batch.reward.total, -torch.inf)
        return batch.replace(weight=(total >= total[batch.reward.ok].median()).double())


class Negative(TopHalf):
    def __call__(self, batch, streams):
        return batch.replace(weight=-batch.weight)


class PairsWithFailed(TopHalf):
    def __call__(self, batch, streams):
        return batch.replace(pairs=Pairs(torch.arange(len(batch) - 1), torch.arange(1, len(batch))))


class Moody(TopHalf):
    def __call__(self, batch, streams):
        return batch.replace(weight=torch.rand(len(batch)))


@pytest.mark.parametrize(
    ("broken", "complaint"), [(Negative, "at least 0"), (PairsWithFailed, "failed row"), (Moody, "another choice")]
)
def test_broken_selections_are_found(broken, complaint):
    check_select(TopHalf(), scored())
    with pytest.raises(ContractError, match=complaint):
        check_select(broken(), scored())


# ---------------------------------------------------------------- objectives
@dataclass(frozen=True)
class Surrogate:
    needs: ClassVar = frozenset({"logp", "advantage"})
    unit: ClassVar = "step"

    def __call__(self, new, batch):
        return -new.logp * batch.advantage["main"]


class OwnMean(Surrogate):
    """Divides by the micro-batch."""

    def __call__(self, new, batch):
        return super().__call__(new, batch) / len(batch)


class WrongUnit(Surrogate):
    def __call__(self, new, batch):
        return super().__call__(new, batch).sum(1)


class Undeclared(Surrogate):
    needs: ClassVar = frozenset({"logp"})

    def __call__(self, new, batch):
        return -new.logp * (batch.advantage["main"] if batch.advantage else 1.0)


class NeighboursNoise(Surrogate):
    """Lets the failed row's advantage into the others."""

    def __call__(self, new, batch):
        return -new.logp * (batch.advantage["main"] - batch.reward.total.mean())


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [(OwnMean, "micro-batch"), (WrongUnit, "expected"), (Undeclared, "declare"), (NeighboursNoise, "micro-batch|failed rows")],
)
def test_broken_objectives_are_found(broken, complaint):
    check_objective(Surrogate(), scored())
    with pytest.raises((ContractError, ValueError), match=complaint):
        check_objective(broken(), scored())


# ---------------------------------------------------------------- learners
class Forgetful:
    """Saves everything but the moments."""

    def __init__(self, inner):
        self.inner, self.due = inner, inner.due

    def update(self, batch, run):
        return self.inner.update(batch, run)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Idle(Forgetful):
    def update(self, batch, run):
        return {}


def learner(wrap=None):
    def make():
        network = TableNetwork(sampled())
        trainer = Train(Surrogate(), AdamW(lr=0.1), epochs=2, minibatches=2, rows=4).build(network)
        return (wrap(trainer) if wrap else trainer), network

    return make


def test_broken_learners_are_found():
    run = SimpleNamespace(streams=Streams(0), step=0)
    figures = check_learner(learner(), scored(), run)
    assert figures["grad_norm"] > 0 and figures["lr"] == 0.1
    with pytest.raises(ContractError, match="learns something else"):
        check_learner(learner(Forgetful), scored(), run)
    with pytest.raises(ContractError, match="moved no parameter"):
        check_learner(learner(Idle), scored(), run)
