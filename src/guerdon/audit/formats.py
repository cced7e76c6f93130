"""Numbers as a reader wants them: three significant digits, real minus signs, units that need no counting of zeros."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(x: Any, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; "–" where there is none.

    >>> [number(x) for x in (0, 0.31249, -1.5, 123.4, 12345.6, None, float("nan"))]
    ['0', '0.312', '−1.50', '123', '12,346', '–', '–']
    >>> number(0.0000123), number(2.5e9)
    ('1.23 × 10⁻⁵', '2.50 × 10⁹')
    """
    if x is None or isinstance(x, str) or not math.isfinite(x):
        return x if isinstance(x, str) else "–"
    size = abs(x)
    if size == 0:
        return "0"
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{x:,.{decimals}f}".replace("-", "−")


def fixed(x: float | None, decimals: int | None, sign: bool = False) -> str:
    """A number with so many decimals, so that numbers that are compared look alike; None: three significant digits.

    >>> fixed(-0.0775, 2), fixed(0.5, 2, sign=True), fixed(1234.5, 0), fixed(0.25, None)
    ('−0.08', '+0.50', '1,234', '0.250')
    """
    if x is None or not math.isfinite(x):
        return "–"
    text = number(x) if decimals is None else f"{round(x, decimals) + 0.0:,.{decimals}f}".replace("-", "−")
    return "+" + text if sign and x > 0 else text


def decimals_of(half_width: float, *values: float) -> int | None:
    """Decimals worth showing: what an interval's half width allows, else three digits of the largest value; None: no number.

    >>> decimals_of(0.126, 0.712), decimals_of(math.nan, 0.0031, 0.712), decimals_of(math.nan, 12345.0), decimals_of(1e-9, 1.0)
    (2, 3, 0, None)
    """
    size = half_width / 3 if half_width > 0 else max((abs(v) for v in values if math.isfinite(v)), default=1.0) / 100
    decimals = max(0, -math.floor(math.log10(size))) if size > 0 else 0
    return decimals if decimals <= 6 else None


def count(x: float) -> str:
    """A whole number with thousands separated.

    >>> count(12345)
    '12,345'
    """
    return f"{round(x):,}"


def percent(x: float | None) -> str:
    """A fraction in per cent; small ones keep a digit, and only nothing is 0 %.

    >>> percent(0.914), percent(0.0123), percent(0.00001), percent(1.0), percent(0.9999)
    ('91 %', '1.2 %', '<0.1 %', '100 %', '>99.9 %')
    """
    if x is None or not math.isfinite(x):
        return "–"
    if 0 < x < 0.001:
        return "<0.1 %"
    if 0.999 < x < 1:
        return ">99.9 %"
    decimals = 0 if abs(x) >= 0.1 and not 0.99 < abs(x) < 1 or x == 0 else 1
    return f"{100 * x:.{decimals}f} %".replace("-", "−")


def interval(lo: float | None, hi: float | None, decimals: int | None = None) -> str:
    """Both ends of an interval, "" where it is not known.

    >>> interval(0.1, 0.25), interval(0.1, 0.25, 2), interval(None, None)
    ('0.100 to 0.250', '0.10 to 0.25', '')
    """
    if lo is None or hi is None or not (math.isfinite(lo) and math.isfinite(hi)):
        return ""
    return f"{fixed(lo, decimals)} to {fixed(hi, decimals)}"


def duration(seconds: float | None) -> str:
    """A time span in the two units that matter.

    >>> [duration(s) for s in (0.042, 12.34, 192, 7500, 200000, None)]
    ['42 ms', '12.3 s', '3 min 12 s', '2 h 05 min', '2 d 7 h', '–']
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "draw"), plural(1200, "draw"), plural(2, "reply", "replies")
    ('1 draw', '1,200 draws', '2 replies')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def clip(text: str, limit: int) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left out.

    >>> clip("abcdef", 4), clip("abc", 4)
    (('abcd', 2), ('abc', 0))
    """
    return text[:limit], max(0, len(text) - limit)


def visible(text: str, limit: int | None = None) -> str:
    """Text with control characters made visible, so that nothing sampled can hide or turn the page around.

    >>> visible("a" + chr(0) + "b"), visible("x" + chr(0x202E) + "y"), visible("abc", 2)
    ('a␀b', 'x\ufffdy', 'ab …')
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + " …"
    text = re.sub(
        r"[\x00-\x08\x0b-\x1f]", lambda m: "\n" if m[0] == "\r" else chr(0x2400 + ord(m[0])), text.replace("\r\n", "\n")
    )
    return re.sub("[\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def plain(x: Any) -> Any:
    """Values JSON can hold: numbers that are not finite become null, unknown things text."""
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, Mapping):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [plain(v) for v in x]
    return x if x is None or isinstance(x, bool | int | str) else str(x)
