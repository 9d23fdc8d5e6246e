# %% [markdown]
# # The closed economy
#
# After this tutorial you can
#
# - follow money through an economy, flow by flow and period by period;
# - say why the closed economy of the paper has so little work and trade, and what mends it;
# - change the economy of trained agents, and tell that from training in the changed one.
#
# In the open economy firms sell abroad, and what they earn there pays wages. In the closed one consumers alone buy. All
# money that firms ever earn is money that consumers had. Three trained closed economies come with the package.
#
# | name | what differs |
# |---|---|
# | `closed_rbc` | the paper's money: 2,000 a consumer |
# | `closed_money` | ten times that money |
# | `closed_dividends` | the paper's money, and firms pay their profits out to consumers |
#
# It needs the extra `analysis`. Nothing is trained here.

# %%
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import rbc_marl
from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.analysis.figures.episodes import money
from rbc_marl.analysis.pictures import Picture
from rbc_marl.analysis.rollouts import Evaluation, play

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
output = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))
NAMES = ("closed_rbc", "closed_money", "closed_dividends")
played = {name: play(rbc_marl.load(name), num_episodes=32, seed=0, agents=True) for name in NAMES}

# %% [markdown]
# ## What becomes of them
#
# Hours tell little where there is no money to pay for them. So the last rows hold each economy against what is possible
# in it: consumers' welfare over that of a planner, and the share of consumers' money that firms keep. Below zero, firms
# pay out more than they earn.


# %%
def table(economies):
    """Print a column of means for each economy."""
    rows = ("hours", "wage", "price", "consumption", "unsold_share", "planner_share", "firms_money_share")
    evaluations = {name: Evaluation.of(one) for name, one in economies.items()}
    print(f"{'':18}" + "".join(f"{name:>20}" for name in economies))
    for row in rows:
        values = [{**one.means, **one.indicators}[row] for one in evaluations.values()]
        print(f"{row:18}" + "".join(f"{value:20,.2f}" for value in values))


table(played)

# %% [markdown]
# ## Where money goes
#
# Arrows are as wide as the flows of money between consumers, firms and the government, per consumer and period.

# %%
charts = [replace(money(episodes)[0], title=name) for name, episodes in played.items()]
Picture(charts, columns=2, title="Flows of money, per consumer and period").save(output / "money.png")

# %% [markdown]
# ## Money circulates once
#
# What do consumers hold at the start of each period, together, in per cent of what they began with?

# %%
lines = []
for name, episodes in played.items():
    budget = episodes.consumer_periods["budget"].double().mean((0, 2))  # [T]
    periods = list(range(1, len(budget) + 1))
    lines.append(Line(periods, (100 * budget / budget[0]).tolist(), name, has_dots=True))
chart = Chart(
    name="consumers-money",
    title="Money of consumers",
    x="period",
    y="% of what they began with",
    layers=tuple(lines),
    logarithmic=("y",),
    caption="Consumers' money runs out with the paper's money. With dividends it grows, out of firms' reserves.",
)
Picture([chart], columns=1).save(output / "consumers_money.png")

# %% [markdown]
# The scale is logarithmic. With the paper's money consumers can buy one or two units, and the money is gone. Firms
# keep it, for they have no use for it in the model. So there is nothing to pay wages for, and firms learn to pay
# none. More money buys time. Dividends close the circle: profits come back and are spent again.
#
# ## Changing the economy is not training in it
#
# What if firms of `closed_rbc` paid dividends from tomorrow on? Policies are functions, and can be played in another
# economy than the one they were trained in.

# %%
before = rbc_marl.load("closed_rbc")
reformed = replace(before, config=before.config.replace(dividend_share=1.0))
economies = {"closed_rbc": played["closed_rbc"], "dividends at once": play(reformed, 32, seed=0, agents=True)}
table({**economies, "trained with them": played["closed_dividends"]})
assert Evaluation.of(economies["dividends at once"]).means["hours"] < 100

# %% [markdown]
# Money comes back now, and consumers buy more of the little there is. But firms still pay next to nothing, so that
# hardly anybody works. The same rule brings the economy to life where agents learn under it. A reform is both: a first
# effect, which `rbc-marl compare` measures, and what agents make of it, which takes training.
#
# ## What next
#
# - [Evidence](../docs/evidence/closed.md): every seed of these three economies.
# - `rbc-marl train closed_dividends --set env_config.dividend_share=0.5`: is half enough?
