"""What ``fit`` does: checks, reads, splits, fits, writes, and audits what it wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.cli._main import INTERRUPTED, Stop
from guerdon.cli._output import emit, note
from guerdon.core.contexts import key_of, split
from guerdon.core.errors import DataError, nearest
from guerdon.core.feedback import Feedback, Rating, comparisons

if TYPE_CHECKING:
    from guerdon.rewards import FitSettings, Fitted

COMBINE = ("mean", "worst", "uncertainty")


@dataclass(frozen=True)
class Kind:
    """A kind of reward that can be fitted.

    Args:
        learns: What of the feedback it learns from.
        loss: Its loss, a name in ``rewards``.
        usable: What it learns from among some records: comparisons or ratings.
    """

    learns: str
    loss: str
    usable: Callable[[Sequence[Feedback]], list[Any]]


def compared(records: Sequence[Feedback]) -> list[Any]:
    """The comparisons among the records, or that follow from them."""
    return list(comparisons(records))


def rated(records: Sequence[Feedback]) -> list[Any]:
    """The ratings among the records."""
    return [r for r in records if isinstance(r, Rating)]


KINDS = {
    "bradley-terry": Kind("comparisons", "BradleyTerry", compared),
    "davidson": Kind("comparisons", "Davidson", compared),
    "rao-kupper": Kind("comparisons", "RaoKupper", compared),
    "rating": Kind("ratings", "SquaredError", rated),
}


@dataclass(frozen=True)
class Order:
    """The options of the command."""

    feedback: tuple[str, ...]
    reward: str
    base: str
    out: Path
    members: int = 1
    combine: str | None = None
    held_out: float = 0.2
    style: str | None = None
    columns: tuple[str, ...] = ()
    epochs: int | None = None
    lr: float | None = None
    batch: int | None = None
    max_length: int | None = None
    seed: int = 0
    template: Path | None = None
    attributes: tuple[str, ...] = ()
    train_layers: str = "all"
    probes: bool = True
    quiet: bool = False
    yes: bool = False
    as_json: bool = False


def carry_out(order: Order) -> None:
    """The whole command. The reward's folder appears when it is whole; then it is audited where it lies."""
    kind = check(order)
    from guerdon.cli import _told
    from guerdon.cli._memory import check_memory
    from guerdon.cli._records import name_of, read_records

    base = known_base(order.base)
    settings = settings_of(order)
    records = narrowed(read_records(order.feedback, order.style, order.columns, quiet=order.quiet), order.attributes)
    train, held = parts(records, kind, order, ", ".join(map(name_of, order.feedback)))
    read = _told.facts_of(records)
    for line in (_told.sentence(read), *read["warnings"], _told.division(train, held, kind)):
        note(line, quiet=order.quiet)
    if not order.yes:
        check_memory(base, order.members, settings)
    with _interruptible("nothing was written"):
        fitted = _fit(train, held, kind, settings, order)
        if order.out.exists():  # since the check, by somebody else
            order = dataclasses.replace(order, out=_free(order.out))
            note(f"{order.out} it is, the other place is taken by now")
        fitted.save(order.out)
    facts = _told.fit_facts(fitted.facts)
    for line in facts["notes"]:
        note(line, quiet=order.quiet)
    with _interruptible(f"the reward in {order.out} is whole; to audit it: guerdon audit {order.out}"):
        found = _audit(fitted, held, order)
    if order.as_json:
        emit(
            {"folder": str(order.out), "kind": order.reward, "read": read, "fit": facts, "audit": found.facts if found else None}
        )
    else:
        _told.show_fit(order.out, facts, found)


# ---------------------------------------------------------------- before anything is read
def check(order: Order) -> Kind:
    """The kind of reward, after what the options alone can be wrong about.

    Raises:
        Stop: in one line.
    """
    if order.reward not in KINDS:
        raise Stop(f"--reward {order.reward!r}: no such kind of reward; {nearest(order.reward, KINDS)}")
    kind = KINDS[order.reward]
    if order.combine is not None and order.combine not in COMBINE:
        raise Stop(f"--combine {order.combine!r}: no such way; {nearest(order.combine, COMBINE)}")
    if order.combine is not None and order.members < 2:
        raise Stop("--combine says how several rewards become one; add --members 4, or leave it out")
    if not 0 <= order.held_out < 1:
        raise Stop(f"--held-out {order.held_out:g}: expected a share of the prompts, at least 0 and below 1")
    if order.attributes and kind.learns != "ratings":
        raise Stop(f"--attributes are those of ratings, and a {order.reward} reward learns from {kind.learns}")
    if order.out.exists() or order.out.is_symlink():
        raise Stop(f"{order.out} exists and is not overwritten; choose another --out")
    above = next(p for p in order.out.absolute().parents if p.exists())
    if not above.is_dir():
        raise Stop(f"{order.out}: {above} is a file, expected a folder")
    return kind


def known_base(name: str) -> str:
    """Where the base is read from, after what its folder can be wrong about.

    Raises:
        ModelError: in one line.
    """
    from guerdon.core.hub import check_folder, find

    place = find(name)
    check_folder(place)
    return place


def settings_of(order: Order) -> FitSettings:
    """The settings of the fit; what was not said is left to it.

    Raises:
        GuerdonError: for one that cannot be.
    """
    from guerdon.rewards import FitSettings

    layers: Any = int(order.train_layers) if order.train_layers.isdecimal() else order.train_layers
    if layers not in ("all", "head") and not (isinstance(layers, int) and layers > 0):
        raise Stop(f"--train-layers {order.train_layers!r}: expected all, head or a number of blocks")
    given: dict[str, Any] = {n: v for n in ("epochs", "lr", "batch", "max_length") if (v := getattr(order, n)) is not None}
    if order.attributes:
        given["weights"] = {order.attributes[0]: 1.0}
    if order.template is not None:
        try:
            given["template"] = order.template.read_text(encoding="utf8")
        except (OSError, UnicodeDecodeError) as e:
            raise Stop(f"{order.template}: cannot be read as a chat template ({getattr(e, 'strerror', None) or e})") from None
    return FitSettings(seed=order.seed, train_layers=layers, **given)


# ---------------------------------------------------------------- before the first step
def narrowed(records: Sequence[Feedback], attributes: Sequence[str]) -> list[Feedback]:
    """The records, their ratings with the wanted attributes only.

    Raises:
        DataError: for an attribute that no rating has.
    """
    if not attributes:
        return list(records)
    known = {a for r in rated(records) for a in r.scores}
    for name in attributes:
        if name not in known:
            raise DataError(f"--attributes: no rating has {name!r}; {nearest(name, known)}")
    found: list[Feedback] = []
    for r in records:
        if not isinstance(r, Rating):
            found.append(r)
        elif scores := {a: r.scores[a] for a in attributes if a in r.scores}:
            found.append(r.replace(scores=scores))
    return found


def parts(records: Sequence[Feedback], kind: Kind, order: Order, where: str) -> tuple[list[Feedback], list[Feedback]]:
    """(training part, held-out part), by prompt.

    Raises:
        DataError: where there is nothing to learn from, or one part is left without anything.
    """
    found = kind.usable(records)
    if not found:
        kinds = ", ".join(dict.fromkeys(r.kind for r in records))
        hint = "; --reward rating learns from ratings" if kind.learns == "comparisons" and rated(records) else ""
        raise DataError(f"{where}: no {kind.learns} follow from its {len(records):,} records of the kind {kinds}{hint}")
    if not _tells(found):
        what = "are ties" if kind.learns == "comparisons" else "give the same scores"
        raise DataError(f"{where}: all {len(found):,} {kind.learns} {what}, so nothing says which output is better")
    train, held = split(records, order.held_out, order.seed)
    prompts = len({key_of(r.context) for r in found})
    if order.held_out and prompts == 1:
        raise DataError(f"{where}: all {len(found):,} {kind.learns} are of one prompt, so none can be held out by prompt; "
                        "add prompts, or take --held-out 0, which goes without an audit")  # fmt: skip
    for part, name, way in ((train, "training", "smaller"), (held, "held-out", "larger")):
        if (order.held_out or name == "training") and not (kept := kind.usable(part)):
            raise DataError(
                f"{where}: no prompt of {prompts:,} is in the {name} part; take a {way} --held-out, or another --seed"
            )
        if name == "training" and not _tells(kept):
            raise DataError(
                f"{where}: nothing in the training part says what is better; take a {way} --held-out, or another --seed"
            )
    return train, held


def _tells(found: Sequence[Any]) -> bool:
    """Whether comparisons say that something is better, or ratings differ."""
    if found and isinstance(found[0], Rating):
        return len({tuple(sorted(r.scores.items())) for r in found}) > 1
    return any(not c.tie for c in found)


# ---------------------------------------------------------------- the fit and what it is worth
def _fit(train: Sequence[Feedback], held: Sequence[Feedback], kind: Kind, settings: FitSettings, order: Order) -> Fitted:
    from guerdon import rewards

    loss = getattr(rewards, kind.loss)()
    with bar(order.members, order.quiet) as tell:
        fitted = rewards.fit_reward(
            train, order.base, held_out=held, settings=settings, loss=loss, members=order.members, progress=tell
        )
    if order.combine is None:
        return fitted
    return dataclasses.replace(fitted, reward=dataclasses.replace(fitted.reward, combine=order.combine))  # type: ignore[type-var]


@contextmanager
def bar(members: int, quiet: bool) -> Iterator[Callable[[float, Mapping[str, float]], None] | None]:
    """A bar on stderr that shows the loss and the time left."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(),
               TextColumn("{task.fields[figures]}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("fitting", total=1.0, figures="starting")

        def tell(share: float, figures: Mapping[str, float]) -> None:
            member = min(int(share * members - 1e-9), members - 1) + 1
            which = f"  member {member} of {members}" if members > 1 else ""
            progress.update(task, completed=share, figures=f"loss {figures['loss']:.3f}{which}")

        yield tell


def _audit(fitted: Fitted, held: Sequence[Feedback], order: Order) -> Any:
    """What the held-out pairs say; None where there are none."""
    from guerdon.cli._audit_reward import inspect

    pairs = compared(held)
    if not any(not c.tie for c in pairs):
        return None
    return inspect(fitted.reward, pairs, order.out, probes=order.probes, quiet=order.quiet)


def _free(folder: Path) -> Path:
    """A place that nobody has taken yet."""
    return next(p for k in range(2, 10_000) if not (p := folder.with_name(f"{folder.name}-{k}")).exists())


@contextmanager
def _interruptible(state: str) -> Iterator[None]:
    """Ctrl-C says what is there."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stop(f"interrupted; {state}", INTERRUPTED) from None
