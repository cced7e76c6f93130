"""What a reward model reads: ids as generation made them, pairs as the tokenizer joins them, and what is cut."""

import pytest

from guerdon.core import DataError, Items, ModelError, Streams
from guerdon.policies import CausalLM
from guerdon.rewards import RewardModel, recorded
from guerdon.rewards.learned.model import _template
from guerdon.rewards.learned.text import PLAIN, Template
from guerdon.testing import tiny_lm, tiny_reward_model, tiny_tokenizer

CHAT = [{"role": "user", "content": "hi"}]


def lm(max_length=64, **settings):
    return Template(tiny_tokenizer(), False, settings.pop("template", None), max_length, 0)


def words(template, row):
    return template.tokenizer.decode(row.ids)


def test_plain_texts_are_joined_and_ended():
    row = lm().encode("2+2=", "4")
    assert row.ids == [*tiny_tokenizer()("2+2=4")["input_ids"], 2]
    assert row.cut == 0
    assert lm().encode(None, "4").ids == [1, *tiny_tokenizer()("4")["input_ids"], 2]  # an empty context starts as generation does


@pytest.mark.parametrize(("context", "output"), [("2+2=", "4"), ("say ", " b"), ("", "abc"), (CHAT, "yo")])
def test_ids_are_those_of_the_policy(context, output):
    policy = tiny_lm()
    rollout = policy.rollout_from(Items([context], Streams(0).uids(1)), [output], streams=Streams(0))
    theirs = rollout.actions[0, : int(rollout.lengths[0])].tolist()
    assert Template(policy.text.tokenizer, False, None, 64, 0).encode(context, output).ids == theirs


def test_real_tokenizers_give_the_ids_of_the_policy(shared_data):
    policy = CausalLM.from_pretrained(str(shared_data / "models/tinystories-llama-260k"), device="cpu")
    pairs = [("Once upon a time", ", there was a girl."), ("Once upon", " a time"), ("He said:", " no"), ("", "Lily ran.")]
    rollout = policy.rollout_from(Items([c for c, _ in pairs], Streams(0).uids(4)), [o for _, o in pairs], streams=Streams(0))
    template = Template(policy.text.tokenizer, False, None, 512, 2)
    for k, (context, output) in enumerate(pairs):
        assert template.encode(context, output).ids == rollout.actions[k, : int(rollout.lengths[k])].tolist()
    split = template.encode("Once upon a ti", "me there").ids  # a policy refuses this; a reward reads it as it stands
    assert split[:6] == policy.text.prompt("Once upon a ti")


def test_an_output_never_changes_the_ids_of_its_context():
    """A tokenizer that would merge across the border: "a" and "b" become one id."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<e>": 0, "<p>": 1, "a": 2, "b": 3, "ab": 4}
    engine = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, eos_token="<e>", pad_token="<p>")
    template = Template(tokenizer, False, None, 64, 1)
    assert tokenizer("ab")["input_ids"] == [4]
    assert template.encode("a", "b").ids == [2, 3, 0]
    assert template.encode("aa", "ab").ids == [2, 2, 4, 0]


def test_conversations_are_rendered():
    template = lm()
    assert words(template, template.encode(CHAT, "yo")) == "<user>hi<eos><assistant>yo<eos>"
    assert template.encode(CHAT, "yo") == template.encode({"messages": CHAT}, [{"role": "assistant", "content": "yo"}])
    other = lm(template=PLAIN)
    assert words(other, other.encode(CHAT, "yo")) == "user: hi\nassistant: yo\n"


def test_encoders_read_pairs():
    template = tiny_reward_model("bert").template
    row = template.encode("ab", "c")
    tokenizer = template.tokenizer
    theirs = tokenizer("ab", "c", return_token_type_ids=True)
    assert row.ids == theirs["input_ids"]
    assert row.types == theirs["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert template.encode("", "c").ids == tokenizer("c")["input_ids"]


def test_the_start_of_the_context_is_cut_first_then_the_end_of_the_output():
    template = lm(max_length=8)
    row = template.encode("abcdefgh", "xyz")
    assert words(template, row) == "efghxyz<eos>"
    assert row.cut == 4
    row = template.encode("ab", "stuvwxyz")
    assert words(template, row) == "stuvwxy<eos>"
    assert row.cut == 3
    pair = Template(tiny_reward_model("bert").template.tokenizer, True, None, 8, 0)
    row = pair.encode("abcdefgh", "xyz")
    assert words(pair, row) == "<bos>gh<eos>xyz<eos>"
    assert row.types == [0] * 4 + [1] * 4
    assert row.cut == 6
    row = pair.encode("abc", "stuvwxyz")
    assert words(pair, row) == "<bos><eos>stuvw<eos>"
    assert row.cut == 6


def test_the_start_token_survives_the_cut(shared_data):
    policy = CausalLM.from_pretrained(str(shared_data / "models/tinystories-llama-260k"), device="cpu")
    row = Template(policy.text.tokenizer, False, None, 16, 2).encode("Once upon a time there was a girl. " * 5, "She ran.")
    assert (row.ids[0], row.ids[-1], len(row.ids)) == (1, 1, 16)
    assert policy.text.tokenizer.decode(row.ids, skip_special_tokens=True).endswith("She ran.")


@pytest.mark.parametrize(
    ("context", "output", "says"),
    [
        ("q", "", "empty"),
        ("q", " \n", "empty"),
        ("q", 4, "expected a text, got int"),
        (3, "a", "a context is a text or a list of messages"),
        (CHAT, "", "empty"),
        (CHAT, 4, "expected a text"),
        ([1, 2], "a", "neither a text nor a list of messages"),
    ],
)
def test_rows_that_cannot_be_read(context, output, says):
    with pytest.raises(DataError, match=says):
        lm().encode(context, output)


def test_without_a_template_a_conversation_cannot_be_read():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(DataError, match="no chat template"):
        Template(tokenizer, False, None, 64, 0).encode(CHAT, "yo")
    with pytest.raises(DataError, match="refuses these messages"):
        lm(template="{{ messages[7].content }}").encode(CHAT, "yo")


def test_all_that_decides_the_ids_is_in_the_identity():
    same = lm().identity
    assert lm().identity == same
    others = [lm(template=PLAIN), lm(max_length=63), Template(tiny_tokenizer(), True, None, 64, 0),
              Template(tiny_tokenizer(), False, None, 64, 3), Template(tiny_tokenizer(60), False, None, 64, 0)]  # fmt: skip
    assert len({same, *(t.identity for t in others)}) == 6


def test_too_short_a_length_is_refused():
    with pytest.raises(ModelError, match="max_length is 4"):
        lm(max_length=4)


def test_where_only_the_end_can_pad_the_last_word_is_read():
    """As with GPT-2: one special token. A classifier skips padding, so an end that pads would not be read."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.bos_token = tokenizer.unk_token = None
    model = tiny_reward_model("gpt2").model
    model.config.pad_token_id = None
    template = _template(model, tokenizer, None, None, new=True)
    assert template.pad == model.config.pad_token_id == tokenizer.eos_token_id == 2
    assert template.encode("2+2=", "4").ids == tokenizer("2+2=4")["input_ids"]
    reward = RewardModel(model, template)
    out = reward(recorded(["q"] * 2, ["a", "a longer one"]))
    assert (out.total[:1] - reward(recorded(["q"], ["a"])).total).abs() < 1e-9
