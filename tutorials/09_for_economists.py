# %% [markdown]
# # For economists: first-order conditions
#
# After this tutorial you can
#
# - write down the consumer's problem of this economy, and its first-order conditions;
# - compute the value of money of trained consumers, and hold it against that of an optimiser;
# - see where trained consumers satisfy each condition, and where they do not;
# - say what a one-period deviation would gain, in percent of consumption: the twin of an Euler error.
#
# Agents here are neural networks. Nobody told them about first-order conditions. So the conditions are a test.
#
# ## The consumer's problem
#
# Consumer *i* takes prices p, the net wage w (after income tax) and transfers as given, and chooses units c of each
# good, hours h and an employer:
#
# ```
# maximise   Σ_t [ Σ_f u(c_tf) - θ_i h_t / 2 ],    where u(c) = ((c + 1)^(1-η) - 1) / (1-η)
#
# money      m_(t+1) = m_t + w_t h_t + transfers_t - Σ_f p_tf c_tf
# in hand    Σ_f p_tf c_tf ≤ m_t
# limits     0 ≤ c_tf ≤ 10,   0 ≤ h_t ≤ 1040
# ```
#
# Wages come after the shopping, so that only money in hand can be spent. Let λ_t be the value of one more unit of money
# at the end of period t, in utility. After the last period money is worth nothing. Then
#
# 1. **Goods.** Marginal utility over price equals the value of money: u'(c_tf) / p_tf = λ_t, or more where money runs
#    out in the period. A good that gives less is not bought. A good that gives more is bought up to the limit.
# 2. **Saving.** λ_(t-1) is the larger of λ_t and what money buys in period t. Without interest the value of money never
#    rises. It falls only where money runs out.
# 3. **Hours.** Work as long as you can if λ_t w_t > θ_i / 2, and not at all otherwise. Work for the best payer.
#
# Utility is nearly linear: η is 0.1, and over ten units marginal utility falls by a fifth. So the first condition is
# nearly a **reservation price**. Buy nothing that costs more than 1 / λ_t, and as much as you can of what costs a fifth
# less.

# %%
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import rbc_marl
from rbc_marl.analysis.charts import Bars, Chart, Line, Points, Rule, Span
from rbc_marl.analysis.pictures import Picture
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.situations import decide, situations
from rbc_marl.analysis.upper_bounds import PathRecorder, upper_bounds
from rbc_marl.economy.markets import ration
from rbc_marl.economy.own_choices import Market, market_of, value_of_money
from rbc_marl.presets import zoo

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
output = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))

# %% [markdown]
# ## Visited states
#
# Two trained economies come with the package. Consumers of `open_rbc` learned for longer, and explore less at the end,
# than those of `quickstart`. We play episodes and keep what consumers met and what they did: T periods, B episodes, C
# consumers, F goods.


# %%
class Visited:
    """What consumers met and did in some episodes, and what money was worth to them."""

    def __init__(self, name, episodes=16):
        self.policies = rbc_marl.load(name)
        self.config = self.policies.config
        self.units = torch.tensor(self.config.consumption_choices, dtype=torch.float64)
        self.some = tuple(range(0, self.config.num_consumers, 10))  # whose upper bounds are computed
        self.recorder, self.kept = PathRecorder(self.config, self.some), []
        self.returns = play(self.policies, episodes, seed=1, watch=self.watch).returns["consumer"].double()
        markets, *choices = zip(*self.kept, strict=True)
        self.market = Market(*(torch.stack(parts) for parts in zip(*markets, strict=True)))
        self.asked, self.bought, self.hours, self.employer = map(torch.stack, choices)
        # What one more unit of money would have added later. A consumer knows the period, not the draws: so the mean.
        along_paths = value_of_money(self.config, self.market, self.asked, discount=1.0)  # [T, B, C]
        self.money_value = along_paths.mean(1, keepdim=True).expand_as(along_paths)
        self.share_met = ration(self.market.total_demand, self.market.inventory)[0]  # [T, B, F] of what is asked for

    def watch(self, state, indices, flows):
        """Keep a period; `play` calls it."""
        self.recorder(state, indices, flows)
        market = Market(*(part.double() for part in market_of(self.config, state, flows)))
        choices = indices["consumer"].long()
        asked, employer = self.units[choices[..., :-2]], choices[..., -1]
        self.kept.append((market, asked, flows.consumption.double(), flows.hours.double(), employer))


economies = {name: Visited(name) for name in ("open_rbc", "quickstart")}
for name, visited in economies.items():
    print(f"{name:11} {list(visited.asked.shape)}  utility of a consumer {visited.returns.mean():.1f}")

# %% [markdown]
# ## The value of money
#
# `value_of_money` follows the path that was played: what would one more unit have bought, and when? The consumer of
# `upper_bounds` knows the whole path and does the best that can be done on it. The multipliers of that problem are the
# value of money of an optimiser.

# %%
layers = []
for name, visited in economies.items():
    played = 1000 * visited.money_value.mean((1, 2))
    bounds, multipliers = upper_bounds(visited.config, visited.recorder.path())  # [B, A], [B, A, T]
    visited.bounds = bounds
    periods = range(1, visited.config.horizon + 1)
    layers.append(Line(periods, played.tolist(), f"{name}, as played", has_dots=True))
    layers.append(Line(periods, (1000 * multipliers.mean((0, 1))).tolist(), f"{name}, optimiser"))
    reservation = 1 / visited.money_value[2].mean()
    print(f"{name:11} reservation price in period 3: {reservation:6,.0f}")
chart = Chart(
    name="value-of-money",
    title="Value of money at the end of each period",
    x="period",
    y="utility per 1,000 of money",
    layers=tuple(layers),
    starts_at_zero=True,
    caption="The value of money is flat and falls to zero at the end. In open_rbc an optimiser's is higher.",
)
Picture([chart], columns=1).save(output / "value_of_money.png")

# %% [markdown]
# The lines are flat, as the second condition demands: money that is saved is worth the same now and later. They fall to
# zero at the end. In the first periods there is so little money that an optimiser would spend all of it. In `open_rbc`
# an optimiser would make a tenth more of money later as well.
#
# ## First condition: goods
#
# How much of each good is asked for, by its price? The first condition says: ten units to the left of the shaded
# stretch, nothing to the right of it. In the last period money has no other use. There consumers should ask for
# anything they can pay.


# %%
def units_by_price(visited, periods):
    """Mean units asked for of one good, by its price in force; without prices that no firm posts."""
    asked = visited.asked[periods].mean(2)  # [t, B, F] over consumers
    price = visited.market.price[periods]
    return {at: asked[price == at].mean().item() for at in visited.config.price_choices if (price == at).any()}


charts = []
for name, visited in economies.items():
    middle, last = (units_by_price(visited, periods) for periods in (slice(2, 9), slice(9, 10)))
    reservation = 1 / visited.money_value[2:9].mean().item()
    tenth = (max(visited.config.consumption_choices) + 1) ** -visited.config.crra  # marginal utility of the last unit
    layers = (
        Span(tenth * reservation, reservation, "some units"),
        Points(list(middle), list(middle.values()), "periods 3 to 9"),
        Points(list(last), list(last.values()), "last period", marker="triangle"),
    )
    charts.append(
        Chart(
            name=f"goods-{name}",
            title=name,
            x="price of the good",
            y="units asked for, per consumer",
            layers=layers,
            starts_at_zero=True,
            caption=f"In {name} consumers ask for cheap goods and not for dear ones, in the last period too.",
        )
    )
Picture(charts, columns=2).save(output / "goods.png")

# %% [markdown]
# Below and above the stretch both populations do what the condition says. Within it, at 1,500, the optimum of
# `quickstart` is about three units, and consumers ask for twice as many. In the last period nobody asks for dear goods,
# though money that is left is worth nothing.
#
# ## Third condition: hours
#
# On the path nearly everybody works as long as possible: the wage is worth it. To see the condition bind, we change one
# thing in the middle of an episode, the income tax, and ask consumers what they would do. The horizontal axis is the
# value of an hour's net wage over its disutility. To the left of 1 nobody should work.

# %%
EDGES = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0], dtype=torch.float64)
layers = []
for name, visited in economies.items():
    state, generator = situations(visited.policies, 32, seed=0)
    ratios, worked = [], []
    for rate in visited.config.income_tax_choices:
        taxed = replace(state, income_tax=torch.full_like(state.income_tax, rate))
        net_wage = ((1 - rate) * state.wage.amax(1, keepdim=True)).double()
        value = visited.money_value[visited.config.horizon // 2, :1]  # [1, C]
        ratios.append((value * net_wage / (0.5 * state.labour_disutility.double())).flatten())
        worked.append(decide(visited.policies, taxed, generator).hours.double().flatten())
    ratio, hours = torch.cat(ratios), torch.cat(worked)
    place = torch.bucketize(ratio, EDGES)
    means = [(ratio[place == k].mean().item(), hours[place == k].mean().item()) for k in place.unique()]
    layers.append(Line([x for x, _ in means], [y for _, y in means], name, has_dots=True))
    right = ((hours > 520) == (ratio > 1)).double().mean()
    print(f"{name:11} on the right side of the condition: {right:.0%} of choices")
chart = Chart(
    name="hours",
    title="Hours under every income tax",
    x="worth of an hour's pay over its disutility",
    y="hours per period",
    layers=(*layers, Rule(1.0, "first-order condition", axis="x")),
    starts_at_zero=True,
    caption="Hours fall with the worth of the net wage, but only well below the point that the condition names.",
)
Picture([chart], columns=1).save(output / "hours.png")

# %% [markdown]
# Hours fall where the tax takes most of the wage, but too late: many work for less than the disutility. Taxes that high
# hardly ever occur where they were trained, so that such mistakes cost them nothing.

# %% [markdown]
# ## The twin of an Euler error
#
# Choices are discrete and often at a limit, so that an Euler residual says little. The gain from a one-period deviation
# says more. In one period a consumer does the best there is at the value of money above, and goes on as before. Of a
# rationed good it gets the same share of its request as everybody else. The best basket solves the first condition, by
# bisection on the multiplier of the money in hand.
#
# We divide by marginal utility times consumption of the whole episode. So the gain is in percent of consumption: how
# much more of everything would have been as good.


# %%
def best_baskets(visited):
    """Units [T, B, C, F] of the best basket, prices, rations and the value of money as given."""
    eta, most = visited.config.crra, max(visited.config.consumption_choices)
    price, met = visited.market.price.unsqueeze(2), visited.share_met.unsqueeze(2)  # [T, B, 1, F]
    value, money = visited.money_value.unsqueeze(-1), visited.market.budget.unsqueeze(-1)  # [T, B, C, 1]

    def basket(log_multiplier):
        # One unit of a rationed good needs the money for 1 / met units.
        cost = (value + log_multiplier.exp() / met.clamp(min=1e-9)) * price
        return torch.minimum((cost ** (-1 / eta) - 1).clamp(min=0), most * met)

    low, high = torch.full_like(money, -30.0), torch.zeros_like(money)
    for _ in range(50):
        middle = (low + high) / 2
        is_over = (basket(middle) * price / met.clamp(min=1e-9)).sum(-1, keepdim=True) > money
        low, high = torch.where(is_over, middle, low), torch.where(is_over, high, middle)
    return basket(high)


def one_period_gains(visited):
    """Gain of a one-period deviation in goods, hours and employer, in utility [T, B, C] each."""
    config, market, value = visited.config, visited.market, visited.money_value

    def worth(basket):
        spending = (basket * market.price.unsqueeze(2)).sum(-1)
        return config.utility.of_good(basket, config).sum(-1) - value * spending

    paid, best_pay = market.net_wage.gather(-1, visited.employer), market.net_wage.amax(-1, keepdim=True)
    of_an_hour = value * best_pay - 0.5 * market.labour_disutility
    best_hours = torch.where(of_an_hour > 0, max(config.hours_choices), min(config.hours_choices))
    return {
        "goods": worth(best_baskets(visited)) - worth(visited.bought),
        "hours": (best_hours - visited.hours) * of_an_hour,
        "employer": value * (best_pay - paid) * visited.hours,
    }


charts = []
for name, visited in economies.items():
    marginal = ((visited.bought + 1) ** -visited.config.crra * visited.bought).sum(-1)  # marginal utility x units
    unit = marginal.sum(0).mean()  # utility of 1% more of everything, times 100
    gains = one_period_gains(visited)
    visited.total = sum(gain.sum(0).mean().item() for gain in gains.values())
    assert min(gain.min().item() for gain in gains.values()) > -1e-3  # a best choice is no worse than the one made
    periods = range(1, visited.config.horizon + 1)
    shares = {part: 100 * gain.mean((1, 2)) / unit for part, gain in gains.items()}  # [T] each
    bars = [Bars(periods, share.tolist(), part) for part, share in shares.items() if share.max() > 0.01]
    charts.append(
        Chart(
            name=f"gains-{name}",
            title=f"{name}: {100 * visited.total / unit:.1f}% of consumption in all",
            x="period",
            y="gain, % of consumption",
            layers=tuple(bars),
            starts_at_zero=True,
            caption=f"What a one-period deviation gains in {name}, by period.",
        )
    )
Picture(charts, columns=2).save(output / "gains.png")

# %% [markdown]
# Nobody would gain by another employer. Consumers of `open_rbc` satisfy every condition as well as a computer can
# say, in all periods but the last. There they keep money that is worth nothing: cheap goods run out, and they do not
# ask for dear ones. Consumers of `quickstart` err a little everywhere, for they still explore. They leave a bargain
# in period 2, and ask for too many units of cheap goods late.
#
# ## How far is that from the best?
#
# One-period gains add up to less than the best plan for the whole path, which the upper bound is about. The
# certificate of `open_rbc` holds what searches found for single consumers ([Is this an
# equilibrium?](../docs/equilibria.md)).

# %%
for name, visited in economies.items():
    baseline = visited.returns[:, list(visited.some)]
    print(
        f"{name:11} utility {baseline.mean():5.1f}   one-period gains {visited.total / visited.returns.mean():5.1%}"
        f"   at most, with the path known {(visited.bounds - baseline).mean() / baseline.mean():5.1%}"
    )
certificate = json.loads((zoo()["open_rbc"] / "best_response" / "certificate.json").read_text(encoding="utf-8"))
for agent in certificate["checkpoints"][0]["agents"]:
    if agent["agent_type"] == "consumer" and agent["agent"] is not None:
        gain = agent["lower"]["gain"] / agent["baseline"]["mean"]
        print(f"open_rbc, consumer {agent['agent']:2}: found by {agent['found_by']}: {gain:.1%} of utility")
assert 0 < economies["open_rbc"].total < economies["open_rbc"].bounds.mean() - economies["open_rbc"].returns.mean()

# %% [markdown]
# ## Why firms are another matter
#
# A consumer is one of a hundred and takes prices as given. A firm moves its own demand, so that its first-order
# condition is about a residual demand curve that is learned as well. There constants, schedules and learned deviations
# take the place of conditions: tutorial 05.
#
# ## What next
#
# - Put `closed_dividends` into `economies` above. Its consumers face rationing in most periods.
# - Change η: `rbc_marl.preset("open", crra=1.0)` is logarithmic, and then baskets are spread over goods.
