"""The five figures at the head of a reward's page."""

from __future__ import annotations

from guerdon.audit.formats import number, percent
from guerdon.audit.report.blocks import Tile, finding_cards
from guerdon.audit.reward.estimates import FEW, NOTHING
from guerdon.audit.reward.numbers import RewardAudit
from guerdon.audit.reward.words import ends


def tiles_of(a: RewardAudit) -> list[Tile]:
    """Accuracy, balanced accuracy, calibration, probes, findings."""
    told = {f.check for f in a.findings if f.level != "info"}
    return [_accuracy(a, told), _balanced(a, told), _calibrated(a, told), _probes(a), _found(a)]


def _accuracy(a: RewardAudit, told: set[str]) -> Tile:
    if not a.judged:
        return Tile("Accuracy", "–", ("no pair could be judged",), "not judged")
    longer = a.baselines.get("longer", NOTHING)
    lines = [f"95\u00a0% interval {ends(a.accuracy)}"] if ends(a.accuracy) else []
    lines += [f"length alone: {percent(longer.value)}"] if longer.n else []
    word, tone = ("too few to tell", "neutral") if longer.n else ("", "neutral")
    if "NotBetterThanChance" in told:
        word, tone = "no better than chance", "bad"
    elif "NotBetterThanLength" in told:
        word, tone = "no better than length", "bad"
    elif a.against_length.n and a.against_length.lo > 0:
        word, tone = "beats length", "good"
    return Tile("Accuracy", percent(a.accuracy.value), tuple(lines), word, tone)


def _balanced(a: RewardAudit, told: set[str]) -> Tile:
    b = a.balance
    if not b.balanced.n:
        return Tile("Length-balanced", "–", ("lengths do not differ both ways",), "not judged")
    lines = (f"{percent(b.longer.value)} where longer is better,", f"{percent(b.shorter.value)} where shorter is")
    word, tone = ("too few to tell", "neutral") if b.drop.clusters < FEW else ("no shortcut seen", "good")
    if "LengthShortcut" in told:
        word, tone = "length shortcut", "bad"
    elif any(f.check == "LengthShortcut" for f in a.findings):
        word, tone = "length, as in the labels", "neutral"
    elif "NotBetterThanLength" in told:
        tone = "neutral"
    return Tile("Length-balanced", percent(b.balanced.value), lines, word, tone)


def _calibrated(a: RewardAudit, told: set[str]) -> Tile:
    c = a.calibration
    if c is None:
        return Tile("Calibration error", "–", ("no pair could be judged",), "not judged")
    lines = (f"noise alone gives {percent(c.expected)}", f"temperature {number(c.temperature, 2)}, fits {number(c.fitted, 2)}")
    word, tone = ("too few to tell", "neutral") if c.gap.clusters < FEW else ("within noise", "good")
    if "Overconfident" in told:
        word, tone = "over-confident", "bad"
    elif "Miscalibrated" in told:
        word, tone = "miscalibrated", "bad"
    elif any(f.check == "Underconfident" for f in a.findings):
        word, tone = "under-confident", "neutral"
    return Tile("Calibration error", percent(c.ece_equal_mass), lines, word, tone)


def _probes(a: RewardAudit) -> Tile:
    ran = [p for p in a.probes if p.verdict != "skipped"]
    if not ran:
        return Tile("Probes", "–", ("none were run",), "not measured")
    moved = [p for p in ran if p.verdict in ("raises", "unstable", "inconsistent")]
    lines = tuple(p.name for p in moved[:2]) or ("nothing that should not matter",)
    word, tone = ("can be gamed", "bad") if moved else ("holds still", "good")
    return Tile("Probes that raise it", str(len(moved)), lines, word, tone, f"of {len(ran)}")


def _found(a: RewardAudit) -> Tile:
    serious = [f for f in a.findings if f.level != "info"]
    cards = finding_cards(serious)
    lines = tuple(c.name for c in cards[:2]) or ("by the rules below",)
    word, tone = ("look below", "bad") if cards else ("nothing found", "neutral" if a.findings else "good")
    return Tile("Findings", str(len(cards)), lines, word, tone)
