"""Pool: the environments of a world in worker processes. A process that dies or hangs is the failure of its slots."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guerdon.worlds._form import Form
from guerdon.worlds._host import NOT_BEGUN
from guerdon.worlds._making import Recipe
from guerdon.worlds._worker import PROGRAM, receive, send

START = 60.0  # more seconds for the first call: the process starts, and imports the environment's packages


class Lane:
    """One worker process and the line to it."""

    def __init__(self, recipe: Recipe, forms: Sequence[Form]):
        self.line, other = socket.socketpair()
        with other:
            start = {
                "path": [os.path.abspath(p) for p in sys.path],
                "folder": os.path.dirname(__file__),
                "socket": other.fileno(),
            }
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(start)],
                stdin=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                start_new_session=True,  # Ctrl-C is the parent's; the end of its line ends the worker
            )
        self.new = True
        send(self.line, {"recipe": dataclasses.asdict(recipe), "forms": [dataclasses.asdict(f) for f in forms]})

    def ask(self, call: str, arguments: Sequence[Any], limit: float) -> None:
        limit, self.new = limit + START * self.new, False
        self.line.settimeout(limit)
        send(self.line, [call, list(arguments), limit])

    def end(self) -> int | None:
        """Its exit code where it had ended by itself."""
        self.line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(0.2)
        self.process.kill()
        self.process.wait()
        return None


class Pool:
    """Slot k lives in process k modulo ``workers``; processes are started when they are first needed. As ``Host`` otherwise.

    Args:
        recipe: What makes an environment.
        observation: What its observations have to look like.
        action: What its actions look like.
        workers: Processes.
        timeout: Seconds that one slot may take for one call before its process is ended.
    """

    def __init__(self, recipe: Recipe, observation: Form, action: Form, workers: int, timeout: float):
        self.recipe, self.observation, self.action = recipe, observation, action
        self.workers, self.timeout = workers, timeout
        self.lanes: dict[int, Lane] = {}
        self.lost: dict[int, str] = {}  # slots that went down with their process: why
        self.known: set[int] = set()  # slots with an episode
        self.end = weakref.finalize(self, _end, self.lanes)  # at the end of the program too

    def reset(self, slots: Sequence[int], seeds: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        observations, failed = np.zeros((len(slots), *self.observation.shape), self.observation.kept), [""] * len(slots)
        for rows, answer in self._all("reset", slots, [seeds], start=True):
            if isinstance(answer, str):
                _fill(failed, rows, [answer] * len(rows))
            else:
                observations[rows] = answer[0]
                _fill(failed, rows, answer[1])
        return observations, failed

    def step(self, slots: Sequence[int], actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
        k = len(slots)
        found = (
            np.zeros((k, *self.observation.shape), self.observation.kept),
            np.zeros(k),
            np.zeros(k, dtype=bool),
            np.zeros(k, dtype=bool),
        )
        failed = [""] * k
        for rows, answer in self._all("step", slots, [actions]):
            if isinstance(answer, str):
                _fill(failed, rows, [answer] * len(rows))
                continue
            for whole, part in zip(found, answer, strict=False):
                whole[rows] = part
            _fill(failed, rows, answer[4])
        for j, slot in enumerate(slots):
            if failed[j] == NOT_BEGUN:
                failed[j] = self.lost.get(slot, NOT_BEGUN)
        return *found, failed

    def snapshot(self, slots: Sequence[int]) -> list[dict[str, Any]]:
        states: list[dict[str, Any]] = [{}] * len(slots)
        for rows, answer in self._all("snapshot", slots, []):
            _fill(states, rows, [{"failed": answer}] * len(rows) if isinstance(answer, str) else answer)
        return states

    def restore(self, slots: Sequence[int], states: Sequence[Mapping[str, Any]]) -> list[str]:
        failed = [""] * len(slots)
        for rows, answer in self._all("restore", slots, [states], start=True):
            _fill(failed, rows, [answer] * len(rows) if isinstance(answer, str) else answer)
        return failed

    def render(self, slot: int) -> tuple[np.ndarray | None, str]:
        ((_, answer),) = self._all("render", [slot], [])
        return (None, answer) if isinstance(answer, str) else (answer[0], answer[1])

    def close(self) -> None:
        _end(self.lanes)
        self.lost.clear()
        self.known.clear()

    # ---------------------------------------------------------------- calls
    def _all(self, call: str, slots: Sequence[int], columns: Sequence[Any], start: bool = False) -> list[tuple[list[int], Any]]:
        """(rows, what their process answered, or why it did not) for each process; all of them work side by side."""
        of: dict[int, list[int]] = {}
        for j, slot in enumerate(slots):
            of.setdefault(slot % self.workers, []).append(j)
        asked: list[tuple[int, list[int], str]] = []
        for number, rows in of.items():
            why = ""
            if number not in self.lanes and start:
                self.lanes[number] = Lane(self.recipe, (self.observation, self.action))
            if number not in self.lanes:
                why = next((self.lost[slots[j]] for j in rows if slots[j] in self.lost), NOT_BEGUN)
            else:
                part = [c[rows] if isinstance(c, np.ndarray) else [c[j] for j in rows] for c in columns]
                mine = [slots[j] for j in rows]
                try:
                    self.lanes[number].ask(call, [mine[0] if call == "render" else mine, *part], self.timeout * len(rows))
                except OSError as e:
                    why = self._lose(number, e, mine)
            asked.append((number, rows, why))
        return [(rows, why or self._answer(number, [slots[j] for j in rows], start)) for number, rows, why in asked]

    def _answer(self, number: int, slots: list[int], start: bool) -> Any:
        try:
            answer = receive(self.lanes[number].line)
        except (OSError, EOFError) as e:
            return self._lose(number, e, slots)
        if start:
            self.known.update(slots)
            for slot in slots:
                self.lost.pop(slot, None)
        return answer

    def _lose(self, number: int, error: Exception, slots: Sequence[int]) -> str:
        """A process is gone, and with it all of its episodes."""
        code = self.lanes.pop(number).end()
        if isinstance(error, TimeoutError):
            why = f"its worker process did not answer within {self.timeout * len(slots):g} s and was ended"
        else:
            why = f"its worker process died{'' if code is None else f' (exit code {code})'}"
        self.lost.update((slot, why) for slot in {*slots, *self.known} if slot % self.workers == number)
        return why


def _fill(whole: list[Any], rows: Sequence[int], part: Sequence[Any]) -> None:
    for j, value in zip(rows, part, strict=True):
        whole[j] = value


def _end(lanes: dict[int, Lane]) -> None:
    for lane in lanes.values():
        lane.line.close()
    while lanes:
        lanes.popitem()[1].end()
