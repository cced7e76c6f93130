"""Plans as YAML: equal after a round trip, closed to foreign code, and clear about every mistake."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from guerdon import advantages, objectives, policies, rewards, samplers, selection, testing, transforms
from guerdon.core.errors import PlanError
from guerdon.policies import CausalLM
from guerdon.run import AdamW, Due, Evaluation, Plan, Prompts, Stop, Term, Train, lazy
from guerdon.run.compatibility import check_plan
from guerdon.run.plan import override
from guerdon.run.spec import from_tree, to_tree


def example() -> Plan:
    return Plan(
        policy=lazy(CausalLM.from_pretrained, path_or_name="gpt2", lora=4),
        source=Prompts(("a", "b")),
        sampler=samplers.Group(contexts=2, n=4, controls={"max_tokens": 8, "temperature": 0.9}),
        reward=rewards.Sentiment(),
        transforms=(transforms.TokenKL(beta=0.1), transforms.Clip(hi=2.0)),
        select=(selection.DropDeadGroups(),),
        advantage={"main": advantages.GroupNorm(), "plain": advantages.RLOO()},
        references={"reference": policies.Frozen()},
        learners={"policy": Train((Term(objectives.PolicyGradient(), weight=0.5, over="sample"), Term(objectives.Reinforce(), advantage="plain")),
                                  AdamW(lr=1e-3), rows=8, due=Due(every=2))},
        evaluation=Evaluation(reward=rewards.Length(target=20), samples=8),
        stop=Stop(kl=30.0),
        steps=3,
    )  # fmt: skip


def test_a_plan_survives_yaml(tmp_path):
    plan = example()
    plan.save(tmp_path / "plan.yaml")
    again = Plan.load(tmp_path / "plan.yaml")
    assert again == plan
    assert again.hash == plan.hash
    assert dataclasses.replace(plan, seed=1).hash != plan.hash == dataclasses.replace(plan, name="other").hash


@pytest.mark.parametrize("kind", ["objectives", "transforms", "advantages", "selects"])
def test_every_example_atom_survives_a_tree(kind):
    for name, atom in getattr(testing, f"example_{kind}")().items():
        assert from_tree(yaml.safe_load(yaml.safe_dump(to_tree(atom)))) == atom, name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stepz": 3}, r"plan: unknown key 'stepz'; did you mean 'steps'\?"),
        ({"sampler": {"use": "samplers.Group", "contxts": 2}}, r"plan\.sampler: unknown key 'contxts'; did you mean 'contexts'\?"),
        ({"sampler": {"use": "samplers.Gruop"}}, r"plan\.sampler: no 'Gruop' in samplers; did you mean 'Group'\?"),
        ({"reward": {"use": "os.system", "command": "true"}}, r"plan\.reward: 'os\.system' is not 'room\.Name'"),
        ({"reward": {"use": "rewards.load_reward.__globals__"}}, r"plan\.reward"),
        ({"reward": {"use": "policies.CausalLM.sample"}}, r"plan\.reward: .*is not a constructor"),
        ({"reward": {"use": "run.execute.metadata"}}, r"plan\.reward: no 'execute' in run"),
        ({"steps": "many"}, r"plan\.steps: expected a whole number, got 'many'"),
        ({"seed": 1.5}, r"plan\.seed: expected a whole number, got 1\.5"),
        ({"stop": {"kl": "x"}}, r"plan\.stop\.kl: expected a number, got 'x'"),
        ({"policy": {"use": "policies.CausalLM.from_pretrained"}}, r"plan\.policy: path_or_name missing"),
        ({"reward": {"live": "x:y"}}, r"plan\.reward: x:y was a live Python object"),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line_that_names_the_place(change, complaint):
    tree = {**example().to_tree(), **change}
    with pytest.raises(PlanError, match=complaint) as caught:
        Plan.from_tree(tree)
    assert "\n" not in str(caught.value)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    tree = override(example().to_tree(), ["--learners.policy.optim.lr=1e-4", "steps=7", "stop.kl=5"])
    plan = Plan.from_tree(tree)
    assert plan.learners["policy"].optim.lr == 1e-4 and plan.steps == 7 and plan.stop.kl == 5.0


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [("lerners.policy=1", "did you mean 'learners'"), ("steps", "expected key=value"), ("transforms.9.beta=1", "index from 0 to 1"),
     ("learners.polcy.rows=1", "did you mean 'policy'")],
)  # fmt: skip
def test_a_wrong_override_names_the_key(assignment, complaint):
    with pytest.raises(PlanError, match=complaint):
        override(example().to_tree(), [assignment])


def test_user_code_is_named_and_found_beside_the_plan(tmp_path):
    (tmp_path / "mine.py").write_text("def score(output):\n    return len(output)\n")
    tree = {**example().to_tree(), "reward": "mine.py:score"}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(tree))
    plan = Plan.load(tmp_path / "plan.yaml")
    assert plan.user_code() == ["mine.py:score"] or [Path(c).name for c in plan.user_code()] == ["mine.py:score"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"references": {}}, r"TokenKL compares with a reference.*add references"),
        ({"advantage": None}, r"an objective reads advantages"),
        ({"advantage": advantages.GAE()}, r"GAE reads a critic"),
        ({"reward": None}, r"plan\.reward is not set"),
        ({"learners": {}}, r"plan\.learners is empty"),
        ({"learners": {"policy": Train(objectives.DPO())}}, r"learns from pairs"),
        ({"learners": {"critic": Train(objectives.SFT(), of="critc")}}, r"trains 'critc'"),
        ({"learners": {"policy": Train(Term(objectives.Reinforce(), advantage="plian"))}}, r"did you mean 'plain'"),
        ({"sampler": samplers.Given(), "reward": None, "advantage": None}, r"nothing to be judged|log-probs of the policy that acted|reads advantages"),
        ({"steps": 0}, r"steps must be at least 1"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_found_before_any_compute(change, complaint):
    plan = example()
    check_plan(plan)
    with pytest.raises(PlanError, match=complaint) as caught:
        check_plan(dataclasses.replace(plan, **change))
    assert "\n" not in str(caught.value)


def test_dpo_without_a_reference_is_refused():
    plan = dataclasses.replace(
        example(), transforms=(), references={}, advantage=None, select=(selection.BestVsWorst(),), stop=Stop(),
        learners={"policy": Train(objectives.DPO())},
    )  # fmt: skip
    with pytest.raises(PlanError, match="DPO compares with a reference, and the plan has none named 'reference'"):
        check_plan(plan)


def test_broken_yaml_names_the_line(tmp_path):
    (tmp_path / "plan.yaml").write_text("steps: 3\npolicy: {use: [\n")
    with pytest.raises(PlanError, match=r"plan\.yaml, line \d: not valid YAML"):
        Plan.load(tmp_path / "plan.yaml")
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(tmp_path / "none.yaml")


def test_a_part_from_a_systems_file_is_live_and_its_fields_count() -> None:
    @dataclasses.dataclass(frozen=True)
    class Half:
        share: float = 0.5

    Half.__module__ = "guerdon.systems.family.mine"
    one, other = to_tree(Half()), to_tree(Half(0.25))
    assert "live" in one
    assert one != other
    assert one == to_tree(Half(0.5))
