"""From labels of reasoning steps to a process reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.core import DataError, PlanError, SpanLabel, Streams
from guerdon.rewards.learned.process import ProcessReward
from guerdon.rewards.learned.steps import step_ends


class Labelled(NamedTuple):
    """An answer with a label of each of its steps.

    Attributes:
        context: What was asked.
        output: The answer.
        right: Probability that each step is right; NaN where nobody said.
    """

    context: str
    output: str
    right: list[float]


def labelled_steps(labels: Sequence[SpanLabel], separator: str) -> list[Labelled]:
    """Labels of spans, such as those of TRL's stepwise format, by the answers they belong to.

    A span labels the step that its last character (its separator aside) lies in, with probability (value + 1) / 2.

    Raises:
        DataError: for a context that is no text.

    >>> said = [SpanLabel(context="1+2+3=", output="3+3=7", start=4, end=5, label="", value=-1.0)]
    >>> labelled_steps(said, "=")
    [Labelled(context='1+2+3=', output='3+3=7', right=[nan, 0.0])]
    """
    found: dict[tuple[str, str], list[float]] = {}
    for label in labels:
        if not isinstance(label.context, str):
            raise DataError(f"a process reward reads texts, and a label's context is {type(label.context).__name__}")
        ends = step_ends(label.output, separator)
        right = found.setdefault((label.context, label.output), [math.nan] * len(ends))
        right[next(k for k, end in enumerate(ends) if end >= label.end)] = min(max((label.value + 1) / 2, 0.0), 1.0)
    return [Labelled(context, output, right) for (context, output), right in found.items()]


def fit_process_reward(
    labels: Sequence[SpanLabel], base: str | ProcessReward, *, separator: str = "\n", epochs: int = 1, batch: int = 32,
    lr: float = 1e-3, seed: int = 0, device: str = "auto",
) -> ProcessReward:  # fmt: skip
    r"""Fits a process reward to labels of steps by cross-entropy, every labelled step counting once.

    AdamW, a rate that rises over the first twentieth of the steps and falls linearly, gradients of norm 1 at most. The same seed
    gives the same bits on a CPU.

    Args:
        labels: What was said of steps: ``value`` 1 right, -1 wrong, 2 p - 1 for a probability p.
        base: Folder or name of a language model, which gets a new head; or a process reward to go on from, in place.
        separator: What stands behind a step; a given process reward has its own.
        epochs: Passes over the answers.
        batch: Answers of one optimiser step.
        lr: Peak learning rate.
        seed: Of the head and of the order.
        device: ``"auto"`` takes the first there is of cuda, mps and cpu.

    Raises:
        DataError: where no step is labelled, or a text cannot be read.
        PlanError: for settings that make no sense.

    Example:
        >>> from guerdon.testing import tiny_process_reward
        >>> said = [SpanLabel(context="", output=o, start=0, end=1, label="", value=v) for o, v in (("a", 1.0), ("b", -1.0))]
        >>> reward = fit_process_reward(said, tiny_process_reward(), epochs=20, lr=1e-2)
        >>> good, bad = reward.score(["", ""], ["a", "b"])
        >>> good[0] > 0.9, bad[0] < 0.1
        (True, True)
    """
    if min(epochs, batch) < 1 or not lr > 0:
        raise PlanError(f"fit_process_reward: epochs, batch and lr must be positive, got {epochs}, {batch} and {lr}")
    reward = ProcessReward.fresh(base, separator, seed=seed, device=device) if isinstance(base, str) else base
    rows = labelled_steps(labels, reward.separator)
    if not rows:
        raise DataError("there are no labels of steps to fit a process reward to")
    read = [reward.encode(r.context, r.output) for r in rows]
    ids, ends = [i for i, _ in read], [e for _, e in read]
    for row, end in zip(rows, ends, strict=True):
        if len(end) != len(row.right):
            raise DataError(f"the steps of {row.output[:40]!r} share tokens; expected a separator that the tokenizer keeps apart")
    parameters = list(reward.model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr, betas=(0.9, 0.98), weight_decay=0.0)
    streams, steps, done = Streams(seed).fork("process reward"), epochs * math.ceil(len(rows) / batch), 0
    losses: list[float] = []
    for epoch in range(epochs):
        for part in streams("order", epoch).permutation(len(rows)).split(batch):
            for group in optimizer.param_groups:
                group["lr"] = lr * min((done + 1) / max(1, steps / 20), (steps - done) / steps)
            chosen = part.tolist()
            score = torch.cat(reward.at_ends([ids[k] for k in chosen], [ends[k] for k in chosen]))
            loss = _cross_entropy(score, torch.tensor([p for k in chosen for p in rows[k].right]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            done += 1
    known = [p for r in rows for p in r.right if p == p]
    late = losses[-max(1, len(losses) // 10) :]
    reward.facts = {
        "answers": len(rows), "steps": len(known), "right": round(sum(known) / len(known), 4), "epochs": epochs,
        "batch": batch, "lr": lr, "seed": seed, "loss": round(sum(late) / len(late), 4),
    }  # fmt: skip
    return reward


def step_accuracy(reward: ProcessReward, labels: Sequence[SpanLabel]) -> float:
    """Share of labelled steps whose score lies on the right side of one half: right ones and wrong ones count half each.

    Raises:
        DataError: where only right or only wrong steps are labelled.
    """
    rows = labelled_steps(labels, reward.separator)
    scores = reward.score([r.context for r in rows], [r.output for r in rows])
    pairs = [(s, p) for row, score in zip(rows, scores, strict=True) for s, p in zip(score, row.right, strict=True) if p == p]
    hits = {side: [(s > 0.5) == side for s, p in pairs if (p > 0.5) == side] for side in (True, False)}
    if not all(hits.values()):
        raise DataError("the accuracy of a process reward needs right and wrong steps")
    return sum(sum(h) / len(h) for h in hits.values()) / 2


def _cross_entropy(score: Tensor, right: Tensor) -> Tensor:
    """Mean over the labelled steps."""
    right = right.to(score)
    keep = ~right.isnan()
    if not bool(keep.any()):
        return score.sum() * 0
    score = score[keep].clamp(1e-6, 1 - 1e-6)
    return torch.nn.functional.binary_cross_entropy(score, right[keep])
