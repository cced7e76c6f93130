import importlib.util
import json
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from guerdon.audit import RewardAudit, Scored, audit_reward, probe_reward, score_comparisons, write_reward_report
from guerdon.audit.reward.page import MAX_BYTES
from guerdon.core import Comparison, RewardOutput, Rollout, RunError

EVIL = "</div><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="session")
def page_of() -> type:
    """The page parser of the other report's tests, which fails where tags do not nest."""
    spec = importlib.util.spec_from_file_location("audit_report_tests", Path(__file__).parents[1] / "test_report.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Page  # type: ignore[no-any-return]


def write(audit: RewardAudit, folder: Path, page_of: type) -> tuple:
    path = write_reward_report(audit, folder, title="A reward <&>")
    source = path.read_text(encoding="utf8")
    page = page_of(source)
    assert len(source.encode()) <= MAX_BYTES
    assert not {"script", "img", "iframe", "form"} & set(page.tags)
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] in ("src", "href")]
    assert not re.search(r"(?<! is )\b(nan|inf|None)\b", page.text)
    summary, findings = (json.loads((folder / f).read_text(encoding="utf8")) for f in ("summary.json", "findings.json"))
    assert findings["findings"] == summary["findings"]
    assert findings["verdict"]["text"].replace(" %", "\u00a0%") in page.text.replace(" %", "\u00a0%")
    return page, summary


def many(subsets: int, made: ModuleType) -> Scored:
    scored = made.bradley_terry(0, 300)
    pairs = [c.replace(info={"scenario": f"part {k % subsets}"}) for k, c in enumerate(scored.comparisons)]
    return Scored.of(scored.score[:, 0], scored.score[:, 1], pairs)


def test_everything_at_once(made: ModuleType, tmp_path: Path, page_of: type) -> None:
    pairs = made.pairs_of(120)

    def score(text: str) -> float:
        return float("nan") if len(text) % 41 == 0 else len(text) / 10 + 3 * ("!" in text)

    class Sure(made.TextReward):  # type: ignore[misc]
        def __call__(self, rollout: Rollout) -> RewardOutput:
            out = super().__call__(rollout)
            return out.replace(std=torch.linspace(0.1, 1, len(rollout), dtype=torch.double))

    reward = Sure(score)
    audit = audit_reward(score_comparisons(reward, pairs), probes=probe_reward(reward, pairs))
    page, summary = write(audit, tmp_path, page_of)
    for words in ("Not better than length", "Length shortcut", "exclamation marks", "Reliability", "The most confident mistakes",
                  "Stated uncertainty", "Every figure is in summary.json", "reward is nan"):  # fmt: skip
        assert words in page.text
    assert summary["accuracy"]["value"] == audit.accuracy.value
    assert {p["name"] for p in summary["probes"]} >= {"bold", "keywords"}
    assert page.tags.count("svg") > 20


@pytest.mark.parametrize(
    "kind", ["plain", "five pairs", "one subset", "sixty subsets", "all failed", "all ties", "no text", "one pair"]
)
def test_small_and_odd_audits(kind: str, made: ModuleType, tmp_path: Path, page_of: type) -> None:
    scored = {
        "plain": lambda: made.bradley_terry(0, 100),
        "five pairs": lambda: made.bradley_terry(0, 5),
        "one subset": lambda: many(1, made),
        "sixty subsets": lambda: many(60, made),
        "all failed": lambda: Scored.of([math.nan] * 30, [math.nan] * 30, made.pairs_of(30)),
        "all ties": lambda: Scored.of(
            np.arange(9), np.zeros(9), [Comparison(context=k, first="a", second="b", label=0.5) for k in range(9)]
        ),
        "no text": lambda: Scored.of(
            np.arange(30), np.zeros(30), [Comparison(context=k, first=[k], second=k) for k in range(30)]
        ),
        "one pair": lambda: Scored.of([1.0], [0.0], made.pairs_of(1)),
    }[kind]()
    audit = audit_reward(scored)
    page, summary = write(audit, tmp_path, page_of)
    assert "No probes were run." in page.text
    assert len(summary["subsets"]) == {"sixty subsets": 60, "one subset": 1, "plain": 8}.get(kind, len(summary["subsets"]))
    if kind in ("all failed", "all ties"):
        assert "Nothing could be judged" in page.text
    if kind == "plain":
        assert summary["verdict"]["tone"] == "good" and "Nothing found by the rules" in page.text
    if kind == "sixty subsets":
        assert "Show the other 44, which are smaller" in page.text


def test_what_came_from_data_is_escaped_and_large_pages_are_cut(tmp_path: Path, page_of: type) -> None:
    pairs = [Comparison(context=f"{EVIL} {k}", first=EVIL * 4000, second=f"{EVIL}\x00\u202e", annotator=EVIL, info={"subset": EVIL + str(k % 300)})
             for k in range(400)]  # fmt: skip
    scored = Scored.of([-1.0] * 400, [math.nan if k % 9 == 0 else 1.0 for k in range(400)], pairs, name=EVIL, identity=EVIL)
    page, _ = write(audit_reward(scored), tmp_path, page_of)
    assert EVIL[:30] in page.text and "\u202e" not in page.text


def test_a_reason_is_escaped(made: ModuleType, tmp_path: Path, page_of: type) -> None:
    def score(text: str) -> float:
        raise ValueError(EVIL)

    page, summary = write(audit_reward(score_comparisons(made.TextReward(score), made.pairs_of(8))), tmp_path, page_of)
    assert EVIL[:30] in page.text and summary["failed"] == 16


def test_a_folder_that_cannot_be_written(made: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="not written"):
        write_reward_report(audit_reward(made.bradley_terry(0, 5)), tmp_path / "file")
