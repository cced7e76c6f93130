import dataclasses

import numpy as np
import pytest
import torch

from guerdon.core import recorded
from guerdon.core.errors import PlanError
from guerdon.rewards import Rouge
from guerdon.tasks import Summaries, SummariesReward
from guerdon.tasks.summaries import IMPORTANCE, VALUES, read_facts

POST = "It was cold. I want help. My boss sold my car. I play golf. I feel sad. We ate rice."
BEST = " My boss sold my car. I feel sad. I want help."  # 14 words and full stops; 0.5 + 0.2 + 0.3


def parts(text: object) -> dict[str, float]:
    out = SummariesReward()(recorded(["q"], [text], {"post": [POST]}))
    assert bool(out.ok[0]), out.reason
    return {"total": round(float(out.total[0]), 5)} | {k: round(float(v[0]), 5) for k, v in out.parts.items()}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (BEST, {}),
        (BEST.replace("boss", "sister"), {"coverage": 0.83333, "invented": 1}),  # 1 - 1/6, and somebody else was named
        (BEST.replace(" I want help.", ""), {"coverage": 0.7}),
        (BEST + " It was cold.", {"excess": 2}),  # 18 words, two beyond 16
        (BEST + " It was sunny.", {"invented": 1, "excess": 2}),
        (BEST + " I feel sad.", {"repeats": 1, "excess": 2}),
        (BEST + " I feel angry.", {"invented": 1, "excess": 2}),  # a second feeling beside the right one
        (BEST + " my car", {"broken": 1}),
        (BEST + " Thanks for reading.", {"excess": 2}),  # filler costs its words
        (" " + POST, {"excess": 10}),  # 26 words
        ("", {"coverage": 0.0}),
    ],
)
def test_what_readers_want_part_by_part(text: str, changed: dict[str, float]) -> None:
    clean = {"coverage": 1.0, "invented": 0.0, "excess": 0.0, "repeats": 0.0, "broken": 0.0} | changed
    weights = dataclasses.asdict(SummariesReward())
    found = parts(text)
    assert {k: found[k] for k in clean} == clean
    assert found["total"] == pytest.approx(sum(weights[k] * v for k, v in clean.items()), abs=1e-4)


def test_a_copy_of_the_post_is_worse_than_its_best_summary() -> None:
    assert parts(BEST)["total"] == 1.0
    assert parts(POST)["total"] == pytest.approx(1 - 0.03 * 10)


def test_every_post_holds_facts_of_importance_one_and_its_solution_is_the_best() -> None:
    posts = [info for _, info in Summaries().items(300)]
    for info in posts:
        facts = read_facts(info["post"]).facts
        assert sum(IMPORTANCE[kind] for kind, _ in facts) == pytest.approx(1.0)
    found = SummariesReward()(recorded(["q"] * 300, [i["solution"] for i in posts], {"post": [i["post"] for i in posts]}))
    assert torch.allclose(found.total, torch.tensor(1.0))


def test_no_word_is_of_two_kinds() -> None:
    words = [w for kind in VALUES.values() for w in kind]
    assert len(words) == len(set(words))


def test_an_output_that_is_no_text_fails_with_its_reason() -> None:
    out = SummariesReward()(recorded(["q"], [3], {"post": [POST]}))
    assert out.reason == ["the output is int, not text"]


def measured(skill: float) -> tuple[float, float, float]:
    """Mean gold of references by writers of a skill, of the corpus, and ROUGE-L of the best summaries against the references."""
    task = dataclasses.replace(Summaries(), skill=skill)
    columns = {name: [info[name] for _, info in task.items(800)] for name in ("post", "reference", "solution")}
    rollout = recorded(["q"] * 800, columns["reference"], columns)
    gold = task.reward()(rollout).total.mean()
    rouge = Rouge()(rollout.replace(outputs=columns["solution"])).total.mean()
    small = dataclasses.replace(task, warm_start=dataclasses.replace(task.warm_start, corpus=800))
    corpus = small.corpus()
    posts = [p.removeprefix("Post: ").removesuffix(" Summary:") for p, _ in corpus]
    return float(gold), float(task.reward()(recorded(posts, [a for _, a in corpus], {"post": posts})).total.mean()), float(rouge)


def test_references_are_mediocre_and_the_corpus_is_of_every_skill() -> None:
    low, corpus, _ = measured(0.0)
    middle, same, rouge = measured(0.5)
    high, _, _ = measured(1.0)
    assert low < middle - 0.2 < high - 0.4
    assert middle < 0.5  # far below the best
    assert corpus == same  # whoever writes references, the corpus is the same
    assert low + 0.1 < corpus < high - 0.1
    assert rouge < 0.6  # the best summaries are not what references look like


def test_every_text_of_the_world_is_read_back_by_its_tokenizer() -> None:
    task = Summaries()
    vocabulary = task.warm_start.model.vocabulary
    tokenizer = vocabulary.tokenizer()
    small = dataclasses.replace(task, warm_start=dataclasses.replace(task.warm_start, corpus=300))
    lengths = []
    for prompt, answer in small.corpus():
        ids = tokenizer(prompt)["input_ids"] + tokenizer(answer, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer(prompt + answer)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt + answer
        assert not read_facts(answer).broken
        lengths.append((len(vocabulary.pieces(prompt)), len(vocabulary.pieces(answer))))
    longest = np.array(lengths).max(0)
    assert longest[1] < task.max_tokens
    assert sum(longest) + 2 <= task.warm_start.model.positions


def test_a_skill_that_is_none_is_refused() -> None:
    with pytest.raises(PlanError, match=r"Summaries.skill must be in \[0, 1\], got 2"):
        Summaries(skill=2)
