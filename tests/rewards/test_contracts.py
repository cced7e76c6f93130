"""Every public reward meets the reward contract, alone, in a Scorer, and from the journal."""

from pathlib import Path

import pytest
import torch

from guerdon import rewards
from guerdon.core import Reward, RewardOutput, Rollout
from guerdon.rewards import Journal, Scorer
from guerdon.testing._check_reward import check_reward
from guerdon.testing._rewards import example_rewards

EXAMPLES = example_rewards()


def equal(a: RewardOutput, b: RewardOutput) -> bool:
    parts = set(a.parts) == set(b.parts) and all(torch.equal(a.parts[k], b.parts[k]) for k in a.parts)
    return torch.equal(a.total, b.total) and torch.equal(a.ok, b.ok) and list(a.reason) == list(b.reason) and parts


def test_every_public_reward_has_an_example() -> None:
    made = {type(r).__name__ for r, _ in EXAMPLES.values()}
    atoms = {n for n in rewards.__all__ if isinstance(found := getattr(rewards, n), type) and hasattr(found, "scope")} - {
        "Scorer"
    }
    assert made == atoms


@pytest.mark.parametrize("name", EXAMPLES)
def test_contract(name: str, tmp_path: Path) -> None:
    reward, rollout = EXAMPLES[name]
    out = check_reward(reward, rollout)
    assert out.ok.any()
    with Scorer(reward, timeout=20) as scorer:
        assert equal(scorer.score(rollout), out)
    for hits in (0, len(rollout)):  # computed, then found
        with Journal(tmp_path / "journal.jsonl") as journal, Scorer(reward, journal=journal) as scorer:
            assert equal(scorer.score(rollout), out)
            assert journal.hits == (hits if getattr(reward, "journaled", True) else 0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_rows(name: str) -> None:
    reward, rollout = EXAMPLES[name]
    assert len(reward(rollout[[]]).total) == 0
    with Scorer(reward) as scorer:
        assert len(scorer.score(rollout[[]]).total) == 0


@pytest.mark.parametrize(
    "name", [n for n in EXAMPLES if not n.startswith("as_reward") and n not in ("RewardModel", "ProcessReward")]
)  # a network
def test_atoms_are_plain_values(name: str) -> None:
    reward, _ = EXAMPLES[name]
    again = type(reward)(**vars(reward))
    assert again == reward
    assert type(reward).__name__ in repr(reward)


def test_the_protocol_is_met() -> None:
    def accepts(reward: Reward, rollout: Rollout) -> RewardOutput:
        return reward(rollout)

    for reward, rollout in EXAMPLES.values():
        assert isinstance(reward, Reward)
        assert len(accepts(reward, rollout)) == len(rollout)
