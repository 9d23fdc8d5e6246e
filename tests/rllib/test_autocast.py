"""Matrix products in bfloat16: networks act and learn with them, and weights, losses and saved policies are float32."""

from __future__ import annotations

import json

import pytest
import torch
from ray.rllib.core.columns import Columns

from rbc_marl import ConfigError
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.population import Population
from tests.rllib.small import built, changed, small_config, weights_of

EVALUATED = {"evaluation_interval": 1, "evaluation_duration": 4, "evaluation_duration_unit": "episodes"}
NETWORKS = {
    "consumer": {"kind": "equivariant", "hidden": [16, 16], "ranks_prices": True},
    "firm": {"kind": "flat", "hidden": [16, 16], "knots": {"time": 3}},
    "government": {"kind": "flat", "hidden": [16, 16]},
}


def config(autocast, **training):
    made = small_config(**{"networks": NETWORKS, "autocast": autocast, **training})
    made.validate()
    return made


def logits_and_values(module, rollout, agent_type):
    batch = {Columns.OBS: {name: rollout.observations[name][0] for name in ("global", agent_type)}}
    batch[Columns.OBS]["private"] = batch[Columns.OBS].pop(agent_type)
    outputs = module.forward_train(batch)
    for forward in (module.forward_exploration, module.forward_inference, module.policy_alone):
        torch.testing.assert_close(forward(batch)[Columns.ACTION_DIST_INPUTS], outputs[Columns.ACTION_DIST_INPUTS])
    torch.testing.assert_close(module.compute_values(batch), outputs[Columns.VF_PREDS])
    return outputs[Columns.ACTION_DIST_INPUTS].detach(), outputs[Columns.VF_PREDS].detach()


def played(autocast):
    runner = EconomyEnvRunner(config(autocast), worker_index=0)
    for module in runner.module.values():
        module.inference_only = False  # values are looked at too
        for parameter in module.parameters():  # knots do nothing at the start
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    return runner, runner.sample()[0]


def test_networks_round_as_bfloat16_does_and_give_float32():
    (plain, rollout), (half, _) = played(None), played("bfloat16")
    for agent_type in AGENT_TYPES:
        one, other = (logits_and_values(runner.module[agent_type], rollout, agent_type) for runner in (plain, half))
        for exact, rounded in zip(one, other, strict=True):
            assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
            torch.testing.assert_close(rounded, exact, rtol=0.0, atol=0.05 * float(exact.abs().max()))
        assert {weight.dtype for weight in half.module[agent_type].parameters()} == {torch.float32}


def test_log_probabilities_are_those_of_the_policy_that_acted():
    runner, rollout = played("bfloat16")
    for agent_type in AGENT_TYPES:
        network = runner.module[agent_type].network
        logits, _ = logits_and_values(runner.module[agent_type], rollout, agent_type)
        own = network.distribution(logits).logp(rollout.actions[agent_type][0])
        torch.testing.assert_close(rollout.logp[agent_type][0], own)


@pytest.mark.usefixtures("ray_running")
@pytest.mark.parametrize("logit_response", [None, True])
def test_training_learns_in_float32_and_saves_what_evaluations_play(logit_response, tmp_path):
    settings = {"logit_response": logit_response, "minibatch_size": 8}
    with built(config("bfloat16", **settings)) as algorithm, built(config(None, **settings)) as other:
        before = weights_of(algorithm)
        for trained in (algorithm, other):
            result = trained.train()
            assert result["learners"]["firm"]["total_loss"] < float("inf")
        after = weights_of(algorithm)
        assert changed(before, after) == changed(after, weights_of(other)) == set(AGENT_TYPES)
        assert {x.dtype for named in after.values() for x in named.values()} == {torch.float32}
        algorithm.save_to_path(tmp_path / "checkpoint")
    assert "autocast" not in json.dumps(json.loads((tmp_path / "checkpoint" / "policies.json").read_text("utf-8")))
    networks = load_policies(tmp_path / "checkpoint").networks
    for agent_type, network in networks.items():
        for name, weight in network.state_dict().items():
            assert torch.equal(weight, after[agent_type][f"network.{name}"])


@pytest.mark.usefixtures("ray_running")
def test_evaluation_on_the_way_is_in_float32():
    with built(config("bfloat16").evaluation(**EVALUATED)) as algorithm:
        training, evaluation = algorithm.env_runner, algorithm.eval_env_runner_group.local_env_runner
        assert training.module["firm"].model_config["autocast"] == "bfloat16"
        assert evaluation.module["firm"].model_config["autocast"] is None
        algorithm.train()


@pytest.mark.parametrize("logit_response", [None, True])
def test_runs_of_a_population_multiply_in_bfloat16_too(logit_response):
    settings = {"logit_response": logit_response}
    plain, half = (Population(config(autocast, **settings), seeds=[1, 2]) for autocast in (None, "bfloat16"))
    (rollout, _), (rounded, _) = (population.sample(population._phases_at(0)) for population in (plain, half))
    for agent_type in AGENT_TYPES:
        exact, other = (p.learner.module[agent_type] for p in (plain, half))
        ours, theirs = (logits_and_values(module, rollout, agent_type)[0] for module in (exact, other))
        assert theirs.dtype == torch.float32 and not torch.equal(ours, theirs)
        torch.testing.assert_close(theirs, ours, rtol=0.0, atol=0.05)
    assert rounded.logp["firm"].dtype == torch.float32
    losses = [each["learners/firm/total_loss"] for population in (plain, half) for each in population.train()]
    assert len(set(losses)) == 4 and all(abs(losses[run] - losses[2 + run]) < 0.1 for run in (0, 1))


def test_another_type_is_refused():
    with pytest.raises(ConfigError, match=r"^autocast.*bfloat16"):
        small_config(autocast="float16")
