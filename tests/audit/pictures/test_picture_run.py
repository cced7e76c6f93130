"""A run that draws: what its events, its folder and its report say, without a KL term and with one."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from guerdon import advantages, audit, objectives, policies, samplers, transforms
from guerdon.audit import read_history
from guerdon.audit.series import evals_so_far
from guerdon.core import Batch, Behaviour, DataError, Items, PlanError, Rollout, Streams
from guerdon.run import AdamW, Plan, Prompts, Train, run
from guerdon.run.metrics import rollout_metrics, show_samples
from guerdon.run.plan import Evaluation
from guerdon.run.spec import from_tree


def bright(output):
    return float(output.mean())


def measures(data):
    return (audit.PairwiseDistance(), audit.Vendi(), audit.OffDataDistance(str(data)))


def plan(drawn, data, beta=0.0, frames=0, **change):
    fields = {
        "policy": drawn.Painter(frames), "source": Prompts(drawn.CAPTIONS), "sampler": samplers.Group(contexts=6, n=8),
        "reward": bright, "references": {"reference": policies.Frozen()}, "advantage": advantages.GroupNorm(),
        "transforms": (transforms.TokenKL(beta),) if beta else (),
        "learners": {"policy": Train(objectives.PolicyGradient(), AdamW(lr=5e-2))},
        "evaluation": Evaluation(samples=48, every=3, show=6, measures=measures(data)), "steps": 12,
    }  # fmt: skip
    return Plan(**{**fields, **change})


@pytest.fixture(scope="module")
def data(drawn, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "real.npy"
    np.save(path, drawn.real().numpy())
    return path


@pytest.fixture(scope="module")
def free(drawn, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("free") / "run"
    return run(plan(drawn, data), folder)


def test_a_reward_pushed_without_kl_leaves_the_data_and_the_audit_says_so(free):
    first, last = (free.evaluations[k]["metrics"] for k in (0, -1))
    assert first["off_data/outside"] < 0.2
    assert last["off_data/outside"] > 0.9
    assert last["proxy/mean"] > first["proxy/mean"] + 0.5
    summary = json.loads((free.folder / "summary.json").read_text())
    assert [f["level"] for f in summary["findings"] if f["check"] == "OffData"][-1] == "error"
    assert "left the data" in summary["verdict"]["text"]


def test_with_kl_it_stays_and_nothing_is_said(drawn, data):
    held = run(plan(drawn, data, beta=3.0))
    assert held.evaluations[-1]["metrics"]["off_data/outside"] < 0.2
    seen = evals_so_far(held.evaluations)
    for check in (audit.OffData(), audit.SampleCollapse()):
        assert check.judged(seen)
        assert check.scan(seen) == []


def test_events_hold_no_pixels_and_say_where_the_pictures_are(free):
    events = [json.loads(line) for line in (free.folder / "events.jsonl").read_text().splitlines()]
    longest = max(len(json.dumps(e)) for e in events if e["event"] != "start")
    assert longest < 8_000  # a picture's numbers alone are 3,000 characters
    shown = next(e for e in events if e["event"] == "eval")["samples"][2]
    assert shown["output"] == "picture, 8 × 8 (number 3 in pictures/step-000000.png)"
    grids = [e for e in events if e["event"] == "pictures"]
    assert [(e["step"], e["best"]) for e in grids] == [(0, True), (3, True), (6, True), (9, True), (12, True)]
    assert len(grids[0]["samples"]) == 6
    assert grids[0]["samples"][2]["reward"] == shown["reward"]
    assert sorted(p.name for p in (free.folder / "pictures").iterdir()) == ["step-000000.png", "step-000012.png"]


def test_the_same_captions_at_every_evaluation(free):
    captions = [[s.context for s in g.samples] for g in read_history(free.folder).grids]
    assert captions[0] == captions[-1]


def test_figures_of_steps_that_are_densities(free):
    first = free.history[0]
    assert "entropy" not in first
    assert "terminal" not in first
    assert "kl_step" not in first
    assert first["length"] == 4.0
    # the mean surprise of N(m, 0.1 I) in three dimensions is 3 (log 0.1 + (1 + log 2 pi) / 2) = -2.651
    assert first["differential_entropy"] == pytest.approx(-2.651, abs=0.2)
    last = free.history[-1]
    assert last["kl_dim"] == pytest.approx(last["kl"] / 4 / 3)  # four steps of three numbers


def chain(dims, masked=()):
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[:, list(masked)] = False
    logp = torch.where(mask, 6.0 if dims == "sum" else 2.0, 0.0).double()
    return Rollout(
        ["a", "b"], torch.zeros(2, 3), torch.zeros(2, 4, 3), mask, torch.arange(2), torch.arange(2), logp=logp,
        behaviour=(Behaviour(dims=dims),), trace={"level": torch.arange(4).expand(2, 4)},
    ).check()  # fmt: skip


@pytest.mark.parametrize("dims", ["sum", "mean"])
def test_kl_is_in_nats_per_sample_however_log_probs_were_taken(dims):
    found = rollout_metrics(chain(dims), torch.zeros(2, 4).double())
    assert (found["kl"], found["kl_dim"], found["differential_entropy"]) == (24.0, 2.0, -6.0)


def test_steps_that_were_not_chosen_are_no_length():
    assert rollout_metrics(chain("sum", masked=(0, 3)), None)["length"] == 2.0


def test_tokens_of_masked_diffusion_are_counted_as_texts_are():
    states = torch.tensor([[[9, 9, 9], [1, 9, 2], [1, 1, 2]], [[9, 9, 9], [9, 1, 9], [2, 1, 1]]])
    rollout = Rollout(
        ["a", "b"], ["aab", "baa"], states[:, 1:], torch.ones(2, 2, dtype=torch.bool), torch.arange(2), torch.arange(2),
        states=states, logp=torch.full((2, 2), -0.5), trace={"level": torch.arange(2).expand(2, 2)},
    ).check()  # fmt: skip
    found = rollout_metrics(rollout, None, {"distinct_tokens": 6.0})
    assert found["distinct_1"] == pytest.approx(2 / 6)  # 1 and 2 among 112 and 211
    assert found["distinct_2"] == pytest.approx(3 / 4)  # 11, 12 and 21, 11
    assert found["entropy"] == 0.5
    assert show_samples(Batch.of(rollout), 1)[0]["output"] == "aab"


def test_pictures_in_a_draw_are_told_of_in_words(drawn):
    items = Items(list(drawn.CAPTIONS), Streams(0).uids(3))
    (first, *_) = show_samples(Batch.of(drawn.Painter().sample(items, streams=Streams(0))), 2)
    assert (first["context"], first["output"]) == ("a red disc", "picture, 8 × 8")


def test_videos_are_kept_as_rows_of_frames(drawn, data, tmp_path):
    small = Evaluation(samples=2, every=1, show=2)
    result = run(plan(drawn, data, frames=3, steps=1, evaluation=small), tmp_path / "run")
    grids = read_history(result.folder).grids
    assert (grids[0].span, grids[0].columns) == (3, 6)
    assert "frame 3" in (result.folder / "report.html").read_text()


# ---------------------------------------------------------------- the plan
def test_measures_stand_in_a_plan_file(drawn, data):
    from guerdon.policies import CausalLM
    from guerdon.run import lazy

    given = (
        *measures(data)[::2], audit.Vendi(audit.Pixels(8), audit.GaussianKernel(0.3), q=2.0, data="real.npy"),
        audit.FrechetDistance(audit.PictureFile("real.npz", key="train"), rows=500),
    )  # fmt: skip
    written = plan(drawn, data, policy=lazy(CausalLM.from_pretrained, path_or_name="m"), reward=None,
                   evaluation=Evaluation(measures=given))  # fmt: skip
    tree = written.to_tree()
    assert tree["evaluation"]["measures"][0] == "audit.PairwiseDistance"
    assert tree["evaluation"]["measures"][3]["data"] == {"use": "audit.PictureFile", "path": "real.npz", "key": "train"}
    assert Plan.from_tree(tree) == written


def test_what_is_no_measure_is_refused_before_anything_is_made(drawn, data, tmp_path):
    with pytest.raises(PlanError, match="expected measures such as"):
        Evaluation(measures=("vendi",))
    with pytest.raises(PlanError, match="two Vendi would give figures of the same names"):
        Evaluation(measures=(audit.Vendi(), audit.Vendi(q=2.0)))
    missing = Evaluation(measures=(audit.OffDataDistance(f"{tmp_path}/none.npy"),))
    with pytest.raises(DataError, match=r"none\.npy: no such file"):
        run(plan(drawn, data, evaluation=missing), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_function_is_a_measure_too(drawn, data):
    small = Evaluation(
        samples=4, every=1, measures=(lambda rollout: {"mine/brightest": rollout.outputs.max(), "bad": float("nan")},)
    )
    result = run(plan(drawn, data, steps=1, evaluation=small))
    assert result.evaluations[0]["metrics"]["mine/brightest"] == 1.0
    assert "bad" not in result.evaluations[0]["metrics"]


def test_checks_hear_of_it_during_the_run(free):
    found = [f for f in read_history(free.folder).findings if f.check == "OffData"]
    assert found
    assert found[0].step is not None
    assert found[0].step <= 10
    seen = [e for e in free.evaluations if e["step"] < found[0].step]
    assert audit.OffData()(None, SimpleNamespace(step=found[0].step, evaluations=seen, history=[]))


def test_the_how_to_page_runs_as_it_stands(drawn, tmp_path, monkeypatch):
    page = (Path(__file__).resolve().parents[3] / "docs/how-to/pictures-report.md").read_text()
    monkeypatch.chdir(tmp_path)
    np.save("real.npy", drawn.real().numpy())
    names = {"captions": ["a red disc"] * 3, "pictures": list(drawn.real(3, seed=1))}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, names)
    (tree,) = (yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", page, re.S))
    assert from_tree(tree["evaluation"], Evaluation) == names["evaluation"]
