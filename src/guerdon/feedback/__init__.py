"""What people, programs and models say: the nine records, files of them, a store, simulated annotators, agreement."""

from guerdon.core.contexts import split
from guerdon.core.feedback import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    ImplicitFeedback,
    Ranking,
    Rating,
    RubricLabel,
    SpanLabel,
    comparisons,
    from_record,
)
from guerdon.core.proportions import Proportion, newcombe, wilson
from guerdon.feedback.aggregate import aggregate
from guerdon.feedback.agreement import Agreement, agreement
from guerdon.feedback.annotators import (
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
    Skipped,
    Verdicts,
    all_pairs,
    random_pairs,
)
from guerdon.feedback.curation import examine, length_shares, position_shares
from guerdon.feedback.dawid_skene import DawidSkene, dawid_skene
from guerdon.feedback.kappa import cohen_kappa, fleiss_kappa, pairwise_agreement, percent_agreement
from guerdon.feedback.krippendorff import Alpha, alpha_interval, krippendorff_alpha
from guerdon.feedback.readers import formats, read
from guerdon.feedback.store import Erasure, Store, Version
from guerdon.feedback.votes import Votes, votes_of
from guerdon.feedback.writing import write

__all__ = [
    "Advantages",
    "Agreement",
    "Alpha",
    "Annotator",
    "Biased",
    "BradleyTerry",
    "Comparison",
    "Correction",
    "Critique",
    "Davidson",
    "DawidSkene",
    "Demonstration",
    "Erasure",
    "Feedback",
    "Flips",
    "ImplicitFeedback",
    "Judgement",
    "Population",
    "Proportion",
    "Ranking",
    "RaoKupper",
    "Rating",
    "RatingScale",
    "Regret",
    "RubricLabel",
    "Skipped",
    "SpanLabel",
    "Store",
    "Verdicts",
    "Version",
    "Votes",
    "aggregate",
    "agreement",
    "all_pairs",
    "alpha_interval",
    "cohen_kappa",
    "comparisons",
    "dawid_skene",
    "examine",
    "fleiss_kappa",
    "formats",
    "from_record",
    "krippendorff_alpha",
    "length_shares",
    "newcombe",
    "pairwise_agreement",
    "percent_agreement",
    "position_shares",
    "random_pairs",
    "read",
    "split",
    "votes_of",
    "wilson",
    "write",
]
