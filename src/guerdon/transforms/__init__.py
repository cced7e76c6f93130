"""Transforms: a reward reshaped before anything learns from it; ``apply(init(), batch) -> (state, reward)``, state explicit."""

from guerdon.transforms._adaptive_kl import AdaptiveKL
from guerdon.transforms._against_references import AgainstReferences
from guerdon.transforms._center import Center
from guerdon.transforms._chain import Chain, chain
from guerdon.transforms._clip import Clip
from guerdon.transforms._clip_upper import ClipUpper
from guerdon.transforms._delta import Delta
from guerdon.transforms._gate import Gate
from guerdon.transforms._length import LengthPenalty, OverlongPenalty
from guerdon.transforms._lift import Lift
from guerdon.transforms._log_sigmoid_centred import LogSigmoidCentred
from guerdon.transforms._on import On, on
from guerdon.transforms._parts import NormaliseParts, WeightedParts
from guerdon.transforms._pessimism import Pessimism
from guerdon.transforms._running_min_max import RunningMinMax
from guerdon.transforms._running_normalise import RunningNormalise
from guerdon.transforms._scale import Ramp, Scale
from guerdon.transforms._scale_by_return import ScaleByReturn
from guerdon.transforms._sigmoid import Sigmoid
from guerdon.transforms._standardise import Standardise
from guerdon.transforms._token_kl import TokenKL

__all__ = [
    "AdaptiveKL", "AgainstReferences", "Center", "Chain", "Clip", "ClipUpper", "Delta", "Gate", "LengthPenalty", "Lift",
    "LogSigmoidCentred", "NormaliseParts", "On", "OverlongPenalty", "Pessimism", "Ramp", "RunningMinMax", "RunningNormalise",
    "Scale", "ScaleByReturn", "Sigmoid", "Standardise", "TokenKL", "WeightedParts", "chain", "on",
]  # fmt: skip
