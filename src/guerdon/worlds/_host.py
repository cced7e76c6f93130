"""Host: the environments of some slots in one process, stepped under guard. Whatever goes wrong in one stays in its slot.

Neither torch nor the rest of guerdon is imported here, so that worker processes start in a fraction of a second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.worlds._drawing import draw
from guerdon.worlds._form import Form, form_of
from guerdon.worlds._making import MakeError, Recipe, close, make, quiet, reason_of

NOT_BEGUN = "no episode has begun in this slot"
OVER = "the episode is over; the slot has to be reset"
_BOOLS = (bool, np.bool_)
_NUMBERS = (int, float, np.number, np.bool_)


class Running:
    """One slot: its environment, and what has happened in its episode so far."""

    __slots__ = ("actions", "env", "gain", "last", "over", "seed", "steps", "why")

    def __init__(self) -> None:
        self.env: Any = None
        self.why = NOT_BEGUN  # why it cannot be stepped; "" where it can
        self.begin(0)

    def begin(self, seed: int) -> None:
        self.seed, self.steps, self.gain, self.over = seed, 0, 0.0, False
        self.actions = bytearray()  # as the environment got them: with the seed, they are the state
        self.last: Any = None

    def drop(self, why: str) -> str:
        """Throw the environment away; the next reset makes another."""
        env, self.env, self.why, self.last = self.env, None, why, None
        if env is not None:
            close(env)
        return why


class Host:
    """The environments of some slots.

    Args:
        recipe: What makes one.
        observation: What its observations have to look like.
        action: What its actions look like.
    """

    def __init__(self, recipe: Recipe, observation: Form, action: Form):
        self.recipe, self.observation, self.action = recipe, observation, action
        self.running: dict[int, Running] = {}
        self.twin = Running()  # draws
        self.dtype = np.dtype(observation.dtype)
        self.real = self.dtype.kind == "f"
        self.width = 8 if action.n else int(np.prod(action.shape)) * np.dtype(action.dtype).itemsize

    # ---------------------------------------------------------------- episodes
    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        """Begin an episode in each slot: ([k, ...] observations, [k] why not or ``""``)."""
        observations, failed = np.zeros((len(slots), *self.observation.shape), dtype=self.dtype), [""] * len(slots)
        for j, (slot, seed) in enumerate(zip(slots, seeds, strict=True)):
            run = self.running.setdefault(slot, Running())
            failed[j] = self.begin(run, seed)
            if not failed[j]:
                observations[j] = run.last
        kept = self._kept(observations)
        self._guard(slots, kept, failed)
        return kept, failed

    def begin(self, run: Running, seed: int, **more: Any) -> str:
        """Begin an episode; why not, or ``""``."""
        if self.recipe.fresh and run.env is not None:
            run.drop("")
        run.begin(seed)
        run.why = ""
        new = run.env is None
        if new:
            try:
                run.env = make(self.recipe, **more)
            except MakeError as e:
                return run.drop(f"make: {e}")
            if why := self._unlike(run.env):
                return run.drop(why)
        try:
            with quiet() if new else contextlib.nullcontext():
                answer = run.env.reset(seed=usable(seed))
        except (Exception, SystemExit) as e:  # noqa: BLE001  an environment may raise anything; the slot keeps the reason
            return run.drop(f"reset raised {reason_of(e)}")
        if not (isinstance(answer, tuple) and len(answer) == 2):
            return run.drop("reset did not return (observation, info)")
        run.last = answer[0]
        why = self.observation.wrong(run.last)
        return run.drop(f"observation {why}") if why else ""

    def step(self, slots: Sequence[int], actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
        """One step of each slot: observations, rewards, terminated, truncated, why it failed.

        Args:
            slots: [k] which.
            actions: [k, ...] as the policy's space has them (numbered from 0).
        """
        k, width, limit = len(slots), self.width, self.recipe.limit
        observations, rewards = np.zeros((k, *self.observation.shape), dtype=self.dtype), np.zeros(k)
        terminated, truncated, failed = np.zeros(k, dtype=bool), np.zeros(k, dtype=bool), [""] * k
        given, raw, lost = self._given(actions)
        for j, slot in enumerate(slots):
            run = self.running.get(slot)
            if run is None or run.why or run.over:
                failed[j] = NOT_BEGUN if run is None else run.why or OVER
                continue
            if lost is not None and lost[j]:
                failed[j] = run.drop("action is not finite")
                continue
            try:
                answer = run.env.step(given[j])
            except (Exception, SystemExit) as e:  # noqa: BLE001  an environment may raise anything; the slot keeps the reason
                failed[j] = run.drop(f"step raised {reason_of(e)}")
                continue
            if why := self._wrong(answer):
                failed[j] = run.drop(why)
                continue
            run.last, reward, ended, cut, _ = answer
            run.actions += raw[j * width : (j + 1) * width]
            run.steps += 1
            run.gain += (reward := as_number(reward))
            observations[j], rewards[j] = run.last, reward
            if ended:
                terminated[j] = run.over = True
            elif cut or run.steps == limit:
                truncated[j] = run.over = True
        kept = self._kept(observations)
        self._guard(slots, kept, failed, rewards, terminated, truncated)
        return kept, rewards, terminated, truncated, failed

    def close(self) -> None:
        for run in (*self.running.values(), self.twin):
            run.drop(NOT_BEGUN)
        self.running.clear()

    # ---------------------------------------------------------------- states
    def snapshot(self, slots: Sequence[int]) -> list[dict[str, Any]]:
        """[k] the seed and the actions since, and what they have led to; ``{"failed": why}`` where there is no episode."""
        return [self._saved(self.running.get(slot)) for slot in slots]

    def restore(self, slots: Sequence[int], states: Sequence[Mapping[str, Any]]) -> list[str]:
        """Bring slots into saved states; [k] why not, or ``""``."""
        return [self._restored(self.running.setdefault(i, Running()), s) for i, s in zip(slots, states, strict=True)]

    def _saved(self, run: Running | None) -> dict[str, Any]:
        if run is None or run.why:
            return {"failed": NOT_BEGUN if run is None else run.why}
        actions = np.frombuffer(bytes(run.actions), dtype=self.action.dtype).reshape(run.steps, *self.action.shape)
        return {"seed": run.seed, "actions": actions, "last": np.array(run.last), "gain": run.gain, "over": run.over}

    def _restored(self, run: Running, state: Mapping[str, Any]) -> str:
        if "failed" in state:
            return run.drop(f"the saved slot had none: {state['failed']}")
        why = self.begin(run, state["seed"]) or self.replay(run, state["actions"])
        if not why and (
            np.asarray(run.last).tobytes() != state["last"].tobytes() or run.gain != state["gain"] or run.over != state["over"]
        ):
            why = run.drop(
                f"{self.recipe.name} is not deterministic: {len(state['actions'])} actions "
                f"from seed {run.seed} led elsewhere this time{'' if self.recipe.fresh else ' (fresh=True may help)'}"
            )
        return why

    def replay(self, run: Running, actions: np.ndarray) -> str:
        """Take actions that were taken before; why not, or ``""``."""
        for action in actions.tolist() if self.action.n else actions.copy():
            if run.over:
                return run.drop(f"{self.recipe.name} is not deterministic: an episode ended earlier this time")
            try:
                run.last, reward, ended, cut, _ = run.env.step(action)
                run.gain += float(reward)
            except (Exception, SystemExit) as e:  # noqa: BLE001  an environment may raise anything; the slot keeps the reason
                return run.drop(f"step raised {reason_of(e)}")
            run.steps += 1
            run.over = bool(ended or cut or run.steps == self.recipe.limit)
        run.actions += actions.tobytes()
        return ""

    def render(self, slot: int) -> tuple[np.ndarray | None, str]:
        """A picture of a slot, or why there is none.

        A second environment draws, brought to the same state: drawing may cost an environment time or change what happens in
        it (LunarLander's flames are bodies that collide). It goes on from one picture of an episode to the next.
        """
        run = self.running.get(slot)
        if run is None or run.why:
            return None, NOT_BEGUN if run is None else run.why
        if "render_mode" in self.recipe.options:
            return draw(run.env)
        twin, done = self.twin, len(self.twin.actions)
        if twin.why or twin.over or twin.seed != run.seed or run.actions[:done] != twin.actions:
            done = 0
            if why := self.begin(twin, run.seed, render_mode="rgb_array"):
                return None, why
        rest = np.frombuffer(bytes(run.actions[done:]), dtype=self.action.dtype).reshape(-1, *self.action.shape)
        if why := self.replay(twin, rest):
            return None, why
        if np.asarray(twin.last).tobytes() != np.asarray(run.last).tobytes():
            twin.drop(NOT_BEGUN)
            return None, f"{self.recipe.name} goes another way when it is drawn; give it options={{'render_mode': 'rgb_array'}}"
        return draw(twin.env)

    # ---------------------------------------------------------------- parts of the guard
    def _wrong(self, answer: Any) -> str:
        """Why what ``step`` returned cannot be taken; numbers that are not finite are looked for later."""
        if not isinstance(answer, tuple) or len(answer) != 5:
            count = f"{len(answer)} values" if isinstance(answer, tuple) else f"something of type {type(answer).__name__}"
            return f"step returned {count}, expected 5: observation, reward, terminated, truncated, info"
        seen, reward, ended, cut, _ = answer
        form = self.observation
        if form.n or type(seen) is not np.ndarray or seen.shape != form.shape or seen.dtype != self.dtype:
            if why := form.wrong(seen):
                return f"observation {why}"
        if not isinstance(reward, float) and not _is_number(reward):
            return f"reward is {_described(reward)}, expected a number"
        if type(ended) not in _BOOLS or type(cut) not in _BOOLS:
            name, value = ("terminated", ended) if type(ended) not in _BOOLS else ("truncated", cut)
            return f"{name} is {_described(value)}, expected a bool"
        return ""

    def _guard(
        self, slots: Sequence[int], observations: np.ndarray, failed: list[str], rewards: Any = 0.0, *flags: np.ndarray
    ) -> None:
        """Numbers that are not finite are looked for once for all slots; each is the failure of its own."""
        if np.isfinite(rewards).all() and (not self.real or np.isfinite(observations).all()):
            return
        for j, slot in enumerate(slots):
            if failed[j]:
                continue
            if flags and not np.isfinite(rewards[j]):
                why = f"reward is {rewards[j]}"
            elif len(bad := np.argwhere(~np.isfinite(observations[j]))):
                why = f"observation is {observations[j][tuple(bad[0])]} at [{', '.join(str(i) for i in bad[0])}]"
            else:
                continue
            failed[j] = self.running[slot].drop(why)
            for column in (observations, rewards, *flags) if flags else (observations,):
                column[j] = 0

    def _unlike(self, env: Any) -> str:
        """Whether an environment made anew is another than the first one was."""
        for name, form, space in (
            ("observation", self.observation, env.observation_space),
            ("action", self.action, env.action_space),
        ):
            if form_of(space) != form:
                return f"make: the {name} space is {space}, not the one of the first environment"
        return ""

    # ---------------------------------------------------------------- arrays
    def _kept(self, observations: np.ndarray) -> np.ndarray:
        """As they leave this room."""
        if self.observation.start:
            return np.maximum(observations - self.observation.start, 0)  # what failed is 0
        if self.observation.kept == self.observation.dtype:
            return observations
        with np.errstate(over="ignore"):  # what does not fit is infinite then, and found as such
            return observations.astype(self.observation.kept)

    def _given(self, actions: np.ndarray) -> tuple[Any, bytes, Any]:
        """The actions as environments take them; the same as bytes; [k] which are not finite, None where all are."""
        if self.action.n:
            whole = np.ascontiguousarray(actions, dtype=np.int64)
            if self.action.start:
                whole = whole + self.action.start
            return whole.tolist(), whole.tobytes(), None
        array = np.array(actions, dtype=self.action.dtype, order="C")  # a copy: an environment may write into it
        finite = np.isfinite(array)
        return array, array.tobytes(), None if finite.all() else ~finite.reshape(len(array), -1).all(axis=1)


def usable(seed: int) -> int:
    """A seed that every generator takes: below 2^31 as it is, any other mixed into that range.

    >>> usable(7), 0 <= usable(-7) < 2**31, usable(2**40) != usable(2**41)
    (7, True, True)
    """
    if 0 <= seed < 2**31:
        return seed
    x = seed & (2**64 - 1)  # the finaliser of splitmix64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & (2**64 - 1)
    return (x ^ (x >> 31)) >> 33


def as_number(value: Any) -> float:
    """A reward as a float; nan for what is not one number."""
    if isinstance(value, float):  # numpy's float64 is one
        return float(value)
    if _is_number(value):
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # a complex number, an array of objects, 10**400
            return float(value.item() if isinstance(value, np.ndarray) else value)
    return float("nan")


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) or (isinstance(value, np.ndarray) and value.size == 1)


def _described(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"of type {type(value).__name__}"
