"""A warm process that runs a plan again and again, each time killed with SIGKILL in another phase, and resumes it.

python kill_driver.py MODEL FOLDER policy|reward    prints one JSON line per case
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from guerdon import advantages, feedback, objectives, policies, rewards, samplers, transforms
from guerdon.run import AdamW, Evaluation, Plan, Prompts, RewardLearner, Train, lazy, run
from guerdon.run import state as state_module
from guerdon.run.checkpoints import path_of, steps_of
from guerdon.run.events import EventLog
from guerdon.run.live import LiveDraw

PHASES = ("sample", "reward", "update", "checkpoint", "renamed", "event")
LEARNING = ("reward", "update")


def plan(model: str) -> Plan:
    """LoRA, refill and a running normalisation: everything that has a state of its own."""
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=model, lora=2, device="cpu"),
        source=Prompts(("1+1=", "2+3=", "10-7=", "4+4=", "9-8=")),
        sampler=samplers.Refill(contexts=2, n=4, tries=3, chunk=1, controls={"max_tokens": 6, "top_k": 9}),
        reward=rewards.Length(target=4, unit="character"),
        references={"reference": policies.EMA(decay=0.9)},
        transforms=(transforms.TokenKL(beta=0.05), transforms.RunningNormalise(clip=3.0)),
        advantage=advantages.GroupNorm(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=0.02, decay="cosine"), minibatches=2, rows=3)},
        evaluation=Evaluation(samples=6, every=3),
        steps=6, checkpoint_every=2, seed=5, name="killed",
    )  # fmt: skip


def learning(model: str) -> Plan:
    """An ensemble that learns from an annotator and a store, with a replay that is too small."""
    gold = rewards.Length(target=4, unit="character")
    learner = RewardLearner(feedback.BradleyTerry(gold, 0.3), store=f"{model}/labels.db", pairs=3, pick="disagreement", steps=2,
                            batch=4, replay=4, optim=AdamW(lr=0.01, decay="linear"))  # fmt: skip
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=model, lora=2, device="cpu"),
        source=Prompts(("1+1=", "2+3=", "10-7=", "4+4=", "9-8=")),
        sampler=samplers.Group(contexts=2, n=4, controls={"max_tokens": 6, "top_k": 9}),
        reward=rewards.Mixture({"learned": lazy(rewards.Ensemble.from_pretrained, path_or_name=f"{model}/reward"), "length": (gold, 0.1)}),
        transforms=(transforms.Pessimism(0.5), transforms.RunningNormalise(clip=3.0)),
        advantage=advantages.GroupNorm(),
        learners={"reward": learner, "policy": Train(objectives.PolicyGradient(), AdamW(lr=0.02))},
        evaluation=Evaluation(reward=gold, samples=4, every=3),
        steps=4, checkpoint_every=2, seed=5, name="killed",
    )  # fmt: skip


def models(model: str) -> None:
    """The ensemble, and what people have said of it, beside the language model."""
    members = [rewards.RewardModel.fresh(model, max_length=32, seed=k, device="cpu") for k in range(2)]
    rewards.Ensemble(tuple(members)).save(f"{model}/reward")
    with feedback.Store(f"{model}/labels.db") as store:
        store.add(feedback.Comparison(context="1+1=", first="2" * k, second="3", annotator="ann") for k in range(1, 9))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(phase: str, nth: int) -> None:
    """Replace one function so that its ``nth`` call dies half-way."""
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls == nth

    def wrap(owner: object, name: str, half: object) -> None:
        whole = getattr(owner, name)

        def patched(*args, **kwargs):
            if due():
                half(whole, *args, **kwargs)
                die()
            return whole(*args, **kwargs)

        setattr(owner, name, patched)

    def half_a_line(whole, log, event, step, **fields):
        log.file.write(b'{"event": "draw", "step": 3, "metr')
        log.file.flush()

    if phase == "sample":  # the tokens are drawn and lost
        wrap(LiveDraw, "sample", lambda whole, *a, **k: whole(*a, **k))
    elif phase == "reward":  # a verdict is in the journal, the others are not
        wrap(rewards.Journal, "put", lambda whole, journal, u, c, r: whole(journal, u[:1], c[:1], r[:1]))
    elif phase == "update":  # the weights have moved in memory only
        wrap(torch.optim.AdamW, "step", lambda whole, *a, **k: whole(*a, **k))
    elif phase == "checkpoint":  # tensors are written, the folder has not its name yet
        wrap(state_module, "save_file", lambda whole, *a, **k: whole(*a, **k))
    elif phase == "event":
        wrap(EventLog, "write", half_a_line)
    else:  # the checkpoint has its name; older ones are not gone yet
        wrap(state_module, "sync_folder", lambda *a, **k: None)


def forked(job) -> int:
    """Exit status of ``job`` in a fork of this process (negative: the signal that ended it)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            job()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fingerprint(folder: Path) -> dict[str, str]:
    """Weights of the saved models and of the last checkpoint, and the events without their wall-clock fields."""
    digest = hashlib.sha256()
    saved = [f for name in ("policy", "reward") for f in (folder / name).rglob("*.safetensors")]
    for file in sorted([*saved, *path_of(folder, steps_of(folder)[-1]).glob("*.safetensors")]):
        digest.update(file.name.encode() + file.read_bytes())
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("time")
        row.pop("seconds", None)
    return {
        "weights": digest.hexdigest(),
        "events": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
        "lines": str(len(rows)),
    }


def main(model: str, folder: Path, which: str) -> None:
    torch.set_num_threads(1)  # before anything is computed: threads do not survive a fork
    policies.CausalLM.from_pretrained(model, lora=2, device="cpu")  # its imports take seconds, which every fork would spend
    if which == "policy":
        cases(lambda: plan(model), folder, PHASES)
    else:
        forked(lambda: models(model))
        cases(lambda: learning(model), folder, LEARNING)


def cases(plan, folder: Path, phases: tuple[str, ...]) -> None:
    """A run that is not stopped, and for each phase one that is killed there twice."""
    status = forked(lambda: run(plan(), folder / "whole"))
    print(json.dumps({"case": "whole", "status": status, **fingerprint(folder / "whole")}), flush=True)
    for phase in phases:
        target = folder / phase
        statuses = []
        for k, nth in enumerate((2, 2) if phase in ("checkpoint", "renamed") else (4, 3)):  # killed twice in the same run

            def killed(nth=nth, resume=k > 0, phase=phase, target=target):
                arm(phase, nth)
                run(plan(), target, resume_run=resume)

            statuses.append(forked(killed))
        statuses.append(forked(lambda target=target: run(plan(), target, resume_run=True)))
        print(json.dumps({"case": phase, "status": statuses, **fingerprint(target)}), flush=True)
        shutil.rmtree(target)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
