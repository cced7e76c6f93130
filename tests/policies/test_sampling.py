"""The sampling loop: exact distributions, prompts read once, rows that leave, limits, and rows that do not know each other."""

import pytest
import torch
from scipy.stats import chi2

from guerdon.core import DataError, Items, PlanError, Rollout, Streams
from guerdon.policies import _generate
from guerdon.policies._draw import Ways, draw
from guerdon.testing._models import tiny_lm

STREAMS = Streams(5)


def items_of(*contexts, info=None):
    return Items(list(contexts), STREAMS.uids(len(contexts)), info or {})


def said(rollout: Rollout) -> list[list[int]]:
    return [a[m].tolist() for a, m in zip(rollout.actions, rollout.mask, strict=True)]


def fits(counts: torch.Tensor, p: torch.Tensor) -> float:
    """p-value of the counts under exact probabilities, rare cells pooled."""
    n = counts.sum()
    rare = n * p < 5
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([n * p[~rare], (n * p[rare].sum())[None]])
    keep = expected > 0
    assert observed[~keep].sum() == 0
    return float(chi2.sf(float(((observed - expected)[keep] ** 2 / expected[keep]).sum()), int(keep.sum()) - 1))


@pytest.mark.parametrize("controls", [{}, {"temperature": 0.5}, {"top_k": 6, "temperature": 1.5}, {"top_p": 0.8}], ids=str)
def test_tokens_have_their_exact_probabilities(controls):
    policy = tiny_lm(seed=4)
    rollout = policy.sample(items_of("a+b="), 4000, streams=STREAMS, max_tokens=2, **controls)
    ids = torch.tensor([policy.text.prompt("a+b=")])
    logits = policy.network.model(ids).logits[0, -1].detach() / controls.get("temperature", 1.0)
    p = logits.softmax(-1)
    order = p.argsort(descending=True)
    cut = order[: controls.get("top_k", len(p))]
    cut = cut[p[cut].cumsum(0) - p[cut] < controls.get("top_p", 1.0)]
    exact = torch.zeros_like(p)
    exact[cut] = p[cut] / p[cut].sum()
    first = rollout.actions[:, ids.shape[1]]
    assert fits(torch.bincount(first, minlength=len(p)).double(), exact) > 0.001
    at = torch.arange(len(rollout)), torch.full((len(rollout),), ids.shape[1])
    assert torch.allclose(rollout.logp[at], exact[first].log(), atol=1e-9)
    assert fits(torch.bincount(first, minlength=len(p)).double(), (exact + 0.01) / (exact + 0.01).sum()) < 0.001  # it can fail


def test_a_draw_inverts_the_cumulated_distribution():
    logits = torch.tensor([[0.1, 0.2, 0.4, 0.3]], dtype=torch.float64).log()
    pick = lambda u, **w: int(draw(logits, torch.tensor([u], dtype=torch.float64), Ways(**w)).token)  # noqa: E731
    assert [pick(u) for u in (0.05, 0.15, 0.31, 0.69, 0.71, 1.0)] == [0, 1, 2, 2, 3, 3]
    assert [pick(u, top_k=2) for u in (0.0, 0.5, 0.6, 1.0)] == [2, 2, 3, 3]  # {2: 4/7, 3: 3/7}
    assert [pick(u, top_p=0.75) for u in (0.0, 0.2, 0.3, 1.0)] == [1, 1, 2, 3]  # 0.4 + 0.3 < 0.75: the third is needed
    assert [pick(u, top_p=0.7) for u in (0.0, 1.0)] == [2, 3]
    got = draw(logits, torch.tensor([0.9], dtype=torch.float64), Ways(top_p=0.7))
    assert got.kept.tolist() == [[2, 3]]
    assert float(got.logp) == pytest.approx(float(torch.tensor(3 / 7).log()))


def test_a_token_without_probability_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]] * 3)
    u = torch.tensor([5e-324, 0.5, 1.0], dtype=torch.float64)
    assert draw(logits, u, Ways()).token.tolist() == [1, 1, 1]


def test_rows_do_not_depend_on_what_is_sampled_beside_them():
    policy = tiny_lm()
    items = items_of("ab", "hello there", "2+2=", "z", "q: who? a:")
    whole = policy.sample(items, 3, streams=STREAMS, max_tokens=20)
    chunked = policy.sample(items, 3, streams=STREAMS, max_tokens=20, rows=4)
    alone = Rollout.cat([policy.sample(items[k], 3, streams=STREAMS, max_tokens=20) for k in range(5)])
    fewer = policy.sample(items, 2, streams=STREAMS, max_tokens=20)
    assert said(whole) == said(chunked) == said(alone)
    assert said(fewer) == [s for k, s in enumerate(said(whole)) if k % 3 < 2]
    assert torch.equal(whole.uid, chunked.uid)
    assert torch.equal(whole.group, items.uid.repeat_interleave(3))
    assert whole.contexts == [c for c in items.contexts for _ in range(3)]
    assert len({tuple(s) for s in said(whole)}) > 10


def test_columns_and_behaviour_travel_along():
    policy = tiny_lm()
    policy.version = 7
    rollout = policy.sample(items_of("a", "b", info={"answer": ["x", "y"]}), 2, streams=STREAMS, max_tokens=3, temperature=0.5)
    assert rollout.info["answer"] == ["x", "x", "y", "y"]
    (behaviour,) = rollout.behaviour
    assert (behaviour.version, behaviour.temperature, behaviour.dtype, behaviour.policy) == (7, 0.5, "float64", policy.identity)


class Counted:
    """Shapes of the ids that a model is given."""

    def __init__(self, policy):
        self.shapes = []
        policy.network.model.base_model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module, args, kwargs):
        self.shapes.append(tuple(kwargs["input_ids"].shape))


def test_a_prompt_is_read_once_and_rows_that_ended_leave():
    policy = tiny_lm(vocab=16)  # few ids: the one that ends an answer is likely
    counted = Counted(policy)
    rollout = policy.sample(items_of([9, 10, 11, 12, 13], [14, 15]), 32, streams=STREAMS, max_tokens=40)
    assert counted.shapes[0] == (2, 5)  # one row per prompt, not per sample
    assert all(t == 1 for _, t in counted.shapes[1:])
    lengths = rollout.mask.sum(1)
    present = [int((lengths > t + 1).sum()) for t in range(int(lengths.max()))]  # rows that still need step t + 1
    steps = [b for b, _ in counted.shapes[1:]]
    assert len(steps) == int(lengths.max()) - 1
    for there, needed in zip(steps, present, strict=False):
        assert needed <= there <= max(needed * 8 / 7, 1)  # at most one row in eight waits to leave
    assert len(set(steps)) > 3
    assert steps[-1] < 64 * 0.75


def test_ends_and_cuts():
    policy = tiny_lm(vocab=30)
    end = policy.text.tokenizer.eos_token_id
    rollout = policy.sample(items_of("ab", "c"), 20, streams=STREAMS, max_tokens=15)
    for ids, ended, text in zip(said(rollout), rollout.terminal.tolist(), rollout.outputs, strict=True):
        assert end not in ids[:-1]
        assert ended == (ids[-1] == end)
        assert ended or len(ids) == 15
        assert "<eos>" not in text
    assert 0 < rollout.terminal.sum() < 40
    assert (rollout.logp[rollout.mask] < 0).all()
    assert (rollout.logp[~rollout.mask] == 0).all()


def test_stop_texts_end_an_answer_and_are_left_out():
    policy = tiny_lm()
    free = policy.sample(items_of("ab", "c"), 30, streams=STREAMS, max_tokens=20)
    text = "".join(free.outputs)
    stop = [text[10:12], text[30:31]]
    rollout = policy.sample(items_of("ab", "c"), 30, streams=STREAMS, max_tokens=20, stop=stop)
    stopped = 0
    for full, cut, ids, ended in zip(free.outputs, rollout.outputs, said(rollout), rollout.terminal.tolist(), strict=True):
        first = min([full.find(s) for s in stop if s in full], default=None)
        assert cut == (full if first is None else full[:first])
        if first is not None:
            stopped += 1
            assert ended
            assert policy.text.tokenizer.decode(ids, skip_special_tokens=True).endswith(
                tuple(stop)
            )  # the stop text was chosen, and counts
    assert stopped > 3
    assert policy.mismatch(rollout)["max"] < 1e-9


def test_greedy_takes_the_most_probable_token_and_matches_the_library():
    policy = tiny_lm("qwen2")
    items = items_of("hello there", "2+2=")
    rollout = policy.sample(items, 1, streams=STREAMS, max_tokens=12, temperature=0)
    for k, context in enumerate(items.contexts):
        ids = torch.tensor([policy.text.prompt(context)])
        theirs = policy.network.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert theirs[0].tolist() == rollout.actions[k, : theirs.shape[1]].tolist()
    (behaviour,) = rollout.behaviour
    assert behaviour.temperature == 1
    assert dict(behaviour.extra) == {"greedy": True}
    joint = Rollout.cat([policy.sample(items, 2, streams=STREAMS, max_tokens=5, top_p=0.9),
                         policy.sample(items, 1, streams=STREAMS, max_tokens=5, temperature=0, top_p=0.9)])  # fmt: skip
    assert policy.mismatch(joint)["max"] < 1e-9


def test_the_context_limit_is_kept():
    policy = tiny_lm(max_position_embeddings=16)
    rollout = policy.sample(items_of("abc", "abcdefghijklmn"), 8, streams=STREAMS, max_tokens=50)
    assert int(rollout.lengths.max()) <= 16
    long = rollout[rollout.group == rollout.group[-1]]
    assert ((long.lengths == 16) | long.terminal).all()
    assert not long.terminal.all()
    assert policy.mismatch(rollout)["max"] < 1e-9
    with pytest.raises(DataError, match="item 1: a prompt of 16 tokens leaves no room for an answer in a context of 16"):
        policy.sample(items_of("abc", "x" * 16), streams=STREAMS)
    learned = tiny_lm("gpt2", n_positions=16)  # a table of positions: waiting rows must not read beyond it
    rollout = learned.sample(items_of("abc", "abcdefghijklmn"), 8, streams=STREAMS, max_tokens=50)
    assert learned.mismatch(rollout)["max"] < 1e-9


def test_wide_cuts_keep_their_mass():
    policy = tiny_lm("llama", vocab=700, tie_word_embeddings=False)
    with torch.no_grad():
        policy.network.model.lm_head.weight.mul_(0.2)  # flat enough for top-p to keep hundreds
    rollout = policy.sample(items_of("ab", "cde"), 4, streams=STREAMS, max_tokens=6, top_p=0.9)
    wide = rollout.trace["log_kept"] != 0
    assert (wide == rollout.mask).all()
    assert not rollout.trace["kept"].any()
    mass = rollout.trace["log_kept"][wide].exp()
    assert ((mass >= 0.9) & (mass < 0.91)).all()
    assert policy.mismatch(rollout)["max"] < 1e-9


def test_kept_sets_are_those_of_the_definition():
    policy = tiny_lm()
    rollout = policy.sample(items_of("ab", "cde"), 4, streams=STREAMS, max_tokens=6, top_p=0.7)
    kept = rollout.trace["kept"]
    logits = policy.network.model(rollout.actions).logits.detach()
    for b, t in rollout.mask.nonzero().tolist():
        p, ids = logits[b, t - 1].softmax(-1).sort(descending=True)
        smallest = ids[: int((p.cumsum(0) < 0.7).sum()) + 1]
        assert sorted((kept[b, t][kept[b, t] > 0] - 1).tolist()) == sorted(smallest.tolist())
    assert not kept[~rollout.mask].any()


def test_numbers_are_made_in_chunks_without_a_seam(monkeypatch):
    policy = tiny_lm()
    items = items_of("ab", "hello there")
    whole = policy.sample(items, 4, streams=STREAMS, max_tokens=30)
    monkeypatch.setattr(_generate, "_NUMBERS", 7)
    monkeypatch.setattr(_generate, "_LEAVE", 1)  # nobody leaves before all have ended
    again = policy.sample(items, 4, streams=STREAMS, max_tokens=30)
    assert said(whole) == said(again)
    assert int(whole.mask.sum(1).max()) > 14


def test_contexts_of_all_kinds():
    policy = tiny_lm()
    chat = [{"role": "user", "content": "hi"}]
    ids = policy.text.encode("<user>hi<eos><assistant>")
    rollout = policy.sample(items_of("", chat, ids, torch.tensor(ids), {"messages": chat}), streams=STREAMS, max_tokens=2)
    assert rollout.actions[0, 0] == policy.text.tokenizer.bos_token_id
    assert all(rollout.actions[k, : len(ids)].tolist() == ids for k in (1, 2, 3, 4))
    with pytest.raises(DataError, match="item 0: a context is a text, a list of messages"):
        policy.sample(items_of(3.5), streams=STREAMS)
    with pytest.raises(DataError, match="no items"):
        policy.sample(items_of(), streams=STREAMS)


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_k": -2}, "top_k is -2"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"rows": 0}, "rows=0"),
    ],
    ids=str,
)
def test_impossible_controls_are_refused(controls, message):
    with pytest.raises(PlanError, match=message):
        tiny_lm().sample(items_of("a"), streams=STREAMS, **controls)
