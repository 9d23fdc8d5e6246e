"""The batched economy against what the published one does, within the tolerances stored in each file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rbc_marl.choices import choice_tables, decode
from rbc_marl.economy import Actions, EconomyState, Flows, initial_state, period
from tests import golden_files
from tests.golden_files import FLOWS, STATES, Golden, differences

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")],
    ),
]
everywhere = pytest.mark.parametrize("device", DEVICES)
every_file = pytest.mark.parametrize("name", golden_files.NAMES)


def start(golden: Golden, device: str, dtype: torch.dtype = torch.float32) -> EconomyState:
    return initial_state(
        golden.config,
        golden.num_envs,
        device=device,
        dtype=dtype,
        labour_disutility_scale=golden.labour_disutility_scale,
    )


def chosen(golden: Golden, t: int, device: str, dtype: torch.dtype = torch.float32) -> Actions:
    indices = {key: torch.from_numpy(value).to(device) for key, value in golden.indices(t).items()}
    return decode(golden.config, **indices, dtype=dtype)


def stored_state(golden: Golden, t: int, device: str) -> EconomyState:
    """Row t of the file as a state."""
    fields = {ours: torch.from_numpy(golden.arrays[theirs][t]) for theirs, ours in STATES.items()}
    fields["labour_disutility"] = torch.from_numpy(golden.arrays["consumer_theta"]).expand(golden.num_envs, -1)
    fields["labour_exponent"] = torch.from_numpy(golden.arrays["firm_alpha"]).expand(golden.num_envs, -1)
    return EconomyState(**fields).to(device)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def compare(golden: Golden, mode: str, t: int, state: EconomyState, flows: Flows) -> list[str]:
    problems = []
    for theirs, ours in STATES.items():
        problems += differences(golden, mode, theirs, t + 1, array(getattr(state, ours)))
    for theirs, ours in FLOWS.items():
        problems += differences(golden, mode, theirs, t, array(getattr(flows, ours)))
    return problems


def play_on(golden: Golden, device: str, step=period) -> list[str]:
    state, problems = start(golden, device), []
    for t in range(golden.config.horizon):
        state, flows = step(golden.config, state, chosen(golden, t, device))
        problems += compare(golden, "free_running", t, state, flows)
    return problems


def play_each(golden: Golden, device: str, step=period) -> list[str]:
    problems = []
    for t in range(golden.config.horizon):
        state, flows = step(golden.config, stored_state(golden, t, device), chosen(golden, t, device))
        problems += compare(golden, "one_step", t, state, flows)
    return problems


def test_all_eleven_trajectories_are_here():
    assert [int(name[:2]) for name in golden_files.NAMES] == list(range(1, 12))


def test_a_wrong_number_is_found():
    golden = golden_files.load("07_single_1x1")
    right = golden.arrays["consumer_budget"][3]
    assert not differences(golden, "one_step", "consumer_budget", 3, right)
    assert differences(golden, "one_step", "consumer_budget", 3, right + 0.3)
    assert differences(golden, "one_step", "consumer_budget", 3, right * np.nan)
    assert differences(golden, "one_step", "consumer_budget", 3, right[0])
    assert differences(golden, "one_step", "price", 3, np.nextafter(golden.arrays["price"][3], np.float32(1e9)))


@everywhere
@every_file
def test_an_episode_starts_exactly_as_published(name, device):
    golden = golden_files.load(name)
    state = start(golden, device)
    for theirs, ours in STATES.items():
        np.testing.assert_array_equal(array(getattr(state, ours)), golden.arrays[theirs][0], err_msg=theirs)
    for env in range(golden.num_envs):
        # One rounding of theta (float64 to float32), then a product: at most one unit in the last place.
        np.testing.assert_allclose(array(state.labour_disutility[env]), golden.arrays["consumer_theta"], rtol=1.2e-7)
        np.testing.assert_array_equal(array(state.labour_exponent[env]), golden.arrays["firm_alpha"])


@every_file
def test_choices_mean_what_the_published_tables_say(name):
    golden = golden_files.load(name)
    tables = choice_tables(golden.config)
    np.testing.assert_array_equal(tables.consumption, golden.arrays["table_consume_units"])
    np.testing.assert_array_equal(tables.hours, golden.arrays["table_work_hours"])
    np.testing.assert_array_equal(tables.firm, golden.arrays["table_firm_action"])
    np.testing.assert_array_equal(tables.government, golden.arrays["table_government_action"])
    names = {
        "demand": "action_consume_units",
        "hours": "action_work_hours",
        "employer": "action_employer",
        "price": "action_firm_price",
        "wage": "action_firm_wage",
        "investment_fraction": "action_firm_invest_fraction",
        "income_tax": "action_income_tax",
        "corporate_tax": "action_corporate_tax",
    }
    assert set(names) == {field.name for field in dataclasses.fields(Actions)}
    for t in range(golden.config.horizon):
        actions = chosen(golden, t, "cpu")
        for ours, theirs in names.items():
            np.testing.assert_array_equal(getattr(actions, ours), golden.arrays[theirs][t], err_msg=theirs)


@everywhere
@every_file
def test_an_episode_follows_the_published_trajectory_from_its_start(name, device):
    problems = play_on(golden_files.load(name), device)
    assert not problems, problems[:10]


@everywhere
@every_file
def test_each_period_alone_matches_the_published_one(name, device):
    problems = play_each(golden_files.load(name), device)
    assert not problems, problems[:10]


@every_file
def test_float64_stays_as_close_to_the_published_trajectory(name):
    golden = golden_files.load(name)
    state, problems = start(golden, "cpu", torch.float64), []
    for t in range(golden.config.horizon):
        state, flows = period(golden.config, state, chosen(golden, t, "cpu", torch.float64))
        for dataclass in (state, flows):
            for field in dataclasses.fields(dataclass):
                assert getattr(dataclass, field.name).dtype == torch.float64, field.name
        rounded = {name: value.float() for name, value in vars(state).items()}
        problems += compare(golden, "free_running", t, EconomyState(**rounded), flows)
    assert not problems, problems[:10]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor imports what PyTorch has deprecated
@everywhere
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("01_base_open_100x10", "aot_eager"),
        ("06_laborfloor_7x2", "aot_eager"),
        ("10_small_scale_boost_9x3", "aot_eager"),
        ("10_small_scale_boost_9x3", "inductor"),  # compiles for half a minute: one file is enough
    ],
)
def test_a_compiled_period_matches_the_published_one(name, backend, device):
    golden = golden_files.load(name)
    torch.compiler.reset()
    compiled = torch.compile(period, backend=backend, fullgraph=True)
    problems = play_on(golden, device, compiled) + play_each(golden, device, compiled)
    assert not problems, problems[:10]
