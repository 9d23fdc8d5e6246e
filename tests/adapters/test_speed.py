"""The speed of the doors is measured, on a tiny economy; how fast they are is no matter of tests."""

import importlib.util

import pytest

from rbc_marl import preset
from rbc_marl.adapters import speed

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)


@pytest.mark.filterwarnings("ignore")
def test_every_door_there_is_is_measured_against_the_batch():
    result = speed.measure(CONFIG, num_envs=4, rounds=1, seconds=0.02)
    rates, ratios = result["steps_per_second"], result["ratio"]
    assert next(iter(rates)) == speed.BASELINE and {"PettingZoo", "gymnasium, one firm"} <= rates.keys()
    assert ("TorchRL" in rates) is (importlib.util.find_spec("torchrl") is not None)
    for name, rate in rates.items():
        assert rate > 0 and ratios[name] == pytest.approx(rate / rates[speed.BASELINE])
    text = speed.table(result)
    assert all(name in text for name in rates)


@pytest.mark.filterwarnings("ignore")
def test_a_call_of_a_door_plays_one_episode(monkeypatch):
    doors = speed.make_doors(CONFIG, 4, "cpu")
    steps = []
    played = speed.VectorEconomy.check_running
    monkeypatch.setattr(speed.VectorEconomy, "check_running", lambda self: (steps.append(1), played(self)))
    batches = {speed.BASELINE: 4, "TorchRL": 4, "TorchRL, split observations": 4}
    for name, (count, play) in doors.items():
        steps.clear()
        play()
        calls = len(steps) if name == speed.BASELINE else len(steps) / 2  # a game asks once more than its batch
        assert calls * batches.get(name, 1) == count, name
