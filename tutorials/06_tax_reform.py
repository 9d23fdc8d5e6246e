# %% [markdown]
# # Tax reform
#
# After this tutorial you can
#
# - impose a tax on trained agents, and see what changes and who gains;
# - fix tax rates in training, and hold a government that learns against every pair of rates it could have fixed;
# - say whether its policy *reacts* to anything, by playing its own choices at the wrong moments.
#
# It needs the extras `rllib` and `analysis`. The runs of the last section are far too short to learn anything: set
# `ITERATIONS` to 800 for real results of a small economy (some minutes on one core).

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from rich.console import Console

from rbc_marl.analysis.taxes import compare, play_anchors
from rbc_marl.curriculum import build_curriculum
from rbc_marl.experiments import load_experiments

ITERATIONS = int(os.environ.get("ITERATIONS", "4"))
# Everything is written into a temporary folder, or the one that TUTORIAL_OUTPUT names.
folder = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))
os.environ.pop("FORCE_COLOR", None)  # Jupyter asks programs for colours, which are no good in a text that is kept


def command(*arguments):
    """Run the command rbc-marl in the folder, as you would in a terminal: !rbc-marl ... in a notebook."""
    print("$ rbc-marl", *arguments, flush=True)
    words = [sys.executable, "-m", "rbc_marl.cli", *arguments]
    return subprocess.run(words, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


# %% [markdown]
# ## A reform among trained agents
#
# The quickstart's policies come with the package: 100 consumers and 10 firms who have learned to work and to trade
# where hardly anything is taxed. Impose an income tax on them, with the same random numbers in every economy. Nobody
# learns anew, so this is what happens before anybody adapts.

# %%
import rbc_marl
from rbc_marl.analysis.comparison import compare as compare_economies
from rbc_marl.analysis.figures import off_path
from rbc_marl.analysis.figures.reforms import reform
from rbc_marl.analysis.pictures import Picture
from rbc_marl.policies.imposed import Imposed

trained = rbc_marl.load("quickstart")
economies = {"as trained": trained}
economies |= {f"income tax {rate:.0%}": Imposed(income_tax=rate).on(trained) for rate in (0.2, 0.4)}
found = compare_economies(economies, episodes=int(os.environ.get("PAIRS", "16")))
for table in found.tables():
    Console(width=100, force_jupyter=False).print(table)

# %%
Picture(reform(found), columns=2).save(folder / "reform.png")

# %% [markdown]
# From a terminal: `rbc-marl compare quickstart quickstart,income_tax=0.2 quickstart,income_tax=0.4`. It also writes a
# table for LaTeX.
#
# ## Laffer curves
#
# How much does a tax bring in? Each line imposes all rates of one tax, at one rate of the other.

# %%
Picture(off_path.laffer(trained, episodes=int(os.environ.get("EPISODES", "4"))), columns=2).save(folder / "laffer.png")

# %% [markdown]
# A tax on wages has a top: beyond it people stop working. What becomes of an economy that *learns* under a tax takes
# training.

# %% [markdown]
# ## Economies run by rules
#
# Before anything is trained, let rules run the economy of `small.yaml` under three governments.
# Firms that post the highest price earn most of what is earned. A tax on profits alone, shared out among consumers,
# lets these buy; a tax on income makes most of them stop working, and with that there is nothing to buy or to tax.
# Where firms price by their costs, taxes matter less: goods are cheap already.

# %%
(experiment,) = load_experiments("small")
economy = experiment.env_config
print(pd.DataFrame(play_anchors(economy)).round(0).to_string(index=False))

# %% [markdown]
# Total welfare weights money of firms by 0.0025, and profit is nearly all of it: there the best tax is none. That is
# why the experiment below looks at consumers' welfare, and why every summary of a sweep says what welfare is made of.
#
# ## Fixed taxes, phased in
#
# A government with fixed rates does not learn. It sets them as far as the curriculum has opened the range of taxes, so
# that others get used to them as they get used to a government that learns. Imposed from the first iteration, the same
# rates can kill an economy that would have lived with them.

# %%
curriculum = build_curriculum(
    {"taxes": {"begin": 400, "end": 600, "fixed": {"income": 0.2, "corporate": 0.8}}},
    economy,
)
for iteration in (0, 450, 500, 600):
    phase = curriculum.phase(iteration)
    (allowed,) = phase.masks(economy)["government"].nonzero().flatten().tolist()
    income, corporate = divmod(allowed, len(economy.corporate_tax_choices))
    rates = economy.income_tax_choices[income], economy.corporate_tax_choices[corporate]
    print(f"{iteration:4}  {phase.describe():60}  now {rates[0]:.0%} and {rates[1]:.0%}")

# %% [markdown]
# ## A sweep of taxes
#
# A sweep file varies one experiment. The section `taxes` makes its arms: a policy learned for each definition of
# welfare, and every pair of fixed rates, all with the same seeds, the same curriculum and as many iterations.

# %%
begin, end = int(0.4 * ITERATIONS), int(0.6 * ITERATIONS)
(folder / "taxes.yaml").write_text(f"""\
taxes:
  base: small
  seeds: [100, 101]
  set: {{stop.training_iteration: {ITERATIONS}, curriculum.taxes: {{begin: {begin}, end: {end}}}}}
  taxes:
    welfare: [consumers]
    income: [0]
    corporate: [0, 0.8]
  episodes: 64
""")
print(command("sweep", "taxes.yaml", "--workers", "1").partition("Learned taxes")[0])

# %% [markdown]
# Only its progress is shown here: the summary is in `summary.md`. The table has a row per run. Runs that collapsed
# count in every mean: a tax that kills one economy in two is not half as good as its better run. The best pair of a
# few noisy means is flattered by the luck of having been picked on them: `held_out` judges each seed by the pair that
# is best on the others. With three seeds and more there is an interval.
#
# `shuffled_...` is the learned policy with its states shuffled: its own choices, dealt out anew over episodes and
# periods. Where it does as well, the policy reacts to nothing that matters, and what it has over fixed rates is that it
# mixes them.

# %%
table = pd.read_csv(folder / "results" / "taxes" / "table.csv")
shown = ["arm", "seed", "outcome", "welfare_consumers", "shuffled_welfare_consumers", "profit"]
print(table[shown].round(0).to_string())
rows = table.to_dict("records")
comparison = compare(rows, "consumers")
print(f"learned {comparison.learned:,.1f}; best fixed pair {comparison.best}: {comparison.fixed:,.1f}")
print(f"pairs picked on the other seeds: {comparison.held_out:,.1f}; 95% interval: {comparison.difference}")

# %% [markdown]
# `taxes.png` beside the table shows a bar for each policy and a dot for each run. The full experiment is
# `rllib_configs/sweeps/taxes.yaml`: every pair of rates with one seed, the best ones and the paper's equal rates with
# ten more. `taxes_consumers.yaml` is the same for a government that cares for consumers only. The guide to
# [taxes and sweeps](../docs/taxes.md) goes on from here, with grids of other settings.
#
# An interrupted sweep goes on when the same command is given again: runs that are done are kept, and those that were
# under way go on from their last checkpoint.
#
# ## What to run for real
#
# ```
# rbc-marl sweep rllib_configs/sweeps/taxes.yaml --small            # minutes
# rbc-marl sweep rllib_configs/sweeps/open_spectrum.yaml --small
# rbc-marl sweep rllib_configs/sweeps/firm_weight.yaml              # what if profit counted less?
# rbc-marl sweep rllib_configs/sweeps/hyperparameters.yaml          # a search, with early stopping
# ```
