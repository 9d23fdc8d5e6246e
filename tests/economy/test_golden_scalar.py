"""The scalar economy of the tests against the published trajectories: the two checks share nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from rbc_marl.benchmark import scalar_economy as scalar
from tests import golden_files as golden_file
from tests.convert import flow_arrays, state_arrays
from tests.golden_files import FLOWS, STATES, Golden

# Budgets of 1e6 and more are float32 in the files: free-running float64 stays within the same tolerances all the same.


def _compare(golden: Golden, mode: str, env: int, t: int, state: scalar.State, flows: scalar.Flows) -> list[str]:
    mine_state, mine_flows = state_arrays(state), flow_arrays(flows)
    problems = []
    for row, names, mine in ((t + 1, STATES, mine_state), (t, FLOWS, mine_flows)):
        for theirs, ours in names.items():
            expected = golden.arrays[theirs][row][env]
            # The files' tables are float32; the scalar economy computes in float64.
            error = np.abs(mine[ours] - expected).max()
            exact = golden.tolerance[mode][theirs] == 0.0
            allowed = 1e-7 * np.abs(expected).max() if exact else golden.tolerance[mode][theirs]
            if not error <= allowed:
                problems.append(
                    f"{theirs} of environment {env} in row {row} is off by {error:.3g}; allowed {allowed:.3g}"
                )
    return problems


def _action(golden: Golden, env: int, t: int) -> scalar.Action:
    chosen = golden.indices(t)
    return scalar.decode_action(
        golden.config, chosen["consumer"][env].tolist(), chosen["firm"][env].tolist(), int(chosen["government"][env])
    )


def _state(golden: Golden, env: int, t: int) -> scalar.State:
    a = {theirs: golden.arrays[theirs][t][env].tolist() for theirs in STATES}
    firms = zip(
        *(a[key] for key in ("price", "wage", "stock", "overdemand", "firm_budget", "firm_capital")),
        golden.arrays["firm_alpha"].tolist(),
        strict=True,
    )
    consumers = zip(a["consumer_budget"], golden.arrays["consumer_theta"].tolist(), strict=True)
    return scalar.State(
        tuple(scalar.Consumer(*values) for values in consumers),
        tuple(scalar.Firm(*values) for values in firms),
        income_tax=a["income_tax"],
        corporate_tax=a["corporate_tax"],
        time=int(a["time"]),
    )


@pytest.mark.parametrize("name", golden_file.NAMES)
def test_the_scalar_economy_starts_where_the_golden_one_starts(name: str) -> None:
    golden = golden_file.load(name)
    mine = state_arrays(scalar.start(golden.config, golden.labour_disutility_scale))
    for theirs, ours in STATES.items():
        for env in range(golden.num_envs):
            np.testing.assert_array_equal(mine[ours].astype(np.float32), golden.arrays[theirs][0][env], err_msg=theirs)
    np.testing.assert_allclose(mine["labour_disutility"], golden.arrays["consumer_theta"], rtol=2e-7)
    np.testing.assert_allclose(mine["labour_exponent"], golden.arrays["firm_alpha"], rtol=1e-7)


@pytest.mark.parametrize("name", golden_file.NAMES)
def test_the_scalar_economy_follows_the_golden_trajectory_from_its_start(name: str) -> None:
    golden = golden_file.load(name)
    problems: list[str] = []
    for env in range(golden.num_envs):
        state = scalar.start(golden.config, golden.labour_disutility_scale)
        for t in range(golden.config.horizon):
            state, flows = scalar.play_period(golden.config, state, _action(golden, env, t))
            problems += _compare(golden, "free_running", env, t, state, flows)
    assert not problems, problems[:10]


@pytest.mark.parametrize("name", golden_file.NAMES)
def test_the_scalar_economy_makes_each_single_golden_step(name: str) -> None:
    golden = golden_file.load(name)
    problems: list[str] = []
    for env in range(golden.num_envs):
        for t in range(golden.config.horizon):
            state, flows = scalar.play_period(golden.config, _state(golden, env, t), _action(golden, env, t))
            problems += _compare(golden, "one_step", env, t, state, flows)
    assert not problems, problems[:10]
