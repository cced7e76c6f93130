"""A fixed number of places, each with at most one confined interpreter that waits for work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from guerdon.core import RewardError
from guerdon.rewards.sandbox.lane import Broken

TRIES = 2  # one that breaks may have been killed from outside


class Closes(Protocol):
    """What a pool holds."""

    def close(self) -> None: ...


Held = TypeVar("Held", bound=Closes)
Found = TypeVar("Found")


class Pool(Generic[Held]):
    """At most ``size`` of something that is costly to make; made when first needed, used by one thread at a time.

    Args:
        make: Makes one; raises Broken where it cannot.
        size: How many.
    """

    def __init__(self, make: Callable[[], Held], size: int):
        self.make = make
        self.places: list[Held | None] = [None] * size
        self.change = threading.Condition()
        self.closed = False

    def use(self, talk: Callable[[Held], Found]) -> Found:
        """What ``talk`` finds with one; tried once more with another where it breaks.

        Raises:
            Broken: where the second breaks too.
            RewardError: where the pool is closed.
        """
        held = self._take()
        try:
            for attempt in range(TRIES):
                try:
                    held = held or self.make()
                    return talk(held)
                except BaseException as e:
                    if held is not None:  # left in the middle of its work
                        held.close()
                        held = None
                    if not isinstance(e, Broken) or attempt + 1 == TRIES or self.closed:
                        self._check()
                        raise
            raise AssertionError
        finally:
            self._give_back(held)

    def _take(self) -> Held | None:
        with self.change:
            self._check()
            while not self.places:
                self.change.wait()
                self._check()
            return self.places.pop()

    def _give_back(self, held: Held | None) -> None:
        with self.change:
            if self.closed and held is not None:
                held.close()
                held = None
            self.places.append(held)  # the next one gets what is warm
            self.change.notify()

    def _check(self) -> None:
        if self.closed:
            raise RewardError("the sandbox was closed")

    def close(self) -> None:
        """End those that wait; one at work is ended when its work is done."""
        with self.change:
            self.closed = True
            waiting = [h for h in self.places if h is not None]
            self.places = [None] * len(self.places)
            self.change.notify_all()
        for held in waiting:
            held.close()
