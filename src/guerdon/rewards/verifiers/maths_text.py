r"""Texts around mathematics: where a text says its answer, and how math-verify is best shown one.

Standard library only; ``maths_worker`` loads it in processes that never import guerdon. A rule here keeps apart what differs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

TAIL = 20_000  # characters at the end of a text without a marked answer in which one is looked for
FORMULA = 500  # characters of a formula that may be an answer without being marked as one
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is no brace
_BOX = re.compile(r"\\f?box(?:ed)?\s*\{")
_BETWEEN = re.compile(r"(?:[\s,;$]|\\[ ,;]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\\\)|\\\(|and|or)*")

_NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?"
_COUNTED = re.compile(r"[-$€£]*\s*\d[\d.,/]*\s*%?\s+(?!(?:sin|cos|tan|sqrt|log|exp)\b)[A-Za-z]{3,}[A-Za-z .]*")
_UNIT = r"(?:[kcmdµn]?m|[kmµ]?g|[km]?L|ml|s|ms|min|h|hr|N|J|W|V|A|Hz|Pa|K|C|F|in|ft|yd|mi|lb|oz|mph|\\Omega)"
_POWER = r"(?:\s*\^\s*(?:\{-?\d\}|\d))?"
_MEASURED = re.compile(rf"({_NUMBER})\s+{_UNIT}{_POWER}(?:\s*(?:/|\\cdot|\s)\s*{_UNIT}{_POWER})*")
_RAY = re.compile(r"([a-zA-Z])\s*(<|>|\\[lg]e)(?:q|qslant)?(?![a-zA-Z])\s*([^<>=,]{1,100})")
_SCIENTIFIC = re.compile(r"([-+]?\d+(?:\.\d+)?)[eE]([-+]?\d{1,4})")
_CHOICE = re.compile(r"(?:(?:option|choice|answer)\s+)?(?:\(([A-Z])\)|([A-Z])(?=$|[.:)]))[.:)]?(?:\s.*)?", re.IGNORECASE)
_CLOCK = re.compile(r"0?(\d{1,2})(?::(\d\d))?\s*([ap])\.?\s*m\.?", re.IGNORECASE)
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))")
_VECTOR = re.compile(r"\\begin\{([pbvB]?matrix)\}([^&]*|(?:(?!\\\\).)*)\\end\{\1\}", re.DOTALL)
_TRIG = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_WORDS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip

_NAMES = r"(?:sqrt|sin|cos|tan|log|exp|and|inf|infinity|percent|pi)(?![a-zA-Z])"
_SHORT = "am an as at be by do he if in is it me my no of on so up us we".replace(" ", "|")
_PROSE = re.compile(rf"(?<![\\a-zA-Z{{])(?!{_NAMES})(?:[a-zA-Z]{{3,}}|(?:{_SHORT})(?![a-zA-Z]))", re.IGNORECASE)
_FORMULA = re.compile(r"\${1,2}([^$\n]{1,500})\${1,2}\.?|\\\((.{1,500}?)\\\)\.?|\\\[(.{1,500}?)\\\]\.?", re.DOTALL)

_SYMBOLS = {ord(k): v for k, v in {
    "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ",
    "∞": r"\infty ", "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ",
    "∈": r"\in ", "±": r"\pm ", "⁄": "/", "…": r"\ldots ", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2062": "",
    "\u200b": "", "\u200e": "", "\u200f": "", "\u202a": "", "\u202b": "", "\u202c": "", "\u202d": "", "\u202e": "", "\ufeff": "",
}.items()} | {0xFF01 + k: chr(0x21 + k) for k in range(94)}  # fmt: skip  # full-width forms
_FRACTIONS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")


def marked(text: str) -> str | None:
    """The final answer where the text marks one: its last box, or boxes in a row, or what follows ``####`` (as in GSM8K)."""
    boxes = final_boxes(text)
    if boxes:
        return " and ".join(dict.fromkeys(boxes))
    _, mark, end = text.rpartition("####")
    return end.strip().partition("\n")[0] if mark else None


def final_boxes(text: str) -> list[str]:
    r"""Contents of the last box, and of those before it with nothing but "and" or a comma between.

    >>> final_boxes(r"first \boxed{3}, no: \boxed{1} and $\boxed{\frac{1}{2}}$.")
    ['1', '\\frac{1}{2}']
    """
    end_of: dict[int, int] = {}
    opened: list[int] = []
    for found in _BRACE.finditer(text):
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            end_of[opened.pop()] = found.start()
    boxes: list[str] = []
    after = None
    for found in reversed(list(_BOX.finditer(text))):
        end = end_of.get(found.end() - 1)
        if end is None or (after is not None and end > after):  # cut off, or around the one that counts
            continue
        if after is not None and not _BETWEEN.fullmatch(text, end + 1, after):
            break
        boxes.append(text[found.end() : end].strip())
        after = found.start()
    return boxes[::-1]


def alone(text: str) -> str | None:
    r"""A text that is nothing but one formula, bare or between dollar signs.

    >>> alone(r" \frac12 "), alone("$x = 4$."), alone("I say 4")
    ('\\frac12', 'x = 4', None)
    """
    text = text.strip()
    if len(text) > FORMULA or "\n" in text or _PROSE.search(re.sub(r"\\text\s*\{[^{}]*\}", "", text)):
        return None
    inside = _FORMULA.fullmatch(text)
    return next((g.strip() for g in inside.groups() if g is not None), None) if inside else text


def last_formula(text: str) -> str:
    """The last formula between dollar signs or the like, where no number follows; "" where there is none."""
    found = next(reversed(list(_FORMULA.finditer(text, max(0, len(text) - TAIL)))), None)
    if found is None or re.search(r"\d", text[found.end() :]):
        return ""
    inside = next(g.strip() for g in found.groups() if g is not None)
    return inside if len(inside) <= FORMULA else ""


def boxed(text: str) -> str:
    """Said to be mathematics as a whole: of a bare LaTeX answer only the first number would be read, and in a box the words
    behind a number ("5 apples") would be read as variables.
    """
    if _COUNTED.fullmatch(text.strip()) or "\\boxed" in text:
        return text
    return f"\\boxed{{{text.strip()}}}"


def others(text: str) -> list[str]:
    r"""Other ways to read an answer: units dropped, degrees as an angle, 1e3 as a number, ``100,200`` as a pair, ``(B) 7`` as B.

    >>> others("5 m/s"), others(r"90^\circ"), others("3x")
    (['5'], ['(\\frac{90\\pi}{180})'], [])
    """
    text = symbols(text).strip().rstrip(".")
    plain = _bare(text)
    found = []
    if counted := _COUNTED.fullmatch(plain):
        found.append(re.split(r"\s+[A-Za-z]", counted[0], maxsplit=1)[0])
    if measured := _MEASURED.fullmatch(plain):
        found.append(measured[1])
    if _DEGREES.search(text) and not _TRIG.search(text):
        found.append(_radians(text))
    if exponent := _SCIENTIFIC.fullmatch(plain):
        found.append(rf"{exponent[1]} \times 10^{{{exponent[2]}}}")
    if re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+", plain):
        found.append(plain.replace(",", ", "))
    if union := _union(text):
        found.append(union)
    if vector := _VECTOR.fullmatch(text):
        found.append("(" + ", ".join(re.split(r"&|\\\\", vector[2].strip())) + ")")
    if plain.lower() in _WORDS:
        found.append(str(_WORDS.index(plain.lower())))
    if (choice := _CHOICE.fullmatch(plain)) and len(plain) > 1:
        found.append((choice[1] or choice[2]).upper())
    return found


def _vulgar(found: re.Match[str]) -> str:
    above, _, below = unicodedata.normalize("NFKC", found[0]).partition("⁄")
    return f"\\frac{{{above}}}{{{below}}}"


def _union(text: str) -> str:
    r"""Two inequalities as the set of what satisfies one of them: ``x<1 \\text{ or } x \\ge 2``."""
    rays = []
    for part in re.split(r"\s*(?:\\text\s*\{\s*or\s*\}|(?<![a-zA-Z\\])or(?![a-zA-Z])|\\lor(?![a-zA-Z]))\s*", text[:FORMULA]):
        ray = _RAY.fullmatch(part.strip())
        if not ray:
            return ""
        closed = ray[2] not in "<>"
        below = f"(-\\infty,{ray[3]}{']' if closed else ')'}"
        rays.append(below if ray[2] in ("<", "\\le") else f"{'[' if closed else '('}{ray[3]},\\infty)")
    return "\\cup ".join(rays) if len(rays) == 2 else ""


def symbols(text: str) -> str:
    r"""Signs beyond ASCII as LaTeX.

    >>> symbols("−3½ x² √2")
    '-3\\frac{1}{2} x^{2} \\sqrt{2}'
    """
    if text.isascii():
        return text
    text = text.translate(_SYMBOLS)
    text = re.sub(f"[{_FRACTIONS}]", _vulgar, text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda m: f"^{{{m[0].translate(_RAISED)}}}", text)
    return re.sub(r"√\s*(\d+|[a-zA-Z]|\([^()]*\))?", lambda m: f"\\sqrt{{{m[1]}}}" if m[1] else "\\sqrt", text)


def _radians(text: str) -> str:
    return _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)


def _bare(text: str) -> str:
    """Without the commands that only say how it looks."""
    text = re.sub(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}", r" \1", text)
    return re.sub(r"\s+", " ", re.sub(r"\\(?:[,;:! ]|q?quad)|~|\$", " ", text)).strip()


def written(text: str) -> str:
    r"""How an answer is written, apart from how it looks: equal texts are equal answers.

    >>> written(r"\text{Evelyn.}"), written(r"\text{A, B}")
    ('evelyn', 'A,B')
    """
    text = re.sub(r"\s*([,:;])\s*", r"\1", re.sub(r"\{([,:])\}", r"\1", _bare(symbols(text)))).rstrip(". ")
    if "\\" not in text and re.search(r"[A-Za-z]{3}|^[Nn][Oo]$", text):
        return text.casefold()
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def clock(text: str) -> str:
    r"""A time of day; "" for anything else.

    >>> clock(r"4{:}30 \text{ p.m.}"), clock("4 PM"), clock("4:30")
    ('4:30 p', '4:00 p', '')
    """
    found = _CLOCK.fullmatch(written(text)) if len(text) < FORMULA else None
    return f"{found[1]}:{found[2] or '00'} {found[3].lower()}" if found else ""


def _repeating(found: re.Match[str]) -> str:
    whole, fixed, cycle = found[1] or "0", found[2], found[3]
    above = int(whole + fixed + cycle) - int(whole + fixed)
    return f"\\frac{{{above}}}{{{'9' * len(cycle)}{'0' * len(fixed)}}}"


def _mixed(found: re.Match[str]) -> str:
    whole, a, b = int(found[1]), int(found[2] or found[4]), int(found[3] or found[5])
    return f"\\frac{{{whole * b + a}}}{{{b}}}" if a < b else found[0]


def _variable(text: str) -> str:
    """A variable at the end in braces where math-verify would drop it as a unit: ``5t``, but not ``5 m``."""
    found = re.search(r"(?:(?<=\d)(?:ab|bc)|(?<![a-zA-Z\\])[a-z])$", text)
    before = text[: found.start()] if found else ""
    if not found or not re.search(r"[\d}]$|[^\d\s]\s+$", before):
        return text
    return f"{before}{{{found[0]}}}"


def _both(text: str) -> str:
    """With a plus and with a minus, where one sign stands for both."""
    if text.count("\\pm") != 1 or re.search(r"[,;]|\\mp|and|or", text):
        return text
    text = re.sub(r"^\s*[a-zA-Z]\s*=", "", text)
    return ", ".join(re.sub(r"\\pm(?![a-zA-Z])", sign, text) for sign in "+-")


_Change = str | Callable[[re.Match[str]], str]
_SPELLING: list[tuple[str, _Change]] = [
    (r"\\(?:text|textbf|mathrm|mathbf)\s*\{\s*([-+]?[\d.,/]+|[ei:]|\\?%)\s*\}", r"\1"),  # \text{0.5}, \mathrm{i}
    (r"(?<![\d.])(\d{1,9})?\.(\d{0,20}?)(\d)\3{2,}\s*(?:\.\.\.|\\[lc]?dots(?![a-zA-Z]))\s*$", _repeating),  # 0.333...
    (r"\\underline\s*\{\s*\\underline\s*\{([^{}]*)\}\s*\}|\\checkmark|[€£¥₹]", r"\1"),
    (r"\\(?:underline|boldsymbol)\s*\{([^{}]*)\}|\\(?:text)?color\s*\{\w+\}", r"\1"),
    (r"\\!", ""),
    (r"(?<!\\)\\(?:[,;: ]|q?quad(?![a-zA-Z]))|~", " "),
    (r",\s*(and|or)(?![a-zA-Z])", r" \1"),
    (r"\.\s*(\}?)\s*$", r"\1"),  # the end of a sentence
    (r"(?<![\d.])(\d{1,3}(?:\{,\}\d{3})+)(?!\d)", lambda m: m[1].replace("{,}", "")),
    (r"(\d)\{,\}(\d)", r"\1.\2"),  # a decimal comma
    (r"(?<![\w.,^\\])([1-9]\d{0,2}(?: \d{3})+)(?![\d.,]*[\w/])", lambda m: m[1].replace(" ", "")),
    (r"\{:\}", ":"),
    (r"^\s*(\d+)\s+to\s+(\d+)\s*$", r"\1:\2"),
    (r"^\s*\\langle(.*)\\rangle\s*$", r"(\1)"),
    (r"^\s*(\([^()]*\))\s*\^\s*\{?\s*(?:T|\\top)\s*\}?$", r"\1"),
    (r"\{\s*([-+])\s*\}", r"\1"),
    (r"\^?\s*\\degree(?![a-zA-Z])|\^\s*\{\s*\\degree\s*\}", r"^\\circ"),
    (r"(?<![\d.])(\d{1,1000})?\.(\d{0,1000})\\(?:overline|bar|dot)\s*\{(\d{1,1000})\}", _repeating),
    (r"_\s*\{?\s*\\text\s*\{\s*([a-z]+)\s*\}\s*\}?", lambda m: f"_{{{_WORDS.index(m[1])}}}" if m[1] in _WORDS else m[0]),
    (r"\^\s*(-\d+)", r"^{\1}"),
    (r"(\\[dtc]?frac)\s*(\\pi)(?![a-zA-Z])\s*(\d)", r"\1{\2}{\3}"),
    (r"(\\[dtc]?frac)\s*(\\pi)(?![a-zA-Z])\s*\{", r"\1{\2}{"),
    (r"(\\[dtc]?frac)\s*(\d)\s*(\\pi)(?![a-zA-Z])", r"\1{\2}{\3}"),
    (r"^(\s*-?\s*\d{1,9})\s+(\d{1,9})\s*/\s*(\d{1,9})(?![\d/])", r"\1\\frac{\2}{\3}"),
    (r"(?<![\w.}^\\])(\d{1,9})\s*\\[dtc]?frac\s*(?:\{\s*(\d{1,9})\s*\}\s*\{\s*(\d{1,9})\s*\}|(\d)(\d))(?!\s*\^)", _mixed),
    (r"\\log_\s*\{?\s*e\s*\}?(?![a-zA-Z])", r"\\ln "),
    (r"\\not\s*=", r"\\ne "),
    (r"\\varnothing", r"\\emptyset "),
    (r"\\sqrt\s*\[\s*(\d*[13579])\s*\]\s*\{\s*-\s*([^{}+-]*)\}", r"(-\\sqrt[\1]{\2})"),  # the real root
    (r"^\s*(?:oo|inf)\s*$", r"\\infty"),
    (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
    (r"(?<=\d)i(?![a-zA-Z_])", " i"),  # else math-verify takes it for a variable
    (r"^\s*\\\{\s*[a-zA-Z]\s*(?:\\in\s*\\(?:mathbb\s*\{R\}|mathbb R|R)\s*)?(?::|\\mid|\||\\vert|\\colon)(.*)\\\}\s*$", r"\1"),
]  # fmt: skip
_RULES = [(re.compile(pattern), change) for pattern, change in _SPELLING]


def tidy(answer: str) -> str:
    """An answer in the spelling that math-verify reads best; what is equal stays equal, and what differs stays different."""
    answer = symbols(answer).strip()
    for pattern, change in _RULES:
        answer = pattern.sub(change, answer)
    return _variable(_both(_radians(answer) if _TRIG.search(answer) else answer))


def shown(answer: str) -> str:
    """An answer as math-verify is given it."""
    return boxed(tidy(answer))
