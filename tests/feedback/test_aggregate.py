"""Aggregation: votes by hand, and Dawid and Skene's model on people whose errors are known."""

import gzip
import json
import math

import numpy as np
import pytest
import torch

from guerdon.core import DataError, Streams, recorded
from guerdon.feedback import BradleyTerry, Comparison, Flips, Population, aggregate, dawid_skene
from guerdon.feedback.votes import sides, votes_of


def said(*votes, turned=()):
    """Votes (annotator, label) on x against y; those at the places of ``turned`` were shown the other way round."""
    records = [
        Comparison(context="q", first="x", second="y", label=p, annotator=a, uids=(7, 8), info={"set": "s"}) for a, p in votes
    ]
    return [c.swapped() if k in turned else c for k, c in enumerate(records)]


def crowd(confusion, units, prior, seed=0):
    """(truth [U], labels [A, U]) of annotators with the given confusion matrices."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(prior), size=units, p=prior)
    cumulative = np.cumsum(confusion, -1)[:, truth]
    return truth, (rng.random((len(confusion), units, 1)) > cumulative).sum(-1).astype(float)


# ---------------------------------------------------------------- votes
def test_majority_and_mean_by_hand():
    votes = (("a", 1.0), ("b", 0.8), ("c", 0.5), ("d", 0.0))
    (most,) = aggregate(said(*votes))
    (mean,) = aggregate(said(*votes), "mean")
    assert (most.label, most.annotator, most.uids) == (1.0, "aggregate:majority", (7, 8))
    assert most.info == {"set": "s", "votes": {"first": 2, "tie": 1, "second": 1}}
    assert math.isclose(mean.label, 2.3 / 4) and mean.annotator == "aggregate:mean"


def test_verdicts_that_are_equally_frequent_make_a_tie():
    assert aggregate(said(("a", 1.0), ("b", 0.0)))[0].label == 0.5
    assert aggregate(said(("a", 1.0), ("b", 0.5)))[0].label == 0.5
    assert aggregate(said(("a", 1.0), ("b", 0.5), ("c", 0.5)))[0].label == 0.5
    assert aggregate(said(("a", 1.0), ("b", 1.0), ("c", 0.0), ("d", 0.0), ("e", 0.5)))[0].label == 0.5


@pytest.mark.parametrize("method", ["majority", "mean", "dawid-skene"])
def test_orders_of_presentation_are_brought_together(method):
    votes = [("a", 1.0), ("b", 1.0), ("c", 0.0)]
    straight, mixed = (aggregate(said(*votes, turned=t), method) for t in ((), (1, 2)))
    assert straight == mixed and len(mixed) == 1 and mixed[0].first == "x" and mixed[0].label > 0.5
    (first_turned,) = aggregate(said(*votes, turned=(0,)), method)
    assert (first_turned.first, first_turned.uids) == ("y", (8, 7))
    assert math.isclose(first_turned.label, 1 - straight[0].label, abs_tol=1e-9)


def test_bad_method_and_nothing_said():
    with pytest.raises(DataError, match="unknown method 'majorty'; did you mean 'majority'"):
        aggregate(said(("a", 1.0)), "majorty")
    assert aggregate([], "dawid-skene") == []


# ---------------------------------------------------------------- Dawid and Skene
CONFUSION = np.array(
    [
        [[0.95, 0.03, 0.02], [0.10, 0.80, 0.10], [0.02, 0.03, 0.95]],
        [[0.80, 0.15, 0.05], [0.20, 0.60, 0.20], [0.05, 0.15, 0.80]],
        [[0.70, 0.10, 0.20], [0.10, 0.70, 0.20], [0.10, 0.10, 0.80]],  # leans to the second
        [[0.50, 0.50, 0.00], [0.05, 0.90, 0.05], [0.00, 0.50, 0.50]],  # says tie when in doubt
        [[0.34, 0.33, 0.33], [0.33, 0.34, 0.33], [0.33, 0.33, 0.34]],  # does not read
    ]
)
PRIOR = np.array([0.45, 0.2, 0.35])


def test_em_finds_who_errs_how():
    truth, labels = crowd(CONFUSION, 4000, PRIOR)
    fit = dawid_skene(labels)
    assert fit.converged
    # A few standard errors of shares of 4000 * prior units.
    assert np.abs(fit.confusion - CONFUSION).max() < 0.06
    assert np.abs(fit.prior - PRIOR).max() < 0.03
    assert np.abs(fit.accuracy - np.einsum("k,akk->a", PRIOR, CONFUSION)).max() < 0.03
    counts = (labels[:, :, None] == np.arange(3)).sum(0)
    assert (fit.posterior.argmax(1) == truth).mean() > (counts.argmax(1) == truth).mean() + 0.03
    # Posteriors mean what they say.
    top = fit.posterior.max(1)
    assert abs(top.mean() - (fit.posterior.argmax(1) == truth).mean()) < 0.015


def test_em_climbs_and_repeats():
    _, labels = crowd(CONFUSION, 300, PRIOR, seed=3)
    labels[np.random.default_rng(0).random(labels.shape) < 0.3] = math.nan
    labels = labels[:, ~np.isnan(labels).all(0)]
    fit = dawid_skene(labels)
    gains = np.diff(fit.objective)
    assert len(gains) > 3 and (gains >= -1e-9).all()
    assert np.allclose(fit.posterior.sum(1), 1) and np.allclose(fit.confusion.sum(-1), 1)
    again = dawid_skene(labels)
    assert np.array_equal(fit.posterior, again.posterior)
    order = np.array([3, 0, 4, 1, 2])
    assert np.allclose(dawid_skene(labels[order]).posterior, fit.posterior, atol=1e-8)


def test_one_step_of_em_by_hand():
    """Two units, three voices, no smoothing: shares of votes first, then expected counts."""
    labels = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    fit = dawid_skene(labels, smoothing=0.0, iterations=1)
    posterior = np.array([[1 / 3, 2 / 3], [1.0, 0.0]])  # of class 0 and class 1, by votes
    prior = posterior.mean(0)
    assert np.allclose(fit.prior, prior)
    # Of class 0 the first voice has unit 1 with 1/3 (said 1) and unit 2 with 1 (said 0).
    assert np.allclose(fit.confusion[0, 0], [1 / (4 / 3), (1 / 3) / (4 / 3)])
    assert np.allclose(fit.confusion[2], [[1, 0], [1, 0]])
    joint = [prior[k] * fit.confusion[0, k, 1] * fit.confusion[1, k, 1] * fit.confusion[2, k, 0] for k in (0, 1)]
    assert np.allclose(fit.posterior[0], np.array(joint) / sum(joint))
    both = prior[0] * fit.confusion[0, 0, 0] * fit.confusion[1, 0, 0]  # class 1 cannot be: its voices never said 0
    assert math.isclose(fit.objective[0], math.log(sum(joint)) + math.log(both))


def test_classes_keep_their_names_when_one_annotator_lies():
    confusion = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.8, 0.2], [0.2, 0.8]], [[0.1, 0.9], [0.9, 0.1]]])
    truth, labels = crowd(confusion, 1000, [0.5, 0.5], seed=1)
    fit = dawid_skene(labels)
    assert (fit.posterior.argmax(1) == truth).mean() > 0.9
    assert fit.accuracy[2] < 0.2  # the liar is found out, and informs


def test_simulated_annotators_are_recovered_from_their_records():
    n = 1500
    rollout = recorded(
        [f"q{k // 2}" for k in range(2 * n)], [f"o{k}" for k in range(2 * n)], {"gold": [float(k % 2) for k in range(2 * n)]}
    )

    def gold(rollout):
        return torch.tensor(rollout.info["gold"])

    errors = (0.05, 0.2, 0.3, 0.4)
    people = Population(tuple(Flips(BradleyTerry(gold, 0), p) for p in errors), people=4, votes=4)
    pairs = torch.arange(2 * n).reshape(n, 2)
    turn = torch.arange(n) % 2 == 0
    records = people.compare(rollout, torch.where(turn[:, None], pairs.flip(1), pairs), Streams(0))
    votes = votes_of(records)
    fit = dawid_skene(sides(votes.labels))
    found = dict(zip(votes.annotators, fit.accuracy, strict=True))
    for k, p in enumerate(errors):
        assert abs(found[f"group-{k}/0"] - (1 - p)) < 0.03

    def right(method):
        return np.mean([(c.label > 0.5) == (c.uids[0] % 2 == 1) if not c.tie else 0.5 for c in aggregate(records, method)])

    assert right("dawid-skene") > right("majority") + 0.02
    assert right("dawid-skene") > 0.94


def test_what_em_refuses():
    with pytest.raises(DataError, match="every unit needs at least one label"):
        dawid_skene([[1.0, math.nan]])
    with pytest.raises(DataError, match="smoothing must be at least 0"):
        dawid_skene([[1.0, 0.0]], smoothing=-1)


# ---------------------------------------------------------------- people
def test_pandalm_majorities(shared_data):
    with gzip.open(shared_data / "preferences" / "pandalm_testset_3annotators.jsonl.gz", "rt", encoding="utf8") as f:
        rows = [json.loads(line) for line in f]
    label = {1: 1.0, 2: 0.0, 0: 0.5}
    records = [
        Comparison(context=str(r["idx"]), first=r["response1"], second=r["response2"], label=label[r[f"annotator{k}"]], annotator=str(k))
        for r in rows for k in (1, 2, 3)
    ]  # fmt: skip
    most = [c.label for c in aggregate(records)]
    by_hand = []
    for r in rows:
        given = [r[f"annotator{k}"] for k in (1, 2, 3)]
        top = max(set(given), key=given.count)
        by_hand.append(label[top] if given.count(top) > 1 else 0.5)
    assert most == by_hand
    fit = dawid_skene(sides(votes_of(records).labels))
    assert fit.converged and (fit.accuracy > 0.93).all()
    soft = [c.label for c in aggregate(records, "dawid-skene")]
    assert np.mean([abs(a - b) < 0.5 for a, b in zip(most, soft, strict=True)]) > 0.98
