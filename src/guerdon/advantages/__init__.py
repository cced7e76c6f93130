"""Advantages: how credit is spread over steps. Each is a pure function of the batch, [B, T], 0 where nothing is to be learnt."""

from guerdon.advantages._batch_norm import BatchNorm
from guerdon.advantages._gae import GAE, gae, td_lambda_returns
from guerdon.advantages._group_norm import GroupNorm
from guerdon.advantages._lambda_returns import LambdaReturns
from guerdon.advantages._per_part import PerPart
from guerdon.advantages._remax import Remax
from guerdon.advantages._returns import Returns
from guerdon.advantages._rloo import RLOO
from guerdon.advantages._tree import Tree
from guerdon.advantages._whiten import Whiten

__all__ = [
    "GAE",
    "RLOO",
    "BatchNorm",
    "GroupNorm",
    "LambdaReturns",
    "PerPart",
    "Remax",
    "Returns",
    "Tree",
    "Whiten",
    "gae",
    "td_lambda_returns",
]
