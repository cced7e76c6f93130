"""Plan: one run's choices, as a frozen dataclass; YAML is its serialisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from guerdon.core.errors import PlanError, nearest
from guerdon.run.spec import from_tree, to_tree, tree_hash


@dataclass(frozen=True)
class Evaluation:
    """Held-out evaluation: the same contexts and random streams every time, so that differences are the policy's.

    Args:
        reward: A held-out reward that is never optimised; None: only the training reward is evaluated.
        source: Where the contexts come from (None: the plan's source).
        samples: How many samples are drawn.
        every: At every how many draws; step 0 and the end are always evaluated.
        show: How many samples are written to the events in full.
        controls: How to sample, where it differs from training.
        keep_best: Save the policy of the best evaluation (held-out reward, or the training reward without one).
        measures: What else is measured of the samples, such as ``audit.Vendi()`` or ``audit.OffDataDistance("real.npy")``:
            specs whose ``open()`` gives a function from the rollout to named figures, or such functions.
    """

    reward: Any = None
    source: Any = None
    samples: int = 64
    every: int = 10
    show: int = 12
    controls: Mapping[str, Any] = field(default_factory=dict)
    keep_best: bool = True
    measures: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for m in self.measures:
            if isinstance(m, type) or not (callable(m) or callable(getattr(m, "open", None))):
                raise PlanError(f"evaluation.measures: expected measures such as audit.Vendi(), got {m!r}")
        named = [type(m).__name__ for m in self.measures if callable(getattr(m, "open", None))]
        if twice := next((n for n in named if named.count(n) > 1), ""):
            raise PlanError(f"evaluation.measures: two {twice} would give figures of the same names")


@dataclass(frozen=True)
class Stop:
    """When to stop before the last step.

    Args:
        kl: Nats per sample to the reference, by the mean over a draw.
        patience: Evaluations without a better one.
        failed_draws: Draws in a row without a single row that could be scored.
    """

    kl: float | None = None
    patience: int | None = None
    failed_draws: int = 3


@dataclass(frozen=True)
class Scoring:
    """How rewards are computed: calls at once, and seconds before a call counts as hung."""

    workers: int = 2
    timeout: float | None = 60.0


@dataclass(frozen=True)
class Plan:
    """What a run is made of; nothing here has been built yet.

    Args:
        policy: ``lazy(CausalLM.from_pretrained, ...)``, or a live Policy (then the plan cannot be written to YAML).
        source: Where contexts or recorded data come from.
        sampler: Which trajectories are drawn for them.
        learners: name -> what learns from each draw; usually ``{"policy": Train(...)}``.
        reward: What scores trajectories; None where nothing is scored (demonstrations, given pairs).
        transforms: Applied to the reward in this order.
        select: Applied after the transforms, in this order.
        advantage: How credit is spread; a mapping gives several by name, "main" is what objectives read.
        references: name -> frozen or slowly moving copies that objectives and transforms compare with.
        critics: name -> networks that predict returns.
        evaluation: Held-out evaluation; None: none.
        checks: Looked at after every draw (None: the audit's default checks).
        stop: When to stop early.
        scoring: Workers and time-out of the reward.
        steps: Number of draws.
        checkpoint_every: Draws between checkpoints (0: only at the end).
        seed: Addresses all randomness.
        name: Name of the run's folder.

    Example:
        >>> from guerdon.policies import CausalLM
        >>> from guerdon.run import Plan, Prompts, Train, lazy
        >>> from guerdon import advantages, objectives, rewards, samplers
        >>> plan = Plan(
        ...     policy=lazy(CausalLM.from_pretrained, path_or_name="gpt2"),
        ...     source=Prompts(("Once upon a time",)),
        ...     sampler=samplers.Group(contexts=1, n=8),
        ...     reward=rewards.Sentiment(),
        ...     advantage=advantages.GroupNorm(),
        ...     learners={"policy": Train(objectives.PolicyGradient())},
        ... )
        >>> Plan.from_tree(plan.to_tree()) == plan
        True
    """

    policy: Any
    source: Any
    sampler: Any
    learners: Mapping[str, Any]
    reward: Any = None
    transforms: tuple[Any, ...] = ()
    select: tuple[Any, ...] = ()
    advantage: Any = None
    references: Mapping[str, Any] = field(default_factory=dict)
    critics: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    checks: tuple[Any, ...] | None = None
    stop: Stop = Stop()
    scoring: Scoring = Scoring()
    steps: int = 100
    checkpoint_every: int = 25
    seed: int = 0
    name: str = "run"

    def to_tree(self, *, full: bool = False) -> dict[str, Any]:
        """Plain data; fields at their defaults are left out unless ``full``."""
        return {k: v for k, v in to_tree(self, full=full).items() if k != "use"}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], *, folder: Path | None = None) -> Plan:
        """The plan that plain data describes.

        Raises:
            PlanError: for an unknown key, a value that does not fit, or a name outside guerdon's rooms.
        """
        return from_tree(dict(tree), cls, "plan", folder)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Plan:
        """A plan from YAML, with ``key.sub=value`` overrides applied; user files are looked up beside it."""
        return cls.from_tree(override(read_tree(path), overrides), folder=Path(path).resolve().parent)

    def save(self, path: str | Path) -> None:
        Path(path).write_text(yaml.safe_dump(self.to_tree(), sort_keys=False, allow_unicode=True), encoding="utf8")

    @property
    def hash(self) -> str:
        """Names the plan's content; the run's name does not count."""
        return tree_hash({k: v for k, v in self.to_tree().items() if k != "name"})

    def user_code(self) -> list[str]:
        """Every ``file.py:name`` the plan would execute."""
        return sorted(set(user_code(self.to_tree())))


def dims_of(plan: Plan) -> Literal["sum", "mean"] | None:
    """How the terms of the policy's learners read log-probs of vector actions; None where no term says.

    Raises:
        PlanError: where two terms disagree.
    """
    found: dict[Literal["sum", "mean"], str] = {}
    for name, spec in plan.learners.items():
        of = getattr(spec, "of", "policy")
        if hasattr(spec, "all_terms") and "policy" in ((of,) if isinstance(of, str) else of):
            found |= {t.dims: f"{type(t.objective).__name__} of learner {name!r}" for t in spec.all_terms() if t.dims}
    if len(found) > 1:
        (a, first), (b, second) = found.items()
        raise PlanError(f"{first} reads log-probs as dims={a!r} and {second} as {b!r}, and a rollout has one of them")
    return next(iter(found), None)


def user_code(tree: Any) -> list[str]:
    """Every ``file.py:name`` in plain data, before any of it is loaded."""
    if isinstance(tree, str):
        return [tree] if ".py:" in tree and "\n" not in tree else []
    children = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ()
    return [name for child in children for name in user_code(child)]


def read_tree(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file (safe loader only).

    Raises:
        PlanError: for a missing file, broken YAML (with its line), or something that is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as e:
        raise PlanError(f"{path}: cannot be read ({getattr(e, 'strerror', None) or 'not UTF-8 text'})") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise PlanError(
            f"{path}{f', line {mark.line + 1}' if mark else ''}: not valid YAML: {getattr(e, 'problem', e)}"
        ) from None
    if not isinstance(tree, dict):
        raise PlanError(f"{path}: expected a mapping of plan keys, got {'nothing' if tree is None else type(tree).__name__}")
    return tree


def override(tree: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The tree with ``learners.policy.lr=1e-4`` style assignments applied; values are read as YAML.

    >>> override({"steps": 5, "learners": {"policy": {"lr": 1}}}, ["learners.policy.lr=2", "seed=3"])
    {'steps': 5, 'learners': {'policy': {'lr': 2}}, 'seed': 3}
    """
    out = _copy(tree)
    for assignment in assignments:
        path, sign, text = assignment.lstrip("-").partition("=")
        if not sign:
            raise PlanError(f"override {assignment!r}: expected key=value")
        *parents, last = path.split(".")
        node: Any = out
        for depth, key in enumerate(parents):
            if isinstance(node, list):
                node = node[_list_index(node, key, assignment)]
                continue
            if key not in node:
                known = [f.name for f in dataclasses.fields(Plan)] if depth == 0 else list(node)
                if depth == 0 and key in known:
                    node[key] = {}
                else:
                    raise PlanError(f"override {assignment!r}: unknown key {key!r}; {nearest(key, known)}")
            if isinstance(node[key], str):  # a bare atom gets its first argument
                node[key] = {"use": node[key]}
            node = node[key]
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise PlanError(f"override {assignment!r}: the value is not valid YAML") from None
        if isinstance(node, list):
            node[_list_index(node, last, assignment)] = value
        elif isinstance(node, dict):
            node[last] = value
        else:
            raise PlanError(f"override {assignment!r}: {'.'.join(parents)} is a plain value")
    return out


def _list_index(node: list[Any], key: str, assignment: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise PlanError(f"override {assignment!r}: expected an index from 0 to {len(node) - 1} in place of {key!r}")
    return int(key)


def _copy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {k: _copy(v) for k, v in tree.items()}
    return [_copy(v) for v in tree] if isinstance(tree, list | tuple) else tree
