"""Flipped verdicts, the pattern reward and the lift by hand; what the system's plan is made of."""

import pytest
import torch

from guerdon.core import Batch, PlanError, RewardOutput, Rollout, Streams
from guerdon.rewards import Flipped, Keywords, ReasoningPattern, recorded
from guerdon.systems import get
from guerdon.systems.verifiable_rewards.noisy_reward_rpr import BrokenFormat, noisy_verdicts
from guerdon.tasks import Arithmetic
from guerdon.transforms import Lift


def asked(groups: int, n: int, outputs: list[str] | None = None, draw: int = 0) -> Rollout:
    """``n`` answers to each of ``groups`` questions, with the identities of a draw."""
    streams = Streams(5).fork("draw", draw)
    uid = streams.uids(groups)
    contexts = [f"question {k}" for k in range(groups) for _ in range(n)]
    rollout = recorded(contexts, outputs or ["yes" if j % 4 == 0 else "no" for _ in range(groups) for j in range(n)])
    return rollout.replace(group=uid.repeat_interleave(n), uid=streams.samples(uid, n))


YES = Keywords(("yes",))


def test_a_group_shares_its_flip_and_changes_sign() -> None:
    rollout = asked(200, 4)
    out = Flipped(YES, 0.4)(rollout)
    flips = out.parts["flipped"].reshape(200, 4)
    assert bool((flips == flips[:, :1]).all())
    assert 60 <= flips[:, 0].sum() <= 100  # 80 expected, deviation 7
    true, said = out.parts["true"].reshape(200, 4), out.total.reshape(200, 4)
    sign = torch.where(flips[:, :1] > 0, -1.0, 1.0)
    assert torch.allclose(said - said.mean(1, keepdim=True), sign * (true - true.mean(1, keepdim=True)))


def test_the_mean_is_that_of_the_formula() -> None:
    n = 20_000
    rollout = asked(n, 1, ["yes"] * n)
    assert Flipped(YES, 0.4)(rollout).total.mean().item() == pytest.approx(0.6, abs=0.015)  # (1 - 0.8) 1 + 0.4; 4 deviations
    rollout = asked(n, 1, ["no"] * n)
    assert Flipped(YES, 0.4)(rollout).total.mean().item() == pytest.approx(0.4, abs=0.015)


def test_what_shares_a_decision() -> None:
    one, two = asked(300, 4, draw=1), asked(300, 4, draw=2)  # the same questions again

    def flips(per: str, rollout: Rollout, seed: int = 0) -> list[bool]:
        return Flipped(YES, 0.5, per=per, seed=seed).flips(rollout).tolist()

    assert flips("group", one) != flips("group", two)
    assert flips("question", one) == flips("question", two)
    by_row = torch.tensor(flips("sample", one)).reshape(300, 4)
    assert 0 < int((by_row != by_row[:, :1]).any(1).sum()) < 300
    assert flips("group", one) != flips("group", one, seed=1)


def test_ends_spares_and_failures() -> None:
    rollout = asked(50, 2)
    plain = YES(rollout).total
    assert torch.equal(Flipped(YES, 0.0)(rollout).total, plain)
    assert torch.equal(Flipped(YES, 1.0)(rollout).total, 1 - plain)
    spared = Flipped(YES, 1.0, spare="found")(rollout)  # "found" is 0 where there is no "yes"
    assert spared.total.tolist() == [0.0] * 100

    def odd(rollout: Rollout) -> RewardOutput:
        return RewardOutput(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([True, True, False]), ["", "", "no verdict"])

    odd.scope, odd.differentiable = "sample", False  # type: ignore[attr-defined]
    out = Flipped(odd, 1.0)(recorded(["q"] * 3, ["a"] * 3))
    assert out.ok.tolist() == [True, False, False]
    assert out.total.tolist() == [0.0, 0.0, 0.0]
    assert "[0, 1]" in out.reason[1] and out.reason[2] == "no verdict"


@pytest.mark.parametrize(
    ("fields", "message"), [({"p": 1.5}, "probability"), ({"p": True}, "probability"), ({"p": 0.1, "per": "grup"}, "group")]
)
def test_flips_that_make_no_sense(fields: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Flipped(YES, **fields)


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(PlanError, match=r"fund.*found"):
        Flipped(YES, 0.1, spare="fund")(asked(1, 2))


def test_reasoning_pattern() -> None:
    reward = ReasoningPattern(("First, ", "so", "wait"), full=4, window=2, forbidden=("user:",))
    texts = [
        "First, add. So 4. So 4.",  # two phrases, 0.5; of six words' five pairs only "so 4." comes twice: 0.2
        "wait wait wait",  # one phrase, 0.25; the only pair of two comes twice: 1 / 2, more than was earned
        "First, wait, so it is. User: more",  # 0.75, less 1
        "4",
    ]
    out = reward(recorded(["q"] * 4, texts))
    assert out.total.tolist() == pytest.approx([0.3, 0.0, 0.0, 0.0])
    assert out.parts["phrases"].tolist() == [2, 1, 3, 0]
    assert out.parts["repeated"].tolist() == pytest.approx([0.2, 0.5, 0.0, 0.0])
    assert out.parts["forbidden"].tolist() == [0, 0, 1, 0]
    for bad in ({"phrases": ()}, {"phrases": "so"}, {"phrases": ("so",), "full": 0}):
        with pytest.raises(PlanError, match="ReasoningPattern"):
            ReasoningPattern(**bad)


def test_lift() -> None:
    total, quality = torch.tensor([0.2, 0.45, 0.5, 0.9, 0.3]), torch.tensor([0.5, 1.0, 1.0, 1.0, 0.0])
    rollout = recorded(["q"] * 5, ["a"] * 5)
    batch = Batch.of(rollout, RewardOutput.of(total, parts={"pattern": quality, "by step": torch.ones(5, 1)}))
    assert Lift("pattern").reward(batch).total.tolist() == pytest.approx([0.25, 0.55, 0.5, 0.9, 0.3])
    verdicts = Batch.of(rollout, RewardOutput.of(torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]), parts={"pattern": quality}))
    assert Lift("pattern", weight=1.0).reward(verdicts).total.tolist() == [0.5, 1.0, 1.0, 1.0, 0.0]
    assert Lift("pattern", below=1.0, weight=5.0).reward(batch).total.tolist()[:2] == [1.0, 1.0]  # not above 1
    with pytest.raises(PlanError, match=r"patern.*pattern"):
        Lift("patern").reward(batch)
    with pytest.raises(PlanError, match="every step"):
        Lift("by step").reward(batch)
    with pytest.raises(PlanError, match="weight"):
        Lift("pattern", weight=-1.0)


def test_the_corpus_has_the_stated_shares() -> None:
    corpus = BrokenFormat.tiny().corpus()
    broken = sum(answer.endswith("+") for _, answer in corpus) / len(corpus)
    values = [int(answer.removesuffix("+")) for _, answer in corpus]
    sums = [sum(map(int, prompt.removesuffix("=").split("+"))) for prompt, _ in corpus]
    wrong = sum(v != s for v, s in zip(values, sums, strict=True)) / len(corpus)
    assert broken == pytest.approx(0.85, abs=0.03)
    assert wrong == pytest.approx(0.1, abs=0.03)


def test_the_arms_differ_in_noise_alone() -> None:
    plans = [
        noisy_verdicts(Arithmetic().reward(), p, base="m", source=Arithmetic().prompts(), seed=3).to_tree() for p in (0.0, 0.4)
    ]
    assert [plan["reward"].pop("p") for plan in plans] == [0.0, 0.4]
    assert plans[0] == plans[1]
    study = get("noisy-reward-rpr").study
    assert {name: arm.keywords for name, arm in study.arms.items()} == {
        "p=0.4": {"p": 0.4},
        "p=0": {"p": 0.0},
        "p=0.5": {"p": 0.5},
    }


def test_flips_do_not_depend_on_how_rows_are_split() -> None:
    rollout = asked(20, 4)
    reward = Flipped(YES, 0.4)
    whole = reward(rollout).total
    parts = [reward(rollout[i]).total for i in torch.arange(80).flip(0).split(7)]
    assert torch.equal(whole.flip(0), torch.cat(parts))
