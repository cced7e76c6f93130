"""Old comparisons, kept so that a reward that learns new ones does not forget them; and those that people send late."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from guerdon.core.feedback import Comparison, Correction, Ranking, from_record
from guerdon.core.streams import Streams


class Said(NamedTuple):
    """A comparison, and the record of a store that it follows from.

    Attributes:
        comparison: What was said.
        record: Id of the record; "" for what no store holds.
    """

    comparison: Comparison
    record: str = ""


class Replay:
    """At most ``size`` of all comparisons that were ever added, every one of them as likely to be there as any other.

    Reservoir sampling (Vitter 1985): the k-th comparison replaces a random one with probability size / k. The choice depends on
    the streams and on k alone.

    Args:
        size: How many are kept.
        streams: Of the run.

    Example:
        >>> replay = Replay(2, Streams(0))
        >>> replay.add([Said(Comparison(first=str(k), second="")) for k in range(9)])
        >>> len(replay.kept), replay.seen
        (2, 9)
    """

    def __init__(self, size: int, streams: Streams):
        self.size, self.streams = size, streams.fork("replay")
        self.kept: list[Said] = []
        self.seen = 0

    def add(self, said: Iterable[Said]) -> None:
        """Consider each for a place."""
        for one in said:
            self.seen += 1
            if len(self.kept) < self.size:
                self.kept.append(one)
                continue
            place = int(self.streams("place", self.seen).integers(self.seen, 1))
            if place < self.size:
                self.kept[place] = one

    def draw(self, n: int, streams: Streams) -> list[Comparison]:
        """``n`` different ones at random, or all where there are fewer."""
        order = streams("replay").permutation(len(self.kept))[:n].tolist() if self.kept else []
        return [self.kept[k].comparison for k in order]

    def forget(self, current: Container[str]) -> None:
        """Let go of what follows from records that were corrected, retracted or erased since."""
        self.kept = [one for one in self.kept if not one.record or one.record in current]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "kept": [json.dumps([c.to_record(), record]) for c, record in self.kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]
        self.kept = [Said(from_record(c), record) for c, record in map(json.loads, state["kept"])]  # type: ignore[arg-type]


class LateLabels:
    """Comparisons, rankings and corrections in a ``feedback.Store`` that were not there, or not read, the last time.

    Args:
        url: Of the store.
    """

    def __init__(self, url: str):
        self.url = url
        self.seen: set[str] = set()
        self.current: set[str] = set()

    def poll(self, limit: int) -> list[Said]:
        """What is new, in the order in which it was added, from at most ``limit`` records; more of it the next time."""
        from guerdon.feedback import Store

        self.current, found = set(), []
        with Store(self.url) as store:
            for record in store.read():
                self.current.add(record.id)
                if limit > 0 and record.id not in self.seen and isinstance(record, Comparison | Ranking | Correction):
                    limit -= 1
                    self.seen.add(record.id)
                    several = [record] if isinstance(record, Comparison) else record.comparisons()
                    found += [Said(c, record.id) for c in several]
        self.seen &= self.current
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"seen": sorted(self.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = set(state["seen"])
