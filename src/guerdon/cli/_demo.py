"""``guerdon demo``: from noisy feedback to a learned reward to a policy, with and without protection, in minutes on two cores."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import emit, note, show


def demo(
    out: Annotated[Path, typer.Option(help="Folder of runs; the demo's is OUT/demo.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier demo there and start anew.")] = False,
    seed: Annotated[int, typer.Option(help="Of the feedback, the reward and the runs.", min=0)] = 0,
    steps: Annotated[int | None, typer.Option(help="Fewer or more draws than usual.", min=1)] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A dry run in seconds; its figures mean nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document on stdout.")] = False,
) -> None:
    """Learn a reward from noisy comparisons, optimise a tiny language model against it twice, and show which run games it.

    Everything is made on this machine: the base model, the annotators, the reward. Stopped at any moment, it goes on when
    called again.
    """
    from dataclasses import replace

    from guerdon.cli import _demo_stages as stages
    from guerdon.cli._fitting import bar
    from guerdon.cli._folder import held

    began = time.monotonic()
    size = stages.Size(tiny=True, comparisons=200, members=2, steps=8, samples=64) if tiny else stages.Size()
    size = replace(size, seed=seed, steps=size.steps if steps is None else steps)
    folder = out / "demo"
    if fresh and folder.exists():
        if not (folder / stages.SETTINGS).exists():
            raise Stop(f"{folder} is not a demo, so it is not removed")
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / stages.SETTINGS).exists():
        raise Stop(f"{folder} exists and is not a demo; choose another place: --out FOLDER")
    if not stages.same_settings(folder, size):
        raise Stop(f"{folder} holds a demo with other settings; start anew with --fresh, or choose another place: --out FOLDER")
    with held(folder), _going_on(out):
        note("1 of 4: a base model that writes short stories (made once, then kept in the cache)", quiet=quiet)
        stages.world(size).base()
        note(f"2 of 4: {size.comparisons:,} comparisons of its stories, {size.flips:.0%} of them inverted", quiet=quiet)
        found = stages.make_feedback(folder, size)
        note(f"3 of 4: a reward: {size.members} models fitted to them, audited on those held out", quiet=quiet)
        with bar(size.members, quiet) as advance:
            stages.make_reward(folder, size, found, advance)
        reward = stages.audit_reward_of(folder, size)
        for k, (name, about) in enumerate(stages.RUNS.items()):
            note(f"4 of 4, {'ab'[k]}: the {name} run: {about}", quiet=quiet)
            stages.make_run(name, folder, size, quiet=quiet)
        page = stages.write_page(folder, size, reward)
    result = _result(folder, reward, page, time.monotonic() - began)
    emit(result) if as_json else _tell(result)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon demo --out runs")(demo)


def _result(folder: Path, reward: Mapping[str, Any], page: Path, seconds: float) -> dict[str, Any]:
    """What came of it, as plain data."""
    from guerdon.audit import hacking, read_history
    from guerdon.cli._demo_stages import RUNS

    runs = {}
    for name in RUNS:
        history = read_history(folder / name)
        verdict = hacking(history)
        first, last = (history.evals[k].metrics for k in (0, -1))
        kept = ("proxy/mean", "held_out/mean", "kl", "length", "distinct_2")
        runs[name] = {"hacking": verdict.outcome, "text": verdict.text, "before": {k: first.get(k) for k in kept},
                      "after": {k: last.get(k) for k in kept}}  # fmt: skip
    calibration = reward["calibration"] or {}
    figures = {
        "accuracy": reward["accuracy"], "length_only": reward["baselines"].get("longer"),
        "hidden_preference": reward["ceiling"], "verdict": reward["verdict"]["text"], "ece": calibration.get("ece"),
        "temperature": calibration.get("temperature"), "pairs": reward["judged"],
    }  # fmt: skip
    return {"folder": str(folder), "report": str(page), "reward": figures, "runs": runs, "seconds": round(seconds, 1)}


def _tell(result: Mapping[str, Any]) -> None:
    """What came of it, for people."""
    from rich.table import Table

    r = result["reward"]
    accuracy = r["accuracy"]
    show(
        f"\nlearned reward: {accuracy['value']:.1%} of {r['pairs']} held-out comparisons right ({accuracy['lo']:.1%} to "
        f"{accuracy['hi']:.1%}); longer is better: {r['length_only']['value']:.1%}; the hidden preference itself: "
        f"{r['hidden_preference']:.1%}; calibration error {r['ece']:.1%}"
    )
    show(f"its audit: {r['verdict']}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("", "learned reward", "hidden preference", "KL, nats", "verdict"):
        table.add_column(head, justify="left" if head in ("", "verdict") else "right")
    for k, (name, run) in enumerate(result["runs"].items()):
        if k == 0:
            table.add_row("before", *_figures(run["before"]), "")
        table.add_row(name, *_figures(run["after"]), run["hacking"])
    show(table)
    folder = result["folder"]
    show(f"\ndone in {result['seconds']:.0f} s; next:")
    show(f"  open {result['report']} in a browser")
    show(f"  guerdon audit {folder}/unprotected      # the same verdict, as an exit code for CI")
    show(f"  guerdon audit {folder}/reward           # what the learned reward was found to be")
    show(f"  guerdon train {folder}/protected/plan.yaml --name bolder --transforms.0.beta=0.02")
    show("  guerdon init my-project   # your model, your reward")


def _figures(metrics: Mapping[str, float | None]) -> list[str]:
    return [
        "–" if (v := metrics.get(k)) is None else f"{v:.2f}".replace("-0.00", "0.00")
        for k in ("proxy/mean", "held_out/mean", "kl")
    ]


@contextmanager
def _going_on(out: Path) -> Iterator[None]:
    """Ctrl-C names the way back."""
    from guerdon.cli._main import INTERRUPTED

    try:
        yield
    except KeyboardInterrupt:
        raise Stop(f"interrupted; go on with: guerdon demo --out {out}", INTERRUPTED) from None
