# %% [markdown]
# # Your algorithm
#
# After this tutorial you can
#
# - say who learns in an economy, and who plays the rest;
# - let agents act by several indices, by one index with masks, or on a continuous scale;
# - give all agents one observation space and one action space;
# - write a learning loop on batches of economies;
# - play what you trained wherever the package takes policies: evaluated, or as the others of the next environment.
#
# Only the picture needs an extra, `analysis`. [docs/libraries.md](../docs/libraries.md) says how TorchRL, BenchMARL,
# Stable-Baselines3 and RLlib plug in, and `tutorials/examples` has a program for each, and PPO in one file.

# %%
import csv
import os
import tempfile
from pathlib import Path

import gymnasium
import numpy as np
import torch

import rbc_marl

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
torch.manual_seed(0)
output = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))

# %% [markdown]
# ## Who learns
#
# `train_types` names the agents of the environment: types or single agents. `others` play the rest of the economy: the
# name of rules, `"random"`, the folder of a checkpoint, or an object with a method `act`.

# %%
size = {"num_consumers": 10, "num_firms": 2}
env = rbc_marl.parallel_env("open", **size, train_types=["firm"], others="full_employment")
observations, _ = env.reset(seed=0)
print(env.agents)
for _ in range(3):
    _, rewards, _, _, infos = env.step({agent: 17 for agent in env.agents})
    print({agent: round(info["profit"]) for agent, info in infos.items()})

# %% [markdown]
# One agent alone is an environment of Gymnasium's. Importing `rbc_marl` makes three names known to it.

# %%
alone = gymnasium.make("rbc_marl/Consumer-v0", **size, agent=3, others="cost_plus")
observation, _ = alone.reset(seed=0)
print(alone.observation_space.shape, alone.action_space)

# %% [markdown]
# ## How agents act
#
# A consumer takes several decisions at once: units of each good, hours, an employer. `action_mode="discrete"` makes one
# index of them, where there are few enough. `"box"` takes numbers from -1 to 1, from the least to the greatest choice.
# It is the same economy: the same decisions come to the same in every mode.

# %%
from rbc_marl.envs.actions import to_box, to_joint

few = {**size, "consumption_choices": [0.0, 2.0, 5.0, 10.0]}
config = rbc_marl.preset("open", **few)
decision = torch.tensor([3, 1, 4, 0])  # 10 units of the first good, 2 of the second, all hours, for the first firm
for mode, action in (
    ("multidiscrete", decision.numpy()),
    ("discrete", to_joint(config, "consumer", decision).item()),
    ("box", to_box(config, "consumer", decision).numpy()),
):
    env = rbc_marl.parallel_env(config, train_types=["consumer_0"], action_mode=mode)
    env.reset(seed=0)
    env.step({"consumer_0": action})
    *_, infos = env.step({"consumer_0": action})
    mine = infos["consumer_0"]
    print(f"{mode:14} {action!s:30} hours {mine['hours']:.0f}  utility {mine['utility']:.3f}")

# %% [markdown]
# The paper's economy has too many decisions for one index. It says so when it is made, and not later.

# %%
try:
    rbc_marl.parallel_env("open", action_mode="discrete")
except rbc_marl.ConfigError as error:
    print(error)

# %% [markdown]
# With `action_mask=True` observations carry a mask. Here firms may post the price 1000 only.

# %%
env = rbc_marl.parallel_env(config, train_types=["firm"], action_mode="discrete", action_mask=True)
env.set_action_masks({"firm": rbc_marl.choices.firm_mask(config, price=(1000.0, 1000.0), wage=(0.0, 44.0))})
observations, _ = env.reset()
print("allowed:", np.flatnonzero(observations["firm_0"]["action_mask"]))
try:
    env.step({"firm_0": 0, "firm_1": 12})
except rbc_marl.ConfigError as error:
    print(error)

# %% [markdown]
# Libraries that know one space for all agents get it from `homogenize`: observations begin with the agent's type and
# end in zeros, and masks say which actions are an agent's own.

# %%
env = rbc_marl.homogenize(rbc_marl.parallel_env(config, action_mode="discrete"))
observations, _ = env.reset()
for agent in ("consumer_0", "firm_0", "government_0"):
    mask = observations[agent]["action_mask"]
    print(f"{agent:13} {observations[agent]['observation'][:3]}  {mask.sum():3} of {len(mask)} actions")

# %% [markdown]
# ## A loop of your own
#
# Speed comes from batches: 64 economies take little longer a step than one. This is the oldest policy gradient there
# is, with one linear policy that all firms share. Consumers and the government follow rules: everybody works, for the
# firms that pay best, and buys the cheapest goods first. Each decision is credited with all the profit that follows it.

# %%
from rbc_marl.policies.scripted import ScriptedPolicies

UPDATES = int(os.environ.get("UPDATES", "40"))
config = rbc_marl.preset("open", num_consumers=20, num_firms=4)
batch = rbc_marl.VectorEconomy(config, num_envs=64, seed=0, autoreset=False)
rules = ScriptedPolicies(config, "full_employment")
policy = torch.nn.Linear(rbc_marl.join(batch.reset(), "firm").shape[-1], 30)  # 6 prices times 5 wages
optimiser = torch.optim.Adam(policy.parameters(), lr=0.03)

curve = []
for update in range(UPDATES):
    observation, logps, rewards = batch.reset(), [], []
    for _ in range(config.horizon):
        choice = torch.distributions.Categorical(logits=policy(rbc_marl.join(observation, "firm")))
        taken = choice.sample()  # [B, F]
        indices = rules.act(observation, batch.generator, state=batch.state)
        observation, reward, _, _ = batch.step({**indices, "firm": taken})
        logps.append(choice.log_prob(taken))
        rewards.append(reward["firm"])
    to_come = torch.stack(rewards).flip(0).cumsum(0).flip(0)  # [T, B, F]
    advantage = (to_come - to_come.mean(1, keepdim=True)) / (to_come.std(1, keepdim=True) + 1e-6)
    loss = -(torch.stack(logps) * advantage).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    curve.append((update, torch.stack(rewards).sum(0).mean().item()))
    if update % 10 == 0 or update == UPDATES - 1:
        print(f"update {update:3}  profit of a firm {curve[-1][1]:12,.0f}")

with (output / "curve.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("update", "firm_return"), *curve])

# %% [markdown]
# A chart is plain data: layers over a pair of axes. `Picture` draws it.

# %%
from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.analysis.pictures import Picture

updates, profits = (list(column) for column in zip(*curve, strict=True))
chart = Chart("curve", "Firms that learn", "update", "profit of a firm in an episode", (Line(updates, profits),))
Picture([chart], columns=1).save(output / "curve.png")

# %% [markdown]
# ## Play what you trained
#
# Whatever has `config`, `encoding`, `device` and a method `act` is policies for the whole package. These are the rules
# with the trained firms in their midst.


# %%
class WithMyFirms:
    """The rules, and the trained firms."""

    config, encoding, device = config, "symlog", torch.device("cpu")

    @torch.no_grad()
    def act(self, observation, generator=None, greedy=False, *, state=None):
        indices = rules.act(observation, generator, greedy, state=state)
        logits = policy(rbc_marl.join(observation, "firm"))
        drawn = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).view(logits.shape[:2])
        return {**indices, "firm": logits.argmax(-1) if greedy else drawn}


from rbc_marl.analysis.rollouts import evaluate

for name, policies in (("rules", rules), ("rules, my firms", WithMyFirms())):
    means = evaluate(policies, num_episodes=64, seed=1).means
    print(
        f"{name:16} profit {means['firm_return']:12,.0f}  price {means['price']:7.1f}  wage {means['wage']:5.2f}  "
        f"welfare {means['welfare_total']:10,.0f}"
    )

# %% [markdown]
# They can also be the others of an environment: here consumers could learn among the firms just trained.

# %%
env = rbc_marl.parallel_env(config, train_types=["consumer"], others=WithMyFirms())
observations, _ = env.reset(seed=0)
while env.agents:
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    observations, rewards, _, _, _ = env.step(actions)
print("last period's utility of random consumers:", round(sum(rewards.values()), 2))

# %% [markdown]
# Policies that travel with the package have names. One firm of your own in the economy of `open_rbc`:

# %%
env = rbc_marl.parallel_env("open", train_types=["firm_0"], others="open_rbc")
env.reset(seed=0)
for price in (2500, 2500, 1000):
    action = env.config.price_choices.index(price) * len(env.config.wage_choices) + env.config.wage_choices.index(11)
    _, _, _, _, infos = env.step({"firm_0": action})
print("firm 0 among trained agents:", {key: round(value, 1) for key, value in infos["firm_0"].items()})
print(sorted(path.name for path in output.iterdir()))
