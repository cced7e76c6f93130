"""Constraints on marks in a text: bullets, highlights, sections, placeholders, titles, JSON."""

from __future__ import annotations

import json
import re

from guerdon.rewards.verifiers.constraints.kind import COUNT, TEXT, Kind

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    """At least so many pairs of square brackets, each within a line, such as ``[address]``."""
    found = 0
    for line in text.split("\n"):
        end = 0
        while (start := line.find("[", end)) >= 0 and (close := line.find("]", start)) >= 0:
            found, end = found + 1, close + 1
    return found >= num_placeholders


def postscript(text: str, *, postscript_marker: str) -> bool:
    """The marker appears, in any case; in "P.S." and "P.P.S" a space may stand between the letters."""
    text, marker = text.lower(), postscript_marker.strip()
    if marker == "P.P.S":
        return re.search(r"p\.\s?p\.\s?s", text) is not None
    if marker == "P.S.":
        return re.search(r"p\.\s?s\.", text) is not None
    return marker.lower() in text


def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    r"""Exactly so many lines that begin with ``-``, or with one ``*`` and something else behind it.

    A line with nothing but ``*`` takes the next line as its own; a rule such as ``---`` counts as a bullet.

    >>> number_bullet_lists("* one\n- two\n**three**", num_bullets=2)
    True
    """
    found, taken = 0, False
    lines = [line.lstrip() for line in text.split("\n")]
    for k, line in enumerate(lines):
        if line.startswith("-"):
            found += 1
        if taken:
            taken = False
        elif line == "*":
            taken = k + 1 < len(lines)
            found += taken
        elif line.startswith("*") and line[1] != "*":
            found += 1
    return found == num_bullets


def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    """At least so many ``*highlights*``, each within a line and not blank; ``**bold**`` counts once.

    >>> number_highlighted_sections("*one* and **two** but not **", num_highlights=2)
    True
    """
    return sum(_highlights(line) for line in text.split("\n")) >= num_highlights


def _highlights(line: str) -> int:
    between = line.split("*")[1:-1]  # between one asterisk and the next
    found = sum(1 for content in between[::2] if content.strip())  # pairs of single ones, from left to right
    k = 0
    while k + 2 < len(between):  # two asterisks, the content, two asterisks
        if between[k] == between[k + 2] == "":
            found += bool(between[k + 1].strip())
            k += 4
        else:
            k += 1
    return found


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many times the word with a number behind it, such as "Section 1"."""
    mark = re.compile(rf"{re.escape(section_spliter.strip())}\s?\d+")
    return sum(1 for _ in mark.finditer(text)) >= num_sections


def json_format(text: str) -> bool:
    """The whole text is JSON, also inside a Markdown fence."""
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):  # RecursionError: nested deeper than any JSON meant as an answer
        return False
    return True


def title(text: str) -> bool:
    """A ``<<title>>`` within one line that holds more than blanks and angular brackets."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def constrained_response(text: str) -> bool:
    """One of the three answers appears, as written in ``ANSWERS``."""
    return any(answer in text for answer in ANSWERS)


KINDS = {
    "detectable_content:number_placeholders": Kind(number_placeholders, {"num_placeholders": COUNT}),
    "detectable_content:postscript": Kind(postscript, {"postscript_marker": TEXT}),
    "detectable_format:number_bullet_lists": Kind(number_bullet_lists, {"num_bullets": COUNT}),
    "detectable_format:number_highlighted_sections": Kind(number_highlighted_sections, {"num_highlights": COUNT}),
    "detectable_format:multiple_sections": Kind(multiple_sections, {"section_spliter": TEXT, "num_sections": COUNT}),
    "detectable_format:json_format": Kind(json_format),
    "detectable_format:title": Kind(title),
    "detectable_format:constrained_response": Kind(constrained_response),
}
