"""The JSON Schema of plan.yaml: every plan of ours is valid, planted mistakes are not, and it agrees with the loader."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

from guerdon import testing
from guerdon.core.errors import PlanError
from guerdon.run import Plan
from guerdon.run.schema import describe_arguments, plan_schema
from guerdon.run.spec import to_tree

ROOT = Path(__file__).resolve().parents[2]
OURS = [*sorted(ROOT.glob("examples/**/*.yaml")), Path(str(resources.files("guerdon.cli"))) / "demo.yaml"]


@pytest.fixture(scope="module")
def validator():
    schema = plan_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def demo():
    return yaml.safe_load(OURS[-1].read_text())


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_our_plans_are_valid(validator, path):
    tree = yaml.safe_load(path.read_text())
    assert [e.message for e in validator.iter_errors(tree)] == []
    complete = Plan.from_tree(tree, folder=path.parent).to_tree(full=True)
    assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(json.loads(json.dumps(complete)))] == []


@pytest.mark.parametrize("kind", ["objectives", "transforms", "advantages", "selects"])
def test_every_example_atom_is_valid(validator, kind):
    place = {"objectives": "learners", "transforms": "transforms", "advantages": "advantage", "selects": "select"}[kind]
    for name, atom in getattr(testing, f"example_{kind}")().items():
        tree = to_tree(atom)
        value = {
            "transforms": [tree],
            "select": [tree],
            "advantage": tree,
            "learners": {"policy": {"use": "run.Train", "terms": tree}},
        }[place]
        assert [e.message for e in validator.iter_errors({**demo(), place: value})] == [], name


MISTAKES = [
    {"stepz": 3},
    {"steps": "many"},
    {"seed": 1.5},
    {"sampler": {"use": "samplers.Group", "contxts": 2}},
    {"sampler": {"use": "samplers.Gruop"}},
    {"reward": "rewards.Lenght"},
    {"reward": {"use": "os.system", "command": "true"}},
    {"reward": {"use": "rewards.Mixture", "parts": {"a": [{"use": "rewards.Length", "targt": 1}, 1.0]}}},
    {"transforms": ["transforms.Clipp"]},
    {"transforms": [{"use": "transforms.TokenKL", "betta": 1}]},
    {"learners": {"policy": {"use": "run.Train", "terms": {"use": "objectives.PolicyGradient", "clipp": 1}}}},
    {"learners": {"policy": {"use": "run.Train", "terms": "objectives.PolicyGradient", "optim": {"lrr": 1}}}},
    {"learners": {"policy": {"use": "run.Train", "terms": "objectives.PolicyGradient", "optim": {"decay": "cosin"}}}},
    {"policy": {"use": "policies.CausalLM.from_pretrained"}},
    {"policy": {"use": "policies.CausalLM.from_pretrained", "path_or_name": "x", "lorra": 4}},
    {"stop": {"kll": 1}},
    {"evaluation": {"samples": "x"}},
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=json.dumps)
def test_planted_mistakes_are_found_by_schema_and_loader_alike(validator, mistake):
    tree = {**demo(), **mistake}
    assert list(validator.iter_errors(tree))
    with pytest.raises(PlanError):
        Plan.from_tree(tree)


def test_texts_come_from_the_docstrings():
    atom = plan_schema()["$defs"]["run.AdamW"]["properties"]
    assert atom["lr"]["description"] == "Peak learning rate."
    assert atom["decay"]["enum"] == ["constant", "linear", "cosine"]
    assert describe_arguments("x\n\nArgs:\n    a (int): b\n        c\n") == {"a": "b c"}


def test_the_command_writes_it(guerdon, here):
    assert guerdon("schema").json() == plan_schema()
    assert guerdon("schema", "--out", "s.json").code == 0
    assert json.loads((here / "s.json").read_text()) == plan_schema()
