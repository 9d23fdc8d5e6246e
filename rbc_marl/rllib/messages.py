"""What an algorithm tells its learners and env runners; classes, so that they can be sent to a process."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.env_runner import EnvRunner


class TakeWeights:
    """Fills a learner's modules and lifts their masks."""

    def __init__(self, states: dict[str, Any]) -> None:
        """Say which weights, by module."""
        self.states = states

    def __call__(self, learner: Learner) -> None:
        """Tell one learner."""
        for module_id, state in self.states.items():
            network = learner.module[module_id].unwrapped().network
            network.load_state_dict(state)
            network.lift_mask()


class TakeIterationLength:
    """Tells a learner how many env steps an iteration of its curriculum has."""

    def __init__(self, env_steps: int) -> None:
        """Say how many."""
        self.env_steps = env_steps

    def __call__(self, learner: Any) -> None:  # noqa: ANN401 - an EconomyPPOLearner
        """Tell one learner."""
        learner.phases.steps_per_iteration = self.env_steps


class TakeState:
    """Hands a state to an env runner."""

    def __init__(self, state: dict[str, Any]) -> None:
        """Say which."""
        self.state = state

    def __call__(self, env_runner: EnvRunner) -> None:
        """Tell one env runner."""
        env_runner.set_state(self.state)
