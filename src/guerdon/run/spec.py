"""Objects <-> plain trees (YAML, JSON), with an allow-list: a plan names guerdon's own atoms or an explicit ``file.py:name``.

``{use: objectives.PolicyGradient, ...}`` builds that atom from its fields; a bare ``advantages.RLOO`` is the same with none.
Nothing else is ever imported, so a plan from a stranger runs no code of theirs except files it names openly.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, get_args, get_origin

from guerdon.core.errors import PlanError, nearest
from guerdon.core.reward import Scope

if TYPE_CHECKING:
    from torch import Tensor

ROOMS = (
    "policies",
    "samplers",
    "feedback",
    "rewards",
    "transforms",
    "selection",
    "advantages",
    "objectives",
    "audit",
    "tasks",
    "worlds",
    "run",
)
# what is defined there can only stand in a plan as a live object
_NOT_ROOMS = ("guerdon.systems.", "guerdon.testing.", "guerdon.core.world")
_CONSTRUCTORS = ("from_pretrained", "of")


@dataclass(frozen=True)
class Lazy:
    """A call of a guerdon constructor, written down instead of made: how a plan holds what is expensive to build.

    It can stand wherever a reward can (in a mixture, an annotator, a held-out reward); a run makes it before anything is scored.
    """

    use: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __call__(self, *args: Any) -> NoReturn:
        raise PlanError(f"{self.use} is only written down; run.build_reward makes it")

    def build(self) -> Any:
        return resolve(self.use)(**self.kwargs)


def lazy(target: Callable[..., Any], **kwargs: Any) -> Lazy:
    """``target(**kwargs)`` written down for a plan, checked now and made when the run starts.

    >>> from guerdon.policies import CausalLM
    >>> lazy(CausalLM.from_pretrained, path_or_name="gpt2", lora=8).use
    'policies.CausalLM.from_pretrained'
    """
    use = name_of(target)
    _check_names(use, inspect.signature(target), kwargs)
    return Lazy(use, kwargs)


def name_of(target: Any) -> str:
    """``room.Name`` of a public atom (or of one of its constructors)."""
    owner = getattr(target, "__self__", None)
    cls, tail = (owner, f".{target.__name__}") if inspect.isclass(owner) else (target, "")
    name = getattr(cls, "__name__", "")
    for room in ROOMS:
        home = f"guerdon.{'core' if room == 'run' else room}", f"guerdon.{room}"  # Term and Due are named as run.Term, run.Due
        if cls.__module__.startswith(home):
            if getattr(importlib.import_module(f"guerdon.{room}"), name, None) is cls:
                return f"{room}.{name}{tail}"
    raise PlanError(
        f"{cls.__module__}.{name} is not a public name of a guerdon room; user code goes into a file named as 'file.py:name'"
    )


def resolve(use: str, where: str = "plan") -> Callable[..., Any]:
    """The class or constructor that ``room.Name[.constructor]`` stands for, found only among the rooms' public names."""
    room, *rest = use.split(".")
    if room not in ROOMS or not rest:
        raise PlanError(f"{where}: {use!r} is not 'room.Name'; {nearest(room, ROOMS)}")
    module = importlib.import_module(f"guerdon.{room}")
    if rest[0] not in module.__all__:
        raise PlanError(f"{where}: no {rest[0]!r} in {module.__name__[8:]}; {nearest(rest[0], module.__all__)}")
    target = getattr(module, rest[0])
    if len(rest) == 2 and rest[1] in _CONSTRUCTORS and inspect.ismethod(getattr(target, rest[1], None)):
        target = getattr(target, rest[1])
    elif len(rest) > 1:
        raise PlanError(f"{where}: {use!r} is not a constructor; known: {', '.join(_CONSTRUCTORS)}")
    if not callable(target):
        raise PlanError(f"{where}: {use!r} cannot be built")
    return target


# ---------------------------------------------------------------- object -> tree
def to_tree(value: Any, *, full: bool = False) -> Any:
    """Plain data that ``from_tree`` turns back into an equal object; ``full`` writes out fields at their defaults too.

    >>> from guerdon.core import Due
    >>> to_tree({"a": (1, 2.5, None)})
    {'a': [1, 2.5, None]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Lazy):
        return {"use": value.use, **to_tree(dict(value.kwargs), full=full)}
    if isinstance(value, Mapping):
        return {str(k): to_tree(v, full=full) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_tree(v, full=full) for v in value]
    if isinstance(value, Path):
        return str(value)
    origin = getattr(value, "origin", None)
    if isinstance(origin, str) and ".py:" in origin:
        return origin
    module = type(value).__module__
    if dataclasses.is_dataclass(value) and module.split(".")[0] == "guerdon" and not module.startswith(_NOT_ROOMS):
        fields = [f for f in dataclasses.fields(value) if f.init and (full or _changed(value, f))]
        tree = {f.name: to_tree(getattr(value, f.name), full=full) for f in fields}
        return {"use": name_of(type(value)), **tree} if tree else name_of(type(value))
    return {"live": _describe(value)}


def _changed(value: Any, f: dataclasses.Field[Any]) -> bool:
    default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    current = getattr(value, f.name)
    return default is dataclasses.MISSING or type(current) is not type(default) or current != default


def _describe(value: Any) -> str:
    """What a live Python object is, with a digest of its source or weights, so that a plan's hash still means something."""
    from torch import Tensor, nn

    digest = hashlib.sha256()
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode() + _bytes(value))
    elif isinstance(value, nn.Module):
        for name, p in value.named_parameters():
            digest.update(name.encode() + p.detach().cpu().float().numpy().tobytes())
    else:
        value = getattr(value, "fn", value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: to_tree(getattr(value, f.name)) for f in dataclasses.fields(value)}
            digest.update(json.dumps(fields, sort_keys=True).encode())  # two of one class differ by their fields
        code: Any = value if inspect.isroutine(value) else type(value)
        digest.update(_source(code))
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '?')}:{name}@{digest.hexdigest()[:12]}"


def _bytes(x: Tensor) -> bytes:
    """What a tensor holds, in any number format."""
    import torch

    return bytes(x.detach().cpu().contiguous().view(torch.uint8).numpy()) if x.dim() else repr(x.item()).encode()


@functools.lru_cache(maxsize=512)
def _source(kind: Any) -> bytes:
    """The code of a class or function: reading it takes a tenth of a second, and plans are hashed again and again."""
    try:
        return inspect.getsource(kind).encode()
    except (OSError, TypeError):
        return repr(kind if isinstance(kind, type) else type(kind)).encode()


def tree_hash(tree: Any) -> str:
    """16 hex digits that name a plan's content."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- tree -> object
def from_tree(tree: Any, expected: Any = Any, where: str = "plan", folder: Path | None = None) -> Any:
    """The object that a tree describes; every mistake is one line that names the place and the nearest valid name.

    Args:
        tree: Plain data.
        expected: Type annotation of the place.
        where: Name of the place, for messages.
        folder: Where relative ``file.py:name`` are looked up.
    """
    if expected is object:  # plain data that only looks like a plan, such as a JSON Schema, or the name of a user's world
        return _at_its_place(tree, folder)
    if isinstance(tree, Mapping) and "live" in tree:
        raise PlanError(f"{where}: {tree['live']} was a live Python object; put it into a file and name it as 'file.py:name'")
    if isinstance(tree, Mapping) and "use" in tree:
        return _build(str(tree["use"]), {k: v for k, v in tree.items() if k != "use"}, where, folder)
    if isinstance(tree, str) and expected is not str and _wants_object(expected):
        if ".py:" in tree:
            return _user_code(tree, expected, folder)
        if tree.split(".")[0] in ROOMS and "." in tree:
            return _build(tree, {}, where, folder)
    return _coerce(tree, expected, where, folder)


def _user_code(name: str, expected: Any, folder: Path | None) -> Any:
    """What ``file.py:name`` stands for at its place: an annotator where one is expected, a reward anywhere else."""
    from guerdon.rewards import load_reward
    from guerdon.run.queries import Annotator, load_annotator

    load: Callable[..., Any] = load_annotator if Annotator in (expected, *get_args(expected)) else load_reward
    return load(name, folder=folder)


def _at_its_place(value: Any, folder: Path | None) -> Any:
    """A ``file.py:name`` whose file lies in the folder, with the file's whole path; anything else as it is."""
    if isinstance(value, str) and ".py:" in value and "\n" not in value and folder is not None:
        path, _, name = value.rpartition(":")
        if (folder / path).is_file():
            return f"{(folder / path).resolve()}:{name}"
    return value


def _build(use: str, arguments: Mapping[str, Any], where: str, folder: Path | None) -> Any:
    if ".py:" in use:
        raise PlanError(f"{where}: write user code as the plain string {use!r}, without arguments")
    target = resolve(use, where)
    signature = inspect.signature(target)
    _check_names(where, signature, arguments)
    hints = _hints(target)
    kwargs = {k: from_tree(v, hints.get(k, Any), f"{where}.{k}", folder) for k, v in arguments.items()}
    if not inspect.isclass(target):  # a constructor such as from_pretrained: made when the run starts
        return Lazy(use, kwargs)
    return target(**kwargs)


def _check_names(where: str, signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    known = [n for n, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD and n != "self"]
    if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        for name in given:
            if name not in known:
                raise PlanError(f"{where}: unknown key {name!r}; {nearest(name, known)}")
    missing = [n for n, p in signature.parameters.items() if n not in given and p.default is p.empty
               and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and n != "self"]  # fmt: skip
    if missing:
        raise PlanError(f"{where}: {', '.join(missing)} missing")


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target)
    except NameError:  # an annotation that only a type checker can see: no coercion for this atom
        return {}


def _wants_object(expected: Any) -> bool:
    if get_origin(expected) in (typing.Union, types.UnionType):
        return str not in get_args(expected) and any(_wants_object(a) for a in get_args(expected))
    return expected not in (int, float, bool, str, type(None)) and get_origin(expected) is not Literal


def _coerce(tree: Any, expected: Any, where: str, folder: Path | None) -> Any:
    """``tree`` as the annotated type, as far as plain data can tell; lists become tuples."""
    origin, args = get_origin(expected), get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(tree, args, where, folder)
    if origin is Literal:
        if tree not in args:
            hint = nearest(str(tree), [str(a) for a in args])
            raise PlanError(f"{where}: {tree!r} is not allowed; {hint}")
        return tree
    if isinstance(tree, list):
        if origin is tuple and args:
            kinds = [args[0]] * len(tree) if len(args) == 2 and args[1] is Ellipsis else args
            if len(kinds) != len(tree):
                raise PlanError(f"{where}: expected {len(kinds)} values, got {len(tree)}")
            return tuple(from_tree(v, k, f"{where}[{i}]", folder) for i, (v, k) in enumerate(zip(tree, kinds, strict=True)))
        _reject_scalar(tree, expected, where)
        inner = args[0] if args and origin is not tuple else Any
        return tuple(from_tree(v, inner, f"{where}[{i}]", folder) for i, v in enumerate(tree))
    if isinstance(tree, Mapping):
        if dataclasses.is_dataclass(expected):
            _check_names(where, inspect.signature(expected), tree)  # type: ignore[arg-type]
            hints = _hints(expected)
            return expected(**{k: from_tree(v, hints.get(k, Any), f"{where}.{k}", folder) for k, v in tree.items()})  # type: ignore[operator]
        _reject_scalar(tree, expected, where)
        inner = args[1] if len(args) == 2 else Any
        return {k: from_tree(v, inner, f"{where}.{k}", folder) for k, v in tree.items()}
    return _scalar(tree, expected, where)


def _coerce_union(tree: Any, options: tuple[Any, ...], where: str, folder: Path | None) -> Any:
    if tree is None and type(None) in options:
        return None
    first: PlanError | None = None
    for option in sorted((o for o in options if o is not type(None)), key=lambda o: o is str):
        try:
            return from_tree(tree, option, where, folder)
        except PlanError as e:
            first = first or e
    raise first or PlanError(f"{where}: {tree!r} does not fit")


def _reject_scalar(tree: Any, expected: Any, where: str) -> None:
    if expected in (int, float, bool, str):
        raise PlanError(f"{where}: expected {expected.__name__}, got {type(tree).__name__}")


def _scalar(tree: Any, expected: Any, where: str) -> Any:
    if expected is float and not isinstance(tree, bool):
        try:
            return float(tree)  # YAML reads 1e-3 as a string
        except (TypeError, ValueError):
            raise PlanError(f"{where}: expected a number, got {tree!r}") from None
    if expected is int and (isinstance(tree, bool) or not isinstance(tree, int)):
        if isinstance(tree, float | str) and str(tree).replace(".0", "").lstrip("-").isdigit():
            return int(float(tree))
        raise PlanError(f"{where}: expected a whole number, got {tree!r}")
    if expected is bool and not isinstance(tree, bool):
        raise PlanError(f"{where}: expected true or false, got {tree!r}")
    if expected is str and not isinstance(tree, str):
        raise PlanError(f"{where}: expected text, got {tree!r}")
    origin = get_origin(expected) or expected
    if inspect.isclass(origin) and origin is not object and issubclass(origin, Mapping | tuple) and not isinstance(tree, origin):
        raise PlanError(f"{where}: expected {'a list' if issubclass(origin, tuple) else 'a mapping'}, got {tree!r}")
    return tree
