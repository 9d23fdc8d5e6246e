"""MAPPO, or IPPO, with TorchRL on a batch of economies: one policy and one critic for each agent type.

    pip install 'rbc_marl[torchrl]'
    python tutorials/examples/mappo_torchrl.py            # MAPPO: a critic sees all agents of its type
    python tutorials/examples/mappo_torchrl.py --ippo     # IPPO: a critic sees one agent

Consumers learn, while firms and the government follow rules. With --everybody all learn at once; an economy can die of
that, and `rbc-marl train` has curricula against it (tutorial 03).
Everything is TorchRL's but the environment and `Choices`, the distribution of a consumer's several decisions.
"""

from __future__ import annotations

import argparse

import torch
from tensordict.nn import InteractionType, TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.modules import MultiAgentMLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss

from rbc_marl.choices import head_sizes
from rbc_marl.envs.torchrl import BatchedEconomy
from rbc_marl.policies.distributions import FactorisedCategorical

# Divisors that bring rewards to about 1: utility, money, welfare.
REWARD_SCALE = {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}


class Choices(torch.distributions.Distribution):
    """Several independent choices of an agent, from their logits side by side."""

    arg_constraints = {}  # noqa: RUF012 - torch's own interface

    def __init__(self, logits, sizes):
        self.choices = FactorisedCategorical(logits, sizes, is_masked=False)
        super().__init__(logits.shape[:-1], torch.Size([len(sizes)]), validate_args=False)

    def sample(self, sample_shape=()):
        return self.choices.sample()

    def log_prob(self, value):
        return self.choices.logp(value)

    def entropy(self):
        return self.choices.entropy()

    @property
    def deterministic_sample(self):
        return self.choices.mode()


def mlp(env, group, outputs, centralised):
    """A network shared by the agents of a group; a centralised one sees all their observations at once."""
    observation = env.observation_spec[group, "observation"]
    return MultiAgentMLP(
        n_agent_inputs=observation.shape[-1],
        n_agent_outputs=outputs,
        n_agents=observation.shape[-2],
        centralised=centralised,
        share_params=True,
        device=env.device,
        depth=2,
        num_cells=64,
        activation_class=nn.Tanh,
    )


def make_actor(env, group):
    sizes = head_sizes(env.config, group)
    logits = TensorDictModule(
        mlp(env, group, sum(sizes), centralised=False), in_keys=[(group, "observation")], out_keys=[(group, "logits")]
    )
    several = {"distribution_class": Choices, "distribution_kwargs": {"sizes": sizes}}
    return ProbabilisticActor(
        logits,
        spec=env.full_action_spec[group, "action"],
        in_keys={"logits": (group, "logits")},
        out_keys=[(group, "action")],
        default_interaction_type=InteractionType.RANDOM,  # the default takes the likeliest action, and explores nothing
        return_log_prob=True,
        log_prob_key=(group, "log_prob"),
        **(several if len(sizes) > 1 else {"distribution_class": torch.distributions.Categorical}),
    )


def make_loss(env, group, actor, centralised):
    critic = ValueOperator(
        mlp(env, group, 1, centralised), in_keys=[(group, "observation")], out_keys=[(group, "state_value")]
    )
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.02)
    loss.set_keys(
        reward=(group, "reward"),
        action=(group, "action"),
        sample_log_prob=(group, "log_prob"),
        value=(group, "state_value"),
        done=(group, "done"),
        terminated=(group, "terminated"),
        advantage=(group, "advantage"),
        value_target=(group, "value_target"),
    )
    loss.make_value_estimator(gamma=0.9999, lmbda=1.0)
    return loss


@torch.no_grad()
def estimate_advantages(batch, group, loss):
    """Write the group's scaled rewards, value targets and standardised advantages into a batch."""
    reward = batch["next", group, "reward"]
    batch["next", group, "reward"] = reward / REWARD_SCALE[group]
    for key in ("done", "terminated"):  # the economy's, for each agent
        batch["next", group, key] = batch["next", key].unsqueeze(-1).expand_as(reward)
    critics = {"params": loss.critic_network_params, "target_params": loss.target_critic_network_params}
    loss.value_estimator(batch, **critics)
    advantage = batch[group, "advantage"]
    batch[group, "advantage"] = (advantage - advantage.mean()) / advantage.std().clamp(min=1e-4)


def train(env, updates=100, epochs=4, centralised=True, seed=0, report=print):
    """Train every group of an environment, one whole episode of all economies to an update.

    Returns the actors by group, and the mean reward of each group in each update.
    """
    torch.manual_seed(seed)
    env.set_seed(seed)
    actors = {group: make_actor(env, group) for group in env.group_map}
    policy = TensorDictSequential(*actors.values())
    losses = {group: make_loss(env, group, actor, centralised) for group, actor in actors.items()}
    optimisers = {group: torch.optim.Adam(loss.parameters(), lr=3e-3) for group, loss in losses.items()}
    history = []
    for update in range(updates):
        with torch.no_grad():
            batch = env.rollout(env.config.horizon, policy)
        history.append({group: batch["next", group, "reward"].mean().item() for group in env.group_map})
        for group, loss in losses.items():
            estimate_advantages(batch, group, loss)
            for _ in range(epochs):
                values = loss(batch.reshape(-1))
                optimisers[group].zero_grad()
                (values["loss_objective"] + values["loss_critic"] + values["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 2.0)
                optimisers[group].step()
        report(f"{update:4} " + "  ".join(f"{group} {mean:10.3f}" for group, mean in history[-1].items()))
    return actors, history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="MAPPO or IPPO on a batch of economies")
    parser.add_argument("--ippo", action="store_true", help="critics that see one agent each")
    parser.add_argument("--everybody", action="store_true", help="firms and the government learn too")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--economies", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    economies = BatchedEconomy(
        "open",
        options.economies,
        device=options.device,
        train_types=None if options.everybody else ["consumer"],
        others="cost_plus",
        num_consumers=20,
        num_firms=4,
    )
    train(economies, options.updates, centralised=not options.ippo, seed=options.seed)
