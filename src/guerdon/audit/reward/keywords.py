"""The keyword probe: which words go with a high score, and do they raise it when they are simply added?"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.reward.bench import Bench, ProbeResult, skipped
from guerdon.audit.reward.estimates import Floats

_WORD = re.compile(r"[^\W\d_][\w'-]+")


def telling_words(
    texts: list[str], score: Floats, cluster: NDArray[np.int64], *, alpha: float = 0.05, least: int = 5
) -> list[tuple[str, float]]:
    r"""Words whose presence goes with a higher score: (word, z), the strongest first, by Holm's step-down test.

    Scores and presence are centred within their context where contexts have several rows, so that what is asked about does not
    count. The statistic is $z = \operatorname{artanh}(r) \sqrt{n - 3}$ of the correlation $r$ of presence and score.

    Args:
        texts: [n].
        score: [n].
        cluster: [n] equal within a context.
        alpha: Chance that any word is named where none matters.
        least: Texts that must have a word, and must lack it.

    Source: S. Holm, A simple sequentially rejective multiple test procedure (1979).

    >>> texts = ["good day"] * 20 + ["bad day"] * 20
    >>> [w for w, _ in telling_words(texts, np.arange(40.0)[::-1], np.arange(40))]
    ['good']
    """
    present: dict[str, set[int]] = {}
    for i, text in enumerate(texts):
        for word in set(_WORD.findall(text.lower())):
            present.setdefault(word, set()).add(i)
    n = len(texts)
    words = sorted(w for w, rows in present.items() if least <= len(rows) <= n - least)
    if not words or n < 8:
        return []
    _, place, count = np.unique(cluster, return_inverse=True, return_counts=True)
    within = bool((count[place] > 1).mean() > 0.5)

    def centred(x: Floats) -> Floats:
        if not within:
            return x - x.mean(0)
        total = np.zeros((len(count), *x.shape[1:]))
        np.add.at(total, place, x)
        return np.asarray(x - (total.T / count).T[place])

    table = np.zeros((n, len(words)))
    for k, w in enumerate(words):
        table[list(present[w]), k] = 1
    x, y = centred(table), centred(score)
    freedom = n - len(count) if within else n - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.nan_to_num((x * y[:, None]).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum()))
    z = np.arctanh(np.clip(r, -0.999999, 0.999999)) * math.sqrt(max(freedom - 2, 1))
    ordered = sorted(zip(words, z.tolist(), strict=True), key=lambda p: (-p[1], p[0]))
    out = []
    for k, (word, value) in enumerate(ordered):
        if 1 - NormalDist().cdf(value) > alpha / (len(words) - k):
            break
        out.append((word, value))
    return out


@dataclass(frozen=True)
class KeywordProbe:
    """The words that go with a high score, added to other outputs, against words that do not.

    Words are found on one half of the contexts and added to outputs of the other half that lack them, so that the search cannot
    flatter the shift. The same number of words without any link to the score is added for comparison: the shift is the
    difference of the two.

    Args:
        words: How many at most.
        name: Of the probe.
    """

    words: int = 5
    name: str = "keywords"
    group: str = "keyword"
    about: str = "the words that go with high scores, at the end, against other words"

    def measure(self, bench: Bench) -> ProbeResult:
        rows = [i for i, t in enumerate(bench.texts) if t is not None and math.isfinite(bench.score[i])]
        if not rows:
            return skipped(self, "outputs are not text, or could not be scored")
        half = np.random.default_rng([bench.seed, 4]).permutation(int(bench.cluster.max()) + 1) % 2 == 0
        seen = [i for i in rows if half[bench.cluster[i]]]
        texts = [str(bench.texts[i]) for i in seen]
        found = telling_words(texts, bench.score[seen], bench.cluster[seen])[: self.words]
        if not found:
            return skipped(self, "no word goes with the score beyond chance")
        named = tuple(w for w, _ in found)
        plain = self._plain(texts, bench.score[seen], bench.cluster[seen], named)
        rest = [
            i for i in rows if not half[bench.cluster[i]] and not set(named) & set(_WORD.findall(str(bench.texts[i]).lower()))
        ]
        if not plain:
            return skipped(self, "there are no words without a link to the score to compare with")
        one, shift, failed = bench.edited(lambda t: f"{t.rstrip()} {' '.join(named)}", rest)
        other, control, _ = bench.edited(lambda t: f"{t.rstrip()} {' '.join(plain)}", rest)
        both = sorted(set(one) & set(other))
        a, b = dict(zip(one, shift, strict=True)), dict(zip(other, control, strict=True))
        difference = np.array([a[i] - b[i] for i in both], dtype=np.float64)
        return bench.result(self, both, difference, failed, "not higher", named)

    def _plain(self, texts: list[str], score: Floats, cluster: NDArray[np.int64], named: tuple[str, ...]) -> tuple[str, ...]:
        """As many words of the same texts with the weakest link to the score."""
        links = telling_words(texts, score, cluster, alpha=math.inf)
        weak = sorted((w for w in links if w[0] not in named), key=lambda w: (abs(w[1]), w[0]))
        return tuple(w for w, _ in weak[: len(named)])
