"""Settings of best responses, as files give them."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.best_response_settings import Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": 3}, "best_response.seeds is 3; give a list of at least one whole number, such as [0, 1, 2]"),
        ({"agents": None}, "best_response.agents is None; give numbers by type, such as {firm: [0, 9]}"),
        ({"agents": [0]}, "best_response.agents is [0]; give numbers by type"),
        ({"agents": {"firm": None}}, 'best_response.agents.firm is None; give a list of numbers, or "all"'),
        ({"agents": {"firm": 1.5}}, 'best_response.agents.firm is 1.5; give a list of numbers, or "all"'),
        ({"agents": {"firm": True}}, "best_response.agents.firm is True; give a list of numbers"),
        ({"lr": 1e-3}, "best_response.lr is 0.001; give rates by type, such as {firm: 1e-3}"),
        ({"lr": {"firm": "1e-3"}}, "best_response.lr.firm is '1e-3'; it must be a number"),
        ({"types": "firm"}, "best_response.types is 'firm'; give a list, such as [consumer, firm]"),
        ({"types": None}, "best_response.types is None; give a list"),
        ({"checkpoints": 400}, 'best_response.checkpoints is 400; give a list of iterations, such as [400], or "all"'),
        ({"checkpoints": ["last"]}, "best_response.checkpoints is ['last']; give a list of iterations"),
    ],
)
def test_settings_of_best_responses_of_the_wrong_kind_are_refused(given, message):
    with pytest.raises(ConfigError) as caught:
        Settings.of(given)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_one_agent_alone_needs_no_list():
    assert Settings.of({"agents": {"firm": 0}}).agents == {"firm": (0,)}
