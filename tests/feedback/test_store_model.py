"""Any sequence of adds, corrections, retractions and erasures leaves what a few lists of plain Python say."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from guerdon.core.errors import DataError
from guerdon.feedback import Critique, Store

PEOPLE = ("ann", "bob", "cy")
STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(PEOPLE), st.integers(0, 5)),
    st.tuples(st.just("correct"), st.integers(0, 9), st.sampled_from(PEOPLE), st.integers(0, 5), st.sampled_from(("", *PEOPLE))),
    st.tuples(st.just("correct"), st.integers(0, 3), st.sampled_from(PEOPLE), st.integers(0, 30), st.sampled_from(("", *PEOPLE))),
    st.tuples(st.just("retract"), st.integers(0, 9), st.sampled_from(("", *PEOPLE))),
    st.tuples(st.just("erase"), st.sampled_from(PEOPLE)),
)


@dataclass
class Node:
    """A record, whether something ended it, and who did."""

    record: Critique
    number: int
    ended: bool = False
    by: str = ""


@dataclass
class Model:
    """Chains of records, oldest first; a store has no other structure."""

    chains: list[list[Node]] = field(default_factory=list)
    added: int = 0

    def nodes(self) -> list[Node]:
        return sorted((n for c in self.chains for n in c), key=lambda n: n.number)

    def find(self, id: str) -> tuple[list[Node], int] | None:
        return next(((c, k) for c in self.chains for k, n in enumerate(c) if n.record.id == id), None)

    def node(self, record: Critique) -> Node:
        self.added += 1
        return Node(record, self.added)

    def add(self, record: Critique) -> None:
        if not self.find(record.id):
            self.chains.append([self.node(record)])

    def end(self, id: str, record: Critique | None, by: str) -> bool:
        place = self.find(id)
        if place is None or place[0][place[1]].ended or (record is not None and self.find(record.id)):
            return False
        chain, k = place
        chain[k].ended, chain[k].by = True, by
        if record is not None:
            chain.append(self.node(record))
        return True

    def erase(self, who: str) -> int:
        before = len(self.nodes())
        kept = []
        for chain in self.chains:
            stay = [n for n in chain if n.record.annotator != who]
            for k, n in enumerate(stay):
                if n.by == who:
                    n.by, n.ended = "", k + 1 < len(stay)  # only what others put behind it still ends it
            if stay:
                kept.append(stay)
        self.chains = kept
        return before - len(self.nodes())


def agree(store: Store, model: Model) -> None:
    nodes = model.nodes()
    assert list(store.read(corrected=True)) == [n.record for n in nodes]
    current = [n.record for n in nodes if not n.ended]
    assert list(store.read()) == current and len(store) == len(current)
    assert store.annotators() == {p: k for p in PEOPLE if (k := sum(r.annotator == p for r in current))}
    for chain in model.chains:
        expected = [
            (n.record.id, "current" if not n.ended else "corrected" if k + 1 < len(chain) else "retracted", n.by)
            for k, n in enumerate(chain)
        ]
        for n in chain:
            assert [(v.id, v.status, v.by) for v in store.history(n.record.id)] == expected
            assert store.count(uid=n.record.uids[0], corrected=True) == 1


def run(store: Store, steps: list[tuple[Any, ...]]) -> None:
    model = Model()
    ids: list[str] = []

    def record(who: str, number: int) -> Critique:
        return Critique(output="x", text=str(number), annotator=who, uids=(number * 3 + PEOPLE.index(who),))

    for step in steps:
        what, *rest = step
        if what == "add":
            ids += store.add(record(*rest))
            model.add(record(*rest))
        elif what == "erase":
            assert store.erase(rest[0]) == model.erase(rest[0])
        elif ids:
            old = ids[-1 - rest[0] % len(ids)]
            new = record(rest[1], rest[2]) if what == "correct" else None
            by = rest[-1] or (new.annotator if new else "")
            fine = model.end(old, new, by)
            try:
                if new:
                    ids.append(store.correct(old, new, by=rest[-1]))
                else:
                    store.retract(old, by=by)
                assert fine, step
            except DataError:
                assert not fine, step
    agree(store, model)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(STEP, min_size=3, max_size=14))
@example([("add", "ann", 0), ("correct", 0, "bob", 1, ""), ("correct", 0, "cy", 2, ""), ("erase", "bob")])
@example([("add", "ann", 0), ("correct", 0, "bob", 1, "ann"), ("correct", 0, "bob", 2, ""), ("erase", "bob")])
@example([("add", "ann", 0), ("correct", 0, "cy", 1, "bob"), ("retract", 0, "bob"), ("erase", "bob")])
@example(
    [
        ("add", "ann", 0),
        ("correct", 0, "bob", 1, ""),
        ("correct", 0, "bob", 2, ""),
        ("correct", 0, "ann", 3, "cy"),
        ("erase", "bob"),
    ]
)
@pytest.mark.filterwarnings("error")
def test_a_store_is_its_model(fresh: Any, steps: list[tuple[Any, ...]]) -> None:
    with Store(fresh()) as store:
        run(store, steps)
