"""Episodes and Fragments: where a control policy acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.core import Batch, Items, PlanError, RunError, Streams
from guerdon.core.persistent import Persistent
from guerdon.core.world import Slot, Start, WorldSpec


@dataclass(frozen=True)
class Episodes:
    """Starts of fresh episodes: each context is a start state, and all its samples begin there.

    Args:
        world: Where.
        seeds: Begin from these seeds, in turn (None: every start has a seed of its own).

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.worlds import GridWorld
        >>> items = Episodes(GridWorld("corridor"), seeds=(3, 4)).open().draw(3, streams=Streams(0))
        >>> [c.seed for c in items.contexts]
        [3, 4, 3]
    """

    world: Any
    seeds: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check("Episodes", self.world)
        if self.seeds is not None:
            object.__setattr__(self, "seeds", tuple(self.seeds))
            if not self.seeds or min(self.seeds) < 0:
                raise PlanError(f"Episodes: seeds are whole numbers of at least 0, got {self.seeds}")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> LiveEpisodes:
        return LiveEpisodes(self)


class LiveEpisodes:
    """``Episodes`` at work. Fresh seeds come from the draw's own streams; only listed ones need a cursor."""

    def __init__(self, spec: Episodes) -> None:
        self.spec, self.position = spec, 0

    def draw(self, n: int, *, streams: Streams) -> Items:
        uid = streams.uids(n)
        if self.spec.seeds is None:
            seeds = [int(u) & 0x7FFFFFFF for u in uid]
        else:
            seeds = [self.spec.seeds[(self.position + k) % len(self.spec.seeds)] for k in range(n)]
            self.position += n
        return Items([Start(self.spec.world, s) for s in seeds], uid)

    def tell(self, batch: Batch) -> None:
        """Nothing is learned from what became of the episodes."""

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = int(state["position"])


@dataclass(frozen=True)
class Fragments:
    """Environments that live on between draws: each draw goes on where the last one stopped, across episodes.

    With ``samplers.Group(contexts=8, n=1, controls={"steps": 128})`` eight environments take 128 steps each a draw. A row is the
    part of a fragment within one episode; one that the fragment's end cuts is bootstrapped from the value of its last state.

    Args:
        world: Where.

    Their state is in every checkpoint where the world can save it. Where it cannot, a resumed run begins new episodes and
    says so (``finding`` "resume").
    """

    world: Any

    def __post_init__(self) -> None:
        _check("Fragments", self.world)

    def open(self, seed: int = 0, folder: str | Path | None = None) -> LiveFragments:
        return LiveFragments(self, seed)


class LiveFragments:
    """``Fragments`` at work: it owns the environments."""

    def __init__(self, spec: Fragments, seed: int) -> None:
        self.spec, self.seed = spec, seed
        self.live: Persistent | None = None

    @property
    def lost(self) -> dict[int, str]:
        """Slots whose episode could not be put back by ``load_state_dict``, with the reason."""
        return self.live.lost if self.live is not None else {}

    def draw(self, n: int, *, streams: Streams) -> Items:
        """The same ``n`` slots at every call.

        Raises:
            RunError: for another number than before: environments are neither added nor left behind during a run.
        """
        if self.live is None:
            self.live = Persistent(self.spec.world, n, self.seed)
        if n != self.live.n:
            raise RunError(
                f"Fragments: {self.live.n} environments are open and {n} were asked for; draw the same number each time"
            )
        return Items([Slot(self.spec.world, k, self.live) for k in range(n)], streams.uids(n))

    def tell(self, batch: Batch) -> None:
        """The environments know where they are."""

    def state_dict(self) -> dict[str, Any]:
        return {"live": None if self.live is None else self.live.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.close()
        if state["live"] is not None:
            self.live = Persistent(self.spec.world, int(state["live"]["n"]), self.seed)
            self.live.load_state_dict(state["live"])

    def close(self) -> None:
        if self.live is not None:
            self.live.close()
            self.live = None


def _check(name: str, world: Any) -> None:
    if not isinstance(world, WorldSpec):
        raise PlanError(f"{name}: world must be a world such as worlds.Gym('CartPole-v1'), got {world!r}")
