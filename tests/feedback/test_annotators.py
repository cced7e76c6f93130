"""Simulated annotators: closed forms of their choices, worlds by hand, the same verdict whatever the batch."""

import doctest
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from guerdon import feedback
from guerdon.core import DataError, PlanError, RewardError, RewardOutput, Streams, mix, recorded
from guerdon.feedback import (
    Annotator,
    Biased,
    BradleyTerry,
    Davidson,
    Flips,
    Population,
    RaoKupper,
    RatingScale,
    Regret,
    all_pairs,
    random_pairs,
)
from guerdon.feedback.annotators._population import distinct
from guerdon.testing import ContractError, check_annotator, example_annotated, example_annotators

N = 4000


def gold(rollout):
    return torch.as_tensor(rollout.info["gold"], dtype=torch.double)


def length(rollout):
    return [float(len(o)) for o in rollout.outputs]


def couples(gap, n=N):
    """n groups of two rows that differ by ``gap`` in gold, and their pairs."""
    contexts = [f"q{k // 2}" for k in range(2 * n)]
    values = [gap if k % 2 == 0 else 0.0 for k in range(2 * n)]
    return recorded(contexts, [f"o{k}" for k in range(2 * n)], {"gold": values}), torch.arange(2 * n).reshape(n, 2)


def shares(annotator, gap, seed=0):
    """(share of first, tie, second) among n pairs of the same difference, shown in both orders by turns."""
    rollout, pairs = couples(gap)
    turned = torch.arange(N) % 2 == 1
    shown = torch.where(turned[:, None], pairs.flip(1), pairs)
    value = annotator.label(rollout, shown, Streams(seed)).value
    value = torch.where(turned, 1 - value, value)
    return [float((value == v).double().mean()) for v in (1.0, 0.5, 0.0)]


def near(measured, expected):
    """Within four standard errors of a share of N."""
    return all(abs(m - p) <= 4 * math.sqrt(p * (1 - p) / N) + 1e-12 for m, p in zip(measured, expected, strict=True))


# ---------------------------------------------------------------- models of choice
@pytest.mark.parametrize(("gap", "temperature"), [(0.0, 1.0), (1.0, 1.0), (-0.6, 0.5), (3.0, 2.0)])
def test_bradley_terry_frequencies(gap, temperature):
    p = 1 / (1 + math.exp(-gap / temperature))
    assert near(shares(BradleyTerry(gold, temperature), gap), (p, 0.0, 1 - p))


@pytest.mark.parametrize(("gap", "temperature", "nu"), [(0.0, 1.0, 1.0), (1.0, 0.7, 0.5), (-2.0, 1.0, 3.0)])
def test_davidson_frequencies(gap, temperature, nu):
    a, b = math.exp(gap / temperature), 1.0
    tie = nu * math.sqrt(a * b)
    assert near(shares(Davidson(gold, temperature, nu=nu), gap), [x / (a + b + tie) for x in (a, tie, b)])


@pytest.mark.parametrize(("gap", "temperature", "threshold"), [(0.0, 1.0, 0.7), (1.0, 0.5, 0.3), (-2.0, 1.0, 1.0)])
def test_rao_kupper_frequencies(gap, temperature, threshold):
    a, b, theta = math.exp(gap / temperature), 1.0, math.exp(threshold / temperature)
    win, lose = a / (a + theta * b), b / (b + theta * a)
    tie = (theta**2 - 1) * a * b / ((a + theta * b) * (b + theta * a))
    assert math.isclose(win + tie + lose, 1)
    assert near(shares(RaoKupper(gold, temperature, threshold=threshold), gap), (win, tie, lose))


def test_extreme_differences_stay_probabilities():
    for annotator in example_annotators().values():
        if hasattr(annotator, "chances"):
            win, tie = annotator.chances(torch.tensor([-1e6, -800.0, 0.0, 800.0, 1e6], dtype=torch.double))
            assert torch.isfinite(win).all() and torch.isfinite(tie).all()
            assert ((win >= 0) & (tie >= 0) & (win + tie <= 1)).all()
            assert win[0] < 1e-9 and win[-1] > 1 - 1e-9


def test_temperature_zero_names_the_better_one():
    rollout = recorded(["q"] * 3, list("abc"), {"gold": [0.0, 1.0, 1.0]})
    pairs = torch.tensor([[0, 1], [1, 0], [1, 2], [2, 1]])
    for annotator in (BradleyTerry(gold, 0), Davidson(gold, 0, nu=2.0), RaoKupper(gold, 0, threshold=0.5)):
        assert annotator.label(rollout, pairs, Streams(0)).value.tolist() == [0.0, 1.0, 0.5, 0.5]
    assert RaoKupper(gold, 0, threshold=1.0).label(rollout, pairs, Streams(0)).value.tolist() == [0.5] * 4


def test_soft_labels_are_the_expected_hard_ones():
    for kind, options in ((BradleyTerry, {}), (Davidson, {"nu": 1.5}), (RaoKupper, {"threshold": 0.4})):
        rollout, pairs = couples(0.8)
        soft = kind(gold, 0.9, soft=True, **options).label(rollout, pairs, Streams(1)).value
        hard = kind(gold, 0.9, **options).label(rollout, pairs, Streams(1)).value
        assert (soft == soft[0]).all()
        assert abs(float(hard.mean() - soft[0])) < 4 * float(hard.std()) / math.sqrt(N)


def test_margins_are_differences_and_absent_from_ties():
    rollout = recorded(["q"] * 3, list("abc"), {"gold": [0.25, 1.0, 1.0]})
    records = BradleyTerry(gold, 0).compare(rollout, torch.tensor([[0, 1], [1, 2]]), Streams(0), margins=True)
    assert [c.margin for c in records] == [0.75, None]
    assert BradleyTerry(gold, 0).compare(rollout, torch.tensor([[0, 1]]), Streams(0))[0].margin is None


def test_records_carry_their_provenance():
    rollout = recorded(["q", "q"], ["a", "b"], {"gold": [1.0, 0.0]})
    (c,) = BradleyTerry(gold, 0, name="ann").compare(rollout, torch.tensor([[1, 0]]), Streams(0))
    assert (c.context, c.first, c.second, c.label, c.annotator, c.source, c.uids) == (
        "q",
        "b",
        "a",
        0.0,
        "ann",
        "simulated",
        (1, 0),
    )
    assert feedback.from_record(c.to_record()) == c


def test_tensors_become_plain_values():
    rollout = recorded([0, 0], torch.eye(2), {"gold": [1.0, 0.0]})
    (c,) = BradleyTerry(gold, 0).compare(rollout, torch.tensor([[0, 1]]), Streams(0))
    assert c.first == [1.0, 0.0] and len(c.id) == 32


def test_utility_is_the_return_where_there_are_dense_rewards():
    class Dense:
        scope, differentiable = "sample", False

        def __call__(self, rollout):
            return RewardOutput.of(gold(rollout), step=torch.full(rollout.mask.shape, 10.0))

    rollout = recorded(["q"] * 2, ["a", "b"], {"gold": [1.0, 0.0]})
    rollout = rollout.replace(actions=torch.zeros(2, 3), mask=torch.tensor([[True, False, False], [True, False, True]]))
    judged = BradleyTerry(Dense(), 0).label(rollout, torch.tensor([[0, 1]]), Streams(0))
    assert judged.value.tolist() == [0.0] and judged.margin.tolist() == [9.0]  # 1 + 10 against 0 + 20


# ---------------------------------------------------------------- flips
def test_flips_are_as_many_as_asked_for_and_spare_ties():
    exact = BradleyTerry(gold, 0)
    assert near(shares(Flips(exact, 0.25), 1.0), (0.75, 0, 0.25))
    assert near(shares(Flips(exact, 0.25), 100.0), (0.75, 0, 0.25))  # easy pairs no less
    assert near(
        shares(Flips(BradleyTerry(gold), 0.25), 1.0), (p := 0.75 * (s := 1 / (1 + math.exp(-1))) + 0.25 * (1 - s), 0, 1 - p)
    )
    assert shares(Flips(exact, 1.0), 0.0) == [0, 1, 0]
    assert shares(Flips(exact, 0.0), 1.0) == [1, 0, 0]


def test_flips_of_flips_are_independent():
    p = 0.3 * 0.8 + 0.7 * 0.2
    assert near(shares(Flips(Flips(BradleyTerry(gold, 0), 0.3), 0.2), 1.0), (1 - p, 0, p))


def test_flips_turn_ratings_round():
    rollout, _ = couples(1.0)
    scale = RatingScale(1, 5)
    rated = Flips(BradleyTerry(gold, 0), 0.3).score(rollout, torch.arange(0, 2 * N, 2), Streams(0), scale).value
    assert set(rated.tolist()) == {1.0, 5.0}
    assert near([float((rated == 1).double().mean())], [0.3])


# ---------------------------------------------------------------- tastes and crowds
def test_biased_adds_what_it_likes_besides():
    rollout = recorded(["q"] * 3, ["a", "bbbb", "cc"], {"gold": [1.0, 0.0, math.nan]})
    out = Biased(gold, length, 0.5)(rollout)
    assert out.total.tolist()[:2] == [1.5, 2.0] and out.ok.tolist() == [True, True, False]
    assert out.reason[2] == "base: reward is nan"
    assert BradleyTerry(Biased(gold, length, 0.5), 0).label(rollout, torch.tensor([[0, 1]]), Streams(0)).value.tolist() == [0.0]


def test_a_population_has_the_shares_it_was_given():
    rollout, pairs = couples(1.0)
    exact, contrary = BradleyTerry(gold, 0), BradleyTerry(lambda r: -gold(r), 0)
    crowd = Population((exact, contrary), shares=(0.7, 0.3), people=20)
    assert crowd.groups().bincount().tolist() == [14, 6]
    records = crowd.compare(rollout, pairs, Streams(0))
    assert near([sum(c.label for c in records) / N], [0.7])
    assert all((c.label == 1.0) == c.annotator.startswith("group-0/") for c in records)
    asked = Counter(c.annotator for c in records)
    assert set(asked) == {f"group-0/{k}" for k in range(14)} | {f"group-1/{k}" for k in range(6)}
    assert all(abs(n - N / 20) < 5 * math.sqrt(N / 20) for n in asked.values())


def test_votes_are_those_of_different_persons():
    rollout, pairs = couples(0.5, 500)
    crowd = Population((Flips(BradleyTerry(gold, 0), 0.3),), people=5, votes=4)
    records = crowd.compare(rollout, pairs, Streams(0))
    by_pair = [records[k : k + 4] for k in range(0, len(records), 4)]
    assert all(len({c.annotator for c in group}) == 4 and len({c.uids for c in group}) == 1 for group in by_pair)
    wrong = Counter(sum(c.label == 0 for c in group) for group in by_pair)
    for k in range(5):  # independent errors: a binomial law
        p = math.comb(4, k) * 0.3**k * 0.7 ** (4 - k)
        assert abs(wrong[k] / 500 - p) < 4 * math.sqrt(p * (1 - p) / 500)


def test_every_choice_of_persons_is_equally_likely():
    u = Streams(0)("u", torch.arange(12000)).uniform(2)
    drawn = Counter(map(tuple, distinct(u, 4).tolist()))
    assert len(drawn) == 12 and all(a != b for a, b in drawn)
    assert all(abs(n - 1000) < 5 * math.sqrt(1000) for n in drawn.values())


def test_a_context_goes_to_the_same_persons():
    rollout = recorded(
        [f"q{k // 4}" for k in range(400)], [f"o{k}" for k in range(400)], {"gold": [float(k) for k in range(400)]}
    )
    crowd = Population((BradleyTerry(gold),), people=50, by="context")
    found = {}
    for c in crowd.compare(rollout, all_pairs(rollout), Streams(0)):
        found.setdefault(c.context, set()).add(c.annotator)
    assert {len(names) for names in found.values()} == {1}
    assert len(set.union(*found.values())) > 30


def test_persons_and_kinds_err_independently():
    rollout, pairs = couples(0.0)
    one, two = (BradleyTerry(gold, name=n).label(rollout, pairs, Streams(0)).value for n in ("ann", "bob"))
    assert near([float((one == two).double().mean())], [0.5])
    again = BradleyTerry(gold, name="ann").label(rollout, pairs, Streams(0)).value
    assert torch.equal(one, again)
    assert near([float((one == BradleyTerry(gold, name="ann").label(rollout, pairs, Streams(1)).value).double().mean())], [0.5])


# ---------------------------------------------------------------- ratings
def test_ratings_follow_the_scale():
    rollout = recorded(["q"] * 5, list("abcde"), {"gold": [-1.0, -0.2, 0.2, 1.0, math.nan]})
    rated = BradleyTerry(gold, 0).rate(rollout, Streams(0), RatingScale(1, 5, at_low=-1, at_high=1))
    assert [r.scores["overall"] for r in rated] == [1.0, 3.0, 3.0, 5.0]  # 2.6 and 3.4 round to 3
    assert (rated[0].low, rated[0].high, rated[0].uids) == (1.0, 5.0, (0,))
    assert [(s.uids, s.reason) for s in rated.skipped] == [((4,), "reward is nan")]
    half = RatingScale(0, 1, step=0.25)(torch.tensor([0.0, 0.124, 0.126, 0.9]))
    assert half.tolist() == [0.0, 0.0, 0.25, 1.0]
    assert RatingScale(0, 10, step=3)(torch.tensor([1.0])).tolist() == [9.0]  # 10 is no step of it
    assert RatingScale(0, 10, step=0)(torch.tensor([0.123], dtype=torch.double)).tolist() == [1.23]


def test_two_ratings_compare_as_bradley_terry():
    rollout, pairs = couples(1.0)
    scale = RatingScale(0, 1, step=0, at_low=-30, at_high=30)
    rated = BradleyTerry(gold, 0.8).score(rollout, pairs.reshape(-1), Streams(0), scale).value.reshape(-1, 2)
    assert near([float((rated[:, 0] > rated[:, 1]).double().mean())], [1 / (1 + math.exp(-1 / 0.8))])
    mean = float(rated[:, 1].mean()) * 60 - 30  # Gumbel of mean 0 and deviation T pi / sqrt 6
    assert abs(mean) < 4 * 0.8 * math.pi / math.sqrt(6 * N)


def test_a_population_rates():
    rollout, _ = couples(1.0, 200)
    rated = Population((BradleyTerry(gold, 0), BradleyTerry(lambda r: -gold(r), 0)), people=10, votes=2).rate(rollout, Streams(0))
    assert len(rated) == 800
    assert all(r.scores["overall"] == (5 if r.annotator.startswith("group-0/") and r.uids[0] % 2 == 0 else 1) for r in rated)


# ---------------------------------------------------------------- contracts, failures, plans
@pytest.mark.parametrize("name", sorted(example_annotators()))
def test_contract(name):
    check_annotator(example_annotators()[name], example_annotated(seed=1))


def test_the_contract_catches_verdicts_that_depend_on_the_batch():
    class ByPlace(BradleyTerry):
        def label(self, rollout, pairs, streams, who=0):
            judged = super().label(rollout, pairs, streams, who)
            u = streams("place", mix(torch.arange(len(pairs)))).uniform(1)[:, 0]
            return judged.replace(value=torch.where(u < 0.5, 1.0, 0.0).double())

    with pytest.raises(ContractError, match="showing the second row first"):
        check_annotator(ByPlace(gold), recorded(["q"] * 6, list("abcdef"), {"gold": [0.0] * 6}))


def test_every_public_annotator_has_an_example():
    atoms = {n for n in feedback.__all__ if isinstance(c := getattr(feedback, n), type) and issubclass(c, Annotator)}
    assert atoms - {"Annotator"} == {type(a).__name__ for a in example_annotators().values()}


def test_failed_rows_are_skipped_with_the_reason():
    rollout = recorded(["q"] * 3, list("abc"), {"gold": [1.0, math.nan, 0.0]})
    for annotator in (BradleyTerry(gold), Flips(BradleyTerry(gold), 0.5), Population((BradleyTerry(gold),), people=2)):
        found = annotator.compare(rollout, all_pairs(rollout), Streams(0))
        assert [c.uids for c in found] == [(0, 2)]
        assert [(s.uids, s.reason) for s in found.skipped] == [((0, 1), "reward is nan"), ((1, 2), "reward is nan")]


def test_only_the_rows_that_are_compared_are_scored():
    seen = []

    class Costly:
        scope, differentiable = "sample", False

        def __call__(self, rollout):
            seen.append(len(rollout))
            return RewardOutput.of(gold(rollout))

    rollout = recorded(["q"] * 5, list("abcde"), {"gold": [3.0, 0.0, 0.0, 1.0, 0.0]})
    assert BradleyTerry(Costly(), 0).label(rollout, torch.tensor([[4, 0], [3, 4]]), Streams(0)).value.tolist() == [0.0, 1.0]
    assert seen == [3]


def test_who_is_not_asked_scores_nothing():
    class Picky:
        scope, differentiable = "sample", False

        def __call__(self, rollout):
            assert len(rollout)
            return RewardOutput.of(gold(rollout))

    rollout = recorded(["q"] * 2, list("ab"), {"gold": [1.0, 0.0]})
    crowd = Population((BradleyTerry(Picky(), 0),) * 5, people=5)
    assert [c.label for c in crowd.compare(rollout, torch.tensor([[0, 1]]), Streams(0))] == [1.0]
    assert crowd.compare(rollout, torch.zeros(0, 2, dtype=torch.long), Streams(0)) == []
    assert crowd.rate(rollout[[]], Streams(0)) == []


def test_pairs_stay_in_their_groups_and_in_random_order():
    rollout = recorded(["q"] * 4 + ["p"] * 2 + ["alone"], list("abcdefg"))
    assert all_pairs(rollout).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3], [4, 5]]
    many = recorded([f"q{k // 3}" for k in range(3000)], [str(k) for k in range(3000)])
    pairs = random_pairs(many, Streams(0), per_context=2)
    assert len(pairs) == 2000 and (pairs[:, 0] // 3 == pairs[:, 1] // 3).all()
    assert len({frozenset(p) for p in pairs.tolist()}) == 2000
    assert near([float((pairs[:, 0] < pairs[:, 1]).double().mean())], [0.5])
    part = random_pairs(many[torch.arange(2999, 1499, -1)], Streams(0), per_context=2)  # another batch, another order
    assert {tuple(p) for p in (2999 - part).tolist()} == {tuple(p) for p in pairs.tolist() if min(p) >= 1500}
    assert len(random_pairs(recorded([], []), Streams(0))) == 0


def test_bad_input_is_one_clear_line():
    rollout = recorded(["q", "p"], ["a", "b"], {"gold": [1.0, 0.0]})
    with pytest.raises(DataError, match="rows 0 and 1 answer different contexts"):
        BradleyTerry(gold).compare(rollout, torch.tensor([[0, 1]]), Streams(0))
    with pytest.raises(DataError, match="pairs name row 2, the rollout has 2 rows"):
        BradleyTerry(gold).compare(rollout, torch.tensor([[0, 2]]), Streams(0))
    with pytest.raises(DataError, match=r"shape \[P, 2\]"):
        BradleyTerry(gold).compare(rollout, torch.tensor([0, 1, 1]), Streams(0))
    with pytest.raises(RewardError, match=r"gave \(3,\) numbers for 2 rows"):
        BradleyTerry(lambda r: torch.zeros(3)).compare(rollout, torch.tensor([[0, 0]]), Streams(0))
    assert BradleyTerry(gold).compare(rollout, torch.zeros(0, 2, dtype=torch.long), Streams(0)) == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BradleyTerry(3.0), "reward must be a reward or a function"),
        (lambda: BradleyTerry(gold, temperature=-1), "temperature must be a number of at least 0, got -1"),
        (lambda: Davidson(gold, nu=math.inf), "nu must be a number"),
        (lambda: RaoKupper(gold, threshold="big"), "threshold must be a number"),
        (lambda: Flips(BradleyTerry(gold), 1.5), r"p must be a number in \[0, 1\]"),
        (lambda: Flips(gold), "base must be an annotator"),
        (lambda: Population(()), "members must be annotators"),
        (lambda: Population((Population((BradleyTerry(gold),), votes=2),)), "with one vote each"),
        (lambda: Population((BradleyTerry(gold),), shares=(1, 2)), "shares must be 1 numbers above 0"),
        (lambda: Population((BradleyTerry(gold),), people=2, votes=3), "votes must be between 1 and people"),
        (lambda: Population((BradleyTerry(gold),) * 2, shares=(99, 1), people=10), "group 1 has nobody"),
        (lambda: Population((BradleyTerry(gold),), by="row"), "by must be 'pair' or 'context'"),
        (lambda: RatingScale(5, 1), "low must be below high"),
        (lambda: RatingScale(1, 5, step=9), "step must be between"),
        (lambda: Biased(gold, gold, math.nan), "weight must be a number"),
        (lambda: Regret(gold, gamma=2), r"gamma must be a number in \[0, 1\]"),
        (lambda: BradleyTerry(gold, name=""), "name must be a text"),
    ],
)
def test_impossible_plans_say_what_is_wrong(make, says):
    with pytest.raises(PlanError, match=says):
        make()


def test_annotators_are_named_in_plans():
    from guerdon.rewards import Keywords, Length
    from guerdon.run.spec import from_tree, to_tree

    crowd = Population(
        (Flips(BradleyTerry(Keywords(("cat",)), 0.5), 0.1), Davidson(Biased(Keywords(("cat",)), Length(target=3), 2.0))),
        shares=(3.0, 1.0), people=8,
    )  # fmt: skip
    tree = to_tree(crowd)
    assert tree["use"] == "feedback.Population" and tree["members"][0]["base"]["reward"]["use"] == "rewards.Keywords"
    again = from_tree(tree)
    assert again == crowd
    rollout = recorded(["q"] * 4, ["a cat", "a dog", "the cat sat", "no"])
    pairs = all_pairs(rollout)
    assert crowd.compare(rollout, pairs, Streams(0)) == again.compare(rollout, pairs, Streams(0))


def test_what_the_page_shows_is_what_happens():
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "annotators.md"
    blocks = re.findall(r"```pycon\n(.*?)```", page.read_text(encoding="utf8"), re.DOTALL)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    assert len(example.examples) > 20
    said = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
