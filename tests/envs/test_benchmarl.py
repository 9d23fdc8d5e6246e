"""The economy as a task of BenchMARL."""

import copy
import pickle

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from tests.envs.examples import load_example

pytest.importorskip("benchmarl")
from torchrl.envs import TransformedEnv
from torchrl.envs.utils import check_env_specs

from rbc_marl.envs.benchmarl import EconomyTask

# BenchMARL warns of what its own next version will change.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]
SMALL = {"num_consumers": 4, "num_firms": 2, "horizon": 5, "consumption_choices": [0.0, 1.0, 4.0, 10.0]}


@pytest.mark.parametrize("continuous", [True, False])
def test_the_environment_of_the_task_is_the_batch_of_the_economy(continuous):
    task = EconomyTask("closed", {**SMALL, "state": True, "others": "random", "train_types": ["firm", "consumer"]})
    env = task.get_env_fun(3, continuous, seed=1, device="cpu")()
    check_env_specs(env)
    assert env.config == EconomyConfig(open_economy=False, **SMALL)
    assert env.controlled.action_mode == ("box" if continuous else "discrete")
    assert task.max_steps(env) == 5 and list(task.group_map(env)) == ["consumer", "firm"]
    assert set(task.observation_spec(env).keys(True, True)) == {("consumer", "observation"), ("firm", "observation")}
    assert task.state_spec(env)["state"].shape == env.reset()["state"].shape[1:]
    assert task.action_spec(env)["firm", "action"].shape == ((2, 3) if continuous else (2,))
    assert task.info_spec(env) is None and task.action_mask_spec(env) is None and not task.has_render(env)


def test_masks_have_a_spec_of_their_own_where_they_are_asked_for():
    task = EconomyTask("open", {**SMALL, "action_mask": True, "state": True})
    env = task.get_env_fun(3, False, seed=1, device="cpu")()
    groups = ("consumer", "firm", "government")
    assert set(task.action_mask_spec(env).keys(True, True)) == {(group, "action_mask") for group in groups}
    assert set(task.observation_spec(env).keys(True, True)) == {(group, "observation") for group in groups}
    assert task.action_mask_spec(env)["firm", "action_mask"].shape == (2, 30)
    assert not EconomyTask("open", {**SMALL, "action_mask": True}).supports_continuous_actions()


def test_rewards_are_divided_by_their_scale():
    task = EconomyTask("open", {**SMALL, "reward_scale": {"consumer": 2.0}})
    env = task.get_env_fun(3, False, seed=1, device="cpu")()
    scaled = TransformedEnv(task.get_env_fun(3, False, seed=1, device="cpu")(), *task.get_env_transforms(env))
    plain, divided = env.rollout(5), scaled.rollout(5)
    assert torch.allclose(plain["next", "consumer", "reward"] / 2.0, divided["next", "consumer", "reward"])
    assert torch.equal(plain["next", "firm", "reward"], divided["next", "firm", "reward"])


def test_joint_choices_decide_whether_actions_can_be_discrete():
    assert EconomyTask("open", SMALL).supports_discrete_actions()
    assert not EconomyTask("open").supports_discrete_actions()
    assert EconomyTask("open", {"train_types": ["firm"]}).supports_discrete_actions()
    assert EconomyTask("open").supports_continuous_actions()


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("opne", {}, 'unknown preset "opne"'),
        ("open", {"num_consumer": 3}, 'num_consumer is neither a field.*did you mean "num_consumers"'),
        ("open", {"train_type": ["firm"]}, 'did you mean "train_types"'),
        ("open", {"train_types": ["frim"]}, "train_types holds 'frim'"),
        ("open", {"reward_scale": {"firms": 2.0}}, 'reward_scale.firms is not an agent type; did you mean "firm"'),
        ("open", {"reward_scale": {"firm": 0}}, "reward_scale.firm is 0; it must be more than 0"),
        ("open", {"reward_scale": 3.0}, "reward_scale is 3.0; it must be a mapping"),
    ],
)
def test_a_wrong_configuration_is_refused(name, config, message):
    with pytest.raises(ConfigError, match=message):
        EconomyTask(name, config)


def test_a_task_can_be_stored_and_copied():
    task = EconomyTask("open", SMALL)
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert other == task and other.economy == task.economy


def test_policies_of_benchmarl_take_masks(tmp_path):
    example = load_example("mappo_benchmarl")
    example.ECONOMY["action_mask"] = True
    experiment = example.make_experiment("mappo", iterations=2, economies=2, folder=str(tmp_path))
    before = parameters(experiment)["consumer"]
    experiment.run()
    after = parameters(experiment)["consumer"]
    assert any(not torch.equal(new, old) for new, old in zip(after, before, strict=True))


def parameters(experiment):
    return {group: [p.detach().clone() for p in loss.parameters()] for group, loss in experiment.losses.items()}


@pytest.mark.parametrize(
    ("algorithm", "continuous", "everybody"),
    [("mappo", False, False), ("ippo", True, True), ("qmix", False, False), ("masac", True, False)],
)
def test_algorithms_of_benchmarl_train_every_group(algorithm, continuous, everybody, tmp_path):
    example = load_example("mappo_benchmarl")
    experiment = example.make_experiment(
        algorithm, iterations=2, economies=2, continuous=continuous, everybody=everybody, folder=str(tmp_path)
    )
    before = parameters(experiment)
    experiment.run()
    assert list(before) == (["consumer", "firm", "government"] if everybody else ["consumer"])
    for group, values in parameters(experiment).items():
        assert all(value.isfinite().all() for value in values)
        assert any(not torch.equal(new, old) for new, old in zip(values, before[group], strict=True))
    assert experiment.n_iters_performed == 2 and experiment.total_frames == 2 * 2 * 10
