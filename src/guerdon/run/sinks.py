"""Other places to watch a run. Each sink is called with every event; events.jsonl stays the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.core.errors import PlanError, nearest
from guerdon.run.events import Sink

_EXTRAS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def make_sink(name: str, *, run_name: str, folder: Path | None) -> Sink:
    """The sink called ``name``: tensorboard, trackio or wandb.

    Raises:
        PlanError: for an unknown name, or one whose package is not installed.
    """
    if name not in _EXTRAS:
        raise PlanError(f"unknown log {name!r}; {nearest(name, _EXTRAS)}")
    try:
        return _MAKERS[name](run_name, folder or Path())
    except ImportError:
        raise PlanError(f"log {name!r} needs a package: pip install 'guerdon[{_EXTRAS[name]}]'") from None


def scalars(event: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a draw (``train/``) or an evaluation (``eval/``)."""
    prefix = {"draw": "train", "eval": "eval"}.get(event["event"])
    return {f"{prefix}/{k}": v for k, v in (event.get("metrics") or {}).items() if v is not None} if prefix else {}


def _tensorboard(run_name: str, folder: Path) -> Sink:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def sink(event: Mapping[str, Any]) -> None:
        for name, value in scalars(event).items():
            writer.add_scalar(name, value, event["step"])
        if event["event"] == "end":
            writer.close()

    return sink


def _tracker(module_name: str) -> Any:
    def make(run_name: str, folder: Path) -> Sink:
        import importlib

        module = importlib.import_module(module_name)  # wandb and trackio share these three calls
        module.init(project="guerdon", name=run_name)

        def sink(event: Mapping[str, Any]) -> None:
            if numbers := scalars(event):
                module.log(numbers, step=event["step"])
            if event["event"] == "end":
                module.finish()

        return sink

    return make


_MAKERS = {"tensorboard": _tensorboard, "trackio": _tracker("trackio"), "wandb": _tracker("wandb")}
