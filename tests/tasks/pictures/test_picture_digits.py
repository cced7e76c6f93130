"""Digits: real pictures, and judges of which neither knows the other."""

import sys

import pytest
import torch

from guerdon.core import Items, ModelError, PlanError, Streams
from guerdon.core.rollout import recorded
from guerdon.tasks import Digits, DigitsReward
from guerdon.tasks.picture_worlds._digits import digits

pytest.importorskip("sklearn")


def test_the_data_and_its_split() -> None:
    pictures, labels = digits()
    assert pictures.shape == (1797, 1, 8, 8) and float(pictures.min()) == -1 and float(pictures.max()) == 1
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as the data set's page says
    parts = [set(Digits().numbers(s).tolist()) for s in ("train", "held_out")]
    assert not parts[0] & parts[1] and len(parts[0]) + len(parts[1]) == 1797 and 120 < len(parts[1]) < 240
    known = Digits().examples(50)
    assert known.contexts == known.info["label"] and torch.equal(Digits().examples(9).pictures, known.pictures[:9])


def test_both_judges_know_held_out_digits_and_not_noise() -> None:
    pictures, labels = digits()
    rows = Digits().numbers("held_out")
    truth = recorded(labels[rows].tolist(), pictures[rows])
    for judge in (DigitsReward(), DigitsReward(judge="neighbours")):
        out = judge(truth)
        assert bool(out.ok.all()) and float(out.parts["right"].mean()) > 0.95 and float(out.total.mean()) > 0.9
        wrong = judge(recorded([(d + 1) % 10 for d in labels[rows].tolist()], pictures[rows]))
        assert float(wrong.total.mean()) < 0.05


def test_gradients_flow_through_the_network() -> None:
    pictures = digits()[0][:3].clone().requires_grad_()
    reward = DigitsReward()
    assert reward.differentiable and not DigitsReward(judge="neighbours").differentiable
    out = reward(recorded([5, 5, 5], pictures).replace(outputs=pictures))
    out.total.sum().backward()
    assert pictures.grad is not None and bool((pictures.grad.flatten(1).abs().sum(1) > 0).all())
    again = reward(recorded([5, 5, 5], pictures.detach()))
    assert torch.equal(out.total.detach(), again.total)


def test_bad_rows_and_names() -> None:
    good = digits()[0][0]
    out = DigitsReward()(recorded([0, 10, "0", 0], [good, good, good, good * float("nan")]))
    assert out.ok.tolist() == [True, False, False, False] and "no digit from 0 to 9" in out.reason[1] and "NaN" in out.reason[3]
    with pytest.raises(PlanError, match="judge is 'neighbors'; did you mean 'neighbours'"):
        DigitsReward(judge="neighbors")  # type: ignore[arg-type]


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits.cache_clear()
    with pytest.raises(ModelError, match=r"pip install 'guerdon\[pictures\]'"):
        Digits().examples(1)
    digits.cache_clear()


def test_labels_are_conditions() -> None:
    task = Digits.tiny()
    policy = task.policy()
    s = Streams(0)
    rollout = policy.sample(Items([3, None], s.uids(2)), 2, streams=s)
    assert rollout.outputs.shape == (4, 1, 8, 8) and task.nothing(3) is None
