r"""2,000 maths answers, a fifth of them made to hang or to confuse: nothing hangs, and no right answer gets a 0.

Data (``--data FOLDER``, default ``$GUERDON_DATA``, with the folders ``verifiable`` and ``reward_bench``):
- Qwen: 100 MATH problems with 8 sampled solutions each and the flags that Qwen2.5-Math's own checker gave them.
- GSM8K model solutions: 1,319 problems with the solutions of four models and their flags; "A:" before an answer becomes "####".
- MATH500 and GSM8K test: the reference solutions as outputs, which are right.
- Pathological answers and right answers in other words, true by construction: ``tests/rewards/verifiers/maths_cases.py``.

Protocol: the 2,000 are all Qwen solutions, all pathological cases, and evenly spaced rows of the other three sets, in an order
shuffled with a fixed seed; one row per call, as many threads as processors, ``--timeout`` seconds a row. Then, counted apart, all
other rows. A row's verdict is right, wrong or not ok. A *wrong zero* is a right answer that is scored 0 with ok=True; a *wrong
one* is a wrong answer that is scored 1. Where a stored flag differs from the verdict the row is listed, whoever is mistaken.

What the figures can say: the real rows were not looked at when the rules of the verifier were written, apart from the
differences listed. The made rows were: they found its faults, which were then mended (math-verify alone gives 89 of the 501 boxed
forms of ``SAME`` a 0). So "no wrong zero" there says what is handled, not how often an unknown form fails. For that, 107 further
forms were written afterwards: at first sight 89 were right, 16 wrong zeros and 2 not ok (math-verify alone: 76 right). After more
rules eight are left, which no rule covers: "Rs. 4500", "seventy-two", C(10,4), i - 2j for a vector, "on Monday" for "Monday", AB
for a segment, Roman and binary numerals; the other 99 are ``MORE``. Expected before the first full run: no hang, no wrong zero,
at most ten differences from the flags of Qwen's checker, about a hundred pathological rows not ok.

Run (one thread per process): OMP_NUM_THREADS=1 python benchmarks/maths_answers.py --data FOLDER --out benchmarks/results
"""

from __future__ import annotations

import argparse
import ast
import gzip
import importlib.util
import json
import os
import random
import threading
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from guerdon.rewards import recorded
from guerdon.rewards.verifiers.maths import Maths

ROWS = 2000
CASES = Path(__file__).resolve().parents[1] / "tests" / "rewards" / "verifiers" / "maths_cases.py"
EXPLAINED = {
    "10{,}000": "the stored flag is mistaken: 10{,}000 is how LaTeX sets 10000",
    "4:30p..": "the stored answer is what a clean-up left of '4:30 p.m.'; nothing mathematical can be read in it",
}
Row = tuple[str, str, str, bool | None]  # set, gold answer, output, whether it is right


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def real(data: Path) -> dict[str, list[Row]]:
    """Rows of every set."""
    flagged: list[Row] = []
    for r in lines(data / "verifiable" / "gsm8k_example_model_solutions.jsonl.gz"):
        gold = r["ground_truth"].rpartition("A:")[2].strip()
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            solution = r[model] if isinstance(r[model], dict) else ast.literal_eval(r[model])
            flagged.append(("GSM8K model solutions", gold, solution["solution"].replace("A:", "####"), solution["is_correct"]))
    return {
        "Qwen": [
            ("Qwen", r["gt"], output, flag)
            for r in lines(data / "reward_bench" / "qwen_math_100x8_rm_scored.jsonl.gz")
            for output, flag in zip(r["code"], r["score"], strict=True)
        ],
        "GSM8K model solutions": flagged,
        "MATH500": [("MATH500", r["answer"], r["answer"], True) for r in lines(data / "verifiable" / "math500.jsonl.gz")],
        "GSM8K test": [
            ("GSM8K test", r["answer"], r["answer"], True) for r in lines(data / "verifiable" / "gsm8k_test.jsonl.gz")
        ],
    }


def made() -> tuple[list[Row], list[Row]]:
    """Pathological answers, and right answers in other words."""
    spec = importlib.util.spec_from_file_location("maths_cases", CASES)
    assert spec is not None
    assert spec.loader is not None
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    return [(f"made: {k}", *rest) for k, *rest in cases.pathological()], [
        (f"made: {k}", *r) for k, *r in cases.written_otherwise()
    ]


def judged(rows: list[Row], timeout: float) -> tuple[list[tuple[str, str, float]], float]:
    """(verdict, reason or note, seconds) of every row, and the seconds of all."""
    maths, numbers = Maths(timeout=timeout), iter(range(len(rows)))
    found: list[Any] = [None] * len(rows)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                k = next(numbers, None)
            if k is None:
                return
            begun = time.perf_counter()
            checked = maths.verdicts(recorded(["q"], [rows[k][2]], {"answer": [rows[k][1]]}))[0]
            verdict = "not ok" if checked.reason else "right" if checked.total == 1 else "wrong"
            found[k] = verdict, checked.reason or checked.note, time.perf_counter() - begun

    maths(recorded(["q"], ["1"], {"answer": ["1"]}))  # warm
    begun = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(min(8, os.cpu_count() or 1))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return found, time.perf_counter() - begun


def short(text: str, length: int = 100) -> str:
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def study(rows: list[Row], timeout: float) -> dict[str, Any]:
    found, seconds = judged(rows, timeout)
    counts: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    differences = []
    for (kind, gold, output, truth), (verdict, why, _) in zip(rows, found, strict=True):
        counts.setdefault(kind.split(",")[0], Counter())[
            f"{ {True: 'right', False: 'wrong', None: 'undecided'}[truth] }: {verdict}"
        ] += 1
        if verdict == "not ok":
            reasons[why.split(" in the data")[0].split(" while ")[0]] += 1
        mistaken = truth is not None and verdict != ("right" if truth else "wrong")
        if mistaken and (verdict != "not ok" or not kind.startswith("made")):
            stored = "right" if truth else "wrong"
            row = {"set": kind, "gold": short(gold), "output": short(output), "stored": stored, "verdict": verdict}
            differences.append(row | {"why": why, "explained": EXPLAINED.get(gold, "")})
    slowest = max(range(len(rows)), key=lambda k: found[k][2])
    every = sum(counts.values(), Counter())
    return {
        "rows": len(rows), "seconds": round(seconds, 1), "timeout": timeout,
        "verdicts": dict(Counter(v for v, _, _ in found)), "not ok by reason": dict(reasons.most_common()),
        "wrong zeros": every["right: wrong"], "wrong ones": every["wrong: right"],
        "by set (truth: verdict)": {k: dict(c) for k, c in counts.items()},
        "slowest": {"seconds": round(found[slowest][2], 2), "set": rows[slowest][0], "output": short(rows[slowest][2])},
        "median seconds": round(sorted(s for _, _, s in found)[len(found) // 2], 4), "differences": differences,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GUERDON_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--timeout", type=float, default=5.0)
    options = parser.parse_args()
    sets, (bad, otherwise) = real(options.data), made()
    chosen, rest = [*sets.pop("Qwen"), *bad], list(otherwise)
    left = ROWS - len(chosen)
    for k, rows in enumerate(sets.values()):
        share = left // len(sets) + (k < left % len(sets))
        picked = {i * len(rows) // share for i in range(share)}
        chosen += [r for i, r in enumerate(rows) if i in picked]
        rest += [r for i, r in enumerate(rows) if i not in picked]
    random.Random(0).shuffle(chosen)
    out: dict[str, Any] = {
        "packages": {p: version(p) for p in ("math-verify", "latex2sympy2_extended", "sympy")},
        "cores": os.cpu_count(),
    }
    for name, rows in (("2,000 answers", chosen), ("all other rows", rest)):
        out[name] = study(rows, options.timeout)
        print(name, json.dumps(out[name], indent=1, ensure_ascii=True), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "maths_answers.json").write_text(json.dumps(out, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
