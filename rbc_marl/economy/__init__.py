"""The economy: a pure function from state and actions to the next state and what happened (torch only)."""

from rbc_marl.economy.accounting import residuals
from rbc_marl.economy.parameters import PARAMETERS, Number
from rbc_marl.economy.period import period
from rbc_marl.economy.start import initial_state
from rbc_marl.economy.state import Actions, EconomyState, Flows

__all__ = ["PARAMETERS", "Actions", "EconomyState", "Flows", "Number", "initial_state", "period", "residuals"]
