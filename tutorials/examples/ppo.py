"""PPO in one file, on a batch of economies: read it from top to bottom, copy it, change it.

    python tutorials/examples/ppo.py                                       # consumers learn, rules play the rest
    python tutorials/examples/ppo.py --train consumer,firm,government      # everybody learns
    python tutorials/examples/ppo.py --help

Nothing but torch and `rbc_marl.VectorEconomy`. Letters of the shapes: T periods, B economies, A agents of a type, n
numbers in an observation, H decisions an agent takes at once (a consumer F + 2, the others one).

With everybody learning from nothing an economy can die: nobody works any more, and nobody learns from that.
`rbc-marl train` has curricula against it (tutorial 03); they are left out here.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.distributions import Categorical

import rbc_marl
from rbc_marl.choices import head_sizes
from rbc_marl.policies.scripted import ScriptedPolicies


@dataclass
class Args:
    """What the command line can change."""

    economy: str = "open"  # open or closed
    num_consumers: int = 20
    num_firms: int = 4
    train: str = "consumer"  # agent types that learn, separated by commas
    others: str = "cost_plus"  # rules that play the rest, a key of rbc_marl.policies.scripted.RULES
    seed: int = 0
    device: str = "cpu"

    updates: int = 200  # of one episode of every economy each
    num_envs: int = 32  # economies played side by side (B)
    learning_rate: float = 3e-3
    anneal_lr: bool = True  # fall to nothing at the end
    gamma: float = 0.9999
    gae_lambda: float = 1.0
    minibatches: int = 4
    epochs: int = 4  # passes over each episode
    clip: float = 0.2
    entropy: float = 0.02
    value_weight: float = 0.5
    max_grad_norm: float = 2.0
    hidden: int = 64


# Divisors that bring rewards to about 1: utility, money, welfare.
REWARD_SCALE = {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}


def layer(inputs, outputs, gain=2**0.5):
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    """Actor and critic of one agent type, shared by all its agents."""

    def __init__(self, num_inputs, sizes, hidden):
        super().__init__()
        self.sizes = sizes
        self.critic = nn.Sequential(
            layer(num_inputs, hidden), nn.Tanh(), layer(hidden, hidden), nn.Tanh(), layer(hidden, 1, gain=1.0)
        )
        self.actor = nn.Sequential(
            layer(num_inputs, hidden), nn.Tanh(), layer(hidden, hidden), nn.Tanh(), layer(hidden, sum(sizes), gain=0.01)
        )

    def get_value(self, observation):
        """Values [...] of observations [..., n]."""
        return self.critic(observation).squeeze(-1)

    def get_action_and_value(self, observation, action=None):
        """Actions [..., H], their log-probability, the entropy and the value [...], of observations [..., n].

        An agent's decisions are independent given what it sees: log-probabilities and entropies add up.
        """
        heads = [Categorical(logits=part) for part in self.actor(observation).split(self.sizes, dim=-1)]
        if action is None:
            action = torch.stack([head.sample() for head in heads], dim=-1)
        logprob = sum(head.log_prob(taken) for head, taken in zip(heads, action.unbind(-1), strict=True))
        entropy = sum(head.entropy() for head in heads)
        return action, logprob, entropy, self.get_value(observation)


def play(batch, agents, rules, args):
    """One episode of every economy.

    Returns, for each type that learns, observations [T, B, A, n], actions [T, B, A, H], log-probabilities, rewards and
    values [T, B, A]; and the hours worked per consumer and period.
    """
    names = ("observation", "action", "logprob", "reward", "value")
    storage = {t: {name: [] for name in names} for t in agents}
    hours = []
    observation = batch.reset()
    for _ in range(batch.config.horizon):
        # The rules decide for everybody, and those who learn decide anew for themselves.
        indices = rules.act(observation, batch.generator, state=batch.state)
        for t, agent in agents.items():
            seen = rbc_marl.join(observation, t)
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(seen)
            shape = {"consumer": action.shape, "firm": action.shape[:2], "government": action.shape[:1]}[t]
            indices[t] = action.reshape(shape)
            for name, data in zip(names, (seen, action, logprob, None, value), strict=True):
                storage[t][name].append(data)
        observation, rewards, _, flows = batch.step(indices)
        for t in agents:
            storage[t]["reward"][-1] = rewards[t].reshape(batch.num_envs, -1) / REWARD_SCALE[t]
        hours.append(flows.hours.mean())
    stacked = {t: {name: torch.stack(rows) for name, rows in columns.items()} for t, columns in storage.items()}
    return stacked, torch.stack(hours).mean().item()


def advantages_and_returns(rewards, values, args):
    """Generalised advantage estimates and returns, [T, B, A].

    The rollout is a whole episode and the horizon the end of a finite game: nothing follows the last period, so that no
    value is bootstrapped after it. A rollout of another length needs to know where episodes end.
    """
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + args.gamma * next_value - values[t]
        next_advantage = advantages[t] = delta + args.gamma * args.gae_lambda * next_advantage
        next_value = values[t]
    return advantages, advantages + values


def update(agent, optimiser, data, generator, args):
    """Learn from one episode. Returns how far the policy moved and how well the critic predicts, for the log."""
    advantages, returns = advantages_and_returns(data["reward"], data["value"], args)
    flat = {name: column.flatten(0, 2) for name, column in data.items()}  # every agent in every period is a sample
    advantages, returns = advantages.flatten(), returns.flatten()
    size = len(returns)
    for _ in range(args.epochs):
        shuffled = torch.randperm(size, generator=generator).to(returns.device)
        for rows in shuffled.chunk(args.minibatches):
            _, logprob, entropy, value = agent.get_action_and_value(flat["observation"][rows], flat["action"][rows])
            logratio = logprob - flat["logprob"][rows]
            ratio = logratio.exp()
            advantage = advantages[rows]
            advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)

            policy_loss = torch.max(
                -advantage * ratio, -advantage * ratio.clamp(1.0 - args.clip, 1.0 + args.clip)
            ).mean()
            value_loss = nn.functional.huber_loss(value, returns[rows])
            loss = policy_loss + args.value_weight * value_loss - args.entropy * entropy.mean()

            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimiser.step()
    with torch.no_grad():
        moved = ((ratio - 1.0) - logratio).mean().item()  # J. Schulman's estimate of the divergence
        variance = returns.var(correction=0)
        explained = 1.0 - (returns - flat["value"]).var(correction=0) / variance if variance > 0 else variance
    return {"kl": moved, "explained_variance": float(explained)}


def train(args, report=print):
    """Train the agent types of ``args.train``. Returns their networks and one row of numbers an update."""
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    config = rbc_marl.preset(args.economy, num_consumers=args.num_consumers, num_firms=args.num_firms)
    batch = rbc_marl.VectorEconomy(config, num_envs=args.num_envs, device=args.device, seed=args.seed, autoreset=False)
    rules = ScriptedPolicies(config, args.others, device=args.device)
    observation = batch.reset()
    agents, optimisers = {}, {}
    for t in args.train.split(","):
        num_inputs = rbc_marl.join(observation, t).shape[-1]
        agents[t] = Agent(num_inputs, list(head_sizes(config, t)), args.hidden).to(args.device)
        optimisers[t] = torch.optim.Adam(agents[t].parameters(), lr=args.learning_rate, eps=1e-5)

    history, start = [], time.perf_counter()
    for number in range(args.updates):
        if args.anneal_lr:
            for optimiser in optimisers.values():
                optimiser.param_groups[0]["lr"] = args.learning_rate * (1.0 - number / args.updates)
        data, hours = play(batch, agents, rules, args)
        row = {"update": number, "hours": hours}
        for t, agent in agents.items():
            row[f"{t}_return"] = data[t]["reward"].sum(0).mean().item() * REWARD_SCALE[t]
            row.update({f"{t}_{name}": x for name, x in update(agent, optimisers[t], data[t], generator, args).items()})
        history.append(row)
        steps = (number + 1) * config.horizon * args.num_envs / (time.perf_counter() - start)
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "update")
        report(f"{number:5}  {steps:8,.0f} steps/s  {numbers}")
    return agents, history


def parse():
    """The command line: one option for each field of `Args`."""
    parser = argparse.ArgumentParser(
        description="PPO on a batch of economies", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for field in fields(Args):
        kind = (lambda text: text.lower() in ("1", "true", "yes")) if field.type == "bool" else type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=" ")
    return Args(**vars(parser.parse_args()))


if __name__ == "__main__":
    train(parse())
