"""What can be said of an accelerator without one: a whole iteration on a device that holds no numbers.

Tensors of torch's device "meta" have shapes and no values. What would read one on the host, choose a shape by its
values, or mix it with a tensor elsewhere is an error there. So an iteration that runs on it could be captured. RLlib's
own part of an iteration needs numbers: there the reads are counted.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rbc_marl.policies import stacked
from rbc_marl.policies.draws import Draw
from rbc_marl.rllib import population as population_module
from rbc_marl.rllib.population import Population
from tests.host_reads import Copies, NoHostReads
from tests.rllib.small import built, small_config
from tests.rllib.test_populations import CLIPPED, QUICKSTART, STEPS
from tests.rllib.test_shocks import SHOCKS

SHOCKED = {**QUICKSTART, "economy": {"shocks": SHOCKS}}
META = torch.device("meta")
pytestmark = pytest.mark.slow


class HostGenerator(torch.Generator):
    """A generator for a device that has none: nothing is drawn there."""

    def __new__(cls, device: object = "cpu") -> HostGenerator:
        return super().__new__(cls, "cpu")


def draw_nothing(monkeypatch):
    """Draws on a device without numbers are operations like others, with a generator of the host or none."""
    draws = Draw.of
    monkeypatch.setattr(torch, "Generator", HostGenerator)
    monkeypatch.setattr(Draw, "of", lambda self, rows, generator: draws(self, rows, None))


class Recorder(TorchDispatchMode):
    """Notes every operation with the shapes of what it is given."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        flat = torch.utils._pytree.tree_leaves((args, kwargs or {}))
        self.calls.append((str(func), *(tuple(x.shape) for x in flat if isinstance(x, torch.Tensor))))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def meta(monkeypatch):
    """Populations live on the device without numbers."""
    draw_nothing(monkeypatch)
    monkeypatch.setattr(population_module, "get_device", lambda *_: META)
    monkeypatch.setattr(stacked, "_check", lambda *_: None)  # compares numbers, once, before anything is trained


def operations(population, iteration):
    """Play and learn as in some iteration; returns every operation with its shapes."""
    population.iteration = iteration
    with Recorder() as recorder:
        phases = population._phases_at(iteration * STEPS)
        rollout, summary = population.sample(phases)
        learnt = population.learner.update(rollout, phases[0], (iteration + 1) * STEPS)
    assert {x.device for x in [*rollout.rewards.values(), *summary.values()]} == {META}
    assert "total_loss" in learnt["consumer"]
    return recorder.calls


@pytest.mark.parametrize("settings", [QUICKSTART, CLIPPED, SHOCKED], ids=["quickstart", "clipped", "shocked"])
def test_an_iteration_reads_no_number_and_stays_on_its_device(settings, meta):
    population = Population(small_config(**settings), (3, 8))
    for iteration in (0, 5, 30):
        assert len(operations(population, iteration)) > 500


def test_iterations_of_a_phase_are_the_same_operations_on_the_same_shapes(meta):
    population = Population(small_config(**QUICKSTART), (3, 8))
    operations(population, 0)  # Adam makes its memory
    assert operations(population, 1) == operations(population, 2)
    for iteration in (4, 8):  # firms learn from 4 on, the government from 8 on
        operations(population, iteration)
    stages = [operations(population, iteration) for iteration in (2, 5, 10)]
    assert [operations(population, iteration) for iteration in (3, 6, 11)] == stages
    assert len(stages[0]) < len(stages[1]) < len(stages[2])


@pytest.mark.usefixtures("ray_running")
@pytest.mark.parametrize("settings", [QUICKSTART, CLIPPED], ids=["quickstart", "clipped"])
def test_an_iteration_of_rllibs_waits_twice_for_its_device(settings):
    """For what is reported of episodes, and for what is reported of learning. Weights go from device to device."""
    fixed = {"entropy_coeff": 0.01}  # RLlib keeps the number of a schedule on the host, as a tensor
    with built(small_config(**{**settings, **fixed})) as algorithm:
        for iteration in range(12):  # firms learn from 4 on, the government from 8 on
            algorithm.training_step()  # what is made once is made here
            with Copies() as copies, NoHostReads():
                algorithm.training_step()
            assert copies.calls == ["tolist", "tolist"], iteration


def test_a_number_that_is_read_is_found(meta, monkeypatch):
    population = Population(small_config(**QUICKSTART), (3, 8))
    own = population._collector.collect

    def reads(*args, **kwargs):
        rollout, summary = own(*args, **kwargs)
        float(summary["hours"].mean())
        return rollout, summary

    monkeypatch.setattr(population._collector, "collect", reads)
    with pytest.raises(RuntimeError, match="meta"):
        operations(population, 0)
