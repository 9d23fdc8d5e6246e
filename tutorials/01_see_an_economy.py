# %% [markdown]
# # See an economy
#
# After this tutorial you can
#
# - make an economy, reset it and step it, one or a thousand at a time;
# - read what happened in a period, and check that goods and money add up;
# - let rules decide for all agents, compare rules, and write your own;
# - get an episode as a table and an economy as a picture;
# - do the same through PettingZoo;
# - load trained agents, and see what they do.
#
# Nothing here learns, and Ray is not needed. The tables and the pictures need the extra `analysis`. Each tutorial is a
# script to run with Python, and a notebook in `tutorials/notebooks`.

# %%
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import rbc_marl

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
# Where pictures go: a temporary folder, or the one that TUTORIAL_OUTPUT names.
output = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))

# %% [markdown]
# ## An economy
#
# Consumers buy goods and work. Each firm makes one good, sets its price and its wage, and can export what consumers
# leave. One government sets two taxes and shares out what they bring. An episode is ten periods, each a quarter.
#
# `preset("open")` is the economy of the paper: 100 consumers and 10 firms. Any field can be changed by name.

# %%
config = rbc_marl.preset("open")
smaller = rbc_marl.preset("open", num_consumers=20, num_firms=4)
print(config.num_consumers, "consumers,", config.num_firms, "firms,", config.horizon, "periods")
print("prices a firm can post:", config.price_choices)
print("hours one can work:    ", config.hours_choices)

# %% [markdown]
# A configuration that cannot be is refused when it is made. The message names the field and says what it may be.

# %%
for wrong in ({"interest_rate": -0.2}, {"num_consumer": 20}):
    try:
        rbc_marl.preset("open", **wrong)
    except rbc_marl.ConfigError as error:
        print(error)
    else:
        raise AssertionError(f"{wrong} was not refused")

# %% [markdown]
# ## Reset and step
#
# `VectorEconomy` plays a batch of economies with one tensor per quantity. Shapes have three letters: B economies, C
# consumers, F firms. An observation has a part that everybody sees and a private part for each agent.

# %%
batch = rbc_marl.VectorEconomy(config, num_envs=3, seed=0)
observation = batch.reset()
for part, values in observation.items():
    print(f"{part:12}{list(values.shape)}")

# %% [markdown]
# Actions are indices of choices. A consumer takes F + 2 of them: units of each good, hours, and whom to work for. A
# firm's price, wage and investment are one index, and so are the government's two taxes. Here they are drawn at random.

# %%
indices = batch.sample_actions()
actions = rbc_marl.decode(config, **indices)  # the same as prices, wages, hours
firm = 0
print("index of firm 0:", int(indices["firm"][0, firm]))
print("it stands for:   price", float(actions.price[0, firm]), "and wage", float(actions.wage[0, firm]))

observation, rewards, truncated, flows = batch.step(indices)
for agent_type, reward in rewards.items():
    print(f"reward of {agent_type:12}{list(reward.shape)}")

# %% [markdown]
# ## What happened
#
# `flows` says what happened in the period, and `batch.state` is the economy after it. All goods are made for the next
# period, and there were none at the start: in the first period nothing can be sold, whatever is asked for.

# %%
_, _, _, second = batch.step(batch.sample_actions())
print("units, first economy  period 1  period 2")
for label, name in (("asked for", "total_demand"), ("sold", "sales"), ("exported", "exports"), ("made", "output")):
    units = [float(getattr(played, name)[0].sum()) for played in (flows, second)]
    print(f"{label:20}{units[0]:10.1f}{units[1]:10.1f}")

# %% [markdown]
# ## Goods and money add up
#
# A period is a pure function: `period(config, state, actions) -> next_state, flows`. `residuals` says how far each
# identity of the accounts is from holding. In float64 what remains is rounding: budgets are in millions, and what is
# missing is less than a millionth of one unit.

# %%
from rbc_marl.economy import initial_state, period, residuals

state = initial_state(config, num_envs=3, dtype=torch.float64)
largest = {}
for _ in range(config.horizon):
    actions = rbc_marl.decode(config, **batch.sample_actions(), dtype=torch.float64)
    next_state, flows = period(config, state, actions)
    for name, residual in residuals(config, state, actions, next_state, flows).items():
        largest[name] = max(largest.get(name, 0.0), float(residual.abs().max()))
    before, state = state, next_state
for name, residual in largest.items():
    print(f"{name:15}{residual:.1e}")
assert max(largest.values()) < 1e-6

# %% [markdown]
# The check can fail. Hide one unit of goods in a store, and the accounts show it.

# %%
forged = replace(state, inventory=state.inventory + 1.0)
found = residuals(config, before, actions, forged, flows)["goods"]
print("goods that came from nowhere, by firm:", (-found[0]).round().tolist())
assert torch.allclose(found, torch.full_like(found, -1.0), atol=1e-6)

# %% [markdown]
# ## Rules instead of chance
#
# `ScriptedPolicies` decides for everybody by simple rules: consumers join the firm that pays best and buy the cheapest
# goods first; all firms post one wage, and one price or a markup on their wage cost. Five sets of rules have names.
# `evaluate` plays episodes with them and reports means: the same quantities as for trained policies.

# %%
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.policies.scripted import RULES, Rules, ScriptedPolicies

mine = Rules(markup=0.5, wage=11.0, work="worthwhile", income_tax=0.2, corporate_tax=0.2)
columns = ("hours", "consumption", "exports", "price", "firm_return", "welfare_consumers", "welfare_total")
print(f"{'rules':17}" + "".join(f"{name:>19}" for name in columns))
for name, rules in {**RULES, "mine": mine}.items():
    means = evaluate(ScriptedPolicies(config, rules), num_episodes=16).means
    print(f"{name:17}" + "".join(f"{means[column]:19,.1f}" for column in columns))

# %% [markdown]
# Total welfare adds firms' profits at a small weight. A monopoly that exports scores high on it while its consumers
# gain next to nothing; compare the two columns on the right. Which of the two the government maximises is a field of
# the economy, `welfare`.
#
# ## An episode as a table
#
# `play(..., record=True)` keeps every period, and `to_frame` makes a pandas table of it: a row per episode and period,
# or with `by="firm"` and `by="consumer"` one per agent and period.

# %%
from rbc_marl.analysis.frames import to_frame
from rbc_marl.analysis.rollouts import play

episodes = play(ScriptedPolicies(config, mine), num_episodes=1, record=True)
table = to_frame(episodes)
shown = table[["period", "hours", "consumption", "output", "exports", "price", "wage", "welfare_total"]]
print(shown.to_string(index=False, float_format="{:.1f}".format))

# %% [markdown]
# ## The same through PettingZoo
#
# `parallel_env` is one economy in the form that PettingZoo defines: dictionaries by agent. It is the same economy, so
# the same actions give the same rewards. The rules read the state of the economy, which a batch of one keeps for us.

# %%
env = rbc_marl.parallel_env(config, render_mode="rgb_array")
env.reset()
twin = rbc_marl.VectorEconomy(config, num_envs=1, autoreset=False)
observation = twin.reset()
policies, generator = ScriptedPolicies(config, mine), torch.Generator().manual_seed(0)


def by_agent(indices):
    """Indices of a batch of one as PettingZoo's dictionary: consumer_0, ..., firm_0, ..., government_0."""
    rows = {"consumer": indices["consumer"][0], "firm": indices["firm"][0], "government": indices["government"]}
    return {f"{kind}_{i}": action for kind, actions in rows.items() for i, action in enumerate(actions.numpy())}


for _ in range(8):
    indices = policies.act(observation, generator, state=twin.state)
    observation, rewards, _, _ = twin.step(indices)
    _, rewards_by_agent, _, truncations, infos = env.step(by_agent(indices))
assert rewards_by_agent["consumer_7"] == float(rewards["consumer"][0, 7])
print("reward of consumer_7:", round(rewards_by_agent["consumer_7"], 2))
print("what it did:         ", {key: round(value, 1) for key, value in infos["consumer_7"].items()})

# %% [markdown]
# ## A picture
#
# With `render_mode="rgb_array"` the environment draws itself; `"ansi"` gives a table of text.

# %%
import matplotlib.image

picture = env.render()
matplotlib.image.imsave(output / "economy.png", picture)
print("picture: economy.png", picture.shape)

# %% [markdown]
# ## Trained agents
#
# Seven trained economies come with the package ([zoo](../docs/zoo.md)). `load` takes a name and gives policies, which
# are played as rules are. `Picture` shows charts in a notebook, and saves them.

# %%
from rbc_marl.analysis.figures.episodes import paths, roll_out
from rbc_marl.analysis.pictures import Picture

trained = play(rbc_marl.load("quickstart"), num_episodes=32, seed=0, record=True)
Picture(paths(trained), title="The trained quickstart economy").save(output / "paths.png")

# %% [markdown]
# Below is the first of these episodes, firm by firm. Dark prices are high. Firms export at high prices while stocks
# grow. Later some undercut the others, and sell at home.

# %%
Picture(roll_out(trained)).save(output / "roll_out.png")

# %% [markdown]
# ## What next
#
# - Tutorial 02: let the agents learn.
# - Change `mine` above: which taxes and which markup give consumers the most? A higher wage with the same markup?
# - `rbc_marl.preset("closed")`: no exports, so consumers alone must buy everything.
