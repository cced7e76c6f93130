import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch

from guerdon.audit import Scored, score_comparisons
from guerdon.core import Comparison, DataError, RewardError, RewardOutput, Rollout


def test_each_distinct_row_is_scored_once_and_finds_its_way_back(made: ModuleType) -> None:
    pairs = [
        Comparison(context="q", first="aaa", second="b"),
        Comparison(context="q", first="b", second="cc", label=0.0),
        Comparison(context="p", first="b", second="aaa"),
    ]
    reward = made.TextReward(len)
    scored = score_comparisons(reward, pairs, batch=2)
    assert scored.score.tolist() == [[3, 1], [1, 2], [1, 3]]
    assert reward.rows == 5  # q: aaa, b, cc; p: b, aaa
    assert scored.delta.tolist() == [2, -1, -2]
    assert scored.cluster.tolist() == [0, 0, 1]


@dataclass(frozen=True)
class Reads:
    """Scores by an info column, so that a wrong row would show."""

    scope: str = "sample"
    differentiable: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        values = [
            float(o == a) if a is not None else math.nan for o, a in zip(rollout.outputs, rollout.info["answer"], strict=True)
        ]
        out = RewardOutput.of(torch.tensor(values), parts={"right": torch.tensor(values)})
        return out.replace(std=torch.where(out.ok, 0.5, 0.0))


def test_info_travels_and_failures_keep_their_reason() -> None:
    pairs = [
        Comparison(context="2+2", first="4", second="5", info={"answer": "4"}),
        Comparison(context="1+1", first="2", second="3"),
    ]
    scored = score_comparisons(Reads(), pairs)
    assert scored.score[0].tolist() == [1, 0]
    assert scored.ok.tolist() == [[True, True], [False, False]]
    assert np.isnan(scored.score[1]).all()
    assert scored.reason[1] == ("reward is nan", "reward is nan")
    assert scored.std is not None and scored.std[0].tolist() == [0.5, 0.5]
    assert scored.parts["right"][0].tolist() == [1, 0]
    assert "Reads(" in scored.identity


def test_a_row_that_raises_fails_alone(made: ModuleType) -> None:
    def length(text: str) -> float:
        if "boom" in text:
            raise ValueError("no such text")
        return len(text)

    pairs = [Comparison(context="q", first="fine", second="boom"), Comparison(context="r", first="a", second="bb")]
    scored = score_comparisons(made.TextReward(length), pairs)
    assert scored.ok.tolist() == [[True, False], [True, True]]
    assert scored.reason[0] == ("", "ValueError: no such text")


def test_a_reward_that_cannot_be_used_at_all_is_an_error(made: ModuleType) -> None:
    def broken(text: str) -> float:
        raise RewardError("its model is missing")

    with pytest.raises(RewardError, match="its model is missing"):
        score_comparisons(made.TextReward(broken), made.pairs_of(2))


@dataclass(frozen=True)
class GroupMean:
    """Length above the mean of its group; fails where a group is split."""

    scope: str = "group"
    differentiable: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        x = torch.tensor([float(len(o)) for o in rollout.outputs])
        mean = torch.stack([x[rollout.group == g].mean() for g in rollout.group])
        return RewardOutput.of(x - mean)


def test_a_group_is_never_split_by_a_batch() -> None:
    pairs = [Comparison(context=c, first="a" * k, second="b") for k in (3, 5, 7) for c in ("q", "p")]  # contexts take turns
    scored = score_comparisons(GroupMean(), pairs, batch=2)
    mean = (3 + 5 + 7 + 1) / 4
    assert scored.score[:, 0].tolist() == [3 - mean, 3 - mean, 5 - mean, 5 - mean, 7 - mean, 7 - mean]
    assert scored.score[:, 1].tolist() == [1 - mean] * 6


def test_stored_numbers(made: ModuleType) -> None:
    pairs = made.pairs_of(3)
    scored = Scored.of([1, 2, 3], [0, math.inf, math.nan], pairs)
    assert scored.ok.tolist() == [[True, True], [True, False], [True, False]]
    assert scored.reason[1] == ("", "score is inf")
    with pytest.raises(DataError, match="as many scores as comparisons"):
        Scored.of([1], [2], pairs)
    with pytest.raises(DataError, match="no comparisons"):
        score_comparisons(made.TextReward(len), [])


def test_identities_tell_data_and_scores_apart(made: ModuleType) -> None:
    a, b = (Scored.of([1, 2], [0, 0], made.pairs_of(2, seed=s)) for s in (0, 1))
    assert a.data_hash != b.data_hash and a.identity == b.identity
    assert a.data_hash == Scored.of([5, 6], [0, 0], made.pairs_of(2)).data_hash
    assert a.identity != Scored.of([5, 6], [0, 0], made.pairs_of(2)).identity


def test_contexts_of_messages_and_other_values(made: ModuleType) -> None:
    messages = [{"role": "user", "content": "hi"}]
    pairs = [Comparison(context=messages, first=[{"role": "assistant", "content": "hello"}], second="x"),
             Comparison(context=list(messages), first="x", second="y")]  # fmt: skip
    scored = score_comparisons(made.TextReward(lambda t: len(t)), pairs)
    assert scored.cluster.tolist() == [0, 0]
    tensor = torch.zeros(2)
    assert (
        len(score_comparisons(made.TextReward(lambda t: 0.0), [Comparison(context="c", first=tensor, second=torch.ones(2))])) == 1
    )
