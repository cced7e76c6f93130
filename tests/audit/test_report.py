import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from guerdon.audit import read_history, write_report
from guerdon.audit.report.page import MAX_BYTES
from guerdon.audit.report.svg import Dots, Frame, Line, chart, envelope
from guerdon.core.errors import DataError

KINDS = ["healthy", "hacked", "learned", "failing", "one_step", "no_held_out", "no_evaluation", "empty", "hostile", "running"]
VOID = {"meta", "link", "br", "img", "input", "hr"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "div", "span", "b", "small", "code", "pre", "main", "footer", "header", "section",
    "article", "figure", "figcaption", "h1", "h2", "h3", "p", "dl", "dt", "dd", "ul", "ol", "li", "table", "tr", "th", "td", "i", "a",
    "details", "summary", "svg", "path", "text", "circle",
}  # fmt: skip


class Page(HTMLParser):
    """The tags, links, attributes and visible text of a page; fails where tags do not nest."""

    def __init__(self, source: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.pieces))


def report(folder: Path) -> tuple[Page, dict[str, Any], str]:
    path = write_report(folder)
    source = path.read_text(encoding="utf8")
    return Page(source), json.loads((folder / "summary.json").read_text(encoding="utf8")), source


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_whole_self_contained_and_without_script(tmp_path: Path, synthetic: ModuleType, kind: str) -> None:
    page, summary, source = report(synthetic.write(tmp_path / "run", kind))
    assert len(source.encode()) < MAX_BYTES
    assert set(page.tags) <= ALLOWED | {"title"}  # no script, img, iframe, link, object, form ...
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "data", "poster", "xlink:href"), (tag, name)
        if name == "href":
            assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", value), value
        if name == "style":
            assert "url(" not in value
    assert "url(" not in source
    assert "@import" not in source
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes
    assert not re.search(r"\b(nan|inf|None)\b", page.text), re.search(r".{40}\b(nan|inf|None)\b", page.text)
    assert "{{" not in page.text or kind == "hostile"
    assert summary["format"] == 1
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["events.jsonl", "plan.yaml", "report.html", "summary.json"]


def test_sampled_text_is_shown_as_it_is_and_never_interpreted(tmp_path: Path, synthetic: ModuleType) -> None:
    page, _, source = report(synthetic.write(tmp_path / "run", "hostile"))
    assert (
        '<script>alert(1)</script><img src=x onerror="alert(1)">{{ 7 * 7 }} \' " ` </pre></td></article> & &amp; ␀\ufffd'
        in page.text
    )
    assert '"><svg onload=alert(1)>' in page.text
    assert "javascript:" in page.text  # an identifier that is none of arXiv's is text, not a link
    assert not {"script", "img"} & set(page.tags)
    assert "\u202e" not in source
    assert "\x00" not in source


def test_every_field_a_stranger_could_fill_is_escaped(tmp_path: Path, synthetic: ModuleType) -> None:
    """The same attack in every text of every event, and in every key."""
    folder = synthetic.write(tmp_path / "run", "hacked")
    attack = "</style></title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

    def poison(x: Any, depth: int = 0) -> Any:
        if isinstance(x, dict):
            fixed = {"event", "step", "time", "metrics", "samples", "plan", "level", "evidence", "seconds", "failures", "references",
                     "versions", "name", "task", "check", "message", "context", "output", "parts", "reason"}  # fmt: skip
            out = {k: v if k in ("event", "level") else poison(v, depth + 1) for k, v in x.items()}
            return {**out, **({} if depth == 0 else {k + attack: v for k, v in out.items() if k not in fixed})}
        if isinstance(x, list):
            return [poison(v, depth + 1) for v in x]
        return x + attack if isinstance(x, str) else x

    rows = [poison(json.loads(line)) for line in (folder / "events.jsonl").read_text().splitlines()]
    rows.append({"event": "finding", "step": 3, "level": "error", "check": attack, "message": attack, "advice": attack,
                 "evidence": {attack: attack}})  # fmt: skip
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "frontier.json").write_text(json.dumps({"x": attack, "y": attack, "points": [{"label": attack, "x": 1, "y": 2}]}))
    page, _, _ = report(folder)
    assert set(page.tags) <= ALLOWED
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert page.text.count("<script>alert(1)</script>") > 50


def test_the_story_of_a_healthy_run(tmp_path: Path, synthetic: ModuleType) -> None:
    page, summary, _ = report(synthetic.write(tmp_path / "run", "healthy"))
    assert summary["verdict"] == {
        "tone": "good",
        "text": "The reward rose, and a held-out reward, never trained on, rose with it.",
    }
    assert summary["findings"] == []
    assert summary["state"] == "finished"
    c = summary["changes"]["reward"]
    assert c["before"]["mean"] < c["after"]["mean"]
    assert c["difference"]["lo"] > 0
    assert 0.85 < summary["diversity_kept"] < 0.95
    for words in ("Nothing found", "cheerful-stories", "continue a story cheerfully", "DeepSeekMath", "9f31c0d2a7b4e865", "torch 2.8.0",
                  "After 120 draws", "a dog who lost his bone", "In brackets: 95\xa0% intervals of the difference"):  # fmt: skip
        assert words.replace("\xa0", " ") in page.text.replace("\xa0", " "), words
    assert page.tags.count("svg") > 12


def test_the_story_of_a_hacked_run(tmp_path: Path, synthetic: ModuleType) -> None:
    page, summary, _ = report(synthetic.write(tmp_path / "run", "hacked"))
    assert summary["verdict"]["tone"] == "bad"
    assert "Over-optimised" in page.text
    assert summary["hacking"]["outcome"] == "hacking seen"
    assert summary["hacking"]["since"] == 30
    assert summary["over_optimisation"]["best_step"] == 30
    assert summary["over_optimisation"]["fit"]["r2"] > 0.9
    assert "Between draws 30 and 120 the held-out reward fell" in page.text
    assert "Best held-out reward, after 30 draws" in page.text  # the texts of the best evaluation are kept
    assert "Dashed: R(d) =" in page.text
    assert {f["check"] for f in summary["findings"]} == {"HeldOutDivergence", "KLBudget", "DiversityLoss", "EntropyCollapse"}
    assert all(f["advice"] and f["evidence"] for f in summary["findings"])
    assert page.text.index("Held-out divergence") < page.text.index("Diversity loss")  # errors first
    assert "What to do." in page.text
    assert "happy happy joy" in page.text


def test_rewards_of_different_scales_share_a_chart_in_standard_deviations(tmp_path: Path, synthetic: ModuleType) -> None:
    page, summary, _ = report(synthetic.write(tmp_path / "run", "learned"))
    assert summary["hacking"]["outcome"] == "hacking seen"
    assert "both in standard deviations between the first evaluation's answers" in page.text
    assert {f["check"] for f in summary["findings"]} == {"HeldOutDivergence", "LikelihoodDisplacement", "UncertaintyGrowth"}
    assert "Likelihood of the answers compared" in page.text
    assert "Uncertainty" in page.text
    folder = synthetic.write(tmp_path / "bare", "learned")
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for r in rows:
        r.get("metrics", {}).pop("proxy/std", None)
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page, _, _ = report(folder)
    assert "on its own axis: the two rewards have different scales" in page.text


def test_the_story_of_a_healthy_run_is_no_hacking(tmp_path: Path, synthetic: ModuleType) -> None:
    page, summary, _ = report(synthetic.write(tmp_path / "run", "healthy"))
    assert summary["hacking"]["outcome"] == "no hacking seen"
    assert "never clearly fell while the training reward rose" in page.text
    assert "standard deviations that lasts two evaluations would hardly have been missed" in page.text
    assert "What it looks like" not in page.text


def test_the_story_of_a_failing_run(tmp_path: Path, synthetic: ModuleType) -> None:
    page, summary, _ = report(synthetic.write(tmp_path / "run", "failing"))
    assert summary["verdict"]["text"].startswith("Not to be trusted: 56 % of the training answers could not be scored")
    total = sum(summary["failures"].values())
    assert f"{total:,} answers could not be scored" in page.text
    assert "timed out after 60 s" in page.text
    assert "Not scored: timed out after 60 s" in page.text


def test_a_reward_bought_with_diversity_is_no_success(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "healthy")
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for r in rows:
        if "distinct_2" in r.get("metrics", {}):
            r["metrics"]["distinct_2"] *= 0.99 ** r["step"]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page, summary, _ = report(folder)
    assert (
        summary["verdict"]["text"]
        == "The reward and a held-out reward rose, at the price of diversity: the answers became more alike."
    )
    assert summary["diversity_kept"] < 0.3
    assert "Diversity loss" in page.text


def test_what_is_missing_is_said(tmp_path: Path, synthetic: ModuleType) -> None:
    page, summary, _ = report(synthetic.write(tmp_path / "a", "no_held_out"))
    assert "This run has no held-out reward" in page.text
    assert "evaluation: {reward: ..., samples: 256, every: 10}" in page.text
    assert (summary["hacking"]["outcome"], summary["over_optimisation"]) == ("not measured", None)
    assert summary["verdict"] == {
        "tone": "neutral",
        "text": "The reward rose; without a held-out reward, nothing here confirms it.",
    }
    page, summary, _ = report(synthetic.write(tmp_path / "b", "empty"))
    assert summary["state"] == "empty"
    assert "No draw was finished" in page.text
    assert "No evaluation with the held-out reward was finished." in page.text
    page, summary, _ = report(synthetic.write(tmp_path / "c", "running"))
    assert summary["state"] == "not ended"
    assert "The run has not ended" in page.text


def test_early_stop_and_unread_lines_are_told(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "running")
    with open(folder / "events.jsonl", "a") as f:
        f.write('{"event": "end", "step": 120, "time": 1790000400, "reason": "early stop: KL 60 above 50"}\n{"event": "dr')
    page, summary, _ = report(folder)
    assert summary["state"] == "stopped early"
    assert summary["unread_lines"] == 1
    assert "Ended before its plan did: early stop: KL 60 above 50." in page.text
    assert "1 line of events.jsonl could not be read" in page.text


def test_a_page_without_a_start_event_uses_the_plan_file(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "healthy")
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(lines[1:]))
    page, summary, _ = report(folder)
    assert "PolicyGradient(clip=0.2)" in page.text
    assert summary["seed"] is None
    (folder / "plan.yaml").write_text("a: [")
    report(folder)


def test_ten_thousand_steps_keep_every_spike_and_stay_small(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "long")
    page, summary, source = report(folder)
    assert len(source) < 600_000
    assert summary["draws"] == 10_000
    assert "10,000 draws" in page.text
    h = read_history(folder)
    x, y = h.metric("kl")
    y = y.copy()
    y[4321] = 99.0
    _, mean, lo, hi = envelope(x, y, 240)
    assert hi.max() == 99.0
    assert len(mean) == 240
    assert (lo <= mean).all()
    assert (mean <= hi).all()


def test_huge_texts_stay_within_bounds(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "healthy", huge={f"key {k}": "y" * 50_000 for k in range(20)})
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for r in rows:
        for s in r.get("samples", ()):
            s["context"], s["output"] = "c" * 20_000, "<&\"'>" * 20_000
        if r["event"] == "draw":
            r["failures"] = {"z" * 5000 + str(r["step"]): 1}
            r["metrics"] |= {f"part/{k}" + "p" * 300: 1.0 for k in range(50)}
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page, _, source = report(folder)
    assert len(source.encode()) < 1_000_000
    assert "98,800 more characters" in page.text


def test_no_events_is_a_clear_error_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events\.jsonl: no such file"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_can_be_made_again(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.write(tmp_path / "run", "hacked")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_chart_places_points_where_they_belong() -> None:
    svg = str(chart([Dots(np.array([0.0, 10.0]), np.array([0.0, 1.0]), "ink")], Frame(200, 100, ceiling=1.0, zero=True)))
    spots = [(float(a), float(b)) for a, b in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)]
    floor = float(re.search(r'class="axis" d="M[\d.]+ ([\d.]+)', svg)[1])  # type: ignore[index]
    assert spots[0][1] == floor  # y 0 lies on the axis
    assert spots[1][1] < spots[0][1]
    assert spots[1][0] > spots[0][0]
    assert chart([Line(np.array([1.0]), np.array([np.nan]))], Frame()) == ""


def test_gaps_in_a_curve_are_gaps() -> None:
    svg = str(chart([Line(np.arange(4.0), np.array([0.0, 1.0, np.nan, 2.0]))], Frame()))
    path = re.search(r'class="line"[^>]* d="([^"]*)"', svg)[1]  # type: ignore[index]
    assert path.count("M") == 2
