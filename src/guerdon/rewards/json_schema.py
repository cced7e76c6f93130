"""JSONSchema: an output that is JSON of a given shape."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.rows import each, text_of


@dataclass(frozen=True)
class JSONSchema:
    """1 where the whole output is JSON that meets a schema. The part ``json`` is 1 where it is JSON at all.

    References inside the schema are followed, references to other places are not fetched. The dialect is that of ``$schema``
    (the newest one where it is missing).

    Args:
        schema: A JSON Schema (https://json-schema.org).

    Raises:
        PlanError: for a schema that is not valid, or where the package ``jsonschema`` is missing.

    Example:
        >>> from guerdon.rewards import recorded
        >>> reward = JSONSchema({"type": "object", "required": ["name"]})
        >>> out = reward(recorded(["q"] * 3, ['{"name": "Ada"}', '{"age": 36}', "Ada"]))
        >>> out.total.tolist(), out.parts["json"].tolist()
        ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0])
    """

    schema: Mapping[str, object]
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        schema: Any = self.schema
        if not isinstance(schema, Mapping):
            raise PlanError(f"JSONSchema: schema must be a mapping, got {type(schema).__name__}")
        object.__setattr__(self, "schema", json.loads(json.dumps(schema)))  # a plan holds tuples where JSON has arrays
        if importlib.util.find_spec("jsonschema") is None:
            raise PlanError("JSONSchema needs the package jsonschema: pip install 'guerdon[text]'")
        from jsonschema import SchemaError

        try:
            self._validator()
        except SchemaError as e:
            place = "".join(f".{p}" for p in e.absolute_path)
            raise PlanError(f"JSONSchema: schema{place} is not valid: {e.message}") from None

    def _validator(self) -> Any:
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing.jsonschema import EMPTY_REGISTRY

        kind = validator_for(self.schema, default=Draft202012Validator)
        kind.check_schema(self.schema)
        return kind(self.schema, registry=EMPTY_REGISTRY)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        validator = self._validator()

        def score(output: Any, _: int) -> dict[str, float]:
            try:
                value = json.loads(text_of(output), parse_constant=_refuse)
            except (ValueError, RecursionError):  # RecursionError: nested deeper than any JSON meant as an answer
                return {"total": 0.0, "json": 0.0}
            return {"total": float(validator.is_valid(value)), "json": 1.0}

        return each(rollout, score)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
