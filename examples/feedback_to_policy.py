"""From comparisons to a reward to a policy, in Python: what `guerdon demo` does, in sixty lines.

python examples/feedback_to_policy.py          # about two minutes on one core
python examples/feedback_to_policy.py --tiny   # seconds; its figures mean nothing
"""

import sys
from pathlib import Path

from guerdon import advantages, audit, feedback, objectives, policies, rewards, samplers, tasks, transforms
from guerdon.core.contexts import split
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy, run

TINY = "--tiny" in sys.argv
OUT = Path("runs/example")

# A world whose hidden preference is known, and annotators who are wrong about a quarter of the time.
task = tasks.get("stories", tiny=TINY)
annotators = feedback.Flips(feedback.BradleyTerry(task.reward(), temperature=0.05), p=0.25)
comparisons = tasks.read_comparisons(tasks.compared(task, annotators, 200 if TINY else 2000))

# A reward: three models that differ by their heads and the order of the data. Prompts, not pairs, are held out.
train, held_out = split(comparisons, 0.2)
settings = rewards.FitSettings(lr=1e-3, device="cpu")
fitted = rewards.fit_reward(train, str(task.base()), held_out=held_out, settings=settings, members=3)
fitted.save(OUT / "reward")

# What is it worth? More than counting characters?
scored = audit.score_comparisons(fitted.reward, held_out)
found = audit.audit_reward(scored, temperature=fitted.reward.temperature, probes=audit.probe_reward(fitted.reward, held_out))
audit.write_reward_report(found, OUT / "reward")
print(f"right on {found.accuracy.value:.1%}, longer is better on {found.baselines['longer'].value:.1%}")
print(*(f"  {f.level}: {f.message}" for f in found.findings), sep="\n")


def plan(name: str, combine: str, beta: float) -> Plan:
    """Group-relative policy gradient against the reward; a price of ``beta`` on every nat away from the base model."""
    return Plan(
        name=name,
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=str(task.base())),
        source=task.prompts(),
        sampler=samplers.Group(contexts=16, n=8, controls={"max_tokens": task.max_tokens}),
        reward=lazy(rewards.Ensemble.from_pretrained, path_or_name=str(OUT / "reward"), combine=combine),
        references={"reference": policies.Frozen()},
        transforms=(transforms.TokenKL(beta=beta),) if beta else (),
        advantage=advantages.GroupNorm(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=1e-3, warmup=0.1, decay="linear"), minibatches=2)},
        evaluation=Evaluation(reward=task.reward(), source=task.prompts("held_out"), samples=256, every=5, keep_best=False),
        steps=4 if TINY else 40,
    )


# Pushed against the reward twice; the hidden preference tells which run games it.
for name, combine, beta in (("unprotected", "mean", 0.0), ("protected", "worst", 0.1)):
    result = run(plan(name, combine, beta), OUT / name)
    verdict = audit.hacking(audit.read_history(OUT / name))
    print(f"{name}: {verdict.outcome}. {verdict.text}")
page = audit.write_overview({n: OUT / n for n in ("unprotected", "protected")}, OUT / "report.html")
print(f"open {page}")
