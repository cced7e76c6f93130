"""The critic of a Stable-Baselines3 agent as a critic here, so that training goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass

from guerdon.core import ModelError, Policy
from guerdon.policies.control._agents import fill_body, fill_front
from guerdon.policies.control._bodies import Activation
from guerdon.policies.control._sb3_files import read
from guerdon.policies.control._sb3_network import agent_of
from guerdon.policies.control.policy import Control
from guerdon.policies.control.value import StateValue, StateValueNetwork


@dataclass(frozen=True)
class SB3Value:
    """The value network of a PPO or A2C agent (SAC's critics judge actions, not states).

    Args:
        path: As of ``Control.from_pretrained``, a file of Stable-Baselines3.
        activation: Of its layers, where the file does not say.
        normalisation: As of ``Control.from_pretrained``.

    Example:
        >>> critics = {"value": SB3Value("ppo_pendulum.zip")}  # of a plan whose policy was loaded from the same file
        >>> critics["value"].path
        'ppo_pendulum.zip'
    """

    path: str
    activation: Activation | None = None
    normalisation: str | None = None

    def build(self, policy: Policy) -> StateValueNetwork:
        """The network, for a policy that observes the same.

        Raises:
            ModelError: where the file has no such critic, or it does not fit the policy's observations.
        """
        if not isinstance(policy, Control):
            raise ModelError(f"SB3Value reads observations, and {type(policy).__name__} has none")
        saved = read(self.path, self.normalisation)
        agent = agent_of(saved.tensors, saved.facts.options or {}, saved.name, self.activation)
        if agent.critic is None or agent.last is None:
            raise ModelError(f"{saved.name}: has no critic of states; PPO and A2C agents have one")
        made = StateValue(agent.critic.body, normalise=saved.facts.scale is not None).build(policy)
        fill_front(made.front, saved.facts.scale, saved.name)
        fill_body(made.body, made.front, agent.critic, saved.name)
        made.last.load_state_dict(dict(agent.last))
        return made
