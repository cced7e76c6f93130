"""Instructions: a text that follows constraints which a program can check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guerdon.core import PlanError, nearest
from guerdon.rewards.verifiers.constraints import KINDS, Unusable
from guerdon.rewards.verifiers.verifier import Checked, Verifier


@dataclass(frozen=True)
class Instructions(Verifier):
    """The share of a prompt's verifiable instructions that the output follows: the 25 kinds of IFEval (arXiv 2311.07911).

    The columns are those of its data set: the instructions' names, and their arguments in the same order. The parts ``share``
    and ``all`` (1 where each is followed) are there at either level; a blank output follows nothing. A row whose instructions
    cannot be checked (an unknown name, arguments that do not fit, no langdetect where a language matters) is not ok.

    Verdicts are those of the authors' checker, except: keywords, markers and section words are taken literally, not as
    patterns; arguments that are missing are not drawn at random; a text with nothing that tells a language follows no
    instruction on the language, where there it follows each; and sentences are counted by rules, not by a trained model.

    Args:
        level: ``"instruction"``: the share followed; ``"prompt"``: 1 where all are, else 0.
        loose: Also accept what holds for the output without its first line, its last line or both, each with and without its
            asterisks. Greetings and Markdown then do no harm.
        instruction_id_list: Column with lists of names, such as "punctuation:no_comma".
        kwargs: Column with lists of arguments, one mapping (or None) per name.

    Raises:
        PlanError: for an unknown level.

    Example:
        >>> from guerdon.rewards import recorded
        >>> names = ["punctuation:no_comma", "length_constraints:number_words"]
        >>> info = {"instruction_id_list": [names], "kwargs": [[{}, {"relation": "at least", "num_words": 3}]]}
        >>> Instructions()(recorded(["Say hello."], ["Hello, you two."], info)).total.tolist()
        [0.5]
    """

    level: Literal["instruction", "prompt"] = "instruction"
    loose: bool = False
    instruction_id_list: str = "instruction_id_list"
    kwargs: str = "kwargs"

    def __post_init__(self) -> None:
        if self.level not in ("instruction", "prompt"):
            raise PlanError(f"Instructions: level must be 'instruction' or 'prompt', got {self.level!r}")

    def columns(self) -> Mapping[str, str]:
        return {"names": self.instruction_id_list, "arguments": self.kwargs}

    def check(self, output: str, *, names: Any, arguments: Any) -> Checked:  # type: ignore[override]
        try:
            rules = _rules(names, arguments)
            texts = [t for t in (variants(output) if self.loose else [output]) if t.strip()]
            # A rule that cannot be checked says so for a blank output too.
            followed = [any(map(rule, texts or [""])) and bool(texts) for rule in rules]
        except Unusable as e:
            return Checked(reason=str(e))
        share = sum(followed) / len(followed)
        total = share if self.level == "instruction" else float(all(followed))
        missed = [n for n, f in zip(names, followed, strict=True) if not f]
        note = f"not followed: {', '.join(missed)}" if missed else ""
        return Checked(total, {"share": share, "all": float(all(followed))}, note=note)


def variants(text: str) -> list[str]:
    r"""The texts of which one must follow an instruction under IFEval's loose criterion.

    >>> variants("Sure!\n**Yes.**\nBye.")[3:5]
    ['Sure!\n**Yes.**', '**Yes.**']
    """
    lines = text.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [text, text.replace("*", ""), *cut, *(c.replace("*", "") for c in cut)]


def _rules(names: Any, arguments: Any) -> list[Callable[[str], bool]]:
    """One function of the text per instruction.

    Raises:
        Unusable: naming the instruction that cannot be checked.
    """
    for what, given in (("instruction_id_list", names), ("kwargs", arguments)):
        if not isinstance(given, list | tuple) or not given:
            raise Unusable(f"{what} must be a list with one entry per instruction, got {str(given)[:60]!r}")
    if len(names) != len(arguments):
        raise Unusable(f"{len(names)} instructions but arguments for {len(arguments)}")
    return [_rule(name, given) for name, given in zip(names, arguments, strict=True)]


def _rule(name: Any, given: Any) -> Callable[[str], bool]:
    if not isinstance(name, str) or name not in KINDS:
        raise Unusable(f"unknown instruction {name!r}; {nearest(str(name), KINDS)}")
    kind = KINDS[name]
    if given is not None and not isinstance(given, Mapping):
        raise Unusable(f"{name}: arguments must be a mapping, got {type(given).__name__}")
    try:
        read = kind.arguments(given)
    except Unusable as e:
        raise Unusable(f"{name}: {e}") from None

    def rule(text: str) -> bool:
        try:
            return kind.follows(text, **read)
        except Unusable as e:
            raise Unusable(f"{name}: {e}") from None

    return rule
