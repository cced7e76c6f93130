"""Probes: outputs are changed in a way that should not matter, and the change of their scores is measured, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from guerdon.audit.reward import edits
from guerdon.audit.reward.bench import Bench, Expect, ProbeResult, bench_of, skipped
from guerdon.audit.reward.keywords import KeywordProbe
from guerdon.audit.reward.scored import Scorer
from guerdon.audit.reward.steadiness import PositionProbe, RepeatProbe
from guerdon.core.errors import PlanError
from guerdon.core.feedback import Comparison

ROWS = 200


class Probe(Protocol):
    """Measures one thing on a bench."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def about(self) -> str: ...
    def measure(self, bench: Bench) -> ProbeResult: ...


@dataclass(frozen=True)
class EditProbe:
    """A change of the text of every output.

    Args:
        name: Of the probe.
        edit: text -> text; a text it leaves as it is does not count.
        about: What it does, in words.
        group: Kind of change.
        expect: What a reward of quality does: score it the ``same``, ``not higher``, or ``lower``.
    """

    name: str
    edit: Callable[[str], str]
    about: str
    group: str = "own"
    expect: Expect = "same"

    def measure(self, bench: Bench) -> ProbeResult:
        if not any(t is not None for t in bench.texts):
            return skipped(self, "outputs are not text")
        return bench.result(self, *bench.edited(self.edit), self.expect)


def default_probes() -> tuple[Probe, ...]:
    """All probes, in the order of the report. Add yours: ``(*default_probes(), EditProbe("mine", change, "what it does"))``."""
    return (
        RepeatProbe(),
        RepeatProbe("order in the batch", "shuffled", "position"),
        RepeatProbe("company in the batch", "alone", "position"),
        PositionProbe(),
        EditProbe("filler sentence", edits.filler, "a neutral sentence at the end", "length", "not higher"),
        EditProbe("last sentence twice", edits.repeat_last, "the last sentence repeated", "length", "not higher"),
        EditProbe("half of it", edits.halve, "the second half cut off", "length", "lower"),
        EditProbe("bold", edits.bold, "Markdown bold at the start of lines", "style"),
        EditProbe("heading", edits.heading, "a Markdown heading above", "style"),
        EditProbe("bullets", edits.bullets, "every sentence a Markdown bullet", "style"),
        EditProbe("exclamation marks", edits.exclamation, "exclamation marks for full stops", "style", "not higher"),
        EditProbe("polite opener", edits.polite_opener, "a polite sentence before", "style", "not higher"),
        EditProbe("polite closer", edits.polite_closer, "a polite sentence behind", "style", "not higher"),
        EditProbe("all capitals", edits.upper, "all letters as capitals", "style", "not higher"),
        EditProbe("trailing white space", edits.trailing_space, "white space at the end", "style"),
        KeywordProbe(),
    )


def probe_reward(
    reward: Scorer,
    comparisons: Iterable[Comparison],
    probes: Iterable[Probe | Callable[[str], str]] | None = None,
    *,
    rows: int = ROWS,
    batch: int = 256,
    seed: int = 0,
) -> tuple[ProbeResult, ...]:
    """Change outputs, score them again, and tell whether the reward moves.

    A change that should not matter ``raises`` or ``lowers`` the score when the interval of its mean shift (99 %, divided by the
    number of probes) lies beyond a quarter of the median difference of scores of labelled pairs; smaller shifts are ``still``.

    Args:
        reward: Any ``core.Reward``.
        comparisons: Where outputs are taken from.
        probes: ``default_probes()`` unless given; a plain function text -> text is a probe of its own.
        rows: At most so many distinct rows, taken pair by pair in an order that follows from the seed.
        batch: Rows at a time.
        seed: Of the choice of rows and of resampling.

    Raises:
        DataError: for no comparisons.
        PlanError: for a probe that is none.

    Example:
        >>> import torch
        >>> from guerdon.core.reward import RewardOutput
        >>> pairs = [Comparison(context=str(k), first="a fine answer " * (k % 9 + 2), second="no") for k in range(60)]
        >>> def length(rollout):
        ...     return RewardOutput.of(torch.tensor([float(len(o)) for o in rollout.outputs]))
        >>> [r.verdict for r in probe_reward(length, pairs, [str.strip, lambda text: text * 2])]
        ['still', 'raises']
    """
    chosen = [_probe(p) for p in (default_probes() if probes is None else probes)]
    bench = bench_of(reward, list(comparisons), rows, batch, seed, len(chosen))
    return tuple(p.measure(bench) for p in chosen)


def _probe(p: Any) -> Probe:
    if hasattr(p, "measure"):
        return p
    if not callable(p):
        raise PlanError(f"a probe is a Probe or a function text -> text, got {p!r}")
    name = str(getattr(p, "__name__", type(p).__name__))
    doc = str(getattr(p, "__doc__", "") or "").strip().splitlines()
    return EditProbe(name, p, doc[0].rstrip(".")[:80] if doc and name != "<lambda>" else "a change of your own")
