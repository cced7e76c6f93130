"""Advantages by hand, what the three methods are made of, and how answers are counted."""

import pytest
import torch

from guerdon.advantages import GroupNorm
from guerdon.core import Batch, PlanError, RewardOutput, Term, recorded
from guerdon.objectives import KL, Clip
from guerdon.run import Prompts, run
from guerdon.samplers import Refill
from guerdon.systems import get
from guerdon.systems.policy_gradient import lite_ppo as module
from guerdon.systems.policy_gradient.lite_ppo import dapo, grpo, lite_ppo, mean_until
from guerdon.transforms import OverlongPenalty


def scored(*groups: list[float], ok: list[bool] | None = None) -> Batch:
    """A batch of one-step answers with these rewards, group by group."""
    rewards = [r for g in groups for r in g]
    rollout = recorded([f"q{k}" for k, g in enumerate(groups) for _ in g], ["a"] * len(rewards))
    kept = torch.tensor(ok or [True] * len(rewards))
    return Batch.of(rollout, RewardOutput(torch.tensor(rewards), kept, ["" if k else "no verdict" for k in kept.tolist()]))


EASY = [1.0] * 7 + [0.0]  # mean 7/8; the failure lies 0.875 under it, the others 0.125 above


def test_one_failure_among_eight() -> None:
    hard = [0.0] * 8
    by_group = GroupNorm(eps=1e-12)(scored(EASY, hard))[:, 0]
    # Sum of squares 7 / 64 + 49 / 64 = 7 / 8. Deviation sqrt(1 / 8) = 0.3536 with Bessel's correction, sqrt(7) / 8 = 0.3307 without:
    # 0.875 / 0.3536 = 2.475 here, 0.875 / 0.3307 = sqrt(7) = 2.646 by the population's.
    assert by_group[7].item() == pytest.approx(-0.875 * 8**0.5)
    assert by_group[7].item() * (8 / 7) ** 0.5 == pytest.approx(-(7**0.5))
    assert by_group[0].item() == pytest.approx(0.125 * 8**0.5)
    # All sixteen: mean 7/16, sum of squares 7 - 49/16 = 63/16, deviation sqrt(63 / 240) = 0.5123.
    lite = GroupNorm(std="batch", eps=1e-12)(scored(EASY, hard))[:, 0]
    assert lite[7].item() == pytest.approx(-0.875 / (63 / 240) ** 0.5)
    assert lite[8:].tolist() == [0.0] * 8


def test_equal_spreads_of_different_groups_stay_apart() -> None:
    narrow, wide = [0.5, 0.6], [0.0, 1.0]
    by_group = GroupNorm(eps=1e-12)(scored(narrow, wide))[:, 0]
    assert by_group[1].item() == pytest.approx(by_group[3].item())  # the group's deviation hides how wide it is
    lite = GroupNorm(std="batch")(scored(narrow, wide))[:, 0]
    assert (lite[3] / lite[1]).item() == pytest.approx(10.0)


def test_another_scale_of_reward_changes_nothing() -> None:
    groups = (EASY, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    plain, signed = (GroupNorm(std="batch", eps=1e-12)(scored(*g)) for g in (groups, [[2 * r - 1 for r in g] for g in groups]))
    assert torch.allclose(plain, signed)


def test_rows_that_failed_count_nowhere() -> None:
    with_failure = scored([1.0, 0.0, 9.0], [1.0, 1.0, 0.0], ok=[True, True, False, True, True, True])
    without = scored([1.0, 0.0], [1.0, 1.0, 0.0])
    a, b = GroupNorm(std="batch")(with_failure)[:, 0], GroupNorm(std="batch")(without)[:, 0]
    assert a[[0, 1, 3, 4, 5]].tolist() == b.tolist()
    assert a[2].item() == 0.0


def test_deviations_there_are() -> None:
    with pytest.raises(PlanError, match="'batch'"):
        GroupNorm(std="batches")


def test_what_the_methods_are_made_of() -> None:
    lite = lite_ppo(None, base="m", source=Prompts(("1+1=",)))
    one, two = grpo(lite), dapo(lite, max_tokens=5, buffer=1)

    def term(plan: object) -> Term:
        return plan.learners["policy"].terms  # type: ignore[attr-defined]

    assert [p.advantage.std for p in (lite, one, two)] == ["batch", True, True]
    assert [term(p).over for p in (lite, one, two)] == ["step", "sample", "step"]
    assert [term(p).objective.kl for p in (lite, one, two)] == [None, KL(0.04), None]
    assert [term(p).objective.clip for p in (lite, one, two)] == [Clip(), Clip(), Clip(0.2, 0.28)]
    assert two.transforms == (OverlongPenalty(limit=5, buffer=1),)
    assert isinstance(two.sampler, Refill) and (two.sampler.contexts, two.sampler.n) == (64, 8)
    assert len({(p.learners["policy"].optim, p.learners["policy"].minibatches) for p in (lite, one, two)}) == 1


def test_the_mean_under_a_curve() -> None:
    # From 0 to 10 the height rises from 0 to 1, then stays: 5 of area, then 5 more up to 15.
    assert mean_until([0, 10, 20], [0.0, 1.0, 1.0], 15) == pytest.approx(10 / 15)
    assert mean_until([0, 10, 20], [0.0, 1.0, 1.0], 5) == pytest.approx(0.25)
    assert mean_until([0, 10, 20], [0.3, 0.3, 0.3], 20) == pytest.approx(0.3)


def test_answers_drawn_again_are_counted() -> None:
    from guerdon.study import Budget

    task = module._world("easy", Budget("tiny"))
    plan = lite_ppo(
        lambda output: 1.0, base=str(task.base()), source=task.prompts(), steps=1, sampler=module.samplers.Group(contexts=2, n=2)
    )  # every answer earns the same, so no group differs and every try is made
    result = run(dapo(plan, max_tokens=5, buffer=1, tries=3))
    assert result.history[0]["part/rounds"] == 3.0


def test_every_method_is_tuned_alike() -> None:
    study = get("lite-ppo").study
    assert set(study.tuned) == {"Lite PPO", "GRPO", "DAPO"}
    assert {arm.func for arm in study.arms.values()} == {module._arm}
