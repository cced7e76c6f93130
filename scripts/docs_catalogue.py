"""The catalogue of published systems, made when the pages are built: from the systems' files and from reproductions/*.json.

A hook of MkDocs. Nothing of it is kept, so nothing of it goes stale: a new file in a family's folder is a new row and a new page.
"""

import ast
import html
import inspect
import re
import tempfile
import textwrap
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

PLACE = "systems"
PILL = "padding:.1em .6em;border-radius:1em;font-weight:600;font-size:.95em;white-space:nowrap"
COLOURS = {  # ink, ground: both fixed, so that they are read in the light and in the dark
    "reproduced": ("#0b7a63", "#e3f2ee"), "partly": ("#8a5a00", "#fbf0d9"), "not reproduced": ("#b23a00", "#fbe9e0"),
}  # fmt: skip
INTRO = """# Published systems

Each row is a claim of a paper, and the verdict of a small experiment on it. [A study](../concepts/studies.md) says beforehand
what it expects; *not reproduced* means that the claim did not show at this size, and nothing more. Each page tells what was
compared and what came out, and how to run it again:

```sh
guerdon reproduce ID      # the study, and its verdict
guerdon cp ID             # the system's file, to be changed
```

Measured are differences between arms over paired seeds, with their 95 % intervals.

<style>.md-typeset td:nth-child(n+3) { min-width: 9.5rem } .md-typeset td:first-child { min-width: 6rem }</style>
"""


def on_config(config):
    """List the pages between the other sections and the API."""
    from guerdon.systems import families, names

    pages = [f"{PLACE}/index.md"]
    pages += [{_title(family): [f"{PLACE}/{name}.md" for name in names(family)]} for family in families()]
    at = next((k for k, entry in enumerate(config.nav) if "API" in entry), len(config.nav))
    config.nav.insert(at, {"Systems": pages})
    return config


def on_files(files, config):
    """Add the catalogue, and a page and a picture for each system."""
    for place, content in pages(Path(config.config_file_path).parent / "reproductions").items():
        files.append(File.generated(config, place, content=content))
    return files


def pages(records):
    """All pages and pictures as {place: content}.

    Args:
        records: Folder of the records; it may be missing.
    """
    from guerdon.core.errors import DataError
    from guerdon.study.picture import draw
    from guerdon.systems import families, find, names, read_record

    out, tables, told = {}, [], []
    for family in families():
        rows = []
        for name in names(family):
            try:
                found = find(name)
                system = found.load()
                record = read_record(records / f"{name}.json") if (records / f"{name}.json").is_file() else None
            except DataError as e:
                raise PluginError(str(e)) from e
            except Exception as e:  # a system's file is any code
                raise PluginError(f"{found.path}: {type(e).__name__}: {e}") from e
            if record is not None:
                picture = records / f"{name}.svg"
                if not picture.is_file():
                    picture = draw(record, Path(tempfile.mkdtemp(), f"{name}.svg"))
                out[f"{PLACE}/{name}.svg"] = picture.read_bytes()
            word = verdict(system, record)
            told.append(word)
            rows.append(_row(name, system, record, word))
            out[f"{PLACE}/{name}.md"] = page(name, found, system, record, word)
        head = "| system | verdict | claim of the paper | expected, and measured |\n|---|---|---|---|\n"
        tables.append(f"## {_title(family)}\n\n{head}" + "".join(rows))
    counted = ", ".join(f"{told.count(w)} {w}" for w in [*COLOURS, *sorted(set(told) - set(COLOURS))] if w in told)
    sums = f"\n{len(told)} system{'s' * (len(told) != 1)}: {counted}.\n\n" if told else "\nThere are none yet.\n\n"
    return {f"{PLACE}/index.md": INTRO + sums + "\n".join(tables), **out}


def verdict(system, record):
    """The verdict in a record, unless it is of another expectation than the one that the file holds now."""
    if record is None:
        return "not measured"
    now = [(e.arm, e.direction, e.than, e.by, e.metric or system.study.metric, e.times) for e in system.study.expect]
    then = [tuple(e[k] for k in ("arm", "direction", "than", "by", "metric", "times")) for e in record["expectation"]]
    return (record["verdict"] or "no verdict") if now == then else "expectation changed"


def page(name, found, system, record, word):
    """The page of one system."""
    paper, file = system.paper, f"{found.path.parent.name}/{found.path.name}"
    source = found.path.read_text(encoding="utf8")
    authors = ", ".join(f"{given} {family}".strip() for family, _, given in (a.partition(", ") for a in paper.authors[:3]))
    cited = f"{authors}{' and others' if len(paper.authors) > 3 else ''}: [{_text(paper.title)}]({paper.link}), {paper.year}"
    entries = [paper.bibtex(name), *(p.bibtex(f"{name}-{k}") for k, p in enumerate(system.papers, 2))]
    parts = [
        f"# {_text(system.name)}",
        f"`{name}`, {_title(found.family).lower()}: {_pill(word)}",
        f"> {_text(system.claim)}\n>\n> {cited}",
        *_measured(name, record, word),
        f"## What it does\n\n{_about(source)}",
        f"## What was expected\n\n{_expected(system, record)}",
        *([f"## The arms\n\n{_arms(record)}", _how(record)] if record else []),
        *([f"## What was tried\n\n{inspect.cleandoc(system.tried)}"] if system.tried else []),
        f"## Run it\n\n{_fenced('sh', _commands(name, record))}",
        f'## The file\n\n??? abstract "`{file}`"\n\n' + textwrap.indent(_fenced("python", source), "    "),
        "## Cite\n\n" + _fenced("bibtex", "\n\n".join(entries)),
    ]
    return "\n\n".join(parts) + "\n"


def _fenced(language, text):
    return f"```{language}\n{text.rstrip()}\n```"


def _commands(name, record):
    lines = [
        (f"guerdon reproduce {name}", _minutes(record)),
        (f"guerdon reproduce {name} --budget tiny", "seconds; no verdict"),
        (f"guerdon cp {name}", "the file below, to change and run it"),
    ]
    return "\n".join(f"{line:<{len(name) + 35}}# {told}" for line, told in lines)


def _measured(name, record, word):
    if record is None:
        return [f"Not measured yet: `guerdon reproduce {name}` does it."]
    changed = "**The expectation in the file is another one now; the verdict below is of the old one.**"
    drawn = f"![{_text(record['summary'])}]({name}.svg)"
    return [*([changed] if word == "expectation changed" else []), drawn, _text(record["summary"])]


def _about(source):
    """The file's docstring without its title and its reference, which stand elsewhere on the page."""
    told = inspect.cleandoc(ast.get_docstring(ast.parse(source)) or "")
    body = [p for p in told.split("\n\n")[1:] if not p.startswith(("Reference:", "Source:", "References:"))]
    return "\n\n".join(body)


def _expected(system, record):
    if record is None:
        return "\n".join(f"- {_text(str(e))}" for e in system.study.expect)
    rows = "".join(
        f"| {_cell(e['text'])} | {_found(e)} | {_pill(e['verdict']) if e['verdict'] else '–'} |\n" for e in record["expectation"]
    )
    swapped = f"\nThe same figures with the labels of the arms exchanged: {record['swapped']}." if record.get("swapped") else ""
    return f"| expected | difference (95 % interval) | |\n|---|---|---|\n{rows}{swapped}"


def _arms(record):
    """What each arm measured, by the metrics that the study speaks of."""
    from guerdon.study import interval
    from guerdon.study.panels import digits_of, label, number

    metrics = list(dict.fromkeys([record["metric"], *(e["metric"] for e in record["expectation"])]))
    tuned = any(arm["setting"] for arm in record["arms"].values())
    head = ["arm", *(_cell(label(record, m)) for m in metrics), *(["tuned to"] if tuned else []), "seconds a run"]
    rows = []
    for name, arm in record["arms"].items():
        cells = [f"**{_cell(name)}**" + (f"<br>{_cell(arm['about'])}" if arm["about"] else "")]
        for metric in metrics:
            values = [v for v in arm["metrics"].get(metric, ()) if v is not None]
            mean, low, _ = interval(values) if values else (0.0, 0.0, 0.0)
            digits = digits_of(mean) + 1
            spread = f" ± {number(mean - low, digits)}" if len(values) > 1 else ""
            cells.append(f"{number(mean, digits)}{spread}" if values else "–")
        cells += [_cell(", ".join(f"{k} {v}" for k, v in arm["setting"].items())) or "–"] if tuned else []
        failed = f"<br>{len(arm['failed'])} failed: {_cell(arm['failed'][0])}" if arm["failed"] else ""
        rows.append([*cells, f"{sum(arm['seconds']) / max(1, len(arm['seconds'])):.0f}{failed}"])
    table = [head, ["---"] * len(head), *rows]
    return (
        "".join(f"| {' | '.join(cells)} |\n" for cells in table)
        + "\nMeans over seeds with the half width of their 95 % interval."
    )


def _how(record):
    seeds, commit, trials = record["seeds"], record["commit"], len(record["tuning"])
    minutes = f"{record['seconds'] / 60:.1f} minutes with {record['workers']} processes"
    at = f" at commit `{commit[:10]}`{' with changes' if commit.endswith('-dirty') else ''}" if commit else ""
    told = [
        f"{len(seeds)} paired seeds ({seeds[0]} to {seeds[-1]}), budget `{record['budget']}`, {minutes} with warm starts{at}.",
        f"Tuned before on pilot seeds, in {trials} runs, the same number for each arm." if trials else "",
        ", ".join(f"{k} {v}" for k, v in record["versions"].items() if k in ("guerdon", "torch", "python")) + ".",
    ]
    return " ".join(filter(None, told))


def _row(name, system, record, word):
    rows = record["expectation"] if record else [{"text": str(e), "effect": None} for e in system.study.expect]
    found = "<br>".join(_cell(e["text"]) + (f": **{_found(e)}**" if e["effect"] is not None else "") for e in rows)
    title = f"[{_cell(system.name)}]({name}.md)<br>`{name}`"
    return f"| {title} | {_pill(word)} | {_cell(system.claim)} [{system.paper.year}]({system.paper.link}) | {found} |\n"


def _found(e):
    from guerdon.study.panels import digits_of, number

    if e["effect"] is None:
        return "–"
    digits = digits_of(e["effect"], *e["ci"])
    low, high = (number(v, digits) for v in e["ci"])
    return f"{number(e['effect'], digits, sign=True)} ({low} to {high})"


def _minutes(record):
    if record is None or record["budget"] != "default":
        return "at most ten minutes on two cores"
    return f"{max(1, round(record['seconds'] / 60))} min with {record['workers']} processes"


def _pill(word):
    ink, ground = COLOURS.get(word, ("#59616b", "#eeece7"))
    return f'<span style="color:{ink};background:{ground};{PILL}">{word}</span>'


def _title(family):
    return family.replace("-", " ").capitalize()


def _text(words):
    """Words as they are: no markup but `code`, no formulas."""
    return re.sub(r"([\\*_$\[\]])", r"\\\1", html.escape(" ".join(str(words).split()), quote=False))


def _cell(words):
    return _text(words).replace("|", "\\|")
