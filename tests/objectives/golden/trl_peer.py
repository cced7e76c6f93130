"""Drives TRL's own loss code over the shared problem: its trainers without their ``__init__``, and a model of free logits."""

import contextlib
from collections import defaultdict
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import selective_log_softmax_and_entropy
from trl_problem import LONGEST, PROMPT, ROWS, Problem, Variant, logp_of


class Table(nn.Module):
    """A model whose logits are its parameters; ``rows`` says which rows the next call is about."""

    is_gradient_checkpointing = False

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.rows: Tensor = torch.arange(len(logits))

    def forward(self, input_ids, attention_mask, labels=None, fused_lm_head=False, use_cache=None):
        assert fused_lm_head
        logits, labels = self.logits[self.rows][:, :-1], labels[:, 1:]
        real = labels != -100
        logp, entropy = selective_log_softmax_and_entropy(logits, labels.clamp(min=0))
        return SimpleNamespace(
            log_probs=logp.masked_fill(~real, 0), entropy=entropy.masked_fill(~real, 0), aux_loss=None,
            mean_logits=logits.mean(-1), is_top1=logits.argmax(-1) == labels,
        )  # fmt: skip


class OneProcess:
    """What the losses ask of an accelerator, for a single process."""

    num_processes, process_index, is_main_process, sync_gradients = 1, 0, True, True
    device = torch.device("cpu")

    def autocast(self):
        return contextlib.nullcontext()

    def gather(self, x):
        return x

    def gather_for_metrics(self, x):
        return x

    def reduce(self, x, reduction="sum"):
        return x

    def unwrap_model(self, model):
        return model


def loss_and_gradient(p: Problem, variant: Variant) -> tuple[float, Tensor]:
    """The peer's loss summed over its micro-batches, and its gradient with respect to the logits."""
    return (_grpo if variant.trainer == "grpo" else _dpo)(p, variant)


def _grpo(p: Problem, variant: Variant) -> tuple[float, Tensor]:
    options = dict(variant.options)
    truncate = options.pop("truncate", None)
    args = SimpleNamespace(
        use_bias_correction_kl=options.pop("use_bias_correction_kl", False), delta=options.pop("delta", None),
        sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, steps_per_generation=variant.micro, report_to=[],
    )  # fmt: skip
    model = Table(p.logits)
    trainer = object.__new__(GRPOTrainer)
    vars(trainer).update(
        {
            "args": args, "model": model, "accelerator": OneProcess(), "aux_loss_enabled": False, "top_entropy_quantile": 1.0,
            "off_policy_mask_threshold": None, "importance_sampling_level": "token", "beta": 0.0, "entropy_coef": 0.0,
            "current_gradient_accumulation_steps": variant.micro, "max_completion_length": LONGEST, "use_adaptive_entropy": False,
            "use_vllm": truncate is not None, "vllm_importance_sampling_correction": truncate is not None,
            "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)}, **options,
        }
    )  # fmt: skip
    trainer._entropy_bonus_enabled = trainer.entropy_coef != 0.0
    advantage = p.step_advantage[:, PROMPT:] if variant.per_step else p.advantage
    answer = p.attention[:, PROMPT:]
    chosen = p.mask[:, PROMPT:]
    # How TRL itself makes this ratio (token_truncate) stands inside its sampling code, which cannot be called apart.
    correction = ((p.old - p.sampler) * p.mask).exp().clamp(max=truncate or 1.0)[:, PROMPT:]
    total = 0.0
    for rows in torch.arange(ROWS).chunk(variant.micro):
        model.rows = rows
        inputs = {
            "prompt_ids": p.ids[rows, :PROMPT], "prompt_mask": p.attention[rows, :PROMPT].long(),
            "completion_ids": p.ids[rows, PROMPT:], "completion_mask": answer[rows].long(),
            "tool_mask": (chosen | ~answer)[rows].long(), "advantages": advantage[rows],
            "old_per_token_logps": p.old[rows, PROMPT:], "num_items_in_batch": chosen.sum(),
            "ref_per_token_logps": logp_of(p.reference_logits, p.ids, p.attention)[rows, PROMPT:],
            "importance_sampling_ratio": correction[rows],
        }  # fmt: skip
        loss = trainer._compute_loss(model, inputs)
        loss.backward()
        total += float(loss.detach())
    assert model.logits.grad is not None
    return total, model.logits.grad


def _dpo(p: Problem, variant: Variant) -> tuple[float, Tensor]:
    model, reference = Table(p.logits), Table(p.reference_logits)
    trainer = object.__new__(DPOTrainer)
    vars(trainer).update(
        {
            "args": SimpleNamespace(gradient_checkpointing_kwargs=None, report_to=[]), "model": model, "ref_model": reference,
            "accelerator": OneProcess(), "aux_loss_enabled": False, "ld_alpha": None, "precompute_ref_logps": False,
            "f_divergence_type": "reverse_kl", "beta": variant.objective.beta, "loss_weights": [1.0], "use_weighting": False,
            "label_smoothing": 0.0, "_total_train_tokens": 0, "_tp_size": 1,
            "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)}, **variant.options,
        }
    )  # fmt: skip
    total = 0.0
    for pairs in torch.arange(0, ROWS, 2).chunk(variant.micro):
        rows = torch.cat([pairs, pairs + 1])
        model.rows = reference.rows = rows
        inputs = {
            "input_ids": p.ids[rows], "attention_mask": p.attention[rows].long(), "completion_mask": p.mask[rows].long(),
        }  # fmt: skip
        loss = trainer._compute_loss(model, inputs, return_outputs=False) / variant.micro  # as the training loop scales it
        loss.backward()
        total += float(loss.detach())
    assert model.logits.grad is not None
    return total, model.logits.grad
