# %% [markdown]
# # An economy of your own
#
# After this tutorial you can
#
# - write a utility, a production function and a tax of your own, and put an economy together from them;
# - check that its books balance, and see what a part that loses goods looks like;
# - play it with rules before anything learns, train it, and reform it.
#
# The economy is an island. People tire of every good (utility comes to an end), the only harbour gets crowded (output
# falls short where many work), and high pay is taxed more. `ITERATIONS` is far too small to learn anything: set it to
# 600 for real results, a minute or two on one core.

# %%
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import rbc_marl
from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.analysis.figures import episodes
from rbc_marl.analysis.pictures import Picture
from rbc_marl.analysis.rollouts import evaluate, play
from rbc_marl.config import preset
from rbc_marl.economy.audit import audit, work
from rbc_marl.experiments import load_experiments
from rbc_marl.policies.scripted import ScriptedPolicies

ITERATIONS = int(os.environ.get("ITERATIONS", "6"))
# Everything is written into a temporary folder, or the one that TUTORIAL_OUTPUT names.
folder = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))
os.environ.pop("FORCE_COLOR", None)  # Jupyter asks programs for colours, which are no good in a text that is kept
torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other


def command(*arguments):
    """Run the command rbc-marl in the folder, as you would in a terminal: !rbc-marl ... in a notebook."""
    print("$ rbc-marl", *arguments, flush=True)
    words = [sys.executable, "-m", "rbc_marl.cli", *arguments]
    done = subprocess.run(words, cwd=folder, check=True, text=True, stdout=subprocess.PIPE)
    print(done.stdout, end="")


# %% [markdown]
# ## Three parts
#
# A part is a class with a base of `rbc_marl.mechanics`. Fields are its parameters, and one method is its formula, on
# tensors of many economies at once. Files and saved policies find a class by its module, so the classes go into a file.

# %%
(folder / "island.py").write_text('''\
from rbc_marl.mechanics import AdditiveUtility, Production, WageTax


class Tiring(AdditiveUtility):
    """Utility of each good that comes to an end."""

    limit: float = 8.0

    def of_good(self, units, numbers):
        """Utility of units of one good, element by element."""
        return self.limit * (units / self.limit).tanh()


class Harbour(Production):
    """Cobb-Douglas output that falls short where many work for one firm."""

    room: float = 20000.0

    def output(self, capital, labour, exponent, technology):
        """Units [B, F] of capital [B, F] and hours [B, F]."""
        return technology * capital.pow(1.0 - exponent) * (labour / (1.0 + labour / self.room)).pow(exponent)


class Progressive(WageTax):
    """A rate that rises with the pay, from nothing towards the government's."""

    half: float = 10000.0

    def paid(self, wage_income, rate):
        """Tax [B, C] on pay [B, C], at the chosen rate [B, 1]."""
        return rate * wage_income * wage_income / (wage_income + self.half)
''')
sys.path.insert(0, str(folder))
island = importlib.import_module("island")

# %% [markdown]
# Look at a formula before you build on it:

# %%
units, hours = torch.linspace(0, 20, 41), torch.linspace(0, 60000, 61)
published, own = preset("open"), island.Tiring(limit=8.0)
curves = [
    Line(units.tolist(), published.utility.of_good(units, published).tolist(), label="published"),
    Line(units.tolist(), own.of_good(units, published).tolist(), label="Tiring"),
]
capital, exponent = torch.tensor(5000.0), torch.tensor(0.6)
made = [
    Line(hours.tolist(), part.output(capital, hours, exponent, 0.01).tolist(), label=name)
    for name, part in (("published", published.production), ("Harbour", island.Harbour()))
]
formulas = [
    Chart("utility", "utility of a good", "units", "utility", tuple(curves), ""),
    Chart("output", "output of a firm", "hours", "units", tuple(made), ""),
]
Picture(formulas, columns=2).save(folder / "formulas.png")

# %% [markdown]
# ## The economy
#
# Parts are fields of the economy, beside its numbers. In Python they are objects or mappings; in a file, the name of
# the class with its parameters.

# %%
economy = preset(
    "open",
    num_consumers=20,
    num_firms=4,
    utility={"class": "island.Tiring", "limit": 8.0},
    production={"class": "island.Harbour"},
    wage_tax={"class": "island.Progressive"},
    depreciation=0.02,
)
batch = rbc_marl.VectorEconomy(economy, num_envs=64)
batch.reset(0)
_, rewards, _, flows = batch.step(batch.sample_actions())
print(f"{flows.output.mean():.1f} units a firm, made by chance; utility {rewards['consumer'].mean():.2f}")

# %% [markdown]
# ## Do its books balance?
#
# `audit` plays the economy with extreme choices. It wants goods, hours, money, capital and taxes to balance in every
# period, and nothing to be infinite.

# %%
print(audit(economy) or "nothing is wrong")

# %% [markdown]
# And a tax that takes more than the pay? It says what, how much and when:

# %%
from rbc_marl.mechanics import WageTax


class Greedy(WageTax):
    """A tax that takes twice the rate."""

    def paid(self, wage_income, rate):
        """More than there is, where the rate is above a half."""
        return 2.0 * rate * wage_income


island.Greedy = Greedy
for finding in audit(economy.replace(wage_tax=Greedy()))[:2]:
    print(finding)

# %% [markdown]
# ## Is work worth it?
#
# In an economy where goods are worth less than the hours that they take, agents learn not to work, and they are right.
# In the published economy the ratio is 3.45.

# %%
gain = work(economy)
print(f"full work: goods worth {gain.goods:.1f}, hours that cost {gain.effort:.1f}; ratio {gain.ratio:.2f}")

# %% [markdown]
# ## Rules first
#
# Rules play any economy. `rational` consumers buy what is worth its price and work where it pays. What they come to is
# a yardstick for what agents learn.

# %%
for rules in ("rational", "monopoly"):
    means = evaluate(ScriptedPolicies(economy, rules), 64).means
    print(f"{rules:10} hours {means['hours']:6.0f}  consumption {means['consumption']:5.2f}  "
          f"total welfare {means['welfare_total']:8,.0f}")

# %% [markdown]
# ## Train it
#
# The same economy in a file. Everything else comes from `small`.

# %%
(folder / "island.yaml").write_text(f"""\
island:
  base: small
  stop: {{training_iteration: {ITERATIONS}}}
  config:
    env_config:
      utility: {{class: island.Tiring, limit: 8.0}}
      production: {{class: island.Harbour}}
      wage_tax: {{class: island.Progressive}}
      depreciation: 0.02
""")
(experiment,) = load_experiments(folder / "island.yaml")
print(experiment.env_config.production, experiment.env_config.wage_tax)
command("train", "island.yaml", "--set", "report=false")

# %% [markdown]
# Policies keep a copy of the classes' source. Whoever loads them from elsewhere is asked for `--trust` first, for the
# copy is a program.

# %%
trained = rbc_marl.load(folder / "results" / "island", trust=True)
Picture(episodes.portrait(play(trained, 64, agents=True))).save(folder / "island.png")

# %% [markdown]
# ## Reform it
#
# What does a tax of 40% do to it? Nobody has adapted: `--learn 100` would let agents learn on under the tax.

# %%
command("transition", "results/island", "--reform", "income_tax=0.4@3", "--episodes", "32", "--trust")

# %% [markdown]
# ## Where to go on
#
# [An economy of your own](../docs/own_economy.md) lists all kinds of parts and what each method takes and returns.
# [Shocks](../docs/shocks.md) make its numbers move.
