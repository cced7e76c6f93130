"""Critics: values of the states before each step, of cut-off ends, and gradients that go where they should."""

import pytest
import torch

from guerdon.core import Items, ModelError, Streams
from guerdon.policies import FromReward, HeadOnPolicy, OwnTrunk
from guerdon.testing import example_policies
from guerdon.testing._models import tiny_lm, tiny_tokenizer

STREAMS = Streams(9)
ITEMS = Items(["ab", "hello", "q"], STREAMS.uids(3))


def drawn(policy):
    rollout = policy.sample(ITEMS, 4, streams=STREAMS, max_tokens=10)
    assert 0 < int(rollout.terminal.sum()) < len(rollout)
    return rollout


def filled(critic):
    with torch.no_grad():
        critic.head.weight.copy_(torch.linspace(-1, 1, critic.head.in_features)[None])
        critic.head.bias.fill_(0.3)
    return critic


@pytest.mark.parametrize("spec", [OwnTrunk(), HeadOnPolicy()], ids=str)
def test_values_read_the_state_before_each_step(spec):
    policy = tiny_lm(vocab=30)
    rollout = drawn(policy)
    critic = spec.build(policy)
    assert not critic.values(rollout).any()  # heads start at 0
    value = filled(critic).values(rollout)
    assert value.shape == (len(rollout), rollout.steps + 1)
    for b in range(len(rollout)):
        n = int(rollout.lengths[b])
        ids = rollout.actions[b : b + 1, :n]
        features = policy.network.model.base_model(ids).last_hidden_state[0].detach()
        expected = (features @ critic.head.weight[0] + 0.3).detach()
        assert torch.allclose(value[b, 1:n], expected[: n - 1], rtol=0, atol=1e-10)
        if rollout.terminal[b]:
            assert value[b, n] == 0
        else:
            assert value[b, n] == pytest.approx(float(expected[n - 1]), abs=1e-10)
        assert not value[b, n + 1 :].any()
    assert torch.allclose(critic(rollout).value, value, rtol=0, atol=1e-12)


def gradient(critic, rollout):
    critic(rollout).value.square().sum().backward()


def test_an_own_trunk_shares_nothing():
    policy = tiny_lm(vocab=30)
    critic = filled(OwnTrunk().build(policy))
    gradient(critic, drawn(policy))
    assert all(p.grad is None for p in policy.parameters())
    trained = [p for p in critic.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)  # and nothing is trained that has no part in it
    assert not {id(p) for p in policy.parameters()} & {id(p) for p in critic.parameters()}
    critic.train()
    assert not any(m.training for m in critic.modules())


def test_a_head_on_the_policy_leaves_it_alone():
    policy = tiny_lm(vocab=30)
    critic = filled(HeadOnPolicy().build(policy))
    gradient(critic, drawn(policy))
    assert [n for n, _ in critic.named_parameters()] == ["head.weight", "head.bias"]
    assert set(critic.state_dict()) == {"head.weight", "head.bias"}
    assert float(critic.head.weight.grad.abs().max()) > 0
    assert not [p for p in policy.parameters() if p.grad is not None]


def test_a_policy_and_its_head_trained_together():
    """One pass gives what each gives alone, cuts included, and the value loss reaches the policy's weights."""
    policy = tiny_lm(vocab=30)
    critic = filled(HeadOnPolicy().build(policy))
    both = critic.with_policy(policy)
    rollout = policy.sample(ITEMS, 4, streams=STREAMS, max_tokens=10, top_k=5)
    out = both(rollout, want=("logp", "entropy", "value"))
    torch.testing.assert_close(out.logp, policy(rollout).logp, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.value, critic.values(rollout), rtol=0, atol=1e-12)
    assert out.entropy.shape == rollout.mask.shape
    out.value.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in policy.parameters())


def test_a_policy_and_a_critic_of_its_own_trunk_as_one_network():
    policy = tiny_lm(vocab=30)
    critic = filled(OwnTrunk().build(policy))
    rollout = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=6)
    out = critic.with_policy(policy)(rollout, want=("logp", "value"))
    torch.testing.assert_close(out.logp, policy(rollout).logp, rtol=0, atol=0)
    torch.testing.assert_close(out.value, critic(rollout).value, rtol=0, atol=0)


def test_a_trunk_of_adapters_trains_adapters():
    policy = tiny_lm(vocab=30, lora=2)
    critic = OwnTrunk().build(policy)
    assert all("lora_" in n or n.startswith("head") for n, p in critic.named_parameters() if p.requires_grad)
    assert any("lora_" in n for n, p in critic.named_parameters() if p.requires_grad)


def test_low_precision_trunks_have_heads_in_float32():
    policy = tiny_lm(dtype="bfloat16", vocab=30)
    critic = filled(OwnTrunk().build(policy))
    assert critic.head.weight.dtype == torch.float32
    assert critic.values(policy.sample(ITEMS, 1, streams=STREAMS, max_tokens=3)).dtype == torch.float32


@pytest.fixture
def reward_model(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(vocab_size=30, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, num_labels=1,
                         pad_token_id=None)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForSequenceClassification(config).double().eval()
    model.save_pretrained(tmp_path / "reward")
    tiny_tokenizer(30).save_pretrained(tmp_path / "reward")
    return tmp_path / "reward", model


def test_a_critic_from_a_reward_model_ends_with_its_reward(reward_model):
    folder, model = reward_model
    policy = tiny_lm(vocab=30)
    rollout = drawn(policy)
    critic = FromReward(str(folder)).build(policy)
    value = critic.values(rollout.replace(terminal=torch.zeros(len(rollout), dtype=torch.bool)))
    for b in range(len(rollout)):
        n = int(rollout.lengths[b])
        theirs = model(rollout.actions[b : b + 1, :n]).logits  # reads the last token that is not padding
        assert float(value[b, n]) == pytest.approx(float(theirs.detach()), abs=1e-9)
    gradient(critic, rollout)
    assert all(p.grad is not None for p in critic.parameters())


def test_reward_models_of_another_kind_are_refused(reward_model, tmp_path):
    folder, _ = reward_model
    with pytest.raises(ModelError, match="its tokenizer is not the policy's"):
        FromReward(str(folder)).build(tiny_lm())
    with pytest.raises(ModelError, match="no such folder"):
        FromReward(str(tmp_path / "none")).build(tiny_lm())
    tiny_lm(vocab=30).save(tmp_path / "lm")
    with pytest.raises(ModelError, match=r"the weights lack 1 tensors, such as score.weight"):
        FromReward(str(tmp_path / "lm")).build(tiny_lm(vocab=30))


def test_policies_without_features_are_refused():
    policy, _ = example_policies()["tiny-text"]
    with pytest.raises(ModelError, match="TinyText has no features for a value head"):
        OwnTrunk().build(policy)
