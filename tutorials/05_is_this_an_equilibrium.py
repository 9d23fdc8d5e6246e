# %% [markdown]
# # Is this an equilibrium?
#
# After this tutorial you can
#
# - measure how much consumers, firms and the government would gain by deviating from what they have learned;
# - check single agents as well as whole types;
# - tell a measurement that can be trusted from one that cannot, and draw the result.
#
# In an equilibrium nobody gains by deviating alone. Learned policies are never exactly there, so the question is how
# far away they are. The paper lets one agent type learn on while the others keep their policies, and calls the
# improvement epsilon. Here the same is done for types and for single agents. Constant choices are tried as well,
# because a learner that finds nothing proves little.
#
# The policies checked here are those of `open_rbc`: 100 consumers, 10 firms and a government, trained for 2,500
# iterations. They travel with the package. `SEARCH` is how many iterations a deviation is learnt for: at 100 the search
# is that of the package's own evidence (half an hour), the default only shows how it goes.

# %%
import json
import os
import tempfile
from pathlib import Path

import torch
from rich.console import Console

import rbc_marl
from rbc_marl.analysis.constants import constant_choices, describe, mean_returns, scan
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.figures.deviations import best_responses as gains_of
from rbc_marl.analysis.figures.deviations import certificate_rows
from rbc_marl.analysis.pictures import Picture
from rbc_marl.analysis.rollouts import evaluate, play
from rbc_marl.equilibrium.best_response import BestResponseSettings, best_responses, best_responses_to
from rbc_marl.equilibrium.profile import profile_of_rules
from rbc_marl.policies.deviating import DeviatingPolicies
from rbc_marl.presets import zoo

torch.set_num_threads(1)  # small tensors: threads would only wait for each other
SEARCH = int(os.environ.get("SEARCH", "2"))
results = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp())

# %% [markdown]
# ## Policies to be checked
#
# `rbc_marl.load` takes a name, or the folder of a run of your own.

# %%
policies = rbc_marl.load("open_rbc")
economy = policies.config
means = evaluate(policies, num_episodes=64, seed=1).means
for name in ("hours", "wage", "price", "consumption", "exports", "income_tax", "welfare_consumers", "welfare_total"):
    print(f"{name:18}{means[name]:10,.2f}")

# %% [markdown]
# ## One deviation, by hand
#
# Let firm 0 always post the same price and wage while all others keep their policies. `DeviatingPolicies` changes the
# deviator's choice and nothing else. All others draw the same random numbers, so that with one seed the episodes differ
# only by what the deviation brings about. Differences are then far more precise than either mean.

# %%
deviator = Deviator("firm", 0)
choice = torch.tensor([26])  # price 2500, wage 11
baseline = deviator.returns(play(policies, 64, seed=1))
deviating = deviator.returns(play(DeviatingPolicies(policies, deviator.deviation(choice=choice)), 64, seed=1))
gains = deviating - baseline
print(f"firm 0 with {describe(economy, 'firm', choice)}: {baseline.mean():,.0f} -> {deviating.mean():,.0f}")
print(f"spread of the episodes {baseline.std():,.0f}, of the gains {gains.std():,.0f}")

# %% [markdown]
# A deviation to the network that the firm already follows changes nothing at all, not even by rounding:

# %%
same = DeviatingPolicies(policies, deviator.deviation(policies.networks["firm"]))
assert torch.equal(deviator.returns(play(same, 64, seed=1)), baseline)

# %% [markdown]
# ## All constants
#
# `scan` plays many constants side by side, keeps the better ones, and plays those on more episodes. For firms and the
# government it tries every choice, for consumers a grid of hours, employers and amounts.

# %%
for deviator in (Deviator("firm"), Deviator("firm", 0), Deviator("government")):
    best = scan(policies, deviator, episodes=8)[0]
    tried = len(constant_choices(economy, deviator.agent_type))
    constant_return = mean_returns(policies, deviator, best.unsqueeze(0), 64, seed=2).item()
    baseline_return = deviator.returns(play(policies, 64, seed=2)).mean().item()
    words = f"best of {tried} constants: {describe(economy, deviator.agent_type, best)}"
    print(f"{deviator.name:12} {words:60} {baseline_return:12,.2f} -> {constant_return:12,.2f}")

# %% [markdown]
# ## What was found before
#
# With these policies travels a certificate: what each type and some single agents gain by the best deviation that was
# found, who found it, and for single consumers what they could gain at most. `rbc-marl verify open_rbc` computes every
# number of it again, which takes many minutes.

# %%
certificate = json.loads((zoo()["open_rbc"] / "best_response" / "certificate.json").read_text(encoding="utf-8"))
for agent in certificate["checkpoints"][0]["agents"]:
    who = agent["agent_type"] + (f" {agent['agent']}" if agent["agent"] is not None else "")
    level, gain, upper = agent["baseline"]["mean"], agent["lower"]["gain"], agent["upper"]
    most = f"at most {upper['gain'] / abs(level):6.1%}" if upper else ""
    print(f"{who:12} has {level:12,.1f} and gains {gain / abs(level):6.2%} by {agent['found_by']:10} {most}")

# %% [markdown]
# As a picture, one chart for each type. Firms gain by schedules, which the paper's search does not try. For consumers,
# nobody can gain more than the triangles say.

# %%
Picture(gains_of(certificate_rows(certificate)), columns=1).save(results / "certificate.png")

# %% [markdown]
# ## Best responses
#
# `best_responses` makes such a search. For each type, and each single agent, it learns a deviation with several seeds,
# scans constants, and tries schedules, rules and one-step improvements
# ([docs/equilibria.md](../docs/equilibria.md)). It picks the best of each kind on one set of episodes and measures them
# on fresh ones, where the best counts. Gains of types are those of the paper. A single agent deviates with a network of
# its own, which the others of its type do not share. For firms that are not named, constants alone are tried.
#
# From a terminal: `rbc-marl best-response open_rbc`, or a run's folder. `workers=0` does the work in this process; with
# more, Ray Tune runs deviations side by side. Each piece of work leaves a file, so that an interrupted search goes on
# where it stopped.

# %%
settings = BestResponseSettings(
    types=(),
    agents={"firm": (0,)},
    seeds=(0,),
    iterations=SEARCH,
    episodes=64,  # for publication: at least 1,000
    selection_episodes=32,
    agent_economies=8,
)
report = best_responses(Path("open_rbc"), settings, results / "best_response", workers=0)
Console(width=100, force_jupyter=False).print(report.table())
print("\n".join(report.lines()))

# %% [markdown]
# How to read it:
#
# - **gain** is in utility (consumers), money (firms) or welfare (the government), per agent and episode, with a 95%
#   interval, which holds for the better of the two. If it is negative, no deviation was found that beats staying.
# - **baseline** is what the agents get while nobody deviates. **/base** divides the gain by it, and **/training** by
#   what the agents had gained in training, as the paper does. That has no meaning where the reward fell while everybody
#   learned, as the consumers' usually does: untrained firms pay too much.
# - **control** is the share of a loss that the same search won back from a perturbed network. If it fails, a small gain
#   says nothing: the search would not have found a large one. Now and then the control's network ends up ahead of all
#   others; then **by** says so.
# - a **collapsed** economy, in which nobody works, has tiny gains, and is no equilibrium worth the name.

# %%
print("epsilons:", report.epsilons, "(None: the economy is not living)")
for checkpoint, words in report.verdicts().items():
    print(checkpoint, "-", words)

# %% [markdown]
# ## A case with a known answer
#
# Does the search work? Take an economy of rules in which the answer can be had by hand. One firm sells its stock to
# four consumers who have 2400 each, want at most 3 units, and do not work. 3 units at 600 make 1800, 2 at 1200 make
# 2400, 1 at 1800 makes 1800, and nobody can pay 2500. The rules post 600: the best response is 1200, and it gains
# 4 x 600 = 2400.

# %%
shop = economy.replace(
    num_consumers=4,
    num_firms=1,
    horizon=2,
    open_economy=False,
    consumer_grant=0.0,
    initial_price=2500.0,  # of the first period, which the firm cannot choose: nothing is sold
    initial_inventory=100.0,
    initial_consumer_budget=2400.0,
    initial_capital=100.0,
    labour_exponent=0.5,
    consumption_choices=(0.0, 1.0, 2.0, 3.0),
    price_choices=(600.0, 1200.0, 1800.0, 2500.0),
    wage_choices=(0.0,),
    investment_choices=(0.0,),
)
rules = {"price": 600.0, "wage": 0.0, "work": "never"}
profile = profile_of_rules(shop, rules, {"firm": {"kind": "flat", "hidden": [16]}})
search = settings.replace(
    types=("firm",), agents={}, iterations=60, economies=16, lr={"firm": 2e-2}, perturbation=1.0
)
known = best_responses_to([profile], search, results / "known", workers=0).rows[0]
print(f"learned {known['learned_gain']:,.0f}, constant {known['constant_gain']:,.0f} ({known['constant']})")
assert known["learned_gain"] == known["constant_gain"] == 2400.0

# %% [markdown]
# ## What is kept
#
# `report.save` keeps report.json (with settings, seeds and versions), rows.csv and a figure like the one above.

# %%
print(report.save(results, ["tutorial 05"]))
