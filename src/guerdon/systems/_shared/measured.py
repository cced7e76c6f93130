"""What a run's evaluations say, as an arm returns it."""

from __future__ import annotations

from guerdon.run import Result
from guerdon.study import Measured

_NAMES = {  # in a run's events -> in a study
    "held_out/mean": "gold", "proxy/mean": "proxy", "kl": "kl", "length": "length", "distinct_2": "distinct_2",
}  # fmt: skip


def measured(result: Result) -> Measured:
    """The last evaluation's numbers as metrics, all evaluations' as traces.

    Returns:
        Of these what was evaluated: ``gold`` (held-out reward), ``proxy`` (the reward that is optimised), ``kl`` (nats per
        sample to the reference), ``length`` (tokens), ``distinct_2``; and for each a trace ``<name>_curve``, beside ``draws``.
    """
    evaluations = result.evaluations
    last = evaluations[-1]["metrics"]
    here = {name: own for name, own in _NAMES.items() if name in last}
    metrics = {own: float(last[name]) for name, own in here.items()}
    curves = {f"{own}_curve": [float(e["metrics"][name]) for e in evaluations] for name, own in here.items()}
    return {**metrics, "draws": [float(e["step"]) for e in evaluations], **curves}
