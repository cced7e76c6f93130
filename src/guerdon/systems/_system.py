"""System: a published method as a claim that can be run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from guerdon.core.errors import PlanError
from guerdon.study import Study


@dataclass(frozen=True)
class Paper:
    """Where a system was published.

    Args:
        title: Of the paper.
        authors: "Family, Given" of each, in order.
        year: Of its first version.
        arxiv: Its number, such as ``"2304.06767"``; "" where it has none.
        venue: Where it appeared, if not (only) on arXiv.
        url: Where to read it, for a paper without arXiv number.

    Raises:
        PlanError: for something that is no arXiv number, a year that is none, or no authors.

    Example:
        >>> print(Paper("On Things", ("Doe, Jane", "Roe, Richard"), 2023, "2301.00001").bibtex("on-things"))
        @misc{on-things,
          title = {{On Things}},
          author = {Doe, Jane and Roe, Richard},
          year = {2023},
          eprint = {2301.00001},
          archivePrefix = {arXiv},
          url = {https://arxiv.org/abs/2301.00001}
        }
    """

    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str = ""
    venue: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        if self.arxiv and not re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}", self.arxiv):
            raise PlanError(f"Paper: {self.arxiv!r} is no arXiv number such as '2304.06767'")
        if not self.arxiv and not self.url:
            raise PlanError(f"Paper {self.title!r}: neither an arXiv number nor a url says where to read it")
        if not 1900 < self.year < 2100 or not self.authors:
            raise PlanError(f"Paper {self.title!r}: the year is {self.year}, and there are {len(self.authors)} authors")

    @property
    def link(self) -> str:
        """Where to read it."""
        return self.url or f"https://arxiv.org/abs/{self.arxiv}"

    def bibtex(self, key: str) -> str:
        """The entry for a bibliography."""
        fields = {
            "title": f"{{{_escaped(self.title)}}}",  # doubly braced: capitals stay
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "booktitle": _escaped(self.venue),
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
            "url": self.link,
        }
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
        return f"@{'inproceedings' if self.venue else 'misc'}{{{key},\n{lines}\n}}"


def _escaped(text: str) -> str:
    r"""Text as LaTeX reads it.

    >>> print(_escaped("Q&A"))
    Q\&A
    """
    return re.sub(r"([&%#_])", r"\\\1", text)


@dataclass(frozen=True)
class System:
    """A published system. Its file's name is its id, its folder's name its family: ``reward_shaping/clip_delta.py`` is
    ``clip-delta`` of ``reward-shaping``.

    Args:
        name: What it is called, in a few words.
        claim: What the paper says it does, with the paper's own figures.
        paper: The reference.
        study: The experiment that shows the claim here, or fails to.
        papers: Further references.
        tried: What was tried where the claim was not reproduced, or only in part.
    """

    name: str
    claim: str
    paper: Paper
    study: Study
    papers: tuple[Paper, ...] = ()
    tried: str = ""
