"""``guerdon fit``: feedback becomes a reward, and the reward is audited on what it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example: guerdon fit pairs.jsonl --reward bradley-terry --base sentence-transformers/all-MiniLM-L6-v2 --out judge"


def fit(
    feedback: Annotated[list[str], typer.Argument(help="Files of feedback, or stores (feedback.db, postgresql://...).")],
    reward: Annotated[str, typer.Option(metavar="KIND", help="bradley-terry, davidson or rao-kupper (comparisons); rating.")],
    base: Annotated[str, typer.Option(metavar="MODEL", help="Encoder or language model: a folder or a name on the hub.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the reward is written; must not exist.")],
    members: Annotated[int, typer.Option(help="Rewards to fit, which make an ensemble.", min=1)] = 1,
    combine: Annotated[str | None, typer.Option(help="How an ensemble combines: mean, worst or uncertainty.")] = None,
    held_out: Annotated[float, typer.Option(metavar="SHARE", help="Share of prompts kept for the audit.")] = 0.2,
    style: Annotated[str | None, typer.Option("--format", help="Format of the files, where columns do not show it.")] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="ROLE=NAME", help="A column's name: prompt=question.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the feedback.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch: Annotated[int | None, typer.Option(help="Comparisons or ratings in one step.", min=1)] = None,
    max_length: Annotated[int | None, typer.Option(help="Most tokens of a prompt and its answer.", min=8)] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the head and the order.")] = 0,
    template: Annotated[Path | None, typer.Option(metavar="FILE", help="Jinja chat template in place of the base's.")] = None,
    attributes: Annotated[str | None, typer.Option(metavar="A,B", help="Attributes to learn; the first is the reward.")] = None,
    train_layers: Annotated[str, typer.Option(metavar="all|head|K", help="All, the head, or the last K blocks too.")] = "all",
    no_probes: Annotated[bool, typer.Option("--no-probes", help="An audit without changed outputs, which is quicker.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Fit even where the memory seems too small.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no remarks on the feedback.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document on stdout.")] = False,
) -> None:
    """Learn a reward from feedback into DIR, in Hugging Face format, and audit it on prompts that it has not seen.

    Everything is checked before the first step, and DIR appears when all of it is there. A poor reward is no error: the last
    lines say what it is worth, beside the habit of preferring the longer answer.
    """
    from guerdon.cli._fitting import Order, carry_out

    named = tuple(a.strip() for a in attributes.split(",") if a.strip()) if attributes else ()
    carry_out(Order(
        tuple(feedback), reward, base, out, members, combine, held_out, style, tuple(column or ()), epochs, lr, batch, max_length,
        seed, template, named, train_layers, not no_probes, quiet, yes, as_json,
    ))  # fmt: skip


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(fit)
