"""Agents of Stable-Baselines3: what they do and say here is what they do and say there; and no file of a stranger runs anything."""

import base64
import io
import json
import math
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from guerdon import policies
from guerdon.core import Items, ModelError, Rollout, Streams
from guerdon.core.world import Box, Discrete, Spaces, Start
from guerdon.policies import Control, SB3Value
from guerdon.run import Plan, Prompts, lazy
from guerdon.worlds import Gym

GOLDEN = json.loads((Path(__file__).parent / "golden" / "sb3_agents.json").read_text())  # its maker lies beside it
TINY = Path(__file__).parent / "golden" / "ppo_tiny.zip"
OBSERVED, ACTED = Box((3,), -5.0, 5.0), Box((2,), (-1.0, -2.0), (1.0, 3.0))


def wave(*shape, phase=0.0):  # as in golden/sb3_agents.py
    k = np.arange(math.prod(shape))
    return np.float32(np.round(np.sin(12.9898 * k + phase + 0.37 * k * k) * 256) / 256).reshape(shape)


def weights(shapes):
    made = {
        n: torch.from_numpy(wave(*shapes[n], phase=i) * np.float32(0.5 if len(shapes[n]) < 3 else 0.1))
        for i, n in enumerate(sorted(shapes))
    }
    shared = {
        n: n.replace("pi_f", "f").replace("features_extractor", "vf_features_extractor")
        for n in made
        if n.startswith(("pi_", "f"))
    }
    return made | {n: made[v] for n, v in shared.items()}  # one module under three names: the last one's numbers stay


def observations(space, n):
    if isinstance(space, Discrete):
        return torch.arange(n) % space.n
    if space.number == "uint8":
        return (torch.arange(n * math.prod(space.shape)).reshape(n, *space.shape) * 37 % 256).to(torch.uint8)
    return torch.from_numpy(2 * wave(n, *space.shape, phase=0.5))


def actions(space, n):
    return torch.arange(n) % space.n if isinstance(space, Discrete) else torch.from_numpy(1.5 * wave(n, *space.shape, phase=0.25))


def torch_bytes(thing):
    out = io.BytesIO()
    torch.save(thing, out)
    return out.getvalue()


def archive(path, tensors, data=None, **entries):
    """What ``model.save`` of Stable-Baselines3 writes."""
    with zipfile.ZipFile(path, "w") as z:
        if data is not None:
            z.writestr("data", json.dumps(data))
        if tensors is not None:
            z.writestr("policy.pth", torch_bytes(OrderedDict(tensors)))
        for name, content in entries.items():
            z.writestr(name.replace("__", "."), content)
    return path


class Touch:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def rows(observed, acted):
    """One-step rows that end by being cut off."""
    n = len(observed)
    return Rollout(
        contexts=[""] * n, outputs=[""] * n, actions=acted[:, None], mask=torch.ones(n, 1, dtype=torch.bool), group=torch.arange(n),
        uid=torch.arange(n), states=torch.stack([observed, observed], 1), terminal=torch.zeros(n, dtype=torch.bool),
    )  # fmt: skip


def compare(policy, golden, observed, acted, critic=None, atol=1e-5):
    mode = policy.head.to_world(policy.act(observed, None)[0])
    torch.testing.assert_close(mode.float(), torch.tensor(golden["mode"]).float(), atol=1e-5, rtol=1e-5)
    out = policy(rows(observed, acted), want=("logp", "entropy"))
    torch.testing.assert_close(out.logp[:, 0], torch.tensor(golden["logp"]), atol=atol, rtol=1e-5)
    if golden["entropy"] is not None:
        torch.testing.assert_close(out.entropy[:, 0], torch.tensor(golden["entropy"]), atol=1e-5, rtol=1e-5)
    if golden["value"] is not None:
        value = critic.values(rows(observed, acted))
        torch.testing.assert_close(value[:, 0], torch.tensor(golden["value"]), atol=1e-5, rtol=1e-5)


# -- the same as there


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_an_archive_acts_and_judges_as_its_agent_does(name, tmp_path):
    golden = GOLDEN["cases"][name]
    trap = base64.b64encode(pickle.dumps(Touch(tmp_path / "ran"))).decode()
    data = {k: {**v, ":serialized:": trap} if isinstance(v, dict) else v for k, v in golden["data"].items()}
    path = str(archive(tmp_path / "agent.zip", weights(golden["shapes"]), data, vecnormalize="", pytorch_variables__pth=b"junk"))
    policy = Control.from_pretrained(path)
    critic = SB3Value(path).build(policy) if golden["value"] is not None else None
    space = policy.observation
    # its log-density after tanh has an epsilon of 1e-6 and, for gSDE, goes through an inverse in float32
    squashed = {"ppo_gsde_squashed": 2e-4, "sac": 2e-5, "sac_gsde": 2e-4}
    compare(policy, golden, observations(space, 4), actions(policy.action, 4), critic, squashed.get(name, 1e-5))
    assert not (tmp_path / "ran").exists()


def test_pictures_are_shown_as_the_world_has_them(tmp_path):
    golden = GOLDEN["cases"]["ppo_pixels"]
    policy = Control.from_pretrained(str(archive(tmp_path / "a.zip", weights(golden["shapes"]), golden["data"])))
    assert policy.observation == Box((36, 40, 2), 0.0, 255.0, "uint8")  # there they are stored channels first


def test_a_real_archive():
    policy = Control.from_pretrained(str(TINY))
    assert policy.observation == OBSERVED and policy.action == ACTED
    shapes = {"action_net.bias": [2], "action_net.weight": [2, 2], "log_std": [2]}  # the first three in alphabetical order
    expected = weights({**shapes, **{f"z{k}": [1] for k in range(6)}})
    torch.testing.assert_close(policy.head.mean.weight.detach(), expected["action_net.weight"])
    torch.testing.assert_close(policy.head.log_std.detach(), expected["log_std"])


def test_bare_weights_need_a_world(tmp_path):
    golden = GOLDEN["cases"]["ppo_gaussian"]
    path = tmp_path / "policy.pth"
    path.write_bytes(torch_bytes(OrderedDict(weights(golden["shapes"]))))
    with pytest.raises(
        ModelError, match=r"policy\.pth: does not say what its agent observes and does; name its world with world="
    ):
        Control.from_pretrained(str(path))
    world = Spaces(OBSERVED, ACTED)
    policy = Control.from_pretrained(str(path), world=world, activation="relu")
    compare(policy, golden, observations(OBSERVED, 4), actions(ACTED, 4), SB3Value(str(path), activation="relu").build(policy))
    assert policy.source == str(path)


def test_safetensors_with_an_index(tmp_path):
    golden = GOLDEN["cases"]["a2c_gsde"]
    save_file(weights(golden["shapes"]), tmp_path / "a2c_Still-v0.safetensors")
    entry = {"name": "a2c_Still-v0", "obs_shape": [3], "action_n": None, "action_shape": [2], "action_low": "[-1. -2.]",
             "action_high": "[1. 3.]", "policy_kwargs": "dict(log_std_init=-2, ortho_init=False)", "num_timesteps": 77,
             "obs_normalisation": {"norm_obs": True, "obs_mean": [0, 0, 0], "obs_var": [1, 1, 1], "epsilon": 0.0, "clip_obs": 9.0}}  # fmt: skip
    (tmp_path / "agents.json").write_text(json.dumps([entry]))
    for name in (f"{tmp_path}#a2c_Still-v0", str(tmp_path / "a2c_Still-v0.safetensors")):
        policy = Control.from_pretrained(name)
        compare(policy, golden, observations(OBSERVED, 4), actions(ACTED, 4), SB3Value(name).build(policy))
    assert (policy.front.scale.clip, float(policy.front.scale.count)) == (9.0, 77.0)
    with pytest.raises(ModelError, match=r"no such file; did you mean 'a2c_Still-v0'\?"):
        Control.from_pretrained(f"{tmp_path}#a2c_Stil-v0")
    with pytest.raises(ModelError, match=r"holds 1 agents; name one of them, such as '.*#a2c_Still-v0'"):
        Control.from_pretrained(str(tmp_path))


def test_other_number_formats(tmp_path):
    golden = GOLDEN["cases"]["sac"]
    path = str(archive(tmp_path / "a.zip", weights(golden["shapes"]), golden["data"]))
    policy = Control.from_pretrained(path, dtype="float64")
    assert policy.dtype == torch.float64 and policy.head.mean.weight.dtype == torch.float64
    mode = policy.head.to_world(policy.act(observations(OBSERVED, 4), None)[0])
    torch.testing.assert_close(mode, torch.tensor(golden["mode"], dtype=torch.float64), atol=1e-6, rtol=1e-6)


# -- the trained ones


def test_trained_agents_judge_as_their_makers_do(shared_data):
    folder = shared_data / "models" / "rl_agents"
    for name, golden in GOLDEN["trained"].items():
        policy = Control.from_pretrained(f"{folder}#{name}", world=None if "CartPole" not in name else Gym("CartPole-v1"))
        critic = SB3Value(f"{folder}#{name}").build(policy) if golden["value"] is not None else None
        atol = 1e-5 if golden["value"] is not None else 2e-3  # gSDE behind tanh: there through an inverse in float32
        compare(policy, golden, torch.tensor(golden["observations"]), actions(policy.action, 4), critic, atol)


def returns(policy, world, seeds):
    streams = Streams(0)
    items = Items([Start(world, s) for s in seeds], streams.uids(len(seeds)))
    rollout = policy.sample(items, streams=streams, temperature=0.0)
    assert set(rollout.info["failed"]) == {""}
    return rollout.info["return"]


@pytest.mark.parametrize("name", [n for n in GOLDEN["trained"] if n != "ppo_BipedalWalker-v3"])
def test_trained_agents_earn_their_listed_returns(name, shared_data):
    pytest.importorskip("gymnasium")
    folder = shared_data / "models" / "rl_agents"
    entry = next(e for e in json.loads((folder / "agents.json").read_text()) if e["name"] == name)
    listed = entry["verified"]
    if "LunarLander" in name:
        pytest.importorskip("Box2D")
    world = Gym(listed["env"], {"continuous": True} if "Continuous-v2" in name else {})
    found = returns(Control.from_pretrained(f"{folder}#{name}", world=world), world, range(10))
    assert round(float(found.mean()), 2) == listed["deterministic_mean_return"]
    assert round(float(found.std(unbiased=False)), 2) == listed["std"]


def test_the_walker_walks_as_it_does_there(shared_data):
    """Its contacts are chaotic: the last bit of an action decides whether it falls, so episodes are run one at a time."""
    pytest.importorskip("Box2D")
    world = Gym("BipedalWalker-v3")
    policy = Control.from_pretrained(f"{shared_data / 'models' / 'rl_agents'}#ppo_BipedalWalker-v3", world=world)
    found = [float(returns(policy, world, [seed])) for seed in (0, 6)]
    assert found == pytest.approx([303.48, 28.07], abs=0.01)  # Stable-Baselines3 2.9.2, a new environment each


# -- observations that were normalised


@pytest.fixture
def agent(tmp_path):
    golden = GOLDEN["cases"]["ppo_gaussian"]
    return archive(tmp_path / "agent.zip", weights(golden["shapes"]), golden["data"])


def test_statistics_beside_the_agent(agent, tmp_path):
    observed, golden = observations(OBSERVED, 4), GOLDEN["cases"]["ppo_gaussian"]
    plain = json.dumps({"obs_mean": [1, 2, 3], "obs_var": [4, 4, 4], "epsilon": 0.0, "clip_obs": 10, "obs_count": 50})
    (tmp_path / "vecnormalize.json").write_text(plain)
    policy = Control.from_pretrained(str(agent))
    raw = 2 * observed + torch.tensor([1.0, 2.0, 3.0])  # (raw - mean) / 2 is what the agent is to see
    compare(policy, golden, raw, actions(ACTED, 4), SB3Value(str(agent)).build(policy))
    assert Control.from_pretrained(str(agent), normalisation="none").front.scale is None
    other = tmp_path / "other.safetensors"
    save_file({"obs_mean": torch.tensor([1.0, 2, 3]), "obs_var": torch.tensor([4.0, 4, 4]), "epsilon": torch.tensor(0.0)}, other)
    compare(Control.from_pretrained(str(agent), normalisation=str(other)), {**golden, "value": None}, raw, actions(ACTED, 4))


def test_pickled_statistics_are_seen_and_not_opened(agent, tmp_path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "vecnormalize.pkl").write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    with pytest.raises(
        ModelError, match=r"statistics are a pickle \(agent/vecnormalize.pkl\), which is not opened; write vecnormalize"
    ):
        Control.from_pretrained(str(agent))
    with pytest.raises(ModelError, match=r"is a pickle, which can run code when opened; write vecnormalize\.json"):
        Control.from_pretrained(str(agent), normalisation=str(tmp_path / "agent" / "vecnormalize.pkl"))
    Control.from_pretrained(str(agent), normalisation="none")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"obs_mean": [0, 0], "obs_var": [1, 1]}, "statistics of 2 numbers for observations of 3"),
        ({"obs_mean": [0, 0, 0], "obs_var": [1, 1]}, "obs_mean has 3 numbers and obs_var 2"),
        ({"obs_mean": [0, 0, 0]}, "obs_var: expected a list of numbers, got NoneType"),
        ({"obs_mean": [0, 0, "x"], "obs_var": [1, 1, 1]}, "obs_mean: expected a list of finite numbers"),
        ({"obs_mean": [0, 0, 0], "obs_var": [1, 1, -1]}, "must be at least 0"),
        ([1], "expected a mapping, got list"),
    ],
)
def test_statistics_that_do_not_fit(agent, tmp_path, said, line):
    (tmp_path / "vecnormalize.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match=re.escape(line)) as caught:
        Control.from_pretrained(str(agent))
    assert "\n" not in str(caught.value)


# -- files that are not what they should be


def refused(path, line, **options):
    with pytest.raises(ModelError, match=line) as caught:
        Control.from_pretrained(str(path), **options)
    assert "\n" not in str(caught.value) and Path(path).name.split("#")[0] in str(caught.value)


def test_hostile_pickles_never_run(tmp_path):
    ran, good = tmp_path / "ran", weights(GOLDEN["cases"]["ppo_gaussian"]["shapes"])
    trap = pickle.dumps(Touch(ran))
    refused(
        archive(tmp_path / "a.zip", {**good, "x": Touch(ran)}), r"policy\.pth: holds more than tensors \((posix|nt)\.system\)"
    )
    late = tmp_path / "late.pth"  # a name that is only put together when the pickle runs
    with zipfile.ZipFile(late, "w") as z:
        z.writestr("late/data.pkl", b"\x80\x04\x8c\x05posix\x8c\x06system\x93.")
    refused(late, r"holds more than tensors \(STACK_GLOBAL\)")
    big = tmp_path / "big.pth"  # bytearray(10**12) is harmless code, and all of the memory
    with zipfile.ZipFile(big, "w") as z:
        z.writestr("big/data.pkl", b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.")
    refused(big, r"holds more than tensors \(__builtin__\.bytearray\)")
    for name in ("policy.pth", "model.zip"):
        (tmp_path / name).write_bytes(trap)
        refused(tmp_path / name, r"is a pickle, which can run code when opened; write torch\.save\(model\.policy\.state_dict")
    for name in ("vecnormalize.pkl", "agent.pickle", "agent.pkl"):
        (tmp_path / name).write_bytes(trap)
        refused(tmp_path / name, "is a pickle, which can run code when opened")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as z:
        z.writestr("policy.pth", trap)
    refused(tmp_path / "b.zip", r"policy\.pth: is a pickle")
    (tmp_path / "c.safetensors").write_bytes(trap)
    refused(tmp_path / "c.safetensors", "cannot be read")
    assert not ran.exists()


def test_archives_that_are_traps(tmp_path):
    good = weights(GOLDEN["cases"]["ppo_gaussian"]["shapes"])
    refused(archive(tmp_path / "a.zip", good, **{"../x": b""}), r"an entry that points outside \('\.\./x'\)")
    refused(archive(tmp_path / "a.zip", good, **{"/etc/x": b""}), "an entry that points outside")
    refused(archive(tmp_path / "a.zip", good, **{"C:\\x": b""}), "an entry that points outside")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as z:
        z.writestr("policy.pth", b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            z.writestr("policy.pth", torch_bytes(good))
    refused(tmp_path / "d.zip", r"holds 'policy\.pth' twice")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("policy.pth", torch_bytes(good))
        z.writestr("data", b" " * (65 << 20))  # 64 kB on the disk
    refused(tmp_path / "bomb.zip", "its entry 'data' unpacks to more than 64 MiB")
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("packed/data.pkl", b"\x80\x02}.")
    refused(tmp_path / "packed.pth", r"compressed weights, which torch\.save never writes")
    with zipfile.ZipFile(tmp_path / "e.zip", "w", zipfile.ZIP_LZMA) as z:
        z.writestr("policy.pth", b"x")
    refused(tmp_path / "e.zip", "compressed in a way that is not read")
    wide = torch.zeros(1).expand(1 << 40, 1)  # four bytes that claim to be a terabyte
    (tmp_path / "wide.pth").write_bytes(torch_bytes({"action_net.weight": wide}))
    refused(tmp_path / "wide.pth", "its tensors hold more than 1024 MiB")
    cut = (tmp_path / "cut.zip", archive(tmp_path / "a.zip", good).read_bytes()[:-30])
    cut[0].write_bytes(cut[1])
    refused(cut[0], "is cut off, or has something in front of it")  # all that is left whole is the archive within
    spoilt = bytearray(archive(tmp_path / "a.zip", good).read_bytes())
    spoilt[200] ^= 0xFF
    (tmp_path / "spoilt.zip").write_bytes(spoilt)
    refused(tmp_path / "spoilt.zip", "cannot be unpacked")
    bare = bytearray(torch_bytes(good))
    bare[bare.index(b"action_net")] ^= 0xFF
    (tmp_path / "spoilt.pth").write_bytes(bare)
    refused(tmp_path / "spoilt.pth", r"its entry '.*data\.pkl' cannot be unpacked")


def changed(case, **edits):
    """The case's tensors with some replaced, or left out (None)."""
    return {k: v for k, v in {**weights(GOLDEN["cases"][case]["shapes"]), **edits}.items() if v is not None}


NAN, P = torch.tensor([math.nan, 0.0]), "mlp_extractor.policy_net."


@pytest.mark.parametrize(
    ("case", "edits", "line"),
    [
        ("ppo_gaussian", {f"{P}2.weight": torch.zeros(4, 7)}, r"tensor mlp_extractor\.policy_net\.2\.weight reads 7 numbers, and the layer before it has 5"),
        ("ppo_gaussian", {f"{P}2.bias": None}, r"has no tensor mlp_extractor\.policy_net\.2\.bias"),
        ("ppo_gaussian", {f"{P}1.weight": torch.zeros(5)}, r"tensor mlp_extractor\.policy_net\.1\.weight belongs to no layer"),
        ("ppo_gaussian", {"action_net.weight": torch.zeros(2, 9)}, r"tensor action_net\.weight has shape \(2, 9\) of float32, expected \(2, 4\)"),
        ("ppo_gaussian", {"log_std": torch.zeros(3)}, r"tensor log_std has shape \(3,\)"),
        ("ppo_gaussian", {"log_std": NAN}, "tensor log_std holds numbers that are not finite"),
        ("ppo_gaussian", {"value_net.weight": None}, r"has no tensor value_net\.weight"),
        ("ppo_gaussian", {"log_std": torch.zeros(7, 2)}, r"tensor log_std has shape \(7, 2\), expected \(4, 2\)"),
        ("ppo_gaussian", {"lstm_actor.weight_ih_l0": torch.zeros(2)}, "holds a recurrent agent"),
        ("ppo_discrete", {"log_std": torch.zeros(3)}, "chooses 3 numbers .* the world takes one of 3"),
        ("ppo_discrete", {"action_net.weight": None}, r"holds no actor: expected a tensor action_net\.weight"),
        ("ppo_pixels", {"pi_features_extractor.cnn.0.weight": torch.zeros(32, 2, 5, 5)}, "expected those of NatureCNN"),
        ("ppo_pixels", {"pi_features_extractor.linear.0.weight": torch.zeros(16, 70)}, "for other pictures"),
        ("ppo_pixels", {f"{P}0.weight": torch.zeros(4, 16)}, "fully connected layers behind its convolutions"),
        ("sac", {"actor.log_std.weight": None, "actor.log_std.bias": None}, "holds a TD3 or DDPG agent"),
        ("sac", {"q_net.q_net.0.weight": torch.zeros(2)}, "holds a DQN agent"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(tmp_path, case, edits, line):
    refused(archive(tmp_path / "agent.zip", changed(case, **edits), GOLDEN["cases"][case]["data"]), line)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ({"action_space": {":type:": "<class 'gymnasium.spaces.multi_discrete.MultiDiscrete'>"}}, "its action_space is a MultiDiscrete"),
        ({"observation_space": {":type:": "<class 'gymnasium.spaces.dict.Dict'>"}}, "its observation_space is a Dict"),
        ({"action_space": {":type:": "<class 'x.Discrete'>", "n": "2", "start": "1"}}, "begins at 1"),
        ({"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.GELU'>"}}, "its activation is .*GELU"),
        ({"observation_space": {":type:": "<class 'x.Box'>", "_shape": [9]}}, r"policy_net\.0\.weight reads 3 numbers, and the world shows 9"),
    ],
)  # fmt: skip
def test_spaces_and_options_that_are_not_supported(tmp_path, edit, line):
    golden = GOLDEN["cases"]["ppo_gaussian"]
    refused(archive(tmp_path / "agent.zip", weights(golden["shapes"]), {**golden["data"], **edit}), line)


def test_a_world_of_other_spaces(agent):
    refused(agent, "observes 3 numbers from -5 to 5, and the world shows 4 numbers", world=Spaces(Box((4,)), ACTED))
    refused(agent, "chooses from 2 numbers, and the world takes one of 4", world=Spaces(OBSERVED, Discrete(4)))
    refused(
        agent, "chooses from 2 numbers, and the world takes 2 numbers from -1 to 1", world=Spaces(OBSERVED, Box((2,), -1.0, 1.0))
    )


def test_what_is_beside_the_agent_does_not_matter_otherwise(tmp_path):
    golden = GOLDEN["cases"]["ppo_gaussian"]
    (tmp_path / "config.json").write_text('{"policy_class": "ActorCriticPolicy"}')  # as uploads to the hub have it
    archive(tmp_path / "ppo.zip", weights(golden["shapes"]), golden["data"])
    compare(Control.from_pretrained(str(tmp_path)), {**golden, "value": None}, observations(OBSERVED, 4), actions(ACTED, 4))
    archive(tmp_path / "sac.zip", {})
    refused(tmp_path, r"holds 2 agents; name one of them, such as '.*ppo\.zip'")


def test_broken_entries(tmp_path, agent):
    good = weights(GOLDEN["cases"]["ppo_gaussian"]["shapes"])
    with zipfile.ZipFile(tmp_path / "j.zip", "w") as z:
        z.writestr("policy.pth", torch_bytes(good))
        z.writestr("data", "[" * 100_000)
    refused(tmp_path / "j.zip", "its entry 'data' is not valid JSON")
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as z:
        z.writestr("data", "{}")
        z.writestr("pytorch_variables.pth", b"")
    refused(tmp_path / "n.zip", r"has no policy\.pth")
    (tmp_path / "l.pth").write_bytes(torch_bytes([torch.zeros(1)]))
    refused(tmp_path / "l.pth", "holds a list, expected a dict of tensors")
    (tmp_path / "m.pth").write_bytes(torch_bytes({"a": {"b": torch.zeros(1)}}))
    refused(tmp_path / "m.pth", "'a' is a .*, expected a dict of tensors")
    refused(tmp_path / "agnet.zip", r"no such file; did you mean 'agent'\?")
    golden = GOLDEN["cases"]["sac"]
    path = str(archive(tmp_path / "s.zip", weights(golden["shapes"]), golden["data"]))
    policy, critic = Control.from_pretrained(path), SB3Value(path)
    with pytest.raises(ModelError, match="has no critic of states"):
        critic.build(policy)


# -- at work


@pytest.mark.parametrize("spec", [{}, {"squash": True, "clip": 0.5}, {"expln": True, "log_std": 0.5, "shared": True}])
def test_state_dependent_noise(spec):
    """Log-probs of acting are those of replaying at any temperature, the spread is the stated one, gradients reach everything."""
    head = policies.StateDependentGaussian(through=True, **spec)
    policy = Control.of(Spaces(OBSERVED, ACTED), body=policies.MLP((4,)), head=head, dtype="float64")
    observed = observations(OBSERVED, 4)
    h = policy.features(observed)
    mean, log_std = policy.head.moments(h)
    theta = 1 + math.log(1.5) if spec.get("expln") else math.exp(-2.0)  # of log_std 0.5 and -2
    stated = (h.square().sum(-1) * theta**2 + 1e-6).sqrt()[:, None].expand(4, 2)
    torch.testing.assert_close(log_std.exp(), stated)
    noise = torch.from_numpy(wave(4, 2, phase=3.0))
    for temperature in (None, 0.5):
        drawn, logp, _ = policy.act(observed, noise, temperature)
        torch.testing.assert_close(drawn, (mean + stated * noise * (temperature or 1.0)).detach())
        heat = None if temperature is None else torch.full((4,), temperature, dtype=torch.float64)
        again, _ = policy.head.read(policy.features(observed), drawn, heat)
        torch.testing.assert_close(again, logp, atol=1e-9, rtol=0)
    again.sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in policy.parameters())


def test_a_plan_names_an_agent_and_its_critic(agent):
    plan = Plan(
        policy=lazy(Control.from_pretrained, path_or_name=str(agent), world=Gym("Pendulum-v1")), source=Prompts(("",)),
        sampler=None, learners={}, critics={"value": SB3Value(str(agent))},
    )  # fmt: skip
    assert Plan.from_tree(plan.to_tree()) == plan
