"""One agent with a module of its own among others of its type, and types that follow rules."""

from __future__ import annotations

import pytest
import torch
from ray.rllib.core.columns import Columns

from rbc_marl import ConfigError
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies import slabs
from rbc_marl.policies.saved import load_policies
from rbc_marl.policies.scripted import ScriptedPolicies
from rbc_marl.rllib.connector import RolloutsToBatch
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.settings import Deviator
from rbc_marl.vector_env import VectorEconomy
from tests.rllib.small import built, changed, runner_weights_of, small_config, weights_of

FIRM = {"type": "firm", "agent": 1}
CONSUMER = {"type": "consumer", "agent": 4}


def learning(config, *modules):
    return config.multi_agent(policies_to_train=list(modules))


@pytest.fixture(scope="module", autouse=True)
def ray(ray_running):
    pass


def runner(**settings):
    return EconomyEnvRunner(small_config(economies=3, **settings), worker_index=0)


@pytest.mark.parametrize("deviator", [FIRM, CONSUMER], ids=lambda d: d["type"])
def test_a_deviator_with_its_types_weights_plays_exactly_as_its_type(deviator):
    plain, deviating = runner(), runner(deviator=deviator)
    weights = plain.module.get_state()
    deviating.module.set_state({**weights, "deviator": weights[deviator["type"]]})
    one, other = plain.sample()[0], deviating.sample()[0]
    for agent_type in AGENT_TYPES:
        assert torch.equal(one.actions[agent_type], other.actions[agent_type])
        torch.testing.assert_close(one.logp[agent_type], other.logp[agent_type])
        assert torch.equal(one.rewards[agent_type], other.rewards[agent_type])


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("deviator", [FIRM, CONSUMER], ids=lambda d: d["type"])
def test_a_deviator_plays_the_same_where_agents_are_decided_for_in_slabs(deviator, explore, monkeypatch):
    sample = runner(deviator=deviator).sample(explore=explore)[0]
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", 1)
    monkeypatch.setattr(slabs, "LEAST_ACTING", 1)  # one agent at a time
    in_slabs = runner(deviator=deviator).sample(explore=explore)[0]
    for agent_type in AGENT_TYPES:
        assert torch.equal(in_slabs.actions[agent_type], sample.actions[agent_type])
        torch.testing.assert_close(in_slabs.logp[agent_type], sample.logp[agent_type])


@pytest.mark.parametrize("deviator", [FIRM, CONSUMER], ids=lambda d: d["type"])
def test_everybody_else_draws_the_same_numbers_as_without_a_deviator(deviator):
    plain, deviating = runner(), runner(deviator=deviator)
    deviating.module.set_state({**plain.module.get_state()})  # the deviator keeps a network of its own
    one, other = plain.sample()[0], deviating.sample()[0]
    agent_type, agent = deviator["type"], deviator["agent"]
    first = one.actions[agent_type][0] != other.actions[agent_type][0]  # later periods see what the first one did
    assert first[:, agent].any()
    first[:, agent] = False
    assert not first.any()
    for others in set(AGENT_TYPES) - {agent_type}:
        assert torch.equal(one.actions[others][0], other.actions[others][0])


@pytest.mark.parametrize("deviator", [FIRM, CONSUMER], ids=lambda d: d["type"])
def test_only_the_deviator_learns_and_all_other_weights_stay_bit_for_bit(deviator):
    config = learning(small_config(deviator=deviator), "deviator")
    with built(config) as algorithm:
        before, before_runner = weights_of(algorithm), runner_weights_of(algorithm)
        for _ in range(3):
            result = algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"deviator"}
        assert changed(before_runner, runner_weights_of(algorithm)) == {"deviator"}
    returns = result["env_runners"]["module_episode_returns_mean"]
    assert set(returns) == {*AGENT_TYPES, "deviator"}
    assert "entropy" in result["learners"]["deviator"]


def test_a_type_learns_alone_and_all_other_weights_stay_bit_for_bit():
    with built(learning(small_config(), "firm")) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"firm"}


@pytest.mark.parametrize("deviator", [FIRM, CONSUMER], ids=lambda d: d["type"])
def test_the_deviator_learns_from_its_own_column_and_its_type_from_the_others(deviator):
    sampler = runner(deviator=deviator)
    rollout = sampler.sample()[0]
    modules = small_config(deviator=deviator).get_multi_rl_module_spec().build()
    scale = {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}
    connector = RolloutsToBatch(discount=0.9, gae_lambda=0.8, reward_scale=scale, deviator=Deviator(**deviator))
    connector.prepare(0, frozenset({*AGENT_TYPES, "deviator"}))
    batch = connector(rl_module=modules, batch={}, episodes=[rollout])
    agent_type, agent = deviator["type"], deviator["agent"]
    rest = [a for a in range(rollout.actions[agent_type].shape[2]) if a != agent]
    for module_id, agents in (("deviator", [agent]), (agent_type, rest)):
        columns = batch[module_id]
        assert torch.equal(columns[Columns.ACTIONS], rollout.actions[agent_type].flatten(0, 1)[:, agents])
        assert torch.equal(columns[Columns.ACTION_LOGP], rollout.logp[agent_type].flatten(0, 1)[:, agents])
        private = rollout.observations[agent_type].flatten(0, 1)[:, agents]
        assert torch.equal(columns[Columns.OBS]["private"], private)
        assert columns["advantages"].shape == (len(rollout), len(agents))
    connector.agents_per_update = {"consumer": 2}
    drawn = connector(rl_module=modules, batch={}, episodes=[rollout])[agent_type][Columns.ACTIONS]
    assert drawn.shape[1] == (2 if agent_type == "consumer" else len(rest))


def test_masks_and_schedules_of_a_curriculum_hold_for_the_deviator_as_for_its_type():
    curriculum = {"start": {"firm": 2}, "prices": {"around": 1000, "end": 4}, "entropy": {"decay": 3, "floor": 0.1}}

    def heads(algorithm):  # masks are weights too, and change
        return {m: {"head": w["network.action_head.weight"]} for m, w in weights_of(algorithm).items()}

    with built(small_config(deviator=FIRM, curriculum=curriculum, economies=4)) as algorithm:
        before = heads(algorithm)
        algorithm.train()
        module = algorithm.env_runner.module
        assert torch.equal(module["deviator"].network.log_mask, module["firm"].network.log_mask)
        assert (module["deviator"].network.log_mask < 0).any()
        assert changed(before, heads(algorithm)) == {"consumer", "government"}
        for _ in range(2):
            algorithm.train()
        assert changed(before, heads(algorithm)) == {*AGENT_TYPES, "deviator"}


def test_a_run_with_a_deviator_is_restored_and_its_saved_policies_leave_the_deviator_out(tmp_path):
    network = {"kind": "flat", "hidden": [5]}
    config = small_config(deviator={**CONSUMER, "network": network})
    with built(config) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path / "saved")
        weights = weights_of(algorithm)
        algorithm.train()
        after = weights_of(algorithm)
    with built(config.copy(copy_frozen=False)) as again:
        again.restore_from_path(str(tmp_path / "saved"))
        assert changed(weights, weights_of(again)) == set()
        again.train()
        assert changed(after, weights_of(again)) == set()
        assert again.networks()["deviator"].shared_layer.out_features == 5
    policies = load_policies(tmp_path / "saved")
    assert set(policies.networks) == set(AGENT_TYPES)
    for name, weight in policies.networks["consumer"].state_dict().items():
        assert torch.equal(weight, weights["consumer"][f"network.{name}"])


def test_modules_start_from_given_networks_with_every_choice_allowed():
    with built(small_config(deviator=FIRM)) as algorithm, built(small_config(seed=9)) as other:
        given = other.networks()
        given["firm"].set_mask(torch.arange(30) < 3)
        algorithm.start_from({"firm": given["firm"], "deviator": given["firm"]})
        for module_id in ("firm", "deviator"):
            network = algorithm.networks()[module_id]
            assert not network.log_mask.any()
            assert torch.equal(network.action_head.weight, given["firm"].action_head.weight)
        learners, runners = weights_of(algorithm), runner_weights_of(algorithm)
        assert torch.equal(runners["deviator"]["network.log_mask"], learners["deviator"]["network.log_mask"])
        assert torch.equal(
            runners["deviator"]["network.action_head.weight"], learners["firm"]["network.action_head.weight"]
        )


def test_scripted_types_follow_their_rules_and_never_learn(tmp_path):
    rules = {"price": 1500, "wage": 22, "work": "always"}
    config = small_config(scripted={"firm": rules, "consumer": rules})
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"government"}
        rollout = algorithm.env_runner.sample()[0]
        env = VectorEconomy(algorithm.env_runner.economy, 1)
        expected = ScriptedPolicies(env.config, rules).act(env.reset(), state=env.state)
        assert (rollout.actions["firm"] == expected["firm"][0, 0]).all()
        assert (rollout.actions["consumer"][..., -2] == 4).all()  # everybody works the most hours
        algorithm.save_to_path(tmp_path / "saved")
    assert not (tmp_path / "saved" / "policies.json").exists()


def test_a_deviator_among_scripted_agents_acts_for_itself_and_learns():
    rules = {"price": 1500, "wage": 22, "work": "always"}
    config = learning(small_config(scripted=dict.fromkeys(AGENT_TYPES, rules), deviator=FIRM), "deviator")
    with built(config) as algorithm:
        rollout = algorithm.env_runner.sample()[0]
        assert len(rollout.actions["firm"][:, :, 0].unique()) == 1
        assert len(rollout.actions["firm"][:, :, 1].unique()) > 1
        assert (rollout.logp["firm"][:, :, 1] < 0).all() and not rollout.logp["firm"][:, :, 0].any()
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"deviator"}


def test_the_only_firm_can_deviate_and_leaves_its_type_nothing_to_learn_from():
    config = small_config(economy={"num_firms": 1}, deviator={"type": "firm", "agent": 0})
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"consumer", "government", "deviator"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deviator": {"type": "government", "agent": 0}}, "deviator.type is 'government'; it must be"),
        ({"deviator": {"type": "consumers", "agent": 0}}, 'did you mean "consumer"'),
        ({"deviator": {"type": "firm"}}, "deviator.agent is missing; give 0"),
        ({"deviator": {"type": "firm", "agent": True}}, "deviator.agent is True"),
        ({"deviator": {"type": "firm", "agent": 2}}, "deviator.agent is 2; the 2 agents of type firm are numbered"),
        ({"deviator": {**FIRM, "netwrk": "flat"}}, 'deviator.netwrk is not a .* deviator; did you mean "network"'),
        ({"deviator": {**FIRM, "network": "round"}}, "deviator.network is 'round'"),
        ({"deviator": "firm"}, "deviator is 'firm'; it must be a mapping"),
        ({"scripted": {"bank": "idle"}}, "scripted.bank is not an agent type"),
        ({"scripted": {"firm": "monopolist"}}, 'scripted.firm: unknown rules "monopolist"'),
        ({"scripted": dict.fromkeys(AGENT_TYPES, "idle")}, "scripted leaves nobody to learn"),
    ],
)
def test_roles_that_cannot_be_played_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        small_config(**settings).validate()


def test_a_file_can_ask_for_a_deviator_with_settings_of_its_own(tmp_path):
    from rbc_marl.experiments.file import load_experiments

    text = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 1}
  config:
    env_config: {num_consumers: 3, num_firms: 2, horizon: 3}
    deviator: {type: firm, agent: 1}
    policies_to_train: [deviator]
    algorithm_config_overrides_per_module: {deviator: {lr: 1e-2}}
"""
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    config = load_experiments(tmp_path / "file.yaml")[0].config
    assert config.get_config_for_module("deviator").lr == 1e-2
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"deviator"}
