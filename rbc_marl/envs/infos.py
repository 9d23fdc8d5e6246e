"""What happened to each agent in a period, as plain numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows


class PlayedPeriod(NamedTuple):
    """One period of one economy (B = 1)."""

    before: EconomyState
    """At the start of the period: prices, wages and taxes in force."""
    employer: Tensor
    """[C] firm each consumer chose to work for."""
    flows: Flows
    """What happened."""
    after: EconomyState
    """At its end."""


def period_infos(config: EconomyConfig, period: PlayedPeriod) -> list[dict[str, Any]]:
    """Infos of all consumers, all firms and the government, in this order.

    Quantities are the period's own (prices, wages and tax rates: those in force), stocks (inventory, capital, budget)
    are at its end. Values are Python floats, except a consumer's employer, the index of a firm, which is an int.
    """
    return [*_rows(_consumers(period)), *_rows(_firms(period)), _government(config, period)]


def welfares(config: EconomyConfig, flows: Flows) -> tuple[float, float]:
    """Welfare of a period by both definitions: of consumers only, and with firms at their weight."""
    consumers = float(flows.consumer_reward[0].sum())
    return consumers, consumers + config.firm_welfare_weight * float(flows.firm_reward[0].sum())


def _consumers(period: PlayedPeriod) -> dict[str, list[Any]]:
    flows, count = period.flows, len(period.employer)
    return {
        "consumption": flows.consumption[0].sum(-1).tolist(),
        "spending": flows.spending[0].tolist(),
        "hours": flows.hours[0].tolist(),
        "employer": period.employer.tolist(),
        "wage_income": flows.wage_income[0].tolist(),
        "income_tax_paid": flows.income_tax_paid[0].tolist(),
        "transfer": flows.transfers[0].tolist(),
        "dividend": (flows.dividends.sum(1) / count).tolist() * count,
        "interest": flows.consumer_interest[0].tolist(),
        "utility": flows.utility[0].tolist(),
        "budget": period.after.consumer_budget[0].tolist(),
    }


def _firms(period: PlayedPeriod) -> dict[str, list[Any]]:
    flows, before, after = period.flows, period.before, period.after
    return {
        "price": before.price[0].tolist(),
        "wage": before.wage[0].tolist(),
        "demand": flows.total_demand[0].tolist(),
        "sales": flows.sales[0].tolist(),
        "exports": flows.exports[0].tolist(),
        "labour": flows.labour[0].tolist(),
        "output": flows.output[0].tolist(),
        "revenue": flows.revenue[0].tolist(),
        "wage_bill": flows.wage_bill[0].tolist(),
        "investment": flows.investment[0].tolist(),
        "profit": flows.profit[0].tolist(),
        "corporate_tax_paid": flows.corporate_tax_paid[0].tolist(),
        "dividends": flows.dividends[0].tolist(),
        "interest": flows.firm_interest[0].tolist(),
        "inventory": after.inventory[0].tolist(),
        "capital": after.capital[0].tolist(),
        "budget": after.firm_budget[0].tolist(),
    }


def _government(config: EconomyConfig, period: PlayedPeriod) -> dict[str, Any]:
    welfare_consumers, welfare_total = welfares(config, period.flows)
    return {
        "income_tax": float(period.before.income_tax[0]),
        "corporate_tax": float(period.before.corporate_tax[0]),
        "tax_pool": float(period.flows.tax_pool[0]),
        "transfer": float(period.flows.transfer[0]),
        "welfare_consumers": welfare_consumers,
        "welfare_total": welfare_total,
    }


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """A table's columns as one dictionary a row."""
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
