"""The audit: checks during a run, the report after it, comparisons between runs, and the measures they use.

Everything about a run is made from its ``events.jsonl``: ``read_history`` reads it, ``findings`` judges it, ``write_report``
shows it, ``compare``, ``write_frontier`` and ``write_curves`` set several runs side by side; ``iqm``, ``aggregate``,
``difference`` and ``compare_returns`` say what several seeds say together; ``OffDataDistance``, ``Vendi`` and
``PairwiseDistance`` measure evaluated pictures. Everything about a reward is made from labelled pairs: ``score_comparisons``
scores them, ``audit_reward`` judges it, ``probe_reward`` tries to game it, ``write_reward_report`` shows it.
"""

from guerdon.audit.across_seeds import aggregate, difference, probability_of_improvement
from guerdon.audit.checks import (
    ConstantReward,
    DeadGroups,
    DiversityLoss,
    EntropyCollapse,
    FailingReward,
    HeldOutDivergence,
    KLBudget,
    LengthDrift,
    LikelihoodDisplacement,
    LogpMismatch,
    NotFinite,
    OffData,
    OnePart,
    SampleCollapse,
    UncertaintyGrowth,
    default_checks,
    findings,
)
from guerdon.audit.compare import Comparison as Comparison
from guerdon.audit.compare import compare
from guerdon.audit.events import History as History
from guerdon.audit.events import read_history
from guerdon.audit.interquartile import iqm
from guerdon.audit.measures import bootstrap, bootstrap_difference, distinct_n, self_repetition
from guerdon.audit.overoptimisation import BestOfN as BestOfN
from guerdon.audit.overoptimisation import Fit as Fit
from guerdon.audit.overoptimisation import RLCurve as RLCurve
from guerdon.audit.overoptimisation import best_of_n_curve, fit_law, rl_curve
from guerdon.audit.pictures import (
    CosineKernel,
    FrechetDistance,
    GaussianKernel,
    OffDataDistance,
    PairwiseDistance,
    PictureFile,
    Pixels,
    Vendi,
    frechet_distance,
    pairwise_distance,
    vendi_score,
)
from guerdon.audit.report import Point as Point
from guerdon.audit.report import frontier, write_curves, write_frontier, write_overview, write_report
from guerdon.audit.reward import EditProbe as EditProbe
from guerdon.audit.reward import Estimate as Estimate
from guerdon.audit.reward import ProbeResult as ProbeResult
from guerdon.audit.reward import RewardAudit as RewardAudit
from guerdon.audit.reward import Scored as Scored
from guerdon.audit.reward import audit_reward, default_probes, probe_reward, score_comparisons, write_reward_report
from guerdon.audit.side_by_side import SideBySide as SideBySide
from guerdon.audit.side_by_side import compare_returns
from guerdon.audit.verdict import HackingVerdict as HackingVerdict
from guerdon.audit.verdict import hacking

# What a plan may name and what people call; records such as History and Comparison are importable, but no part of a plan.
__all__ = [
    "ConstantReward", "CosineKernel", "DeadGroups", "DiversityLoss", "EntropyCollapse", "FailingReward", "FrechetDistance",
    "GaussianKernel", "HeldOutDivergence", "KLBudget", "LengthDrift", "LikelihoodDisplacement", "LogpMismatch", "NotFinite",
    "OffData", "OffDataDistance", "OnePart", "PairwiseDistance", "PictureFile", "Pixels", "SampleCollapse",
    "UncertaintyGrowth", "Vendi", "aggregate", "audit_reward", "best_of_n_curve", "bootstrap", "bootstrap_difference",
    "compare", "compare_returns", "default_checks", "default_probes", "difference", "distinct_n", "findings", "fit_law",
    "frechet_distance", "frontier", "hacking", "iqm", "pairwise_distance", "probability_of_improvement", "probe_reward",
    "read_history", "rl_curve", "score_comparisons", "self_repetition", "vendi_score", "write_curves", "write_frontier",
    "write_overview", "write_report", "write_reward_report",
]  # fmt: skip
