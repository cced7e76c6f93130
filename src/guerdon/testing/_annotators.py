"""One small instance of every simulated annotator, and the contract all of them meet."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core import RewardOutput, Rollout, Streams
from guerdon.feedback import (
    Advantages,
    Annotator,
    Biased,
    BradleyTerry,
    Davidson,
    Flips,
    Judgement,
    Population,
    RaoKupper,
    RatingScale,
    Regret,
    all_pairs,
)
from guerdon.testing._atoms import example_batch
from guerdon.testing._base import demand, shuffled


def gold_rating(rollout: Rollout) -> RewardOutput:
    """The column ``rating``; its rows with a number above 1.2 fail."""
    rating = torch.as_tensor(rollout.info["rating"]).double()
    return RewardOutput.of(torch.where(rating > 1.2, torch.nan, rating))


def output_length(rollout: Rollout) -> Tensor:
    """Characters of each output."""
    return torch.tensor([float(len(o)) for o in rollout.outputs], dtype=torch.double)


def example_annotators() -> dict[str, Annotator]:
    """One tiny instance of every public annotator, by name, to try on ``example_annotated()``; a second one per option."""
    exact = BradleyTerry(gold_rating, temperature=0.0)
    longer = BradleyTerry(Biased(gold_rating, output_length, 3.0), 0.5)
    return {
        "BradleyTerry": BradleyTerry(gold_rating),
        "BradleyTerry.advantages": BradleyTerry(Advantages()),
        "BradleyTerry.exact": exact,
        "BradleyTerry.regret": BradleyTerry(Regret(gold_rating)),
        "BradleyTerry.soft": BradleyTerry(gold_rating, 0.5, soft=True),
        "Davidson": Davidson(gold_rating, nu=1.5),
        "Flips": Flips(Davidson(gold_rating, nu=1.5), 0.25),
        "Flips.population": Flips(Population((exact, longer), people=6, votes=3), 0.5),
        "Population": Population((exact, longer), shares=(2, 1), people=9),
        "Population.context": Population((exact, longer), people=6, votes=2, by="context"),
        "RaoKupper": RaoKupper(gold_rating, 0.5, threshold=0.3),
    }


def example_annotated(seed: int = 0) -> Rollout:
    """Rows that every example can judge: ratings, dense values, and what was still to come of rows that were cut off."""
    rollout = example_batch(seed=seed, groups=4, n=4).rollout
    normal = Streams(seed)("annotated", rollout.uid).normal(rollout.steps)
    return rollout.replace(
        info={**rollout.info, "last_value": normal[:, 0]}, trace={"value": normal, "advantage": -normal.abs()}
    )  # fmt: skip


def check_annotator(annotator: Annotator, rollout: Rollout) -> None:
    """Have a rollout judged in several ways that must agree.

    Checked: labels in [0, 1] and ratings on their scale; the same verdicts twice, in another order of pairs and of rows, for a
    part of the pairs, and with the rows of every pair exchanged (label -> 1 - label); flips leave ties as they are; pairs and
    rows that cannot be judged are skipped with a reason.

    Raises:
        ContractError: saying what is broken.
    """
    name, streams, scale = type(annotator).__name__, Streams(3), RatingScale(1, 7)
    pairs = all_pairs(rollout)
    votes = annotator.voices
    judged = annotator.label(rollout, pairs, streams)
    demand(len(judged) == votes * len(pairs), f"{name}: {len(judged)} verdicts for {len(pairs)} pairs of {votes} votes each")
    demand(torch.equal(judged.rows, pairs.repeat_interleave(votes, 0)), f"{name}: verdicts are not in the order of the pairs")
    good = judged.value[judged.ok]
    demand(((good >= 0) & (good <= 1)).all(), f"{name}: a label is outside [0, 1]")
    demand(all(bool(why) != ok for why, ok in zip(judged.reason, judged.ok.tolist(), strict=True)), f"{name}: a reason where ok")

    def same(other: Judgement, value: Tensor, what: str, order: Tensor | None = None) -> None:
        was = judged if order is None else judged[(order[:, None] * votes + torch.arange(votes)).reshape(-1)]
        demand(torch.equal(was.ok, other.ok), f"{name}: {what} changes which pairs fail")
        demand(bool(((was.value - value)[was.ok].abs() <= 1e-12).all()), f"{name}: {what} changes a verdict")
        demand(list(was.annotator) == list(other.annotator), f"{name}: {what} changes who is asked")

    again = annotator.label(rollout, pairs, streams)
    same(again, again.value, "asking twice")
    swapped = annotator.label(rollout, pairs.flip(1), streams)
    same(swapped, 1 - swapped.value, "showing the second row first")
    order = shuffled(len(pairs))[: max(1, len(pairs) * 2 // 3)]
    part = annotator.label(rollout, pairs[order], streams)
    same(part, part.value, "another order of pairs", order)
    rows = shuffled(len(rollout), 1)
    moved = annotator.label(rollout[rows], rows.argsort()[pairs], streams)
    same(moved, moved.value, "another order of rows")
    if isinstance(annotator, Flips):
        tied = annotator.base.label(rollout, pairs, streams).value == 0.5
        demand(torch.equal(tied, judged.value == 0.5), f"{name}: flips change ties")
    records = annotator.compare(rollout, pairs, streams)
    demand(len(records) + len(records.skipped) == len(judged), f"{name}: pairs are neither judged nor skipped")
    demand(all(s.reason for s in records.skipped), f"{name}: a pair is skipped without a reason")
    rated = annotator.rate(rollout, streams, scale)
    demand(len(rated) + len(rated.skipped) == votes * len(rollout), f"{name}: rows are neither rated nor skipped")
    demand(rated == annotator.rate(rollout, streams, scale), f"{name}: rating twice gives other ratings")
    demand(all(r.scores["overall"] in range(1, 8) for r in rated), f"{name}: a rating is not on its scale")
