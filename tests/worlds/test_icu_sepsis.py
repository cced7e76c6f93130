"""IcuSepsis: the package's numbers, read without importing it; a generated stand-in where it is not installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.core import DataError, PlanError
from guerdon.run.spec import from_tree, to_tree
from guerdon.worlds import IcuSepsis, exact

STATES, ACTIONS = 716, 25
ONE_EACH = " ".join(["1"] * STATES) + "\n" + "0 \n" * STATES  # every state admits the first treatment only
installed = pytest.mark.skipif(
    importlib.util.find_spec("icu_sepsis") is None,
    reason="the numbers of icu-sepsis are not installed (pip install --no-deps icu-sepsis)",
)

# Made with icu-sepsis 2.0.1's own environment (gymnasium 1.4.0): state, action, next state, reward, ended, its probability
STEPS = (
    (80, 21, 443, 0.0, False, 0.008797653958944288),
    (443, 15, 443, 0.0, False, 0.3352601156069364),
    (443, 12, 45, 0.0, False, 0.001445086705202312),
    (45, 6, 45, 0.0, False, 0.29510735221793494),
    (45, 7, 714, 1.0, True, 0.07331984740306645),
    (47, 1, 69, 0.0, False, 0.12686567164179113),
    (588, 24, 588, 0.0, False, 0.5416666666666667),
    (588, 13, 714, 1.0, True, 0.04061570154508275),
    (523, 21, 713, 0.0, True, 0.03461538461538465),
    (61, 18, 714, 1.0, True, 0.1634344749579123),
)


@installed
def test_steps_are_those_of_the_package() -> None:
    mdp = IcuSepsis().mdp
    for s, a, after, reward, ended, chance in STEPS:
        assert mdp.transitions[s, a, after] == pytest.approx(chance, abs=1e-15)
        assert mdp.rewards[s, a, after] == reward and bool(mdp.terminal[after]) == ended
    assert mdp.start[[47, 137, 80, 277]] == pytest.approx(
        [0.0065827407265039405, 0.008072266000384394, 0.009513742071881607, 0.0007687872381318471], abs=1e-15
    )
    assert (mdp.transitions**2).sum() == pytest.approx(2838.6084702177122, rel=1e-12)
    assert (IcuSepsis().expert ** 2).sum() == pytest.approx(299.76147703278843) and IcuSepsis().sofa.sum() == pytest.approx(
        4889.325279567859
    )
    assert IcuSepsis().admissible.sum() == 2313 and IcuSepsis().features.shape == (STATES, 47)


@installed
def test_policies_are_worth_what_the_package_says() -> None:
    """Its README, to two digits: average return 0.78, 0.78, 0.88; length (sampled there) 9.45, 9.22, 10.99."""
    world = IcuSepsis()
    mdp = world.mdp
    best = exact.optimum(mdp)
    for policy, value, length in ((exact.uniform(mdp), 0.78, 9.45), (world.expert, 0.78, 9.22), (best.policy, 0.88, 10.99)):
        assert round(exact.expected_return(mdp, policy), 2) == value
        assert exact.occupancy(mdp, policy)[~mdp.terminal].sum() == pytest.approx(length, abs=0.03)
    assert mdp.start @ best.values == pytest.approx(exact.expected_return(mdp, best.policy))


@installed
def test_inadmissible_treatments() -> None:
    world, deadly = IcuSepsis(), IcuSepsis(inadmissible="terminate")
    for s in (0, 56, 333):
        known = world.admissible[s]
        mean = world.mdp.transitions[s, known].mean(0)
        np.testing.assert_allclose(world.mdp.transitions[s, ~known], np.broadcast_to(mean, ((~known).sum(), STATES)), atol=1e-15)
        assert (deadly.mdp.transitions[s, ~known, 713] == 1).all()
        np.testing.assert_array_equal(deadly.mdp.transitions[s, known], world.mdp.transitions[s, known])
    # the package, from state 56 with action 1: death, without reward
    assert not world.admissible[56, 1] and deadly.mdp.rewards[56, 1, 713] == 0


@installed
def test_the_package_is_not_imported() -> None:
    code = "import sys; from guerdon.worlds import IcuSepsis; IcuSepsis().expert; assert not {'gym', 'icu_sepsis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the package's form: every treatment but the first is inadmissible; one step leads to death or survival, half each."""
    folder = tmp_path_factory.mktemp("icu")
    p = np.zeros((STATES, ACTIONS, STATES))
    p[:, :, [713, 714]] = 0.5
    p[713:] = np.eye(STATES)[713:, None]
    r = np.zeros_like(p, dtype=np.float64)
    r[:713, :, 714] = 1
    one = np.eye(STATES)[5]
    np.savez_compressed(
        folder / "dynamics.npz", tx_mat=p, r_mat=r, d_0=one, expert_policy=np.eye(ACTIONS)[np.zeros(STATES, dtype=int)],
        state_cluster_centers=np.zeros((STATES, 47)), sofa_scores=np.arange(STATES) / 100,
    )  # fmt: skip
    (folder / "admissible_actions.txt").write_text(ONE_EACH)
    return folder


def test_a_folder_is_a_world(stand_in: Path) -> None:
    spec = IcuSepsis(str(stand_in))
    assert from_tree(to_tree(spec)) == spec and (spec.observation.n, spec.action.n) == (STATES, ACTIONS)
    assert exact.expected_return(spec.mdp, spec.expert) == pytest.approx(0.5)
    deadly = IcuSepsis(str(stand_in), inadmissible="terminate")
    assert exact.expected_return(deadly.mdp, exact.uniform(spec.mdp)) == pytest.approx(0.5 / 25)  # only the first treatment helps
    world, slots = spec.open(50), torch.arange(50)
    seen, _ = world.reset(slots, slots)
    assert seen.tolist() == [5] * 50
    done = world.step(slots, torch.zeros(50, dtype=torch.long))
    assert done.terminated.all() and set(done.observation.tolist()) == {713, 714}
    assert done.reward.tolist() == [float(s == 714) for s in done.observation.tolist()]
    assert spec.admissible.sum() == STATES and spec.sofa[100] == 1.0 and spec.features.shape == (STATES, 47)


def test_missing_numbers_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"its numbers are not installed; type: pip install --no-deps icu-sepsis$"):
        IcuSepsis().open(1)
    with pytest.raises(DataError, match=r"dynamics\.npz: no such file"):
        IcuSepsis(str(tmp_path)).open(1)
    with pytest.raises(PlanError, match="inadmissible is 'termiate'; did you mean 'terminate'"):
        IcuSepsis(inadmissible="termiate")  # type: ignore[arg-type]


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    path, spec, lines = tmp_path / "admissible_actions.txt", IcuSepsis(str(tmp_path)), ONE_EACH.splitlines()
    for number, line, message in (
        (3, "25", "line 4: expected numbers of treatments"),
        (5, "0 1", "line 6: expected 1 treatments, got '0 1'"),
    ):
        path.write_text("\n".join([*lines[:number], line, *lines[number + 1 :]]))
        with pytest.raises(DataError, match=message):
            _ = spec.admissible
    path.write_text("1 1\n0\n0\n")
    with pytest.raises(DataError, match="expected a line for each of 716 states"):
        _ = spec.admissible
    np.savez(tmp_path / "dynamics.npz", tx_mat=np.zeros((2, 2, 2)), r_mat=np.zeros((2, 2, 2)), d_0=np.ones(2))
    with pytest.raises(DataError, match=r"expected transitions and rewards of shape \[716, 25, 716\], got \[2, 2, 2\]"):
        _ = spec.mdp
