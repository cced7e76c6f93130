"""A JSON Schema of plan.yaml, from the signatures and docstrings of all rooms' public atoms: editors complete and check by it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from guerdon.run.execute import Result
from guerdon.run.plan import Plan
from guerdon.run.spec import _CONSTRUCTORS, ROOMS, Lazy

Schema = dict[str, Any]

# YAML 1.1, which PyYAML reads, takes 1e-4 for a text.
_NUMBER: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[-+]?[0-9.]+[eE][-+]?[0-9]+$"}]}
_USER_CODE: Schema = {
    "type": "string",
    "pattern": r"^[^\n]+\.py:[A-Za-z_][A-Za-z0-9_]*$",
    "description": "Your own: file.py:name.",
}
_ROOMS_OF = {  # what the plan's own fields take
    "policy": ("policies",), "source": ("run", "tasks"), "sampler": ("samplers",), "reward": ("rewards", "tasks"),
    "transforms": ("transforms",), "select": ("selection",), "advantage": ("advantages",), "references": ("policies",),
    "critics": ("policies",), "learners": ("run",), "checks": ("audit",),
}  # fmt: skip
_NOT_IN_PLANS = {Plan, Lazy, Result}
_MANY = {"transforms", "select", "checks"}
_NAMED = {"references", "critics", "learners"}


def plan_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a plan. Keys that no atom knows are rejected; texts come from the docstrings.

    Example:
        >>> schema = plan_schema()
        >>> sorted(schema["required"])
        ['learners', 'policy', 'sampler', 'source']
    """
    atoms = dict(_atoms())
    defs: Schema = {name: _atom(name, target) for name, target in atoms.items()}
    defs["atom"] = _choice(atoms)
    defs["value"] = _value(atoms)
    rooms = {room for rooms in _ROOMS_OF.values() for room in rooms}
    for room in sorted(rooms):
        defs[f"any.{room}"] = _of_room(room, atoms)
    fields = _properties(Plan)
    for name, of in _ROOMS_OF.items():
        fields[name] |= _place(name, of)
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "guerdon plan"}
    return {**draft, **_object(fields, _required(Plan)), "$defs": defs}


def _atoms() -> typing.Iterator[tuple[str, Callable[..., Any]]]:
    """``room.Name`` (and its constructors) of everything public that a plan can name."""
    for room in ROOMS:
        module = importlib.import_module(f"guerdon.{room}")
        for name in sorted(module.__all__):
            target = getattr(module, name)
            if not inspect.isclass(target) or target in _NOT_IN_PLANS:
                continue
            if dataclasses.is_dataclass(target):
                yield f"{room}.{name}", target
            for constructor in _CONSTRUCTORS:
                made = getattr(target, constructor, None)
                if inspect.ismethod(made):  # a field may have that name too
                    yield f"{room}.{name}.{constructor}", made


def _place(name: str, rooms: Sequence[str]) -> Schema:
    one: Schema = {"anyOf": [{"$ref": f"#/$defs/any.{room}"} for room in rooms]}
    if name == "reward":
        one["anyOf"].append({"type": "null"})
    if name in _MANY:
        return {"type": ["array", "null"], "items": one}
    if name in _NAMED:
        return {"type": "object", "additionalProperties": one}
    if name == "advantage":
        several = {"type": "object", "additionalProperties": one, "not": {"required": ["use"]}}
        return {"anyOf": [one, several, {"type": "null"}]}
    return one


def _of_room(room: str, atoms: Mapping[str, Callable[..., Any]]) -> Schema:
    mine = {n: t for n, t in atoms.items() if n.startswith(f"{room}.")}
    bare = [n for n, t in mine.items() if not _required(t)]
    return {"anyOf": [{"enum": bare}, _USER_CODE, _choice(mine)]}


def _choice(atoms: Mapping[str, Callable[..., Any]]) -> Schema:
    """A mapping whose ``use`` decides which keys it has."""
    rules = [{"if": {"properties": {"use": {"const": n}}}, "then": {"$ref": f"#/$defs/{n}"}} for n in atoms]
    return {"type": "object", "required": ["use"], "properties": {"use": {"enum": list(atoms)}}, "allOf": rules}


def _value(atoms: Mapping[str, Callable[..., Any]]) -> Schema:
    """Anything, as long as what looks like an atom is one."""
    text = {"if": {"type": "string", "pattern": f"^({'|'.join(ROOMS)})\\.[A-Z]\\w*$"},
            "then": {"enum": [n for n, t in atoms.items() if not _required(t)]}}  # fmt: skip
    branch = {"if": {"type": "object", "required": ["use"]}, "then": {"$ref": "#/$defs/atom"},
              "else": {"additionalProperties": {"$ref": "#/$defs/value"}, "items": {"$ref": "#/$defs/value"}}}  # fmt: skip
    return {"allOf": [text, branch]}


def _atom(name: str, target: Callable[..., Any]) -> Schema:
    fields = {"use": {"const": name}, **_properties(target)}
    return _object(fields, ["use", *_required(target)]) | {"description": _summary(target)}


def _object(fields: Schema, required: Sequence[str]) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in inspect.signature(target).parameters.items() if p.kind in kinds and n != "self"}


def _required(target: Callable[..., Any]) -> list[str]:
    return [n for n, p in _parameters(target).items() if p.default is p.empty]


def _properties(target: Callable[..., Any]) -> Schema:
    try:
        hints = typing.get_type_hints(target)
    except Exception:  # noqa: BLE001 (an annotation that only a type checker can see leaves its field open)
        hints = {}
    says = describe_arguments(inspect.getdoc(target) or "")
    out: Schema = {}
    for name, parameter in _parameters(target).items():
        out[name] = _type(hints.get(name, Any))
        if name in says:
            out[name] = {**out[name], "description": says[name]}
        if isinstance(parameter.default, bool | int | float | str):
            out[name] = {**out[name], "default": parameter.default}
    return out


def _type(hint: Any) -> Schema:
    """The schema of an annotation; what it cannot express stays open."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type(a) for a in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple and args and args[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [_type(a) for a in args], "minItems": len(args), "maxItems": len(args)}
    if inspect.isclass(origin) and issubclass(origin, tuple | Sequence):
        return {"type": "array", "items": _type(args[0]) if args else {}}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type(args[1]) if len(args) == 2 else {"$ref": "#/$defs/value"}}
    if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
        plain = _object(_properties(hint), _required(hint)) | {"description": _summary(hint)}
        return {"if": {"type": "object", "required": ["use"]}, "then": {"$ref": "#/$defs/atom"},
                "else": {"anyOf": [plain, {"type": "string"}]}}  # fmt: skip
    return {"$ref": "#/$defs/value"}


_SCALARS: dict[Any, Schema] = {
    bool: {"type": "boolean"}, int: {"type": "integer"}, float: _NUMBER, str: {"type": "string"}, type(None): {"type": "null"},
}  # fmt: skip


def _summary(target: Callable[..., Any]) -> str:
    return (inspect.getdoc(target) or "").partition("\n")[0]


def describe_arguments(doc: str) -> dict[str, str]:
    r"""What a docstring's ``Args`` section says of each argument.

    >>> describe_arguments("Sum.\n\nArgs:\n    a: One number,\n        or more.\n    b: Another.\n\nReturns:\n    c: no.")
    {'a': 'One number, or more.', 'b': 'Another.'}
    """
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n(?=[ \t]))*)", doc, re.MULTILINE)
    if section is None:
        return {}
    out: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(section[1]).splitlines():
        if found := re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line):
            name, out[found[1]] = found[1], found[2]
        elif name and line.strip():
            out[name] += " " + line.strip()
    return out
