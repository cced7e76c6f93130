"""Controls that make no sense are one line, wherever they are given."""

from __future__ import annotations

import pytest
import torch

from guerdon.core import Items, PlanError, Rollout, Streams
from guerdon.policies import DDIM, DenoiserMLP, Diffusion

POLICY = Diffusion.of((2,), network=DenoiserMLP((4,)), steps=4)


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ({"steps": "x"}, "steps must be a whole number, got 'x'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 5000}, "Cosine has 1 to 1000 steps, got steps=5000"),
        ({"guidance": "nan"}, "guidance must be a finite number, got 'nan'"),
        ({"guidance": 2.0}, "guidance 2.0 contrasts what is asked with nothing; there is no condition"),
        ({"window": 3}, r"window is \(first level, how many\) among 4 steps, got 3"),
        ({"window": [3, 2]}, r"window is \(first level, how many\) among 4 steps, got \(3, 2\)"),
        ({"kernel": "ddim"}, r"kernel is 'ddim'; expected one such as DDIM\(eta=0.0\)"),
        ({"kernel": DDIM(0.5), "kernal": 1}, "no control 'kernal'; did you mean 'kernel'"),
        ({"level": 2}, "outputs and level go together"),
    ],
)
def test_they_are_refused_in_one_line(controls, said):
    streams = Streams(0)
    with pytest.raises(PlanError, match=said) as told:
        POLICY.sample(Items([None], streams.uids(1)), 1, streams=streams, **controls)
    assert "\n" not in str(told.value)


def test_a_folder_is_not_opened_with_a_chain_that_there_is_not(tmp_path):
    POLICY.save(tmp_path / "policy")
    with pytest.raises(PlanError, match="Cosine has 1 to 1000 steps, got steps=2000"):
        Diffusion.from_pretrained(str(tmp_path / "policy"), steps=2000)
    assert Diffusion.from_pretrained(str(tmp_path / "policy"), steps=7, kernel=DDIM(0.3)).how.kernel == DDIM(0.3)


def test_rows_of_chains_of_different_lengths_are_read_together():
    items, streams = Items([None], Streams(0).uids(1)), Streams(0)
    short = POLICY.sample(items, 2, streams=streams)
    given = POLICY.rollout_from(items, torch.zeros(1, 2), streams=streams, draws=4).replace(logp=torch.zeros(1, 4))
    both = Rollout.cat([short, given, POLICY.sample(items, 1, streams=streams, steps=3)])
    apart = torch.cat([POLICY(x, want=("hidden",)).hidden for x in (short, given)])
    torch.testing.assert_close(POLICY(both, want=("hidden",)).hidden[:3], apart)
    logp = torch.cat([POLICY(x).logp for x in (short, given)])
    torch.testing.assert_close(POLICY(both).logp[:3], logp)
