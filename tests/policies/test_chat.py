"""Conversations as rows: what generation saw, and which of it the policy chose."""

import pytest
import torch

from guerdon.core import DataError, Items, ModelError, Streams
from guerdon.testing._models import tiny_lm

STREAMS = Streams(2)

CHATML = (
    "{% for m in messages %}{{ '[' + m.role + ']' + m.content + '<eos>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
LLAMA = (  # system words inside the first user turn, no mark between turns but the end of the assistant's
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = m.content + ' ' %}"
    "{% elif m.role == 'user' %}{{ '<bos>{' + ns.s + m.content + '}' }}{% set ns.s = '' %}"
    "{% else %}{{ ' ' + m.content + '<eos>' }}{% endif %}{% endfor %}"
)
THINKING = (  # thoughts of earlier turns are dropped
    "{% for m in messages %}{{ '<' + m.role + '>' }}"
    "{% if m.role == 'assistant' and m.thought is defined and loop.last %}{{ '(' + m.thought + ')' }}{% endif %}"
    "{{ m.content + '<eos>' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
TOOLS = (
    "{% if tools %}{{ 'tools:' }}{% for t in tools %}{{ t.name + ';' }}{% endfor %}{% endif %}"
    "{% for m in messages %}{{ '<' + m.role + '>' }}"
    "{% if m.tool_calls is defined %}{% for c in m.tool_calls %}{{ '=' + c.name + '(' + c.x + ')' }}{% endfor %}"
    "{% else %}{{ m.content }}{% endif %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
OPENING = (  # generation is given an opening that written turns lack
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '<eos>' }}{% endfor %}{% if add_generation_prompt %}<assistant>(ok){% endif %}"
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def policy_with(template):
    policy = tiny_lm()
    policy.text.template = template
    return policy


def read(policy, rollout, k=0):
    """(the whole row as text, the chosen pieces)."""
    ids, mask = rollout.actions[k, : int(rollout.lengths[k])], rollout.mask[k]
    pieces, piece = [], []
    for i, token in enumerate(ids.tolist()):
        if mask[i]:
            piece.append(token)
        if piece and (not mask[i] or i + 1 == len(ids)):
            pieces.append(policy.text.tokenizer.decode(piece))
            piece = []
    return policy.text.tokenizer.decode(ids), pieces


def row_of(policy, context, output, **more):
    return policy.rollout_from(Items([context], STREAMS.uids(1)), [output], streams=STREAMS, **more)


TALK = [assistant("4"), user("and 3+3?"), assistant("6")]
ASKED = [{"role": "system", "content": "be short"}, user("2+2?")]


def test_only_the_assistants_words_are_chosen():
    policy = policy_with(CHATML)
    rollout = row_of(policy, ASKED, TALK)
    text, pieces = read(policy, rollout)
    assert text == "[system]be short<eos>\n[user]2+2?<eos>\n[assistant]4<eos>\n[user]and 3+3?<eos>\n[assistant]6<eos>"
    assert pieces == ["4<eos>", "6<eos>"]  # the line break behind an end is the template's
    first = int(rollout.mask[0].nonzero()[0])
    assert rollout.node[0, first] == 0
    assert rollout.node[0, int(rollout.lengths[0]) - 1] == 1
    assert rollout.logp is None
    assert rollout.behaviour[0].engine == "recorded"
    assert float(policy(rollout).logp.detach().sum()) < 0


def test_every_given_answer_starts_from_the_ids_that_generation_starts_from():
    for template in (CHATML, LLAMA, THINKING, TOOLS, OPENING):
        policy = policy_with(template)
        sampled = policy.sample(Items([ASKED], STREAMS.uids(1)), streams=STREAMS, max_tokens=1)
        for output in ("4", assistant("4"), TALK[:1]):
            given = row_of(policy, ASKED, output)
            start = int(given.mask[0].nonzero()[0])
            assert given.actions[0, :start].tolist() == sampled.actions[0, :-1].tolist()
            assert read(policy, given)[1][0].strip() in ("4<eos>", "4")


def test_a_text_follows_the_prompt_word_for_word_and_ends():
    policy = policy_with(OPENING)
    assert read(policy, row_of(policy, ASKED, "4"))[0].endswith("<user>2+2?<eos><assistant>(ok)4<eos>")
    policy = policy_with(THINKING)
    assert read(policy, row_of(policy, ASKED, "(hm)4"))[1] == ["(hm)4<eos>"]
    plain = row_of(policy, "2+2=", "4")
    assert read(policy, plain) == ("2+2=4<eos>", ["4<eos>"])
    assert row_of(policy, [10, 11], [12, 13]).actions.tolist() == [[10, 11, 12, 13]]
    assert read(policy, row_of(policy, "", "4"))[0] == "<bos>4<eos>"
    assert row_of(policy, [10, 11], "4").actions[0, :2].tolist() == [10, 11]


def test_a_template_without_marks_between_turns():
    policy = policy_with(LLAMA)
    text, pieces = read(policy, row_of(policy, ASKED, TALK))
    assert text == "<bos>{be short 2+2?} 4<eos><bos>{and 3+3?} 6<eos>"
    assert pieces == [" 4<eos>", " 6<eos>"]


def test_tools_and_their_answers_are_not_chosen():
    policy = policy_with(TOOLS)
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add", "x": "2,2"}]}
    said = [call, {"role": "tool", "content": "4"}, assistant("it is 4")]
    context = {"messages": [user("2+2?")], "tools": [{"name": "add"}]}
    rollout = row_of(policy, context, said)
    text, pieces = read(policy, rollout)
    assert text == "tools:add;<user>2+2?<eos><assistant>=add(2,2)<eos><tool>4<eos><assistant>it is 4<eos>"
    assert pieces == ["=add(2,2)<eos>", "it is 4<eos>"]
    sampled = policy.sample(Items([context], STREAMS.uids(1)), streams=STREAMS, max_tokens=1)
    assert read(policy, sampled)[0].startswith("tools:add;<user>2+2?<eos><assistant>")


def test_a_template_that_rewrites_earlier_turns_is_noticed_and_split():
    policy = policy_with(THINKING)
    said = [assistant("4", thought="easy"), user("and 3+3?"), assistant("6", thought="hm")]
    with pytest.raises(DataError, match=r"item 0: the chat template rewrites what stands before message 4.*split=True"):
        row_of(policy, ASKED, said)
    items = Items([ASKED, [user("hi")]], STREAMS.uids(2), {"n": [1, 2]})
    rollout = policy.rollout_from(items, [said, [assistant("yo")]], streams=STREAMS, split=True)
    assert len(rollout) == 3
    assert read(policy, rollout, 0)[1] == ["(easy)4<eos>"]
    whole, pieces = read(policy, rollout, 1)
    assert "easy" not in whole  # as generation sees it in the second turn
    assert pieces == ["(hm)6<eos>"]
    assert rollout.group.tolist() == [items.uid[0], items.uid[0], items.uid[1]]
    assert len(rollout.uid.unique()) == 3
    assert rollout.info["n"] == [1, 1, 2]
    assert rollout.node[1].max() == 1
    same = policy.rollout_from(items, [said[:1], [assistant("yo")]], streams=STREAMS)
    assert torch.equal(same.uid, STREAMS.samples(items.uid, 1))


def test_an_opening_that_written_turns_lack():
    policy = policy_with(OPENING)
    assert read(policy, row_of(policy, ASKED, [assistant("4")]))[0].endswith("<assistant>(ok)4<eos>")
    with pytest.raises(DataError, match="rewrites what stands before message 4"):
        row_of(policy, ASKED, TALK)
    assert len(row_of(policy, ASKED, TALK, split=True)) == 2


@pytest.mark.parametrize(
    ("context", "output", "message"),
    [
        (ASKED, [user("hm")], "no message of the given output has the role 'assistant'"),
        ("plain", [assistant("4")], "a context is a text, a list of messages"),
        ([user("x" * 90)], [assistant("4" * 60)], "tokens of prompt and answer exceed the context of 128"),
    ],
)
def test_what_no_row_can_hold(context, output, message):
    with pytest.raises(DataError, match=message):
        row_of(policy_with(CHATML), context, output)


def test_templates_that_are_missing_or_refuse():
    policy = policy_with(None)
    with pytest.raises(ModelError, match="no chat template"):
        policy.sample(Items([ASKED], STREAMS.uids(1)), streams=STREAMS)
    policy = policy_with("{{ raise_exception('system words are not for me') }}")
    with pytest.raises(DataError, match="system words are not for me"):
        policy.sample(Items([ASKED], STREAMS.uids(1)), streams=STREAMS)
    with pytest.raises(DataError, match="1 outputs for 2 items"):
        policy.rollout_from(Items(["a", "b"], STREAMS.uids(2)), ["x"], streams=STREAMS)


@pytest.fixture(scope="module")
def pieces_of_words():
    """A tokenizer whose merges cross spaces: 'a b' is one id."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    from guerdon.policies._text import Text

    vocab = {t: i for i, t in enumerate(["<eos>", "a", "b", "c", " ", "ab", " b", "ab b"])}
    tokenizer = Tokenizer(models.BPE(vocab, [("a", "b"), (" ", "b"), ("ab", " b")]))
    tokenizer.decoder = decoders.Fuse()
    return Text(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"))


def test_merges_across_the_border_do_not_change_the_prompt(pieces_of_words):
    text = pieces_of_words
    assert text.encode("ab b") == [7]
    row = text.answer("ab", " bc")  # together: 'ab b' 'c'
    assert row.ids == [5, 6, 3, 0]
    assert row.mask == [False, True, True, True]
    assert text.answer("ab", "c").ids == [5, 3, 0]


def test_an_answer_that_cannot_be_written_alone_is_refused(shared_data):
    from guerdon.core.hub import load_tokenizer
    from guerdon.policies._text import Text

    text = Text(load_tokenizer(str(shared_data / "models" / "tinystories-llama-260k")))
    fine = text.answer("Once upon a time", ", there was a cat.")
    assert text.tokenizer.decode(fine.ids, skip_special_tokens=True) == "Once upon a time, there was a cat."
    assert fine.ids[: fine.mask.index(True)] == text.prompt("Once upon a time")
    with pytest.raises(DataError, match="does not keep the prompt's ids"):
        text.answer("Once upon a ti", "me")


def test_spaces_at_the_start_of_an_answer_are_kept(shared_data):
    from guerdon.policies import CausalLM

    policy = CausalLM.from_pretrained(str(shared_data / "models" / "tinystories-llama-260k"), device="cpu")
    context = "Once upon a time"
    rollout = policy.sample(Items([context], STREAMS.uids(1)), 8, streams=STREAMS, max_tokens=12)
    whole = policy.text.tokenizer.batch_decode(
        [a[: int(n)].tolist() for a, n in zip(rollout.actions, rollout.lengths, strict=True)], skip_special_tokens=True
    )
    assert [context + o for o in rollout.outputs] == whole
    assert [
        policy.text.tokenizer.decode(policy.text.answer(context, o).ids, skip_special_tokens=True) for o in rollout.outputs
    ] == whole
