"""``guerdon audit REWARD``: a reward on labelled pairs, beside counting characters, as a report, files and an exit code."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.cli._main import Stop
from guerdon.cli._output import note, show
from guerdon.core.errors import DataError

if TYPE_CHECKING:
    from guerdon.audit import RewardAudit
    from guerdon.core import RewardOutput, Rollout
    from guerdon.core.feedback import Comparison, Feedback

HELD_OUT = "held_out.jsonl"  # what a fit keeps in the reward's folder


@dataclass(frozen=True)
class Inspected:
    """An audit that was made.

    Args:
        audit: The audit.
        folder: Where its files are.
        facts: What summary.json holds.
    """

    audit: RewardAudit
    folder: Path
    facts: dict[str, Any]


def inspect(
    reward: Any, pairs: Sequence[Comparison], folder: Path, *, name: str = "", subsets: Sequence[str] = (), probes: bool = True,
    timeout: float | None = None, quiet: bool = False,
) -> Inspected:  # fmt: skip
    """Audit a reward and write findings.json, summary.json and report.html.

    Args:
        reward: Any reward; user code runs in processes of its own.
        pairs: Labelled pairs.
        folder: Where the files go; made when there is something to write.
        name: Of the reward in the report.
        subsets: Info columns to split by; (): those that often name subsets.
        probes: Whether outputs are changed, too, to see what moves the score.
        timeout: Seconds before a call counts as hung; None: as ``time_limit`` says.
        quiet: No progress.
    """
    from guerdon.audit import audit_reward, probe_reward, score_comparisons, write_reward_report

    with _counted(reward, name or folder.name, timeout, quiet) as (counted, say):
        say("scoring", len({(repr(c.context), repr(o)) for c in pairs for o in (c.first, c.second)}))
        scored = score_comparisons(counted, pairs)
        more = {"subsets": tuple(subsets)} if subsets else {}
        audit = audit_reward(scored, temperature=getattr(reward, "temperature", None), **more)  # type: ignore[arg-type]
        if probes and audit.judged:
            say("probing", None)
            audit = audit.with_probes(probe_reward(counted, pairs))
    write_reward_report(audit, folder)
    return Inspected(audit, folder, json.loads((folder / "summary.json").read_text(encoding="utf8")))


def audited(
    text: str, data: Sequence[str], style: str | None, columns: Sequence[str], subsets: Sequence[str], limit: int | None,
    probes: bool, timeout: float | None, out: Path | None, quiet: bool,
) -> Inspected:  # fmt: skip
    """The audit of the reward that the command names, on the feedback that it names.

    Raises:
        GuerdonError: in one line, before anything is written.
    """
    from guerdon.cli._records import name_of, read_records
    from guerdon.cli._reward import read_reward
    from guerdon.core.feedback import comparisons

    own = Path(text) if Path(text).is_dir() else None
    if not data and (own is None or not (own / HELD_OUT).is_file()):
        raise Stop(f"{text}: labelled pairs are needed to audit it: --data FEEDBACK")
    where = ", ".join(map(name_of, data)) or str((own or Path()) / HELD_OUT)
    folder = out or own or Path("audit")
    if folder.exists() and not folder.is_dir():
        raise Stop(f"{folder}: is a file, expected a folder for the report; choose another --out")
    reward = read_reward(text)
    records = read_records(data or [where], style, columns, quiet=quiet)
    pairs = list(islice(comparisons(records), limit))
    if not pairs:
        kinds = ", ".join(dict.fromkeys(r.kind for r in records))
        raise DataError(f"{where}: no comparisons follow from its {len(records):,} records of the kind {kinds}")
    if data and own is not None and _fitted_to(own) == _hash(records):
        note("these are the very records that the reward was fitted to: what follows flatters it", quiet=quiet)
    name = text if len(text) <= 80 else ""
    return inspect(reward, pairs, folder, name=name, subsets=subsets, probes=probes, timeout=timeout, quiet=quiet)


def _fitted_to(folder: Path) -> str:
    """Hash of the records that the reward of a folder was fitted to, where that is known."""
    try:
        recipe = json.loads((folder / "guerdon.json").read_text(encoding="utf8"))
        return str(recipe["facts"]["data_hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _hash(records: Sequence[Feedback]) -> str:
    from guerdon.rewards.learned.data import hash_of

    return hash_of(records)


class Counted:
    """A reward that is scored safely and tells how many rows it has seen."""

    differentiable = False

    def __init__(self, reward: Any, name: str, score: Callable[[Rollout], RewardOutput], tell: Callable[[int], None]):
        self.scope = reward.scope
        self.name, self.identity = name, identity_of(reward)
        self.score, self.tell = score, tell

    def __call__(self, rollout: Rollout) -> RewardOutput:
        output = self.score(rollout)
        self.tell(len(rollout))
        return output


def identity_of(reward: Any) -> str:
    """What tells a reward from every other: its own identity, or the file it is in with a hash of its content."""
    own = getattr(reward, "identity", None)
    if isinstance(own, str) and own:
        return own
    if file := getattr(reward, "file", ""):
        return f"{reward.origin}@{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}"
    return repr(reward)


@contextmanager
def _counted(
    reward: Any, name: str, timeout: float | None, quiet: bool
) -> Iterator[tuple[Counted, Callable[[str, int | None], None]]]:
    """(the reward, a function that names what is going on and how many rows it has) under a bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from guerdon.cli._reward import time_limit
    from guerdon.rewards import Scorer

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("rows"),
               TimeRemainingColumn())  # fmt: skip
    console = Console(stderr=True)
    limit = time_limit(reward) if timeout is None else timeout
    with (
        Scorer(reward, timeout=limit) as scorer,
        Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress,
    ):
        task = progress.add_task("scoring", total=None)
        say: Callable[[str, int | None], None] = lambda what, total: progress.reset(task, description=what, total=total)  # noqa: E731
        yield Counted(scorer.reward, name, scorer.score, lambda n: progress.advance(task, n)), say


# ---------------------------------------------------------------- what is said
def tell(found: Inspected) -> None:
    """The figures beside those of counting characters, the findings, and where the files are."""
    from guerdon.cli._result import table

    a = found.audit
    longer = a.baselines.get("longer")
    c = a.calibration
    rows = [("reward", _share(a.accuracy), _share(a.balance.balanced), f"{100 * c.ece:.1f} %" if c else "-")]
    if longer is not None and longer.n:
        rows.append(("the longer answer", _share(longer), "50.0 %" if a.balance.balanced.n else "-", "-"))
    show(table(("", "accuracy", "length-balanced", "calibration error"), rows))
    show(found.facts["verdict"]["text"])
    for f in a.findings:
        show(f"  {f.level}: {f.message} {f.advice}".rstrip())
    if not a.findings:
        show("  no findings")
    show(f"  {found.folder / 'report.html'}, {found.folder / 'findings.json'}")


def _share(e: Any) -> str:
    """A share with its interval, in per cent."""
    if not e.n:
        return "-"
    return f"{100 * e.value:.1f} % ({100 * e.lo:.1f}-{100 * e.hi:.1f})" if math.isfinite(e.lo) else f"{100 * e.value:.1f} %"
