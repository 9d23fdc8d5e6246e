"""The speed of each environment is measured, on a tiny economy; how fast they are is no matter of tests."""

import importlib.util

import pytest

from rbc_marl import preset
from rbc_marl.benchmark import stepping

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)


@pytest.mark.filterwarnings("ignore")
def test_every_environment_there_is_is_measured_against_the_batch():
    result = stepping.measure_environments(CONFIG, "cpu", rounds=1, seconds=0.1, num_envs=4)
    rates, ratios = result["steps_per_second"], result["ratio"]
    assert next(iter(rates)) == stepping.BASELINE and {"PettingZoo", "gymnasium, one firm"} <= rates.keys()
    assert ("TorchRL" in rates) is (importlib.util.find_spec("torchrl") is not None)
    for name, rate in rates.items():
        assert rate > 0 and ratios[name] == pytest.approx(rate / rates[stepping.BASELINE])


@pytest.mark.filterwarnings("ignore")
def test_a_call_plays_one_episode_of_an_environment(monkeypatch):
    environments = stepping.make_environments(CONFIG, 4, "cpu")
    steps = []
    played = stepping.VectorEconomy._play
    monkeypatch.setattr(
        stepping.VectorEconomy, "_play", lambda self, actions: steps.append(self.num_envs) or played(self, actions)
    )
    for name, (count, play) in environments.items():
        steps.clear()
        play()
        assert sum(steps) == count, name
