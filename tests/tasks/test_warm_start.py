import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from guerdon.core.errors import DataError, PlanError
from guerdon.tasks import Arithmetic, LMConfig, WarmStart, train_lm
from guerdon.tasks.warm_start import _batches, _schedule

SMALL = LMConfig(width=32, layers=2, heads=2, hidden=64)
PAIRS = Arithmetic(warm_start=WarmStart(corpus=500)).corpus()


def weights(trained) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trained.model.state_dict().items()}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.int32), b[k].view(torch.int32)) for k in a)


def test_twenty_steps_are_the_same_bits_whatever_the_process_did_before(tmp_path) -> None:
    first = train_lm(PAIRS, SMALL, steps=20, seed=3)
    torch.manual_seed(999)
    torch.rand(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    second = train_lm(PAIRS, SMALL, steps=20, seed=3)
    assert torch.equal(torch.get_rng_state(), state)  # and it leaves no trace in the process
    assert torch.get_num_threads() == threads
    assert same_bits(weights(first), weights(second))
    assert first.loss == second.loss
    assert not same_bits(weights(first), weights(train_lm(PAIRS, SMALL, steps=20, seed=4)))
    for name, trained in (("a", first), ("b", second)):
        trained.save(tmp_path / name)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_the_loss_is_the_mean_over_answer_tokens_alone() -> None:
    """One step on one pair: the loss is that of the untouched first weights, by hand."""
    model = SMALL.build(seed=5)
    tokenizer = train_lm(PAIRS, SMALL, steps=1).tokenizer
    ids = torch.tensor([[*tokenizer("47+85=132")["input_ids"], tokenizer.eos_token_id]])
    logp = model(ids).logits.detach().log_softmax(-1)[0]
    by_hand = -sum(logp[k - 1, ids[0, k]] for k in (7, 8, 9, 10)) / 4  # "1", "3", "2", eos
    one = train_lm([("47+85=", "132")], SMALL, steps=1, batch=1, seed=5)
    assert one.loss == pytest.approx(float(by_hand), abs=1e-6)
    text = train_lm(["47+85=132"], SMALL, steps=1, batch=1, seed=5)  # a plain text: every token behind bos
    assert text.loss == pytest.approx(float(-sum(logp[k - 1, ids[0, k]] for k in range(1, 11)) / 10), abs=1e-6)


def test_padding_changes_nothing() -> None:
    """Beside a longer row, a short one contributes what it does alone: mean over all answer tokens of both."""
    model = SMALL.build(seed=0)
    short, long = ("1+1=", "2"), ("47+85=", "132")
    alone = [train_lm([p], SMALL, steps=1, batch=1).loss for p in (short, long)]
    both = train_lm([short, long], SMALL, steps=1, batch=2).loss
    assert both == pytest.approx((2 * alone[0] + 4 * alone[1]) / 6, abs=1e-6)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in train_lm([short], SMALL, steps=1).model.parameters()
    )


def test_it_learns_a_corpus_by_heart() -> None:
    done = train_lm([("1+1=", "2"), ("2+2=", "4"), ("3+1=", "4")], SMALL, steps=150, lr=1e-2, batch=6)
    assert done.loss < 0.02
    ids = done.tokenizer("2+2=", return_tensors="pt")
    out = done.model.generate(**ids, max_new_tokens=4, do_sample=False)
    assert done.tokenizer.decode(out[0], skip_special_tokens=True) == "2+2=4"


def test_the_saved_folder_is_an_ordinary_model(tmp_path) -> None:
    done = train_lm(PAIRS, SMALL, steps=2)
    notes = done.save(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("12+34=", return_tensors="pt")["input_ids"]
    assert torch.equal(model(ids).logits, done.model(ids).logits)
    assert model.dtype == torch.float32
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 2)
    assert model.generation_config.eos_token_id == 2
    assert "model.safetensors" in {p.name for p in tmp_path.iterdir()}
    assert not list(tmp_path.glob("*.bin"))
    assert notes["parameters"] == sum(
        v.numel() for k, v in load_file(tmp_path / "model.safetensors").items() if k != "lm_head.weight"
    )


def test_a_time_limit_ends_it_early_and_says_so() -> None:
    done = train_lm(PAIRS, SMALL, steps=10_000, seconds=0.2)
    assert not done.complete
    assert 0 < done.steps < 10_000
    assert train_lm(PAIRS, SMALL, steps=2, seconds=60).complete


def test_every_pass_has_each_example_once_in_an_order_of_its_own() -> None:
    rows = torch.cat(list(_batches(10, 4, 5, seed=0)))  # two passes over ten examples, in batches that run over the end
    assert rows[:10].sort().values.tolist() == rows[10:].sort().values.tolist() == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()


def test_the_learning_rate_rises_then_falls_to_a_twentieth() -> None:
    rates = [_schedule(k, 400) for k in range(401)]
    assert rates[0] == pytest.approx(1 / 40, rel=1e-3)
    assert rates.index(max(rates)) == 39
    assert rates[200] == pytest.approx(0.05 + 0.95 / 2)  # half way down the cosine
    assert rates[400] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LMConfig(width=30, heads=4), "even multiple of heads"),
        (lambda: LMConfig(layers=0), "at least 1"),
        (lambda: WarmStart(steps=0), "must be positive"),
        (lambda: WarmStart(lr=float("nan")), "must be positive"),
    ],
)
def test_impossible_shapes_are_refused(make, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make()


def test_a_corpus_that_cannot_be_learned_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        train_lm([], SMALL, steps=1)
    with pytest.raises(DataError, match="12 tokens, the model has 8 positions"):
        train_lm([("1" * 8, "22")], LMConfig(width=16, layers=1, positions=8), steps=1)


def test_a_terminal_sees_a_bar_and_a_pipe_sees_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_lm(PAIRS, SMALL, steps=3, title="small model")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    train_lm(PAIRS, SMALL, steps=3, title="small model")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "small model" in seen.err
    with Progress(console=Console(stderr=True)):  # inside the bar of a run
        train_lm(PAIRS, SMALL, steps=3, title="small model")


@pytest.mark.parametrize(("size", "parameters"), [("100k", 1e5), ("340k", 3.4e5), ("1m", 1e6)])
def test_named_shapes_have_the_size_they_say(size: str, parameters: float) -> None:
    config = LMConfig.sized(size, positions=50)
    assert config.positions == 50
    assert sum(p.numel() for p in config.build().parameters()) == pytest.approx(parameters, rel=0.05)


def test_an_unknown_size_names_the_nearest() -> None:
    with pytest.raises(PlanError, match="there is no size '1M'; did you mean '1m'"):
        LMConfig.sized("1M")
