"""Settings of best responses, as files give them."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings, settings_from_words
from tests.equilibrium.economies import SHOPS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"iteration": 3}, 'best_response.iteration is not a setting of best responses; did you mean "iterations"'),
        ({"iterations": 0}, "best_response.iterations is 0; it must be at least 1"),
        ({"iterations": 1.5}, "best_response.iterations is 1.5; it must be a whole number"),
        ({"types": ["firms"]}, "best_response.types.0 is 'firms'; it must be 'consumer', 'firm' or 'government'; did"),
        ({"agents": "some"}, "best_response.agents is 'some'; it must be 'default' or 'all' or"),
        ({"agents": {"government": [0]}}, "best_response.agents.government is not a type whose agents can deviate"),
        ({"lr": {"firm": 0}}, "best_response.lr.firm is 0; it must be more than 0"),
        ({"checkpoints": "some"}, "best_response.checkpoints is 'some'; it must be 'all' or a list"),
        ({"entropy": -1}, "best_response.entropy is -1; it must be at least 0"),
        ([], "best_response is []; it must be a mapping with types, agents, seeds"),
        ({"seeds": 3}, "best_response.seeds is 3; it must be a list, such as [0, 1, 2]"),
        ({"seeds": []}, "best_response.seeds is []; it must be a list of at least 1, such as [0, 1, 2]"),
        ({"seeds": [2, 2]}, "best_response.seeds is [2, 2]; it must have each seed once"),
        ({"agents": None}, "best_response.agents is None; it must be 'default' or 'all' or a mapping with"),
        ({"agents": [0]}, "consumer, firm, such as {firm: [0, 9]}, or {} for none"),
        ({"agents": {"firm": None}}, 'best_response.agents.firm is None; it must be a list, such as [0, 9], or "all"'),
        ({"agents": {"firm": 1.5}}, 'best_response.agents.firm is 1.5; it must be a list, such as [0, 9], or "all"'),
        ({"agents": {"firm": True}}, "best_response.agents.firm is True; it must be a list"),
        ({"agents": {"firm": [-1]}}, "best_response.agents.firm.0 is -1; it must be 'all' or at least 0"),
        ({"lr": 1e-3}, "lr is 0.001; it must be a mapping with consumer, firm, government, such as {firm: 1e-3}"),
        ({"lr": {"firm": "1e-3"}}, "best_response.lr.firm is '1e-3'; it must be a number"),
        ({"lr": {"firms": 1e-3}}, 'best_response.lr.firms is not an agent type; did you mean "firm"?'),
        ({"types": "firm"}, "best_response.types is 'firm'; it must be a list, such as [consumer, firm]"),
        ({"types": None}, "best_response.types is None; it must be a list"),
        ({"checkpoints": 400}, "best_response.checkpoints is 400; it must be 'all' or a list, such as [400]"),
        ({"checkpoints": ["last"]}, "best_response.checkpoints.0 is 'last'; it must be a whole number"),
        ({"damage": 0.5}, "best_response.perturbation is what damage is called now"),
    ],
)
def test_settings_of_best_responses_of_the_wrong_kind_are_refused(given, message):
    with pytest.raises(ConfigError) as caught:
        BestResponseSettings.parse(given, "best_response")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_one_agent_alone_needs_no_list():
    assert BestResponseSettings(agents={"firm": 0}).agents.firm == (0,)


def test_settings_take_numbers_of_numpy_and_come_back_from_their_own_plain_data():
    import numpy as np

    settings = BestResponseSettings(seeds=np.arange(2), agents={"firm": "all"}, lr={"firm": np.float32(0.5)})
    assert settings.seeds == (0, 1) and settings.lr.firm == 0.5 and settings.lr.consumer is None
    assert BestResponseSettings.parse(settings.to_dict(), "best_response") == settings
    assert settings.replace(iterations=3).iterations == 3 and settings.iterations == 200
    with pytest.raises(ConfigError, match="iterations is 0"):
        settings.replace(iterations=0)


def test_the_words_of_a_command_become_the_same_settings_as_a_files():
    words = settings_from_words((), ["consumer:37", "firm:0", "firm:all"], ["4", "2"], ["firm=1e-3"], iterations=5)
    data = {"types": [], "agents": {"consumer": [37], "firm": [0, "all"]}, "checkpoints": [4, 2]}
    assert words == BestResponseSettings(**data, lr={"firm": 1e-3}, iterations=5)
    assert settings_from_words(types=["firm"]) == BestResponseSettings(types=("firm",), agents={})
    assert settings_from_words(checkpoints=["3", "all"]) == BestResponseSettings(checkpoints="all")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"agents": ["firm"]}, "--agent firm: write it as type:number, such as consumer:37, or firm:all"),
        ({"agents": ["firm:-1"]}, "--agent firm:-1: write it as"),
        ({"checkpoints": ["last"]}, "--checkpoint last: give the number of an iteration, or all"),
        ({"rates": ["firm=inf"]}, "--lr firm=inf: write it as type=rate, such as firm=1e-3"),
        ({"rates": ["firms=1"]}, 'lr.firms is not an agent type; did you mean "firm"?'),
        ({"types": ["firms"]}, "types.0 is 'firms'; it must be 'consumer', 'firm' or 'government'; did you mean"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words, message):
    with pytest.raises(ConfigError) as caught:
        settings_from_words(**words)
    assert str(caught.value).startswith(message)


def test_agents_default_to_low_middle_and_high():
    def names(**settings):
        return [deviator.name for deviator in BestResponseSettings.parse(settings, "").deviators(SHOPS)]

    assert names(types=["consumer"], seeds=[4]) == ["consumer", "consumer-4", "consumer-2", "consumer-0"]
    assert names(types=[], agents={"firm": "all"}) == ["firm-0", "firm-1"]
    assert names(types=["firm"], agents={}) == ["firm"]
    with pytest.raises(ConfigError, match="firm 2 is not in this economy; its 2 agents"):
        names(agents={"firm": [2]})
    with pytest.raises(ConfigError, match="nobody is to be checked"):
        names(types=[], agents={})
