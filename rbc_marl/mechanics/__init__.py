"""Parts of an economy in which models differ: utility, disutility of labour, production, taxes, transfers, welfare.

`rbc_marl.EconomyConfig` chooses them by name. A class of one's own subclasses one of the bases here.
"""

from rbc_marl.mechanics.labour import Disutility
from rbc_marl.mechanics.numbers import Number, Numbers, beside, is_off
from rbc_marl.mechanics.part import Part
from rbc_marl.mechanics.production import Production
from rbc_marl.mechanics.taxes import Transfers, WageTax
from rbc_marl.mechanics.utility import AdditiveUtility, Utility
from rbc_marl.mechanics.welfare import Welfare

BASES = {base.role: base for base in (Utility, Disutility, Production, WageTax, Transfers, Welfare)}
"""What a class of one's own subclasses, by the field of `rbc_marl.EconomyConfig` that names it."""

__all__ = [
    "BASES",
    "AdditiveUtility",
    "Disutility",
    "Number",
    "Numbers",
    "Part",
    "Production",
    "Transfers",
    "Utility",
    "WageTax",
    "Welfare",
    "beside",
    "is_off",
]
