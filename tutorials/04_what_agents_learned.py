# %% [markdown]
# # What agents learned
#
# After this tutorial you can
#
# - draw the demand and the labour supply of trained consumers, and hold them against rational ones;
# - draw policy functions: a choice against one number of the state;
# - see who works for whom, and who gets how much.
#
# A trained economy shows what agents do where they usually are. There prices and wages hardly vary, so that it says
# little about what they would do elsewhere. But a policy is a function, which can be asked about any state. Here we
# change one thing, leave all else as it came, and look at the answer.
#
# It needs the extra `analysis`. Nothing is trained: the policies come with the package.

# %%
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import rbc_marl
from rbc_marl.analysis.figures import episodes, off_path
from rbc_marl.analysis.pictures import Picture
from rbc_marl.analysis.rollouts import play
from rbc_marl.policies.scripted import ScriptedPolicies

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
output = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))
trained = rbc_marl.load("quickstart")
rational = ScriptedPolicies(trained.config, "rational")

# %% [markdown]
# ## Demand
#
# One firm's price is set from outside, and all others are at the highest. How much do consumers buy of that good? Each
# function of `off_path` returns charts, which are plain data. So the lines of two charts can be put into one.


# %%
def beside(charts, others, names=("trained", "rational")):
    """Charts with the lines of other charts, each line under its name."""
    for chart, other in zip(charts, others, strict=True):
        lines = [replace(one.layers[0], label=name) for one, name in zip((chart, other), names, strict=True)]
        yield replace(chart, layers=tuple(lines))


demand = list(beside(off_path.demand(trained), off_path.demand(rational)))
Picture(demand, columns=1).save(output / "demand.png")

# %% [markdown]
# Demand falls with the price, and ends where consumers would rather wait. Nobody told them to: they learned it from
# what they got. Rational consumers follow the rules of `rbc_marl.policies.rational`, which take prices as lasting. So
# they buy at 2,000, where trained consumers wait for the firm that will undercut.
#
# ## Labour supply
#
# The same for wages and for the income tax. To the left, one firm's wage is changed in the middle of an episode. To the
# right, everybody's tax.

# %%
supply = list(beside(off_path.labour_supply(trained), off_path.labour_supply(rational)))
Picture(supply, columns=2).save(output / "labour_supply.png")

# %% [markdown]
# All leave for the firm that pays more. Trained workers shrug at a small tax and stop working under a large one.
# Rational ones live in an economy of their own, in which all goods are dear and work brings less.
#
# ## Policy functions
#
# `policy_functions` does so for every type of agents: a choice against one number of the state.

# %%
functions = off_path.policy_functions(trained)
Picture(functions).save(output / "policy_functions.png")

# %% [markdown]
# Firms follow the prices of the others, and hardly heed their own stock. They pay the lowest wage there is. Consumers
# spend what they have, until there is nothing left that is worth its price. A flat line is an answer too: this
# government taxes nobody, whatever it sees.
#
# ## Who works for whom, and who gets how much
#
# These are pictures of played episodes. `agents=True` keeps what every consumer does in every period.

# %%
played = play(trained, num_episodes=32, seed=0, agents=True)
Picture(episodes.employers(played)).save(output / "employers.png")

# %%
Picture(episodes.distributions(played), columns=2).save(output / "distributions.png")

# %% [markdown]
# Consumers differ in one thing only: how much they mind work. All work, for any firm, so that incomes hardly differ.
# Utility does, for work costs some of them more. Most have spent their money by the end, and a few keep what is worth
# nothing then.
#
# ## What next
#
# - `rbc-marl evaluate quickstart` prints these measurements as numbers.
# - Load `open_rbc` or `closed_dividends` above. Which of their consumers are nearer to rational ones?
# - Tutorial 05: how much would an agent gain by doing something else?
