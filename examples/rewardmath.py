"""RewardMATH from stored scores: what twelve reward models got right, beside what the authors' own program says.

    python examples/rewardmath.py SCORES.jsonl.gz [--math-prm STEPS.jsonl.gz] [--ties against|random|for] [--markdown]

The scores are those of github.com/kimsh0507/RewardMATH_official (arXiv:2410.01729), one record a problem.
"""

import argparse
import math

from guerdon.audit.suites import Model, math_prm, rewardmath


def share(e) -> str:
    """A share with its 95 % interval, in per cent."""
    return f"{100 * e.value:.2f} ({100 * e.lo:.1f} to {100 * e.hi:.1f})"


def row(m: Model) -> list[str]:
    """One line of the table."""
    theirs = [f"{v:.2f}" if not math.isnan(v) else "–" for v in m.published or (math.nan, math.nan)]
    f = m.found
    return [
        m.name,
        m.aggregation or "–",
        share(f.accuracy),
        theirs[0],
        share(f.mrr),
        theirs[1],
        f"{100 * f.pairwise.value:.2f}",
        str(f.tied),
    ]


def show(title: str, head: list[str], rows: list[list[str]], markdown: bool) -> None:
    """A table, aligned or as Markdown."""
    print(f"\n{title}\n")
    if markdown:
        print("\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows]))
        return
    width = [max(len(r[k]) for r in [head, *rows]) for k in range(len(head))]
    for r in [head, *rows]:
        print("  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(r, width, strict=True))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores")
    parser.add_argument("--math-prm", help="RewardBench math-prm step scores")
    parser.add_argument("--ties", default="against", choices=["against", "random", "for"])
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()

    models = sorted(rewardmath(args.scores, ties=args.ties), key=lambda m: -m.found.accuracy.value)
    n = models[0].found.problems
    head = ["model", "steps", "accuracy, %", "theirs", "MRR, %", "theirs", "pairwise, %", "tied"]
    show(
        f"One correct against nine wrong solutions, {n} problems, ties count {args.ties} (95 % intervals)",
        head,
        [row(m) for m in models],
        args.markdown,
    )
    if args.math_prm:
        pairs = math_prm(args.math_prm, ties=args.ties)
        rows = [[m.name, m.aggregation, share(m.found.accuracy), f"{m.published[0]:.2f}" if m.published else "–"] for m in pairs]
        show(
            f"RewardBench math-prm, {pairs[0].found.problems} pairs",
            ["model", "steps", "accuracy, %", "theirs"],
            rows,
            args.markdown,
        )


if __name__ == "__main__":
    main()
