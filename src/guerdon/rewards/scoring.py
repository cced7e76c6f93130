"""Scorer: rewards computed beside the sampling, with time limits, and without a row in another's way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Self

import torch

from guerdon.core import GuerdonError, Reward, RewardError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.child import Pool, Target
from guerdon.rewards.journal import Journal, contents
from guerdon.rewards.lanes import Abandoned, Lane, Patience, Stopped, Threaded, in_thread
from guerdon.rewards.lift import Function, as_reward, sendable
from guerdon.rewards.rows import from_records, to_records
from guerdon.rewards.worker import reason_of


class Scorer:
    """Scores rollouts in the background. A row that cannot be scored is ``ok=False`` with its reason; the others are not touched.

    User code that was named as ``file.py:name`` runs in processes of its own, which are killed and started again when a call
    does not come back. Other Python code runs in threads: one that hangs fails its rows and is left behind.

    Args:
        reward: Anything ``as_reward`` takes.
        workers: Rollouts scored at the same time, and processes for user code.
        timeout: Seconds per call (a row, or the list of a function of lists); None: no limit.
        journal: Where verdicts are kept, and found again after a resume.

    Example:
        >>> from guerdon.rewards import Length, recorded
        >>> with Scorer(Length(target=3)) as scorer:
        ...     future = scorer.submit(recorded(["Say hello."] * 2, ["hello my friend", "hello"]))
        ...     future.result().total.tolist()
        [1.0, 0.3333]
    """

    def __init__(self, reward: Any, *, workers: int = 2, timeout: float | None = 60.0, journal: Journal | None = None):
        if workers < 1:
            raise RewardError(f"scoring needs at least one worker, got {workers}")
        if timeout is not None and not timeout > 0:
            raise RewardError(f"the time-out of scoring must be above 0 s, got {timeout}")
        self.reward: Reward = as_reward(reward)
        self.workers, self.timeout, self.journal = workers, timeout, journal
        self.closed = False
        self._pools: dict[Target, Pool] = {}
        self._lock = threading.Lock()
        self._open = 0
        self._abandoned = Abandoned(getattr(self.reward, "origin", type(self.reward).__name__))
        self._jobs: queue.SimpleQueue[tuple[Future[RewardOutput], Rollout] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True, name="guerdon-scoring") for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def scope(self) -> Scope:
        return self.reward.scope

    @property
    def busy(self) -> int:
        """Scorings that were submitted and are not done. Weights of a reward may move only at 0."""
        with self._lock:
            return self._open

    def submit(self, rollout: Rollout) -> Future[RewardOutput]:
        """Start scoring. Rows of a scope wider than "sample" must come with all rows they are scored with."""
        if self.closed:
            raise RewardError("this Scorer is closed")
        future: Future[RewardOutput] = Future()
        with self._lock:
            self._open += 1
        self._jobs.put((future, rollout))
        return future

    def score(self, rollout: Rollout) -> RewardOutput:
        """Score and wait.

        Raises:
            RewardError: where the reward cannot be used at all, as when it asks for a column that is not there.
        """
        return self.submit(rollout).result()

    def close(self) -> None:
        """End all processes. Scorings that are not done raise RewardError where they are awaited."""
        with self._lock:
            self.closed = True
            pools = list(self._pools.values())
        for pool in pools:
            pool.close()
        for _ in range(self.workers):
            self._jobs.put(None)
        for thread in self._threads:  # idle ones end at once; one that hangs in a reward is left behind
            thread.join(1.0)
        if self.journal is not None:
            self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(*job)
            del job  # whoever waits for the next one must not hold a draw of pictures

    def _do(self, future: Future[RewardOutput], rollout: Rollout) -> None:
        if not future.set_running_or_notify_cancel():
            self._done()
            return
        try:
            self._check_open()
            found = self._score(rollout)
        except BaseException as e:  # noqa: BLE001  raised where the result is awaited
            self._done()
            future.set_exception(e)
        else:
            self._done()  # before anyone who waits hears of it
            future.set_result(found)

    def _done(self) -> None:
        with self._lock:
            self._open -= 1

    def _check_open(self) -> None:
        if self.closed:
            raise RewardError("scoring was closed before it was done")

    def _score(self, rollout: Rollout) -> RewardOutput:
        if self.journal is None or self.reward.differentiable or not len(rollout) or not getattr(self.reward, "journaled", True):
            return self._evaluate(self.reward, rollout)
        keys, uids = contents(self.reward, rollout), rollout.uid.tolist()
        records = [self.journal.get(u, k) for u, k in zip(uids, keys, strict=True)]
        missing = self._missing(rollout, [r is None for r in records])
        if missing:
            found = to_records(self._evaluate(self.reward, rollout[missing]))
            self._check_open()  # what was cut short by closing is no verdict
            self.journal.put([uids[k] for k in missing], [keys[k] for k in missing], found)
            for k, record in zip(missing, found, strict=True):
                records[k] = record
        return from_records([r for r in records if r is not None], rollout.steps)

    def _missing(self, rollout: Rollout, missing: list[bool]) -> list[int]:
        """Rows to score: those without a verdict, and those that must be scored together with them.

        The last bits of what a network says of a row depend on the rows beside it, so it sees all of them again.
        """
        if any(missing) and (self.scope == "batch" or has_network(self.reward)):
            return list(range(len(missing)))
        if self.scope == "group":
            groups = rollout.group.tolist()
            again = {g for g, m in zip(groups, missing, strict=True) if m}
            return [k for k, g in enumerate(groups) if g in again]
        return [k for k, m in enumerate(missing) if m]

    def _evaluate(self, reward: Reward, rollout: Rollout) -> RewardOutput:
        members = getattr(reward, "members", None)
        if isinstance(members, Mapping):  # each part by its own means: the killable ones stay killable
            return reward.combine({n: self._evaluate(m, rollout) for n, m in members.items()})  # type: ignore[attr-defined]
        if isinstance(reward, Function):
            calls = reward.calls(rollout)
            lane: Lane = Threaded(reward.fn, self._abandoned)
            if reward.file and sendable(calls[1]):
                lane = self._pool(Target(reward.file, reward.origin.rpartition(":")[2]))
            return reward.run(len(rollout), calls, lane, self.timeout, self.workers)
        return self._guarded(reward, rollout, Patience())

    def _pool(self, target: Target) -> Pool:
        with self._lock:
            self._check_open()
            if target not in self._pools:
                self._pools[target] = Pool(target, self.workers)
            return self._pools[target]

    def _guarded(self, reward: Reward, rollout: Rollout, patience: Patience) -> RewardOutput:
        """A reward's own call; where it hangs or raises, row by row if its scope allows."""
        rows = len(rollout)
        # A network cannot hang, and one that were left behind would go on reading weights that learn.
        limit = None if getattr(reward, "bounded", False) or has_network(reward) else self.timeout
        try:
            (output,) = in_thread(lambda: [reward(rollout)], 1, limit, self._abandoned)
            patience.note(None)
            return sound(output, rows)
        except GuerdonError:
            raise
        except Stopped as e:
            patience.note(e)
            reason = str(e)
        except (Exception, SystemExit) as e:  # noqa: BLE001  failure is a value, with its reason
            reason = reason_of(e)
        if reward.scope != "sample" or reward.differentiable or rows <= 1:
            return RewardOutput.failed([reason] * rows)
        alone = []
        for k in range(rows):
            why = patience.over
            alone.append(RewardOutput.failed([why]) if why else self._guarded(reward, rollout[[k]], patience))
        return RewardOutput.cat(alone)


def has_network(reward: Any) -> bool:
    """Whether a network scores in a reward, alone or among its members."""
    members = getattr(reward, "members", ())
    return isinstance(reward, torch.nn.Module) or any(
        has_network(m) for m in (members.values() if isinstance(members, Mapping) else members)
    )


def sound(output: Any, rows: int) -> RewardOutput:
    """A reward's answer, with failures in place of what is not finite or not of the right size."""
    if not isinstance(output, RewardOutput):
        return RewardOutput.failed([f"returned {type(output).__name__}, expected a RewardOutput"] * rows)
    if output.total.shape != torch.Size([rows]):
        return RewardOutput.failed([f"returned {len(output.total)} rewards for {rows} outputs"] * rows)
    return output.checked()
