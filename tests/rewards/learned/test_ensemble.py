"""Ensemble: combinations by hand, failures, identity, folders."""

import statistics

import pytest
import torch

from guerdon.core import ModelError, PlanError, RewardError, RewardOutput
from guerdon.rewards import Ensemble, Keywords, Length, RewardModel, as_reward, load_learned, recorded
from guerdon.rewards.journal import identity
from guerdon.rewards.learned.folder import put_recipe
from guerdon.testing import tiny_reward_model

THREE = ((1.0, 4.0), (2.0, 4.0), (6.0, 4.0))  # what three members say of two rows


class Says:
    scope, differentiable = "sample", False

    def __init__(self, values, ok=(True, True)):
        self.values, self.ok = values, ok

    def __call__(self, rollout):
        ok = torch.tensor(self.ok)
        return RewardOutput(torch.tensor(self.values), ok, ["" if o else "no answer" for o in self.ok])


@pytest.mark.parametrize(
    ("combine", "first"),
    [("mean", 3.0), ("worst", 1.0), ("uncertainty", 3.0 - 0.5 * statistics.pvariance([1.0, 2.0, 6.0]))],
)
def test_combinations_by_hand(combine, first):
    out = Ensemble([Says(v) for v in THREE], combine, penalty=0.5)(recorded(["q"] * 2, ["a", "b"]))
    assert out.total.tolist() == pytest.approx([first, 4.0])
    assert out.std.tolist() == pytest.approx([statistics.stdev([1.0, 2.0, 6.0]), 0.0])
    assert {k: v.tolist() for k, v in out.parts.items()} == {f"member-{m}": list(v) for m, v in enumerate(THREE)}


def test_a_row_that_one_member_failed_on_is_not_ok():
    out = Ensemble([Says((1.0, 2.0)), Says((3.0, 9.0), ok=(True, False))])(recorded(["q"] * 2, ["a", "b"]))
    assert out.ok.tolist() == [True, False]
    assert out.reason == ["", "member-1: no answer"]
    assert out.total.tolist() == [2.0, 0.0]


def test_any_rewards_will_do():
    both = Ensemble((Length(target=3), Keywords(("x",)), lambda output: 2.0))
    assert both(recorded(["q"], ["x y"])).parts["member-2"].tolist() == [2.0]
    assert both.scope == "sample"
    whole = as_reward(lambda completions: [1.0 for _ in completions])
    object.__setattr__(whole, "scope", "batch")
    assert Ensemble((Length(target=3), whole)).scope == "batch"


def test_identity_follows_members_and_combination():
    members = tiny_reward_model(), tiny_reward_model(seed=1)
    base = Ensemble(members)
    names = [identity(e) for e in (base, Ensemble(members, "worst"), Ensemble(members, penalty=2.0), Ensemble(members[::-1]))]
    assert len(set(names)) == 4
    assert identity(Ensemble((members[0].copy(), members[1].copy()))) == names[0]
    with torch.no_grad():
        members[1].model.score.weight.add_(0.01)
    assert identity(base) != names[0]
    assert identity(Ensemble((Length(target=3), Length(low=1)))) != identity(Ensemble((Length(target=3), Length(low=2))))


def test_folders(tmp_path):
    rollout = recorded(["q"] * 3, ["a", "bcd", ""])
    whole = Ensemble((tiny_reward_model("bert"), tiny_reward_model("bert", seed=1)), "uncertainty", 0.3, temperature=1.7)
    folder = whole.save(tmp_path / "e")
    assert {p.name for p in folder.iterdir()} == {"README.md", "guerdon.json", "member-0", "member-1"}
    back = load_learned(str(folder), dtype="float64", device="cpu")
    assert isinstance(back, Ensemble)
    assert (back.combine, back.penalty, back.temperature, back.identity) == ("uncertainty", 0.3, 1.7, whole.identity)
    assert (back(rollout).total - whole(rollout).total).abs().max() < 1e-12  # another place in memory may round otherwise
    other = Ensemble.from_pretrained(str(folder), combine="worst", dtype="float64", device="cpu")
    worst = torch.stack([m(rollout).total for m in whole.members]).min(0).values
    assert (other(rollout).total - worst)[:2].abs().max() < 1e-12
    single = load_learned(str(folder / "member-0"), dtype="float64", device="cpu")
    assert isinstance(single, RewardModel)
    with pytest.raises(ModelError, match="holds an ensemble"):
        RewardModel.from_pretrained(str(folder))
    with pytest.raises(ModelError, match="holds no ensemble"):
        Ensemble.from_pretrained(str(folder / "member-0"))


def test_only_models_are_saved(tmp_path):
    with pytest.raises(RewardError, match="member-0 is a Length"):
        Ensemble((Length(target=3), Length(target=3))).save(tmp_path / "e")
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_of_too_few_members_is_refused(tmp_path):
    put_recipe(tmp_path, {"kind": "ensemble", "members": 1})
    (tmp_path / "member-0").mkdir()
    tiny_reward_model().save(tmp_path / "member-0")
    with pytest.raises(PlanError, match="two or more"):
        Ensemble.from_pretrained(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Ensemble((Length(target=3), Length(target=3)), "worse"), "did you mean 'worst'"),
        (lambda: Ensemble((Length(target=3),)), "two or more"),
        (lambda: Ensemble((Length(target=3), Length(target=3)), penalty=-1), "penalty"),
    ],
)
def test_impossible_settings(make, says):
    with pytest.raises(PlanError, match=says):
        make()
