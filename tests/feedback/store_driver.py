"""A warm process that forks: writers that are killed, and processes that open one store at once.

A line of JSON on standard input, a line of JSON on standard output:

["kill", URL, FOLDER, SEED]    ids acknowledged before SIGKILL came
["open", URL, FOLDER, N]       N processes open URL at the same moment; their exit codes
["fork", URL]                  a store opened before a fork, used on both sides of it
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import psycopg  # noqa: F401 (before forks, once for all)
import torch

from guerdon.feedback import Critique, Store
from guerdon.feedback.store import chain, writing  # noqa: F401

PROCESSES, THREADS, WRITES = 3, 4, 90  # 1,080 writes in all, none of which comes to an end


def write(store: Store, file: int, who: str) -> None:
    """Adds of one, adds of three, corrections; each acknowledged with one write as soon as it has returned."""
    for k in range(WRITES):
        records = [
            Critique(
                context=who,
                output="x" * 500,
                text=f"{who} {k} {part}",
                annotator=who,
                uids=(k, part),
                info={"of": (1, 3, 1)[k % 3]},
            )
            for part in range((1, 3, 1)[k % 3])
        ]
        ids = store.add(records)
        said = {"ids": ids}
        if k % 3 == 2:
            said["new"] = store.correct(ids[0], records[0].replace(text=f"{who} {k} corrected"))
        os.write(file, json.dumps(said).encode() + b"\n")
    time.sleep(60)  # nobody ends before the kill


def kill(url: str, folder: str, seed: int) -> dict[str, object]:
    files = [Path(folder) / f"acknowledged-{k}" for k in range(PROCESSES)]
    children = []
    for k, path in enumerate(files):
        path.touch()
        child = os.fork()
        if not child:
            store = Store(url)
            file = os.open(path, os.O_WRONLY | os.O_APPEND)
            for t in range(THREADS):
                threading.Thread(target=write, args=(store, file, f"writer {k}.{t}")).start()
            time.sleep(60)
            os._exit(1)
        children.append(child)
    enough = random.Random(seed).randint(60, 800)
    end = time.monotonic() + 40
    while sum(p.read_bytes().count(b"\n") for p in files) < enough and time.monotonic() < end:
        time.sleep(random.Random(seed).random() * 0.01)
    for child in children:
        os.kill(child, signal.SIGKILL)
    ended = [os.waitpid(child, 0)[1] for child in children]
    lines = [line for p in files for line in p.read_bytes().splitlines()]
    return {"ended": ended, "enough": enough, "acknowledged": [json.loads(line) for line in lines]}


def open_at_once(url: str, folder: str, n: int) -> dict[str, object]:
    go = Path(folder) / "go"
    children = []
    for k in range(n):
        child = os.fork()
        if not child:
            while not go.exists():
                time.sleep(0.001)
            with Store(url) as store:
                store.add([Critique(output="x", text="of all"), Critique(output="x", text=f"of {k}")])
            os._exit(0)
        children.append(child)
    time.sleep(0.3)
    go.touch()
    return {"ended": [os.waitpid(child, 0)[1] for child in children]}


def fork(url: str) -> dict[str, object]:
    store = Store(url)
    store.add(Critique(output="x", text="parent, before"))
    child = os.fork()
    if not child:
        store.add(Critique(output="x", text="child"))
        found = len(store)
        store.close()
        os._exit(found)
    store.add(Critique(output="x", text="parent, meanwhile"))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    store.add(Critique(output="x", text="parent, after"))
    found = [r.text for r in store.read()]
    store.close()
    return {"child": ended, "found": found}


if __name__ == "__main__":
    torch.set_num_threads(1)  # nothing but this thread is there when it forks
    for line in sys.stdin:
        what, *rest = json.loads(line)
        told = {"kill": kill, "open": open_at_once, "fork": fork}[what](*rest)
        print(json.dumps(told), flush=True)
