"""Compiled rollouts: the same episodes as without, one compilation whatever the phase, and code kept on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rbc_marl import ConfigError
from rbc_marl.rllib import compiled
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.population import Population
from tests.rllib.small import built, recorded, small_config

long = pytest.mark.long
# What a curriculum can move: masks, who acts at random stays, rates of trembles, numbers of the economy.
CURRICULUM = {
    "start": {"firm": 2},
    "prices": {"around": 1000, "end": 4},
    "taxes": {"begin": 1, "end": 3},
    "labour_disutility": {"decay": 2.0},
    "trembles": {"begin": 0, "end": 4, "floor": 0.5},
    "economy": {"export_quota": {"from": 50, "to": 0, "begin": 1, "end": 3}, "crra": {"from": 0.5, "end": 2}},
}
EVERYTHING = {
    "curriculum": CURRICULUM,
    "networks": {
        "consumer": {"kind": "equivariant", "hidden": [8, 8], "ranks_prices": True},
        "firm": {"kind": "flat", "hidden": [16], "knots": {"time": 3}},
    },
    "trembles": {"price": 0.3, "consumer": 0.2},
    "logit_response": {"basket": 0.3, "work": 2.5},
    "imposed": {"choices": {"minimum_wage": 22}, "period": 3, "factors": {"export_quota": [1, 0.5]}},
}
SHOCKS = {"technology": {"kind": "ar1", "persistence": 0.5, "deviation": 0.2}}


def everything(is_compiled, **settings):
    config = small_config(economy={"initial_inventory": 20.0, "shocks": SHOCKS}, **{**EVERYTHING, **settings})
    config = config.framework(torch_compile_worker=is_compiled)
    config.validate()
    return config


def in_iteration(runner, iteration):
    """The rollout of an iteration, from weights that are others in each."""
    runner.set_state({"num_env_steps_sampled_lifetime": 16 * iteration})
    for module in runner.module.values():
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.1)
    (rollout,) = runner.sample()
    return rollout


def assert_alike(one, other):
    for name in ("observations", "actions", "logp", "rewards", "trembled", "market"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys()
        for key in mine:
            if not mine[key].is_floating_point():
                assert torch.equal(mine[key], theirs[key]), (name, key)
            elif mine[key].numel():  # rewards are differences: by the largest; logp of the only choice is about 0
                scale = 1e-5 * float(mine[key].abs().max()) + (1e-6 if name == "logp" else 0.0)
                torch.testing.assert_close(mine[key], theirs[key], rtol=1e-5, atol=scale)


@pytest.fixture
def nothing_compiled(monkeypatch):
    """Periods are recorded as they would be compiled, and played as recorded."""
    monkeypatch.setattr(compiled, "_compiled", recorded)


@pytest.mark.slow
def test_what_is_compiled_is_the_same_period_in_every_phase_and_is_compiled_once(nothing_compiled):
    eager, recording = (EconomyEnvRunner(everything(on), worker_index=0) for on in (False, True))
    quotas = []
    for iteration in range(5):
        expected, rollout = in_iteration(eager, iteration), in_iteration(recording, iteration)
        assert_alike(expected, rollout)
        assert rollout.trembled["firm"].any()
        quotas.append(float(rollout.parameters["export_quota"].max()))
        for name, numbers in expected.parameters.items():  # those that are the economy's own are there as well
            torch.testing.assert_close(rollout.parameters[name], numbers)
    assert quotas[0] > quotas[-1]  # the phases do differ
    assert recording._collector.compiled.count == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"curriculum": {"start": {"firm": 1}, "before": {"firm": "random"}}},
        {"deviator": {"type": "consumer", "agent": 1}},
        {"trembles": {"firm": 0.5, "government": 0.5, "wage": 0.5}},
        {"logit_response": None, "imposed": {}},
        {"autocast": "bfloat16"},
    ],
)
def test_other_settings_are_recorded_as_they_are_played(nothing_compiled, settings):
    eager, recording = (EconomyEnvRunner(everything(on, **settings), worker_index=0) for on in (False, True))
    for iteration in range(2):
        assert_alike(in_iteration(eager, iteration), in_iteration(recording, iteration))


@pytest.mark.slow
def test_runs_of_a_population_draw_their_own_numbers(nothing_compiled):
    eager, recording = (Population(everything(on), seeds=[1, 2]) for on in (False, True))
    expected, rollout = (population.sample(population._phases_at(0))[0] for population in (eager, recording))
    assert_alike(expected, rollout)
    assert not torch.equal(rollout.actions["consumer"][:, :4], rollout.actions["consumer"][:, 4:])
    assert recording.train()[0]["env_runners/compile_time_s"] == 0.0  # it has been compiled


@pytest.mark.slow
def test_evaluation_plays_without_compiled_code(nothing_compiled):
    eager, recording = (EconomyEnvRunner(everything(on), worker_index=0) for on in (False, True))
    one, other = eager.sample(num_episodes=3, explore=False), recording.sample(num_episodes=3, explore=False)
    assert torch.equal(one[0].rewards["consumer"], other[0].rewards["consumer"])
    assert recording._collector.compiled.count == 0


def test_rules_are_not_compiled():
    config = small_config(scripted={"firm": "monopoly"}).framework(torch_compile_worker=True)
    with pytest.raises(ConfigError, match=r"^torch_compile_worker compiles no rules, and scripted has some; leave"):
        config.validate()


@pytest.mark.slow
def test_without_a_compiler_the_error_says_what_to_install(ray_running):
    from torch._inductor import config as inductor

    says = r"^torch_compile_worker needs a C\+\+ compiler, and there is none: install one, such as g\+\+, or "
    # By its own means: a setting that pytest puts back is one that no longer exists, for all tests to come.
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        with pytest.raises(ConfigError, match=says), built(everything(True)):
            pass
        with pytest.raises(ConfigError, match=says):
            Population(everything(True), seeds=[1, 2])
    assert inductor.cpp.cxx


@pytest.mark.slow
def test_what_cannot_be_compiled_is_named_in_a_line(monkeypatch):
    runner = EconomyEnvRunner(everything(True), worker_index=0)
    network = runner.module["firm"].network
    logits = type(network).logits

    def peek(self, features):
        return logits(self, features) * (1.0 if float(features.sum()) > 0 else 2.0)

    monkeypatch.setattr(type(network), "logits", peek)
    with pytest.raises(ConfigError, match=r"^torch_compile_worker: this run cannot be compiled \(.*\); leave torch_"):
        runner.sample()


# What a process with a cache of its own prints: whether rollouts are alike, what came from the disk, and who is left.
PROCESS = """
import json, torch
from pathlib import Path
from torch._dynamo.utils import counters
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from tests.rllib.test_compiled import assert_alike, everything, in_iteration
torch.set_num_threads(1)
eager, compiled = (EconomyEnvRunner(everything(on), worker_index=0) for on in (False, True))
for iteration in range(3):
    assert_alike(in_iteration(eager, iteration), in_iteration(compiled, iteration))
left = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
print(json.dumps({
    "hits": counters["inductor"]["fxgraph_cache_hit"],
    "misses": counters["inductor"]["fxgraph_cache_miss"],
    "bypassed": counters["inductor"]["fxgraph_cache_bypass"],
    "left": "".join(left).split(), "seconds": compiled.compile_time,
}))
"""


@long
def test_compiled_episodes_are_the_same_and_the_next_process_reads_the_code_from_disk(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    counts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROCESS], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        counts.append(json.loads(done.stdout.splitlines()[-1]))
    first, second = counts
    assert (first["hits"], first["misses"], first["bypassed"]) == (0, 1, 0)  # three phases, one graph
    assert (second["hits"], second["misses"], second["bypassed"]) == (1, 0, 0)
    assert first["left"] == second["left"] == []
    assert second["seconds"] > 0.0


@long
def test_remote_runners_play_compiled_what_they_would_play_without(ray_running):
    settings = everything(True).env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5)
    settings.train_batch_size_per_learner *= 2
    settings.sample_timeout_s = 0.5  # compiling takes longer, and nobody may take that for silence
    with built(settings) as algorithm:
        for _ in range(2):
            result = algorithm.train()
        drawn = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, runner.get_state(), runner.sample()[0], runner.compile_time),
            local_env_runner=False,
        )
        assert algorithm.env_runner.compile_time == 0.0
    assert "compile_time_s" in result["env_runners"]
    assert [index for index, *_ in drawn] == [1, 2]
    for index, state, rollout, seconds in drawn:
        eager = EconomyEnvRunner(everything(False), worker_index=index)
        eager.set_state(state)
        assert_alike(eager.sample()[0], rollout)
        assert seconds > 0.0
