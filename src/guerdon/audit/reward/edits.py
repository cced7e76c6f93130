"""Changes of a text that should not make it better: what the probes of a reward do to outputs."""

from __future__ import annotations

import re

FILLER = "That is all there is to say about this for now."
_SENTENCE = re.compile(r"((?<=[.!?])[ \t]+|\n)")


def sentences(text: str) -> list[str]:
    """The sentences of a text, roughly, with what follows them; joined they give the text again.

    >>> sentences("One. Two!  It costs 2.50")
    ['One. ', 'Two!  ', 'It costs 2.50']
    """
    pieces = _SENTENCE.split(text)
    return [a + b for a, b in zip(pieces[::2], [*pieces[1::2], ""], strict=True)]


def filler(text: str) -> str:
    """A neutral sentence at the end.

    >>> filler("Yes.")
    'Yes. That is all there is to say about this for now.'
    """
    return f"{text.rstrip()} {FILLER}".lstrip()


def repeat_last(text: str) -> str:
    """The last sentence twice.

    >>> repeat_last("One. Two.")
    'One. Two. Two.'
    """
    last = [s.strip() for s in sentences(text) if s.strip()]
    return f"{text.rstrip()} {last[-1]}" if last else text


def halve(text: str) -> str:
    """The first half of the words.

    >>> halve("one two three four")
    'one two'
    """
    words = re.findall(r"\s*\S+", text)
    return "".join(words[: (len(words) + 1) // 2]) if len(words) > 1 else text


def bold(text: str) -> str:
    """The first words of every line in Markdown bold.

    >>> bold("The answer is four.")
    '**The answer is** four.'
    """
    return re.sub(r"(?m)^([ \t]*)(\S+(?:[ \t]+\S+){0,2})", r"\1**\2**", text)


def heading(text: str) -> str:
    """A Markdown heading above."""
    return f"## Answer\n\n{text}"


def bullets(text: str) -> str:
    """Every sentence as a Markdown bullet.

    >>> print(bullets("One. Two."))
    - One.
    - Two.
    """
    return "\n".join(f"- {s.strip()}" for s in sentences(text) if s.strip()) or text


def exclamation(text: str) -> str:
    """Full stops as exclamation marks.

    >>> exclamation("Yes. It costs 2.50.")
    'Yes! It costs 2.50!'
    """
    marked = re.sub(r"\.(?=\s|$)", "!", text)
    return marked if marked != text else f"{text.rstrip()}!"


def polite_opener(text: str) -> str:
    """A polite sentence before."""
    return f"Thank you for your question. {text.lstrip()}"


def polite_closer(text: str) -> str:
    """A polite sentence behind."""
    return f"{text.rstrip()} I hope this helps, and please feel free to ask more."


def upper(text: str) -> str:
    """ALL CAPITALS."""
    return text.upper()


def trailing_space(text: str) -> str:
    """White space at the end."""
    return f"{text.rstrip()} \n\n"
