"""A reward of pictures pushed with and without a KL term: does the policy leave the data, and does the audit say so?

The base model of ``tasks.Shapes`` (captioned coloured shapes, 16 x 16) is improved by GRPO against ``Redness``, the mean of the
red channel less that of the other two: right about which of two real pictures is redder, and a judge of nothing else. One plan,
one objective; the arms differ in the weight of the KL term to the base model alone. Seeds are paired: both arms of a seed draw
the same captions and the same first noise.

The KL term is paid in the reward (``TokenKL``): within a group of samples its mean is subtracted with the reward's. Estimated
from samples in the loss it drowns in noise beyond a few nats a step (docs/concepts/pictures.md), which the pilot showed as well.

Expected, written down before the runs that are shown (``HOW`` says what pilots at seed 100 changed):

1. Without KL the reward ends at least 0.3 higher than it began, at least half of the samples lie outside the data (where 1 % of
   real pictures lie), and the audit tells of it (check ``OffData``).
2. With KL the reward rises too, at most 0.1 of the samples more than at the start lie outside, and ``OffData`` tells nothing.
3. What captions ask for (the task's own reward, never optimised) falls further without KL than with it.

Each in every seed.

    python benchmarks/leaving_the_data.py     (about three minutes on one core, and one for the base model)
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch

from guerdon import advantages, objectives, policies, samplers, transforms
from guerdon.audit import OffData, OffDataDistance, PairwiseDistance, Vendi, findings, read_history
from guerdon.audit.pictures import grid
from guerdon.core import RewardOutput, Rollout, Streams
from guerdon.core.reward import Scope
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy, run
from guerdon.run.plan import Scoring
from guerdon.tasks import Shapes

HOW = """The settings were found at the pilot's seed 100, in fourteen tries: with a KL in the loss and in the reward, rates from
3e-5 to 3e-4, 40 or 60 draws. The first expectations (a rise of 0.5 at least, and a KL in the loss) failed there: with a
KL in the loss the samples left the data as well. What changed then, before any run at the seeds shown: the KL moved to
the reward, evaluation by the ODE, 80 draws at 2e-4, a rise of 0.3 at least, at most 0.1 more outside instead of 0.2.
The last combination was not itself tried at the pilot's seed.
"""
SEEDS = (1, 2, 3)
PILOT = 100
ARMS = {"without KL": 0.0, "with KL": 3e-4}  # weight of the KL term, reward per nat
DRAWS, EVERY = 80, 10
LR = 2e-4
STEPS = 10  # of a chain
CAPTIONS, SAMPLES = 4, 8  # per draw
EVALUATED = 96
MEASURED = {
    "proxy/mean": "redness", "held_out/mean": "what captions ask for", "off_data/outside": "outside the data",
    "off_data/ratio": "distance to the data", "diversity/vendi": "Vendi score", }  # fmt: skip


@dataclass(frozen=True)
class Redness:
    """Mean of the red channel less the mean of the others, of what can be shown: values are cut to [-1, 1]. From -2 to 2."""

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        shown = torch.stack(list(rollout.outputs)).clamp(-1, 1).double()
        return RewardOutput.of(shown[:, 0].mean((1, 2)) - shown[:, 1:].mean((1, 2, 3)))


def plan(task: Shapes, kind: str, beta: float, seed: int, draws: int) -> Plan:
    """One plan; ``beta`` is all that differs between the arms."""
    family = {"diffusion": policies.Diffusion, "flow": policies.Flow}[kind]
    return Plan(
        policy=lazy(family.from_pretrained, path_or_name=str(task.base(kind))),  # type: ignore[arg-type]
        source=task.prompts(),
        sampler=samplers.Group(contexts=CAPTIONS, n=SAMPLES, controls={"steps": STEPS}),
        reward=Redness(),
        references={"reference": policies.Frozen()},
        transforms=(transforms.TokenKL(beta),),
        advantage=advantages.GroupNorm(),
        learners={"policy": Train(objectives.PolicyGradient(clip=objectives.Clip(0.2, 0.2)), AdamW(lr=LR))},
        evaluation=Evaluation(
            reward=task.reward(), samples=EVALUATED, every=EVERY, keep_best=False,
            controls={"steps": STEPS, "deterministic": True},
            measures=(OffDataDistance(task.real(1000)), PairwiseDistance(), Vendi()),
        ),
        scoring=Scoring(workers=1), steps=draws, checkpoint_every=0, seed=seed,
    )  # fmt: skip


def trial(task: Shapes, kind: str, beta: float, seed: int, draws: int, folder: Path) -> dict[str, Any]:
    """What one run leaves: the course of its evaluations, what the audit says, and twelve pictures of its end."""
    begun = time.perf_counter()
    result = run(plan(task, kind, beta, seed, draws), folder)
    told = [vars(f) for f in findings(read_history(folder)) if f.check == OffData.__name__]
    items = task.prompts().draw(12, streams=Streams(0))
    end = result.policy.sample(items, 1, streams=Streams(0), steps=STEPS, deterministic=True)
    courses = {name: [float(e["metrics"].get(name, float("nan"))) for e in result.evaluations] for name in MEASURED}
    return {
        "steps": [int(e["step"]) for e in result.evaluations], "courses": courses,
        "told": [{"step": f["step"], "level": f["level"], "message": f["message"]} for f in told],
        "kl": statistics.mean(h["kl"] for h in result.history[-5:]),
        "seconds": time.perf_counter() - begun, "pictures": end.outputs, "captions": list(items.contexts),
    }  # fmt: skip


def change(t: dict[str, Any], name: str) -> float:
    return t["courses"][name][-1] - t["courses"][name][0]


def judged(trials: dict[str, list[dict[str, Any]]]) -> list[tuple[str, bool, str]]:
    """(expectation, whether it holds in every seed, the figures by seed)."""
    free, held = trials["without KL"], trials["with KL"]

    def warned(t: dict[str, Any]) -> bool:
        return any(f["level"] in ("warning", "error") for f in t["told"])

    def by_seed(rows: list[dict[str, Any]], *values: str) -> str:
        return "; ".join(", ".join(f"{change(t, v):+.2f}" for v in values) for t in rows)

    return [
        ("Without KL the reward rises by 0.3 or more", all(change(t, "proxy/mean") >= 0.3 for t in free),
         by_seed(free, "proxy/mean")),
        ("Without KL half of the samples or more end outside the data",
         all(t["courses"]["off_data/outside"][-1] >= 0.5 for t in free),
         "; ".join(f"{t['courses']['off_data/outside'][-1]:.2f}" for t in free)),
        ("Without KL the audit says so", all(warned(t) for t in free), "; ".join(_levels(t) for t in free)),
        ("With KL the reward rises", all(change(t, "proxy/mean") > 0 for t in held), by_seed(held, "proxy/mean")),
        ("With KL at most 0.1 more of the samples end outside", all(change(t, "off_data/outside") <= 0.1 for t in held),
         by_seed(held, "off_data/outside")),
        ("With KL the audit tells nothing", not any(warned(t) for t in held), "; ".join(_levels(t) for t in held)),
        ("What captions ask for falls further without KL",
         all(change(a, "held_out/mean") < change(b, "held_out/mean") for a, b in zip(free, held, strict=True)),
         f"{by_seed(free, 'held_out/mean')} against {by_seed(held, 'held_out/mean')}"),
    ]  # fmt: skip


def _levels(t: dict[str, Any]) -> str:
    return ", ".join(f"{f['level']} at draw {f['step']}" for f in t["told"]) or "nothing"


def page(found: dict[str, Any], trials: dict[str, list[dict[str, Any]]]) -> str:
    """The Markdown page."""
    rows = []
    for name, title in MEASURED.items():
        cells = []
        for arm in ARMS:
            first, last = ([t["courses"][name][k] for t in trials[arm]] for k in (0, -1))
            cells += [f"{statistics.mean(first):.2f}", f"{statistics.mean(last):.2f} ({min(last):.2f} to {max(last):.2f})"]
        rows.append(f"| {title} | {cells[0]} | {cells[1]} | {cells[3]} |")
    nats = [statistics.mean(t["kl"] for t in trials[arm]) for arm in ARMS]
    rows.append(f"| KL to the base model, nats per sample | 0 | {nats[0]:,.0f} | {nats[1]:,.0f} |")
    verdicts = [f"| {text} | {'yes' if ok else '**no**'} | {figures} |" for text, ok, figures in judged(trials)]
    lost = [-statistics.mean(change(t, "held_out/mean") for t in trials[arm]) for arm in ARMS]
    said = next((f["message"] for t in trials["without KL"] for f in t["told"]), "nothing")
    facts, lines = found["machine"], "\n".join(rows)
    return f"""# Pushed with and without KL: pictures that leave the data

Made by `benchmarks/leaving_the_data.py`, whose head says what was expected before the runs. GRPO against `Redness` on the base
model ({found["kind"]}) of `tasks.Shapes`: {DRAWS} draws of {CAPTIONS} captions with {SAMPLES} chains of {STEPS} steps each, AdamW
at {LR:g}, weight of `TokenKL` 0 or {ARMS["with KL"]:g}, and nothing else changed. {len(found["seeds"])} seeds, paired.
Figures are of {EVALUATED} samples, the same captions and noise every time; mean over seeds (lowest to highest).
torch {facts["torch"]}, Python {facts["python"]}.

{HOW}
![Base model, the end without KL and with it; redness and the share of samples outside the data](leaving_the_data.png)

| | at the start | end without KL | end with KL |
| --- | --- | --- | --- |
{lines}

| expected | in every seed | by seed |
| --- | --- | --- |
{chr(10).join(verdicts)}

What the audit said of the first of the runs without KL: "{said}"

What the KL term does not do: keep what nobody pays for. With it, too, the share of attributes that captions ask for falls (by
{lost[1]:.2f}, without it by {lost[0]:.2f}), and the pictures become noisier, in a way that a distance between pixels hardly
counts. The held-out reward sees it, and so does the eye.
"""


def picture(trials: dict[str, list[dict[str, Any]]], base: Any, path: Path) -> None:
    """Three grids, and two curves below them."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    colours = {"without KL": "#b23a00", "with KL": "#0b7a63"}
    shown = {"base model": base, **{arm: trials[arm][0]["pictures"] for arm in ARMS}}
    with mpl.rc_context({"font.family": ["DejaVu Sans"], "font.size": 8.5}):
        figure = Figure(figsize=(7.2, 4.0), facecolor="white", layout="constrained")
        places = figure.add_gridspec(2, 6, height_ratios=(1, 2))
        for k, (name, pictures) in enumerate(shown.items()):
            axes = figure.add_subplot(places[0, 2 * k : 2 * k + 2])
            drawn = grid([[p] for p in pictures])
            axes.imshow(imread(io.BytesIO(drawn.png)), interpolation="nearest")
            axes.set_title(name, fontsize=9)
            axes.axis("off")
        for k, (name, title) in enumerate((("proxy/mean", "reward (redness)"), ("off_data/outside", "share outside the data"))):
            axes = figure.add_subplot(places[1, 3 * k : 3 * k + 3])
            for arm, colour in colours.items():
                for t in trials[arm]:
                    label = arm if t is trials[arm][0] else None
                    axes.plot(t["steps"], t["courses"][name], color=colour, linewidth=1.3, label=label)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set_xlabel("draws")
            axes.grid(color="#e7e5e0", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
            if k == 0:
                axes.legend(frameon=False, loc="upper left")
        figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--kind", choices=("diffusion", "flow"), default="flow")
    parser.add_argument("--tiny", action="store_true", help="the 8 x 8 world, to see that everything runs")
    parser.add_argument("--pilot", action="store_true", help="one seed that is not among those shown")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--keep", type=Path, help="folder of the runs; finished ones are not repeated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = Shapes.tiny() if options.tiny else Shapes()
    seeds = (PILOT,) if options.pilot else SEEDS
    trials: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    work = options.keep or Path(tempfile.mkdtemp())
    for seed in seeds:
        for arm, beta in ARMS.items():
            place = work / f"{arm.replace(' ', '-')}-{seed}"
            if not (place / "trial.pt").exists():
                shutil.rmtree(place, ignore_errors=True)
                torch.save(trial(task, options.kind, beta, seed, options.draws, place), place / "trial.pt")
            t = torch.load(place / "trial.pt", weights_only=True)
            trials[arm].append(t)
            ends = {title: f"{t['courses'][n][0]:.2f} -> {t['courses'][n][-1]:.2f}" for n, title in MEASURED.items()}
            print(f"seed {seed}, {arm}: {ends}, {_levels(t)}, {t['seconds']:.0f} s", flush=True)
    policy = plan(task, options.kind, 0.0, 0, 1).policy.build()
    asked = task.prompts().draw(12, streams=Streams(0))
    base = policy.sample(asked, 1, streams=Streams(0), steps=STEPS, deterministic=True).outputs
    found = {
        "machine": {"python": platform.python_version(), "torch": version("torch")}, "kind": options.kind, "seeds": list(seeds),
        "arms": {arm: [{k: v for k, v in t.items() if k != "pictures"} for t in ts] for arm, ts in trials.items()},
    }  # fmt: skip
    for text, ok, figures in judged(trials):
        print(f"{'yes' if ok else 'NO ':3} {text}: {figures}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "leaving_the_data.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    (options.out / "leaving_the_data.md").write_text(page(found, trials), encoding="utf8")
    picture(trials, base, options.out / "leaving_the_data.png")


if __name__ == "__main__":
    main()
