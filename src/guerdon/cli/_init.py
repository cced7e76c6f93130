"""``guerdon init``: a folder with a plan, a reward and prompts that run as they are."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import note, show

FILES = ("plan.yaml", "reward.py", "prompts.jsonl", "plan.schema.json")
PROMPTS = ("Once upon a time", "The old house", "On a rainy day", "Mia opened the box", "In the garden", "The little dog",
           "At night", "Nobody knew that")  # fmt: skip


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if needed.")] = Path(),
    model: Annotated[str | None, typer.Option(help="A folder or a hub name; without it, a tiny one that does sums.")] = None,
) -> None:
    """Write a plan, a reward and prompts to start from; they run as they are, and nothing is overwritten.

    Without --model a language model of a tenth of a megabyte is made (or taken from the cache) and put beside the plan.
    """
    own = model is None
    for name in (*FILES, *(("model",) if own else ())):
        if (folder / name).exists():
            raise Stop(f"{folder / name} exists and is not overwritten; choose another folder: guerdon init FOLDER")
    if model is not None and (Path(model).exists() or model.startswith((".", "/", "~"))):
        path = Path(model).expanduser().resolve()
        if not (path / "config.json").is_file():
            raise Stop(f"{model}: expected a model's folder with a config.json")
        model = str(path)
    texts = _texts(folder, model)
    new = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if own:
            from guerdon.tasks import base_model

            note("making a tiny model that does sums (once; later from the cache)")
            shutil.copytree(base_model("arithmetic"), folder / "model", ignore=shutil.ignore_patterns("guerdon.json"))
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf8")
    except BaseException:  # nothing half-written stays
        shutil.rmtree(folder / "model", ignore_errors=True)
        for name in texts:
            (folder / name).unlink(missing_ok=True)
        for parent in new:
            parent.rmdir()
        raise
    show(f"wrote {', '.join(str(folder / n) for n in texts)}")
    show(f"next: {'' if folder == Path() else f'cd {folder} && '}guerdon train plan.yaml")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon init my-project --model path/to/model")(init)


def _texts(folder: Path, model: str | None) -> dict[str, str]:
    """name -> content of every file."""
    import yaml

    from guerdon.run.schema import plan_schema

    template = resources.files("guerdon.cli") / "template"
    numbers = {"CONTEXTS": "16", "MAX_TOKENS": "8", "LR": "6.0e-4", "STEPS": "60", "SAMPLES": "256"}
    if model is not None:
        numbers = {"CONTEXTS": "8 ", "MAX_TOKENS": "48", "LR": "1.0e-5", "STEPS": "30", "SAMPLES": "64"}
    plan = (template / "plan.yaml").read_text(encoding="utf8")
    texts = {"NAME": folder.resolve().name or "run", "MODEL": model or "model"}
    for key, value in {**{k: yaml.safe_dump(v).splitlines()[0] for k, v in texts.items()}, **numbers}.items():
        plan = plan.replace(f": {key}", f": {value}", 1)
    return {
        "plan.yaml": plan,
        "reward.py": (template / ("arithmetic.py" if model is None else "text.py")).read_text(encoding="utf8"),
        "prompts.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _prompts(model)),
        "plan.schema.json": json.dumps(plan_schema(), ensure_ascii=False) + "\n",
    }


def _prompts(model: str | None) -> list[dict[str, str]]:
    if model is not None:
        return [{"prompt": p} for p in PROMPTS]
    from guerdon.tasks import get

    return [{"prompt": prompt, "answer": info["answer"]} for prompt, info in get("arithmetic").items(500)]
