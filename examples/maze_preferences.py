"""DPO on segments of trajectories: a policy learns to cross a maze from comparisons of short walks.

python examples/maze_preferences.py              # half a minute; --tiny for a few seconds

Walkers of every quality, from nearly perfect to mostly random, cross a maze. A policy first imitates them all, the bad ones too.
Then somebody is shown pairs of 16-step segments and says which of two got on better; here that is simulated by how much nearer
the goal each came. DPO, the objective that aligns language models, learns from the pairs; the imitator is its reference.

Mean steps with seeds 0, 1, 2: all imitated 143, 142, 143; chosen segments imitated 107, 113, 100; chosen preferred 24, 26, 24.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from guerdon import objectives, policies, samplers, selection
from guerdon.core import Streams
from guerdon.core.world import Episode
from guerdon.run import AdamW, Episodes, Plan, Train, lazy, run
from guerdon.run.sources.cycle import Cycle, Memory
from guerdon.worlds import PointMaze, waypoint_expert

MAZE = PointMaze("medium", spread=0.4)
STEPS = 16  # of a segment


def walks(n: int) -> list[Episode]:
    """``n`` walks of each quality."""
    mixed = (0.1, 0.5, 0.8)  # how much of a walk is random
    return [e for k, share in enumerate(mixed) for e in waypoint_expert(MAZE, range(k * n, (k + 1) * n), random=share, noise=0.2)]


def segments(episodes: list[Episode]) -> list[Episode]:
    """Every walk cut into pieces of ``STEPS``."""
    return [
        Episode(e.observations[t : t + STEPS + 1], e.actions[t : t + STEPS])
        for e in episodes
        for t in range(0, len(e) - STEPS + 1, STEPS)
    ]


def compared(pieces: list[Episode], n: int, seed: int) -> tuple[list[Episode], list[Episode]]:
    """``n`` random pairs as (chosen, rejected): whichever came nearer to the goal, around the walls."""
    gain = torch.stack([MAZE.distance(e.observations)[[0, -1]] for e in pieces])
    gain = gain[:, 0] - gain[:, 1]
    pairs = Streams(seed)("pairs").integers(len(pieces), 2 * n)[0].reshape(n, 2).tolist()
    ordered = [(a, b) if gain[a] > gain[b] else (b, a) for a, b in pairs if gain[a] != gain[b]]
    return [pieces[a] for a, _ in ordered], [pieces[b] for _, b in ordered]


def recorded(**columns: list[Episode]) -> Cycle:
    """A source of what is in memory: in a new order in every epoch, and resumable."""
    rows = [("maze", dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    return Cycle(Memory("walks", rows, tuple(columns)))


def imitate(episodes: list[Episode], draws: int, seed: int) -> Plan:
    """Supervised learning on whole walks, or on segments."""
    return Plan(
        policy=lazy(policies.Control.of, world=MAZE, seed=seed),
        source=recorded(completion=episodes),
        sampler=samplers.Given(("completion",), contexts=32),
        learners={"policy": Train(objectives.SFT(), AdamW(lr=3e-3))},
        steps=draws,
        seed=seed,
        name="imitated",
    )


def prefer(policy: Any, chosen: list[Episode], rejected: list[Episode], draws: int, seed: int) -> Plan:
    """DPO on pairs of segments, from a policy that is also the reference."""
    return Plan(
        policy=policy,
        source=recorded(chosen=chosen, rejected=rejected),
        sampler=samplers.Given(("chosen", "rejected"), contexts=64),
        select=(selection.GivenPairs(),),
        references={"reference": policies.Frozen()},
        learners={"policy": Train(objectives.DPO(beta=0.1), AdamW(lr=1e-3))},
        steps=draws,
        seed=seed,
        name="preferred",
    )


def crossing(policy: Any, n: int) -> str:
    """How the policy crosses the maze from ``n`` new starts, acting as it would in training."""
    streams = Streams(1)
    rollout = policy.sample(Episodes(MAZE).open().draw(n, streams=streams), streams=streams)
    return f"{rollout.terminal.float().mean():4.0%} arrive, {rollout.lengths.float().mean():5.1f} steps"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a few draws only")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of who is compared with whom")
    args = parser.parse_args()
    walkers, pairs, draws, starts = (8, 50, 3, 8) if args.tiny else (60, 1500, 150, 100)
    episodes = walks(walkers)
    chosen, rejected = compared(segments(episodes), pairs, args.seed)
    print(f"the walkers      {sum(len(e) for e in episodes) / len(episodes):19.1f} steps; {len(chosen)} pairs of segments")
    imitator = run(imitate(episodes, draws, args.seed)).policy
    print("all imitated    ", crossing(imitator, starts))
    print("chosen imitated ", crossing(run(imitate(chosen, draws, args.seed)).policy, starts))
    print("chosen preferred", crossing(run(prefer(imitator, chosen, rejected, draws, args.seed)).policy, starts))


if __name__ == "__main__":
    main()
