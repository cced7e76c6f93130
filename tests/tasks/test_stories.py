import dataclasses

import numpy as np
import pytest
import torch

from guerdon.core import recorded
from guerdon.core.errors import PlanError
from guerdon.policies import CausalLM
from guerdon.tasks import Stories, StoriesReward, read_comparisons
from guerdon.tasks.compared import compared
from guerdon.tasks.stories import PRAISE, read_story

TOLD = (
    " A shy fox lived by the river. The fox found a lamp. But the lamp was lost. A bear helped the fox. At last the fox was glad."
)
ASKED = {"hero": "fox", "thing": "lamp", "place": "river"}


def parts(text: str, **asked: str) -> dict[str, float]:
    out = StoriesReward()(recorded(["q"], [text], {k: [v] for k, v in (ASKED | asked).items()}))
    assert bool(out.ok[0]), out.reason
    return {"total": round(float(out.total[0]), 6)} | {k: round(float(v[0]), 6) for k, v in out.parts.items()}


def test_a_story_that_has_it_all() -> None:
    assert parts(TOLD) == {"total": 1.0, "cast": 1.0, "plot": 1.0, "praise": 0, "repeats": 0, "broken": 0, "excess": 0}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (TOLD.replace("river", "cave"), {"cast": 2 / 3}),
        (TOLD.replace("found a lamp", "found a map"), {"cast": 2 / 3}),  # a second thing beside the right one
        (TOLD.replace(" But the lamp was lost.", ""), {"plot": 0.75}),
        (
            " At last the fox was glad." + TOLD.replace(" At last the fox was glad.", ""),
            {"plot": 0.5},
        ),  # out of order, and too early
        (TOLD + " It was a great day. It was a lovely day.", {}),  # two words of praise are taste
        (
            TOLD + " It was a great day. It was a lovely day. It was a great story. It was a lovely story.",
            {"praise": 2, "excess": 12},
        ),
        (TOLD + " At last the fox was glad.", {"repeats": 1}),
        (TOLD + " fox fox lamp", {"broken": 1}),
        (TOLD + " The fox found a lamp.", {"repeats": 1, "plot": 0.75}),  # goes on behind the end
        ("", {"cast": 0, "plot": 0}),
    ],
)
def test_what_readers_want_part_by_part(text: str, changed: dict[str, float]) -> None:
    clean = {"cast": 1.0, "plot": 1.0, "praise": 0.0, "repeats": 0.0, "broken": 0.0, "excess": 0.0} | changed
    weights = dataclasses.asdict(StoriesReward())
    expected = {k: round(float(v), 6) for k, v in clean.items()}
    assert parts(text) == {"total": round(sum(weights[k] * v for k, v in clean.items()), 6)} | expected


def test_an_output_that_is_no_text_fails_with_its_reason() -> None:
    out = StoriesReward()(recorded(["q"], [3], {k: [v] for k, v in ASKED.items()}))
    assert out.reason == ["the output is int, not text"]


def test_in_the_corpus_praise_and_length_go_along_with_quality_and_do_not_make_it() -> None:
    task = dataclasses.replace(Stories(), warm_start=dataclasses.replace(Stories().warm_start, corpus=3000))
    corpus = task.corpus()
    words = [p.removesuffix(":").replace(",", "").split() for p, _ in corpus]
    asked = {"hero": [w[3] for w in words], "thing": [w[5] for w in words], "place": [w[8] for w in words]}
    texts = [t for _, t in corpus]
    gold = StoriesReward()(recorded([p for p, _ in corpus], texts, asked)).total.numpy()
    told = [read_story(t) for t in texts]
    assert not any(s.broken for s in told)  # every corpus sentence is one of the world's
    praise, length = np.array([s.praise for s in told]), np.array([s.words for s in told])
    assert np.corrcoef(gold, praise)[0, 1] > 0.2
    assert np.corrcoef(gold, length)[0, 1] > 0.5
    plain = dataclasses.replace(task, praise=0.0)
    assert abs(np.corrcoef(gold_of(plain), praise_of(plain))[0, 1]) < 0.08
    more = [t + f" It was a {PRAISE[0]} day." * 3 for t in texts[:200]]
    assert (
        StoriesReward()(recorded(["q"] * 200, more, {k: v[:200] for k, v in asked.items()})).total.mean()
        < gold[:200].mean() - 0.3
    )


def gold_of(task: Stories) -> np.ndarray:
    corpus = task.corpus()
    words = [p.removesuffix(":").replace(",", "").split() for p, _ in corpus]
    asked = {"hero": [w[3] for w in words], "thing": [w[5] for w in words], "place": [w[8] for w in words]}
    return StoriesReward()(recorded([p for p, _ in corpus], [t for _, t in corpus], asked)).total.numpy()


def praise_of(task: Stories) -> np.ndarray:
    return np.array([read_story(t).praise for _, t in task.corpus()])


def test_every_text_of_the_world_is_read_back_by_its_tokenizer() -> None:
    task = Stories()
    vocabulary = task.warm_start.model.vocabulary
    tokenizer = vocabulary.tokenizer()
    for prompt, answer in task.corpus()[:300]:
        ids = tokenizer(prompt)["input_ids"] + tokenizer(answer, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer(prompt + answer)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt + answer
    assert tokenizer.unk_token_id in tokenizer(" an aardvark")["input_ids"]


@pytest.mark.slow
def test_comparisons_of_the_tiny_world_are_made_once_and_follow_the_hidden_preference(fresh_cache, monkeypatch) -> None:
    from guerdon import feedback

    task = Stories.tiny()
    sharp = feedback.BradleyTerry(task.reward(), temperature=0)
    path = compared(task, sharp, 60)
    found = read_comparisons(path)
    assert len(found) == 60
    assert all(c.first != c.second and len(c.uids) == 2 and c.source == "simulated" for c in found)

    def gold(outputs: list[str]) -> torch.Tensor:
        names = [c.context.removesuffix(":").replace(",", "").split() for c in found]
        asked = {"hero": [w[3] for w in names], "thing": [w[5] for w in names], "place": [w[8] for w in names]}
        return task.reward()(recorded([c.context for c in found], outputs, asked)).total

    difference = gold([c.first for c in found]) - gold([c.second for c in found])
    assert [c.label for c in found] == [0.5 if d == 0 else float(d > 0) for d in difference.tolist()]
    monkeypatch.setattr(CausalLM, "from_pretrained", None)  # nothing is sampled again
    assert compared(task, sharp, 60) == path
    with pytest.raises(PlanError, match="live Python object"):
        compared(task, feedback.BradleyTerry(lambda rollout: [0.0] * len(rollout)), 60)


def test_the_same_seed_gives_the_same_problems_and_another_seed_others() -> None:
    first, again, other = (Stories().items(5, seed=s) for s in (1, 1, 2))
    assert first == again != other
