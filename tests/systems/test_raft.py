"""What RAFT keeps and pays for, by hand; perplexity; and budgets that are equal."""

from __future__ import annotations

import pytest
import torch

from guerdon import rewards
from guerdon.core import Items, PlanError, Streams
from guerdon.run import Prompts
from guerdon.study import Budget
from guerdon.systems.distribution_matching import raft as system
from guerdon.systems.distribution_matching.raft import SYSTEM, ppo, raft, surprise
from guerdon.testing import example_batch, tiny_lm

GIVEN = {"reward": rewards.Length(target=3), "base": "gpt2", "source": Prompts(("Once",))}


def _kept(plan, batch):
    """Rows that one draw of the plan trains on."""
    for transform in plan.transforms:
        batch = batch.replace(reward=transform.apply(transform.init(), batch)[1])
    for select in plan.select:
        batch = select(batch, Streams(0))
    return (batch.weight > 0).nonzero()[:, 0].tolist()


def _batch(total):
    batch = example_batch(groups=2, n=2, fail=0.0)
    return batch.replace(reward=batch.reward.replace(total=torch.tensor(total, dtype=torch.double), step=None, parts={}))


def test_local_ranking_keeps_the_best_of_every_prompt_and_global_ranking_the_best_of_the_draw():
    batch = _batch([1.0, 2.0, 5.0, 4.0])  # two prompts with two answers each
    assert _kept(raft(k=2, **GIVEN), batch) == [1, 2]
    assert _kept(raft(k=2, ranking="global", **GIVEN), batch) == [2, 3]


def test_a_kl_price_ranks_by_the_reward_less_the_log_ratio():
    batch = _batch([1.0, 2.0, 5.0, 4.0])
    ratio = (batch.rollout.logp - batch.refs["reference"].logp)[:, :].where(batch.rollout.mask, 0.0).sum(1)
    ranked = batch.reward.total - 3.0 * ratio
    assert _kept(raft(k=2, beta=3.0, **GIVEN), batch) == [int(ranked[:2].argmax()), 2 + int(ranked[2:].argmax())]
    assert int(ranked[:2].argmax()) != 1 or int(ranked[2:].argmax()) != 0  # the price decides, or this shows nothing


def test_without_a_price_there_is_one_model_and_no_other():
    assert not raft(**GIVEN).references
    assert not raft(**GIVEN).critics
    assert list(raft(beta=0.1, **GIVEN).references) == ["reference"]
    assert list(ppo(**GIVEN, references={}).critics) == ["critic"]


def test_another_ranking_is_refused():
    with pytest.raises(PlanError, match="'local' or 'global', got 'best'"):
        raft(ranking="best", **GIVEN)


def test_surprise_is_the_cross_entropy_of_the_answers_tokens_and_their_end():
    policy = tiny_lm()
    prompts, texts = ["2+2=", "10+1="], ["4", "11"]
    total = count = 0.0
    for prompt, text in zip(prompts, texts, strict=True):  # one by one, straight from the network
        streams = Streams(1)
        row = policy.rollout_from(Items([prompt], streams.uids(1)), [text], streams=streams)
        ids, mask = row.actions[0], row.mask[0]
        logits = policy.model(ids[None]).logits[0].detach().double()
        logp = logits[:-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        total -= float(logp[mask[1:]].sum())
        count += int(mask.sum())
    assert count == 5  # three characters and two ends
    assert surprise(policy, prompts, texts) == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("budget", ["tiny", "default", "long"])
def test_both_methods_draw_as_many_answers(budget, monkeypatch):
    plans = []
    monkeypatch.setattr(system, "_shared", lambda seed, budget, draws: {**GIVEN, "steps": draws})
    monkeypatch.setattr(system, "_finished", lambda plan, seed, budget: plans.append(plan) or {})
    for arm in ("RAFT", "PPO"):
        SYSTEM.study.arms[arm](0, Budget(budget))
    for k in (4, 8, 32):
        SYSTEM.study.long_arms[f"RAFT, {k} answers"](0, Budget(budget))
    assert len({p.steps * p.sampler.contexts * p.sampler.n for p in plans}) == 1


def test_the_untrained_arm_gains_nothing():
    found = SYSTEM.study.arms["SFT"](0, Budget("tiny"))
    assert found["gain"] == 0
    assert found["perplexity"] > 1
