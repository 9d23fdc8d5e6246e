"""The economy as TorchRL meets it."""

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy, join, parallel_env
from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import bounds
from rbc_marl.policies.scripted import UniformPolicies
from tests.envs.examples import load_example
from tests.envs.playing import by_agent, in_mode, random_indices

pytest.importorskip("torchrl")
from tensordict import TensorDict
from torchrl.envs import PettingZooWrapper
from torchrl.envs.utils import check_env_specs

from rbc_marl.envs.torchrl import BatchedEconomy

pytestmark = pytest.mark.long
SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4, "consumption_choices": [0.0, 1.0, 4.0, 10.0]}
CONFIG = EconomyConfig(**SMALL)
DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]  # fmt: skip
OPTIONS = [
    {},
    {"action_mode": "discrete"},
    {"action_mode": "box"},
    {"state": True, "encoding": "digits"},
    {"split": True},
    {"split": True, "train_types": ["government"]},
    {"train_types": ["consumer_1", "consumer_3", "firm"], "others": "random"},
    {"terminate_at_horizon": False},
    {"action_mask": True},
    {"action_mask": True, "action_mode": "discrete", "split": True, "train_types": ["firm", "government"]},
    {"dtype": torch.float64, "action_mode": "box"},
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_specs_are_true(options, device):
    env = BatchedEconomy(CONFIG, 3, device=device, **options)
    check_env_specs(env, break_when_any_done="both", seed=0)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_spaces_contain_whole_rollouts(options):
    env = BatchedEconomy(CONFIG, 3, **options)
    batch = env.rollout(9, break_when_any_done=False)
    assert batch.shape == (3, 9)
    for step in batch.unbind(1):
        assert env.full_action_spec.contains(step.select(*env.full_action_spec.keys(True, True)))
        for data in (step, step["next"]):
            assert env.observation_spec.contains(data.select(*env.observation_spec.keys(True, True)))
    over = batch["next", "done"][0, :, 0].tolist()
    assert over == [False, False, False, True] * 2 + [False]
    ending, never = ("terminated", "truncated") if env.terminate_at_horizon else ("truncated", "terminated")
    assert batch["next", ending][0, :, 0].tolist() == over and not batch["next", never].any()


def actions_of(config, period, mode, count):
    """The decisions of one period, alike in every economy of the batch, as a tensordict."""
    indices = in_mode(config, random_indices(config, period), mode)
    rows = {t: torch.from_numpy(index).expand(count, *index.shape) for t, index in indices.items()}
    return TensorDict({t: TensorDict({"action": row}, [count, row.shape[1]]) for t, row in rows.items()}, [count])


@pytest.mark.parametrize("mode", ["multidiscrete", "discrete", "box"])
def test_one_sequence_of_actions_is_one_economy_in_every_environment(mode):
    env = BatchedEconomy(CONFIG, 3, action_mode=mode, state=True)
    batch = VectorEconomy(CONFIG, num_envs=3, autoreset=False)
    pettingzoo = parallel_env(CONFIG, action_mode=mode)
    observation, data = batch.reset(), env.reset()
    pettingzoo.reset()
    for period in range(4):
        indices = random_indices(CONFIG, period)
        tensors = {t: torch.from_numpy(index).expand(3, *index.shape) for t, index in indices.items()}
        observation, rewards, _, _ = batch.step({**tensors, "government": tensors["government"].flatten()})
        data = env.step(data.update(actions_of(CONFIG, period, mode, 3)))["next"]
        result = pettingzoo.step(by_agent(in_mode(CONFIG, indices, mode)))
        for agent_type in AGENT_TYPES:
            seen, gained = data[agent_type, "observation"], data[agent_type, "reward"].squeeze(-1)
            assert torch.equal(seen, join(observation, agent_type))
            assert torch.equal(gained, rewards[agent_type].view(3, -1))
            for number in range(CONFIG.agents(agent_type)):
                name = f"{agent_type}_{number}"
                assert torch.equal(seen[2, number], torch.from_numpy(result[0][name]))
                assert gained[2, number].item() == result[1][name]
        assert torch.equal(data["state"][1], torch.from_numpy(pettingzoo.state()))
        for key in ("price", "consumer_budget", "firm_budget", "capital"):
            assert torch.equal(getattr(env.controlled.economy.state, key), getattr(batch.state, key))
        data = env.step_mdp(TensorDict({"next": data}, [3]))


def test_split_observations_are_the_whole_ones_in_two_parts():
    whole, split = BatchedEconomy(CONFIG, 2, seed=1), BatchedEconomy(CONFIG, 2, seed=1, split=True)
    one, two = whole.rollout(4), split.rollout(4)
    for group in ("consumer", "firm"):
        private = two[group, "observation"]
        shared = two["global"].unsqueeze(2).expand(*private.shape[:-1], -1)
        assert torch.equal(torch.cat([shared, private], -1), one[group, "observation"])
    assert torch.equal(two["global"], one["government", "observation"].squeeze(2))
    assert ("government", "observation") not in two.keys(True)


def test_a_seed_decides_random_actions_and_the_others_whatever_torch_draws():
    def rollout(seed):
        torch.rand(seed)  # moves torch's own generator
        env = BatchedEconomy(CONFIG, 3, train_types=["firm"], others=UniformPolicies(CONFIG))
        env.set_seed(seed)
        return env.rollout(4)

    assert (rollout(5) == rollout(5)).all() and not (rollout(5) == rollout(6)).all()


@pytest.mark.parametrize("mode", ["multidiscrete", "discrete"])
def test_masks_are_shown_and_kept(mode):
    env = BatchedEconomy(CONFIG, 3, action_mode=mode, action_mask=True)
    length = 4 + 4 + 5 + 2 if mode == "multidiscrete" else 160
    assert env.reset()["consumer", "action_mask"].shape == (3, 5, length)
    idle = torch.ones(15, dtype=torch.bool)
    idle[9:13] = False  # nobody works: only the first choice of hours
    env.set_action_masks({"firm": torch.arange(30) == 7, **({"consumer": idle} if mode == "multidiscrete" else {})})
    batch = env.rollout(4)
    assert bool((batch["firm", "action"] == 7).all()) and batch["firm", "action_mask"].sum(-1).unique().tolist() == [1]
    if mode == "multidiscrete":
        assert not batch["consumer", "action"][..., 2].any() and batch["consumer", "action"][..., 0].any()
    assert batch["government", "action"].unique().numel() > 1
    data = env.rand_action(env.reset())
    data["firm", "action"][2, 1] = 8
    with pytest.raises(ConfigError, match="the action of firm_1 is 8, which its action_mask forbids"):
        env.step(data)
    data["firm", "action"][2, 1] = 30
    with pytest.raises(ConfigError, match="an index of a firm's joint choice is 30"):
        env.step(data)


def test_masks_need_choices_and_to_be_asked_for():
    with pytest.raises(ConfigError, match="no choices to mask"):
        BatchedEconomy(CONFIG, 2, action_mode="box", action_mask=True)
    with pytest.raises(ConfigError, match="make it with action_mask=True"):
        BatchedEconomy(CONFIG, 2).set_action_masks({})


def test_all_economies_of_a_batch_are_reset_together():
    env = BatchedEconomy(CONFIG, 2)
    data = env.rollout(4)[:, -1]["next"]
    with pytest.raises(ConfigError, match="all start and end together: reset all"):
        env.reset(data.clone().set("_reset", torch.tensor([[True], [False]])))
    start = env.reset(data.set("_reset", torch.ones(2, 1, dtype=torch.bool)))
    assert not start["done"].any() and torch.equal(start["firm", "observation"], env.reset()["firm", "observation"])


def test_groups_are_those_that_are_trained_and_keep_the_names_of_pettingzoo():
    env = BatchedEconomy(CONFIG, 2, train_types=["firm", "consumer_3"])
    assert env.group_map == {"consumer": ["consumer_3"], "firm": ["firm_0", "firm_1"]}
    assert env.reset()["consumer", "observation"].shape == (2, 1, len(bounds(CONFIG, "consumer")[0]))


@pytest.mark.parametrize(
    ("mode", "group", "change", "message"),
    [
        ("multidiscrete", "firm", lambda x: x.new_full((2, 2), 30), "an index of a firm's joint choice is 30"),
        ("multidiscrete", "firm", lambda x: -1 - x, "an index of a firm's joint choice is -"),
        ("multidiscrete", "consumer", lambda x: x[..., :3], r"actions of consumer have shape \(2, 5, 3\)"),
        ("multidiscrete", "government", lambda x: x.float(), "actions of government are torch.float32"),
        ("multidiscrete", "firm", lambda x: x[:, :1], r"actions of firm have shape \(2, 1\)"),
        ("discrete", "consumer", lambda x: x.new_full((2, 5), 160), "an index of a consumer's demand for good 0 is 4"),
        ("discrete", "consumer", lambda x: x.new_full((2, 5), -1), "an index of a consumer's demand for good 0 is -1"),
        ("box", "firm", lambda x: x * torch.nan, "an action of firm holds a number that is not from -1 to 1"),
        ("box", "consumer", lambda x: x + 3.0, "an action of consumer holds a number that is not from -1 to 1"),
        ("box", "government", lambda x: x.long(), "actions of government are torch.int64"),
    ],
)
def test_actions_that_cannot_be_are_refused_and_change_nothing(mode, group, change, message):
    env = BatchedEconomy(CONFIG, 2, action_mode=mode)
    data = env.rand_action(env.reset())
    before = env.controlled.economy.state
    wrong = data.clone()
    wrong[group] = TensorDict({"action": change(data[group, "action"])}, [2])
    with pytest.raises(ConfigError, match=message):
        env.step(wrong)
    assert env.controlled.economy.state is before
    env.step(data)


def test_an_index_out_of_range_of_single_agents_is_refused_too():
    env = BatchedEconomy(CONFIG, 2, train_types=["firm_1"])
    data = env.rand_action(env.reset())
    data["firm", "action"] = torch.full((2, 1), 30)
    with pytest.raises(ConfigError, match="an index of a firm's joint choice is 30"):
        env.step(data)


def test_a_missing_action_and_a_step_after_the_end_are_refused():
    env = BatchedEconomy(CONFIG, 2)
    with pytest.raises(ConfigError, match=r'there is no \("consumer", "action"\)'):
        env.step(env.reset())
    env.rollout(4)
    with pytest.raises(ConfigError, match="the episode is over"):
        env.step(env.rand_action())
    with pytest.raises(ConfigError, match="num_envs is 0"):
        BatchedEconomy(CONFIG, 0)


@pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested using version")
@pytest.mark.parametrize("kwargs", [{}, {"train_types": ["consumer"]}, {"action_mode": "box"}])
def test_torchrls_own_wrapper_plays_the_pettingzoo_environment(kwargs):
    env = PettingZooWrapper(parallel_env(CONFIG, **kwargs), categorical_actions=True, return_state=True)
    groups = ["consumer"] if "train_types" in kwargs else list(AGENT_TYPES)
    assert list(env.group_map) == groups
    check_env_specs(env)
    data = env.rollout(9, break_when_any_done=True)
    assert data.shape == (4,) and data["next", "done"][-1].all()


def parameters(actors):
    return {group: [p.detach().clone() for p in actor.parameters()] for group, actor in actors.items()}


@pytest.mark.parametrize("centralised", [True, False], ids=["MAPPO", "IPPO"])
def test_the_example_trains_every_group(centralised):
    example = load_example("mappo_torchrl")
    env = BatchedEconomy(CONFIG, 8)
    torch.manual_seed(0)
    before = parameters({group: example.make_actor(env, group) for group in env.group_map})
    actors, history = example.train(env, updates=3, centralised=centralised, report=lambda line: None)
    for group, values in parameters(actors).items():
        assert all(value.isfinite().all() for value in values)
        assert any(not torch.equal(new, old) for new, old in zip(values, before[group], strict=True))
    assert len(history) == 3 and all(torch.tensor(list(row.values())).isfinite().all() for row in history)
