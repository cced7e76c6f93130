"""The audit of a reward: scored comparisons into numbers, probes, findings and a page."""

from guerdon.audit.reward.bench import ProbeResult
from guerdon.audit.reward.estimates import Estimate
from guerdon.audit.reward.numbers import RewardAudit, audit_reward
from guerdon.audit.reward.page import write_reward_report
from guerdon.audit.reward.probes import EditProbe, Probe, default_probes, probe_reward
from guerdon.audit.reward.scored import Scored, score_comparisons

__all__ = [
    "EditProbe",
    "Estimate",
    "Probe",
    "ProbeResult",
    "RewardAudit",
    "Scored",
    "audit_reward",
    "default_probes",
    "probe_reward",
    "score_comparisons",
    "write_reward_report",
]
