"""Names that environments had before say what they are called now."""

import importlib

import pytest


@pytest.mark.parametrize("module", ["rbc_marl.adapters", "rbc_marl.adapters.pettingzoo", "rbc_marl.adapters.nothing"])
def test_an_import_of_the_adapters_names_the_environments(module):
    with pytest.raises(ImportError, match=r"rbc_marl\.adapters is now rbc_marl\.envs.*single_agent is now gymnasium"):
        importlib.import_module(module)
