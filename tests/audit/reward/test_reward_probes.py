from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch

from guerdon.audit import EditProbe, audit_reward, default_probes, probe_reward, score_comparisons
from guerdon.audit.reward import edits
from guerdon.audit.reward.keywords import KeywordProbe, telling_words
from guerdon.audit.reward.steadiness import PositionProbe, RepeatProbe
from guerdon.core import Comparison, DataError, PlanError, RewardOutput, Rollout

TEXT = "First things first. It costs 2.50 now! Is that all?\n\nYes, it is."


def test_edits_do_what_they_say() -> None:
    assert "".join(edits.sentences(TEXT)) == TEXT
    assert edits.filler(TEXT).startswith(TEXT) and edits.filler(TEXT).count(edits.FILLER) == 1
    assert edits.repeat_last(TEXT) == TEXT + " Yes, it is."
    assert TEXT.startswith(edits.halve(TEXT)) and len(edits.halve(TEXT).split()) == (len(TEXT.split()) + 1) // 2
    assert edits.bold(TEXT).replace("**", "") == TEXT and edits.bold(TEXT).count("**") == 4  # two lines
    assert edits.bullets(TEXT).count("\n- ") + 1 == 4
    assert edits.exclamation(TEXT) == "First things first! It costs 2.50 now! Is that all?\n\nYes, it is!"
    assert edits.upper(TEXT).lower() == TEXT.lower()
    assert edits.trailing_space(TEXT).rstrip() == TEXT
    for change in (
        edits.filler,
        edits.repeat_last,
        edits.bold,
        edits.bullets,
        edits.exclamation,
        edits.polite_opener,
        edits.halve,
    ):
        for text in ("", " ", "...", "word", "\n\n", "a\x00b", "🙂 ok."):
            assert isinstance(change(text), str)


def by_name(found: tuple) -> dict:
    return {p.name: p for p in found}


def test_a_length_reward_is_raised_by_length_alone(made: ModuleType) -> None:
    pairs = made.pairs_of(80)
    found = by_name(probe_reward(made.TextReward(len), pairs))
    assert found["filler sentence"].verdict == "raises"
    assert found["half of it"].verdict == "lowers"
    assert found["all capitals"].verdict == "still" and found["all capitals"].shift.value == 0
    filler = found["filler sentence"]
    gap = np.median([abs(len(c.first) - len(c.second)) for c in pairs])
    assert filler.gaps.value == pytest.approx((len(edits.FILLER) + 1) / gap)  # every text ends without white space
    rows = {(c.context, o) for c in pairs for o in (c.first, c.second)}
    assert filler.shift.value == pytest.approx((len(edits.FILLER) + 1) / np.std([len(o) for _, o in rows]))
    assert filler.raised.value == 1.0 and filler.n == len(rows) == 160
    assert {found[n].verdict for n in ("same row twice", "order in the batch", "company in the batch")} == {"still"}
    assert found["order of the two outputs"].skipped == "the reward scores rows one by one"


def test_a_reward_of_content_is_left_alone(made: ModuleType) -> None:
    """Score of the words it has, each once, whatever their shape: nothing but cutting changes it much."""
    worth = dict(zip(made.WORDS, np.random.default_rng(1).normal(size=len(made.WORDS)), strict=True))

    def content(text: str) -> float:
        return sum(worth.get(w, 0.0) for w in {w.strip(".!*#-").lower() for w in text.split()})

    probes = [p for p in default_probes() if p.group in ("style", "determinism", "position")]
    found = probe_reward(made.TextReward(content), made.pairs_of(80), probes)
    assert {p.verdict for p in found} == {"still", "skipped"}


def test_keywords_are_found_and_measured(made: ModuleType) -> None:
    pairs = made.pairs_of(200, seed=3)

    def loves_rivers(text: str) -> float:
        return 2.0 * ("rivers" in text.lower()) + 0.01 * len(text)

    found = probe_reward(made.TextReward(loves_rivers), pairs, [KeywordProbe(words=1)], rows=400)[0]
    assert found.words == ("rivers",) and found.verdict == "raises"
    assert found.shift.value * found.spread == pytest.approx(2.0, abs=0.2)  # the other word is about as long
    audit = audit_reward(score_comparisons(made.TextReward(loves_rivers), pairs)).with_probes([found])
    assert "KeywordProbe" in made.checks(audit.findings)


def test_no_word_is_named_by_chance(made: ModuleType) -> None:
    named = 0
    for seed in range(60):
        g = np.random.default_rng(seed)
        texts = [made.sentence(g, 4) for _ in range(80)]
        named += bool(telling_words(texts, g.normal(size=80), np.arange(80) // 2))
    assert named <= 7  # 5 % of 60 is 3


@dataclass(frozen=True)
class Noisy:
    """Never says the same twice."""

    scope: str = "sample"
    differentiable: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return RewardOutput.of(torch.as_tensor(np.random.default_rng().normal(size=len(rollout))))


@dataclass(frozen=True)
class Company:
    """Says more of a row the more rows are beside it."""

    scope: str = "sample"
    differentiable: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return RewardOutput.of(torch.tensor([len(o) + 10.0 * len(rollout) for o in rollout.outputs]))


def test_unstable_rewards_are_found(made: ModuleType) -> None:
    pairs = made.pairs_of(20)
    assert probe_reward(Noisy(), pairs, [RepeatProbe()])[0].verdict == "unstable"
    found = by_name(probe_reward(Company(), pairs))
    assert found["same row twice"].verdict == "still" and found["company in the batch"].verdict == "unstable"
    audit = audit_reward(score_comparisons(Company(), pairs)).with_probes(found.values())
    assert "UnstableReward" in made.checks(audit.findings, "error")


@dataclass(frozen=True)
class Judge:
    """A pairwise judge: the first of a group gets a bonus."""

    bonus: float
    scope: str = "group"
    differentiable: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        seen: set[int] = set()
        total = []
        for o, g in zip(rollout.outputs, rollout.group.tolist(), strict=True):
            total.append(len(o) + (0.0 if g in seen else self.bonus))
            seen.add(g)
        return RewardOutput.of(torch.tensor(total))


def test_position_bias_of_a_judge_by_hand() -> None:
    pairs = [Comparison(context=str(k), first="x" * (10 + k), second="y" * 10) for k in range(1, 41)]  # differences 1 to 40
    fair = probe_reward(Judge(0.0), pairs, [PositionProbe()])[0]
    assert (fair.verdict, fair.raised.value, fair.largest) == ("still", 1.0, 0.0)
    unfair = probe_reward(Judge(10.0), pairs, [PositionProbe()])[0]
    assert unfair.verdict == "inconsistent"
    assert unfair.raised.value == 30 / 40  # differences of 1 to 10 turn round, that of 10 into a tie
    assert abs(unfair.shift.value * unfair.spread) == pytest.approx(10.0)


def test_functions_and_probes_of_ones_own(made: ModuleType) -> None:
    def shout(text: str) -> str:
        """Adds a shout."""
        return text + " HEY"

    pairs = made.pairs_of(40)
    loud = made.TextReward(lambda t: 5.0 * ("HEY" in t) + len(t) / 50)
    found = probe_reward(loud, pairs, [shout, EditProbe("none", str, "nothing")])
    assert (found[0].name, found[0].about, found[0].verdict, found[0].group) == ("shout", "Adds a shout", "raises", "own")
    assert found[1].verdict == "skipped" and "too few" in found[1].skipped
    with pytest.raises(PlanError, match="function text -> text"):
        probe_reward(loud, pairs, [3])  # type: ignore[list-item]
    with pytest.raises(DataError, match="must return a text"):
        probe_reward(loud, pairs, [lambda t: 3])  # type: ignore[arg-type,return-value]
    with pytest.raises(DataError, match="no comparisons"):
        probe_reward(loud, [])


def test_outputs_that_are_no_text_and_rewards_that_fail(made: ModuleType) -> None:
    numbers = [Comparison(context=k, first=[k, 1], second=[k, 2]) for k in range(20)]
    found = probe_reward(made.TextReward(len), numbers)
    assert {p.skipped for p in found if p.group in ("length", "style")} == {"outputs are not text"}

    def only_short(text: str) -> float:
        return float("nan") if edits.FILLER in text else len(text)

    failing = probe_reward(made.TextReward(only_short), made.pairs_of(20), [default_probes()[4]])[0]
    assert failing.verdict == "skipped" and "failed on every changed row" in failing.skipped
    dead = probe_reward(made.TextReward(lambda t: float("nan")), made.pairs_of(20))
    assert {p.verdict for p in dead} == {"skipped"}


def test_messages_are_edited_in_their_last_turn(made: ModuleType) -> None:
    def message(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "hm"}, {"role": "assistant", "content": text}]

    pairs = [Comparison(context=str(k), first=message("a" * (k + 3)), second=message("b.")) for k in range(20)]
    seen: list[str] = []

    def last(text: str) -> float:
        seen.append(text)
        return float(text.count("!"))

    probe_reward(made.TextReward(last), pairs, [lambda t: t + "!"])
    assert any("'content': 'b.!'" in t for t in seen) and not any("hm!" in t for t in seen)
