"""A black box samples, and says clearly that it can do no more."""

import pytest
import torch

from guerdon.core import Items, ModelError, Streams
from guerdon.policies import BlackBox

STREAMS = Streams(1)


def test_outputs_and_seeds_belong_to_their_items():
    seen = []

    def answer(context, n, seed):
        seen.append((context, seed))
        return [f"{context}{seed % 97}-{j}" for j in range(n)]

    policy = BlackBox(answer, name="api/model-1")
    items = Items(["a", "b"], STREAMS.uids(2), {"answer": [1, 2]})
    rollout = policy.sample(items, 3, streams=STREAMS)
    assert [o.split("-")[1] for o in rollout.outputs] == ["0", "1", "2"] * 2
    assert rollout.info["answer"] == [1, 1, 1, 2, 2, 2]
    assert torch.equal(rollout.group, items.uid.repeat_interleave(3))
    assert rollout.logp is None
    assert rollout.mask.all()
    assert rollout.behaviour[0].policy == "api/model-1"
    assert policy.sample(items[1], 3, streams=STREAMS).outputs == rollout.outputs[3:]
    assert len({s for _, s in seen}) == 2
    assert all(0 <= s < 2**31 for _, s in seen)


def test_what_it_cannot_do():
    policy = BlackBox(lambda context, n, seed: ["x"])
    items = Items(["a"], STREAMS.uids(1))
    assert policy.likelihood == "none"
    rollout = policy.sample(items, streams=STREAMS)
    with pytest.raises(ModelError, match="no log-probs"):
        policy(rollout)
    with pytest.raises(ModelError, match=r"item 0: .* was asked for 2 outputs and gave 1"):
        policy.sample(items, 2, streams=STREAMS)
    with pytest.raises(ModelError, match="takes no controls, got temperature"):
        policy.sample(items, streams=STREAMS, temperature=0.5)
