"""The page of a reward: ``write_reward_report`` puts an audit into findings.json, summary.json and report.html."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from guerdon.audit.formats import clip, count, number, percent, plain, plural, visible
from guerdon.audit.report import render as pages
from guerdon.audit.report.blocks import finding_cards
from guerdon.audit.reward import pictures, words
from guerdon.audit.reward.bench import ProbeResult
from guerdon.audit.reward.estimates import NOTHING, Estimate
from guerdon.audit.reward.judge import RULES
from guerdon.audit.reward.numbers import Mistake, RewardAudit, Subset
from guerdon.audit.reward.scored import text_of
from guerdon.audit.reward.tiles import tiles_of
from guerdon.core.errors import RunError

MAX_BYTES, SHOWN_SUBSETS = 1_000_000, 16
_TEMPLATES = Path(pages.__file__).parent / "templates"


class Row(NamedTuple):
    """A row of a table with a dot plot."""

    name: str
    note: str
    value: str
    more: str
    strip: Markup
    tone: str = ""


class Side(NamedTuple):
    """One output of a pair as shown."""

    when: str
    output: str
    hidden: int
    score: str


class Pair(NamedTuple):
    """A mistake as shown."""

    context: str
    sides: tuple[Side, Side]
    note: str


def write_reward_report(audit: RewardAudit, folder: str | Path, *, title: str | None = None) -> Path:
    """Write ``findings.json``, ``summary.json`` and ``report.html``.

    The page is one file of at most 1 MB that loads nothing and runs no script; everything that came from data is escaped.

    Args:
        audit: From ``audit_reward``.
        folder: Made where it is not there.
        title: Of the page; by default the reward's name.

    Returns:
        Path of the page.

    Raises:
        RunError: where the folder cannot be written.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"{target}: not written: {e.strerror or e}") from None
    for name, record in (("findings.json", words.findings_record(audit)), ("summary.json", words.summary_record(audit))):
        pages.write_text(target / name, json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    for mistakes, characters in ((8, 1500), (4, 400), (0, 0)):
        page = render_reward(audit, title, mistakes=mistakes, characters=characters)
        if len(page.encode("utf8", "replace")) <= MAX_BYTES:
            break
    else:
        page = render_reward(replace(audit, subsets=audit.subsets[:200]), title, mistakes=0, characters=0)
    return pages.write_text(target / "report.html", page)


def render_reward(a: RewardAudit, title: str | None, *, mistakes: int, characters: int) -> str:
    """The page as text."""
    name = visible(title or a.name, 120)
    style = pages.chart_style() + Markup(
        "".join((_TEMPLATES / f).read_text(encoding="utf8") for f in ("style.css", "reward.css"))
    )
    now = datetime.now(UTC)
    c = a.calibration
    return pages.render(
        "reward.html",
        style=style,
        title=f"{name} · guerdon reward audit",
        kind="reward audit",
        corner=f"{now.day} {now:%B %Y}",
        name=name,
        a=a,
        verdict=words.verdict_of(a),
        headline=words.headline_of(a),
        tiles=tiles_of(a),
        findings=finding_cards(a.findings),
        baselines=_baselines(a),
        subsets=_subsets(a.subsets),
        shown_subsets=SHOWN_SUBSETS,
        reliability=pictures.reliability_chart(c) if c else Markup(""),
        calibration=_calibration(a),
        by_length=pictures.length_chart(a.by_length, a.unit),
        length_facts=_length_facts(a),
        thirds=_thirds(a),
        probes=_probes(a),
        skipped=[p for p in a.probes if p.verdict == "skipped"],
        scale=number(pictures.probe_scale(a), 2),
        mistakes=[_mistake(m, characters) for m in a.mistakes[:mistakes]],
        failures=_failures(a),
        rules=RULES,
        origin=_origin(a),
    )


def _baselines(a: RewardAudit) -> list[Row]:
    if not a.judged:
        return []
    named = {
        "longer": "longer is better",
        "shorter": "shorter is better",
        "first": "the first one is better",
        "constant": "every output alike",
    }
    rows = [
        Row(
            "the reward",
            f"n = {count(a.accuracy.n)}",
            words.figure(a.accuracy),
            words.ends(a.accuracy),
            _share(a.accuracy, "the reward"),
        )
    ]
    if abs(a.weighted.value - a.accuracy.value) > 1e-12:
        rows.append(
            Row(
                "the same, weighted",
                "by how sure the labels are",
                words.figure(a.weighted),
                words.ends(a.weighted),
                _share(a.weighted, "weighted"),
            )
        )
    rows += [
        Row(
            named[k],
            "baseline",
            words.figure(e),
            words.ends(e) if k != "constant" else "by the rule",
            _share(e, named[k], "plain"),
        )
        for k, e in a.baselines.items()
        if e.n
    ]
    if a.balance.balanced.n:
        e = a.balance.balanced
        rows.append(Row("the reward, length-balanced", "", words.figure(e), words.ends(e), _share(e, "length-balanced")))
    return rows


def _share(e: Estimate, about: str, colour: str = "reward", other: float = math.nan) -> Markup:
    return pictures.strip(e, 0.0, 1.0, mark=0.5, colour=colour, other=other, about=f"{about}: {percent(e.value)}")


def _subsets(subsets: Sequence[Subset]) -> list[Row]:
    several = len({s.column for s in subsets}) > 1
    out = []
    for s in sorted(subsets, key=lambda s: (s.column, -s.accuracy.n, s.name)):
        name = visible(f"{s.column}: {s.name}" if several else s.name, 80)
        low = s.share[1] < 0.5
        out.append(
            Row(
                name,
                f"n = {count(s.accuracy.n)}",
                words.figure(s.accuracy),
                words.ends(s.accuracy),
                _share(s.accuracy, name, "held" if low else "reward", s.length_only.value),
                "bad" if low else "",
            )
        )
    return out


def _calibration(a: RewardAudit) -> list[tuple[str, str, str]]:
    c = a.calibration
    if c is None:
        return []
    return [
        ("calibration error, ten bins of equal count", percent(c.ece_equal_mass), f"{percent(c.expected)} by noise alone"),
        ("calibration error, ten bins of equal width", percent(c.ece), ""),
        ("Brier score", number(c.brier), f"{number(c.brier_half)} for always 1/2"),
        ("log loss", f"{number(c.log_loss)} nats", f"{number(math.log(2))} for always 1/2"),
        ("temperature used", number(c.temperature), f"{number(c.fitted)} would fit these pairs best"),
    ]


def _length_facts(a: RewardAudit) -> list[tuple[str, str, str]]:
    r, b = a.correlation, a.balance
    rows = [
        ("scores the longer side higher", b.agreement, percent),
        ("longer side is better", a.baselines.get("longer", NOTHING), percent),
        ("expects it to win too often, points", b.excess, lambda v: number(100 * (v or 0.0), 2)),
        ("rank correlation with length", r.overall, lambda v: number(v, 2)),
        ("the same within a context", r.within, lambda v: number(v, 2)),
        ("variance that length explains", r.explained, percent),
    ]
    return [
        (name, show(e.value), f"{show(e.lo)} to {show(e.hi)}" if math.isfinite(e.lo) else "") for name, e, show in rows if e.n
    ]


def _thirds(a: RewardAudit) -> list[Row]:
    if a.uncertainty is None:
        return []
    names = ("most certain third", "middle third", "least certain third")
    return [
        Row(n, f"n = {count(t.accuracy.n)}", words.figure(t.accuracy), words.ends(t.accuracy), _share(t.accuracy, n))
        for n, t in zip(names, a.uncertainty.thirds, strict=True)
    ]


_VERDICTS = {
    "still": "holds still",
    "raises": "raises it",
    "lowers": "lowers it",
    "unnoticed": "not noticed",
    "unstable": "unstable",
    "inconsistent": "order decides",
}


def _probes(a: RewardAudit) -> list[Row]:
    scale = pictures.probe_scale(a)
    out = []
    for p in a.probes:
        if p.verdict == "skipped":
            continue
        tone = "bad" if p.verdict in ("raises", "unstable", "inconsistent") else ""
        colour = "held" if tone else "reward"
        note = visible(p.about, 90) + (f": {visible(', '.join(p.words), 80)}" if p.words else "")
        out.append(
            Row(
                visible(p.name, 60),
                note,
                _probe_value(p),
                _VERDICTS[p.verdict] + (", as it should" if p.verdict == "lowers" and p.expect != "same" else ""),
                pictures.strip(p.gaps, -scale, scale, mark=0.0, colour=colour, about=f"{p.name}: {number(p.gaps.value)}"),
                tone,
            )
        )
    return out


def _probe_value(p: ProbeResult) -> str:
    if p.group == "determinism" or p.group == "position" and not p.gaps.n:
        return f"≤ {number(p.largest, 2)}" if p.largest > 0 else "0"
    if p.group == "position":
        return f"{percent(p.raised.value)} alike"
    return ("+" if p.gaps.value > 0 else "") + number(p.gaps.value, 2)


def _mistake(m: Mistake, characters: int) -> Pair:
    c = m.comparison
    better, worse = (c.first, c.second) if c.label > 0.5 else (c.second, c.first)
    sides = []
    for when, output, score in (("Preferred", better, m.preferred), ("Scored higher", worse, m.other)):
        text, hidden = clip((text_of(output) or repr(output)).strip(), characters)
        sides.append(Side(when, visible(text), hidden, number(score)))
    return Pair(
        visible(text_of(c.context) or str(c.context), 500),
        (sides[0], sides[1]),
        visible(f"labelled by {c.annotator}", 80) if c.annotator else "",
    )


def _failures(a: RewardAudit) -> list[tuple[str, str, float]]:
    failed = max(1, a.failed[0])
    return [(visible(reason, 200), count(n), n / failed) for reason, n in list(a.failures.items())[:12]]


def _origin(a: RewardAudit) -> list[tuple[str, str]]:
    return [
        ("reward", visible(a.name, 120)),
        ("identity", visible(a.identity, 300) or "not stated"),
        ("comparisons", f"{plural(a.pairs, 'comparison')}, hash {a.data}"),
        ("seed of resampling", str(a.seed)),
    ]
