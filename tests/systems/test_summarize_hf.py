import dataclasses

import pytest
import torch

from guerdon import advantages, policies, rewards, tasks, transforms
from guerdon.study import Budget
from guerdon.systems import get
from guerdon.systems.policy_gradient import summarize_hf as module
from guerdon.systems.policy_gradient.summarize_hf import even_win_rate, summarize_hf
from guerdon.testing import example_batch


def test_the_reward_is_what_the_paper_says() -> None:
    """R = scale * (r - mean r) - beta log(pi / pi_ref): the KL part at its token, r at the end."""
    plan = summarize_hf(rewards.Rouge(), base="any", source=tasks.Summaries().prompts(), beta=0.1, scale=2.0)
    batch = example_batch()
    batch = batch.replace(reward=dataclasses.replace(batch.reward, step=None))  # all of it at the end
    ok = batch.reward.ok
    total = 2 * (batch.reward.total - batch.reward.total[ok].mean())
    step = -0.1 * (batch.rollout.logp - batch.refs["reference"].logp)
    for transform in plan.transforms:
        _, reward = transform.apply(transform.init(), batch)
        batch = batch.replace(reward=reward)
    mask = batch.rollout.mask & ok[:, None]
    assert torch.allclose(batch.reward.total[ok], total[ok])
    assert torch.allclose(batch.reward.step[mask], step[mask])


def test_the_parts_are_the_papers() -> None:
    plan = summarize_hf(rewards.Rouge(), base="any", source=tasks.Summaries().prompts(), critic=policies.FromReward("somewhere"))
    assert plan.advantage == advantages.Whiten(advantages.GAE(gamma=1.0, lam=0.95))
    assert plan.learners["policy"].terms.clip.low == plan.learners["policy"].terms.clip.high == 0.2
    assert plan.learners["critic"].of == "critic"
    assert plan.critics == {"critic": policies.FromReward("somewhere")}
    assert plan.transforms[-1] == transforms.TokenKL(0.05)
    assert plan.learners["policy"].epochs == 4


def test_win_rate_at_equal_length() -> None:
    # Longer outputs win 3 of 4, shorter ones 1 of 4, and nothing else matters: at equal length they would win half the time,
    # though they win 5 of 8 in all, because most are longer.
    longer, shorter = torch.tensor([1.0, 1.0, 1.0, 0.0] * 75), torch.tensor([1.0, 0.0, 0.0, 0.0] * 25)
    win = torch.cat([longer, shorter])
    length = torch.cat([torch.full((300,), 20.0), torch.full((100,), 5.0)])
    assert float(win.mean()) == 0.625
    assert even_win_rate(win, length, torch.full((400,), 10.0)) == pytest.approx(0.5, abs=0.01)
    # Wins that have nothing to do with length stay as they are: 3 of 4 at each of two lengths.
    same = torch.tensor([1.0, 1.0, 1.0, 0.0] * 100)
    lengths = torch.tensor([5.0] * 200 + [20.0] * 200)
    assert even_win_rate(same, lengths, torch.full((400,), 10.0)) == pytest.approx(0.75, abs=0.01)
    assert even_win_rate(torch.ones(100), torch.full((100,), 10.0), torch.full((100,), 10.0)) > 0.95  # one length, no loss


def test_the_arms_differ_in_the_reward_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Enough(Exception):
        pass

    def keep(plan: object) -> None:
        seen.append(plan)
        raise Enough

    tiny = dataclasses.replace(tasks.Summaries.tiny(), warm_start=tasks.WarmStart())
    monkeypatch.setattr(module, "_world", lambda budget: tiny)
    monkeypatch.setattr(type(tiny), "base", lambda self: "base")
    monkeypatch.setattr(module, "_learned", lambda seed, budget: "learned")
    monkeypatch.setattr(module, "_proxy", lambda seed, budget: rewards.Length(target=3))
    monkeypatch.setattr(module, "_spread", lambda reward, seed, budget: 0.25 if isinstance(reward, rewards.Rouge) else 0.5)
    monkeypatch.setattr(module, "run", keep)
    arms = get("summarize-hf").study.arms
    for name in ("human feedback", "rouge"):
        with pytest.raises(Enough):
            arms[name](3, Budget("default"))
    learned, rouge = seen
    assert learned.transforms[0] == transforms.Scale(2.0)
    assert rouge.transforms[0] == transforms.Scale(4.0)
    assert rouge.reward == rewards.Rouge("L")
    again = dataclasses.replace(rouge, reward=learned.reward, transforms=learned.transforms)
    assert again.to_tree() == learned.to_tree()
    assert learned.seed == 3
