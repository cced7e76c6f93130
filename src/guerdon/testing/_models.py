"""Tiny language models of several architectures, with a character tokenizer: exact to the last bit, made in milliseconds."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from guerdon.policies import CausalLM

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>", "<system>", "<user>", "<assistant>", "<tool>")
CHARACTERS = "\n " + string.ascii_lowercase + string.digits + "+-*/=().,:;?!'\"<>{}[]|_" + string.ascii_uppercase
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<eos>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
_GROUPED = {**_SMALL, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48}
_ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": 8}),
    "qwen2": ("Qwen2", _GROUPED),
    "gemma2": ("Gemma2", {**_GROUPED, "sliding_window": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 5.0,
                          "attn_logit_softcapping": 2.0}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "phi": ("Phi", {**_SMALL, "intermediate_size": 48, "partial_rotary_factor": 0.5}),
    "gptj": ("GPTJ", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4}),
    "cohere": ("Cohere", {**_GROUPED, "logit_scale": 0.5}),
    "granite": ("Granite", {**_GROUPED, "logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5}),
    "lfm2": ("Lfm2", {**_GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
}  # fmt: skip


def tiny_tokenizer(vocab: int | None = None) -> Any:
    """A Hugging Face tokenizer with one id per character, special tokens for roles, and a chat template.

    >>> t = tiny_tokenizer()
    >>> t.decode(t("2+2=4")["input_ids"]), t.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    ('2+2=4', '<user>hi<eos>')
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *CHARACTERS][:vocab]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        chat_template=TEMPLATE, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def tiny_model(arch: str = "llama", dtype: str = "float64", vocab: int | None = None, seed: int = 0, **config: Any) -> Any:
    """A Hugging Face causal LM of two layers and width 32, its parameters drawn from a generator of its own.

    Args:
        arch: One of llama, mistral, qwen2, gemma2, gpt2, phi, gptj, cohere, granite, lfm2.
        dtype: Number format.
        vocab: Number of ids; None: as many as ``tiny_tokenizer`` has.
        seed: Of the parameters.
        config: Changes to the architecture's config.
    """
    import transformers

    name, shape = _ARCHITECTURES[arch]
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    made = getattr(transformers, f"{name}Config")(
        vocab_size=vocab or len(SPECIAL) + len(CHARACTERS), **{**shape, **ends, **config}
    )
    with torch.random.fork_rng(devices=[]):  # the library's own initialisation draws from the shared generator
        model = transformers.AutoModelForCausalLM.from_config(made)
    model = model.to(getattr(torch, dtype)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if p.dim() > 1:
                p.copy_(
                    noise * (0.4 if "emb" in key or "wte" in key or "wpe" in key or "lm_head" in key else p.shape[-1] ** -0.5)
                )
            else:  # norms keep their level, biases are small
                p.add_(0.1 * noise.to(p))
    return model


def tiny_lm(
    arch: str = "llama", dtype: str = "float64", vocab: int | None = None, seed: int = 0, lora: Any = None, **config: Any
) -> CausalLM:
    """A ``CausalLM`` of two layers and width 32 that speaks in characters; see ``tiny_model``.

    >>> from guerdon.core import Items, Streams
    >>> policy, streams = tiny_lm(), Streams(0)
    >>> policy.sample(Items(["ab"], streams.uids(1)), 2, streams=streams, max_tokens=3).actions.shape
    torch.Size([2, 5])
    """
    from guerdon.policies import CausalLM

    return CausalLM.from_parts(
        tiny_model(arch, dtype, vocab, seed, **config), tiny_tokenizer(vocab), lora=lora, name=f"tiny-{arch}"
    )
