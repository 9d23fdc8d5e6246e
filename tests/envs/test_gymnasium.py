"""Single agents as gymnasium environments, under the names that gymnasium knows."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

import rbc_marl
from rbc_marl import ConfigError, parallel_env
from rbc_marl.envs.gymnasium import SingleAgentEconomy
from rbc_marl.envs.registration import ENVIRONMENTS, NAMESPACE, register
from tests.envs.playing import random_actions

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4, "consumption_choices": [0.0, 1.0, 4.0, 10.0]}
NAMES = [f"{NAMESPACE}/{name}" for name in ENVIRONMENTS]


@pytest.mark.parametrize("options", [{}, {"action_mode": "discrete"}, {"action_mode": "box"}, {"action_mask": True}])
@pytest.mark.parametrize("others", ["monopoly", "random"])
@pytest.mark.parametrize("name", NAMES)
def test_gymnasiums_checker_finds_nothing(name, options, others):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(name, **SMALL, **options, others=others, render_mode="ansi")
        # Once it tries every render mode, of which pictures need the extra "analysis".
        has_pictures = importlib.util.find_spec("matplotlib") is not None
        check_env(env.unwrapped, skip_render_check=bool(options) or others == "random" or not has_pictures)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_economy_is_there_by_default(name):
    env = gym.make(name)
    assert env.unwrapped.economy.config == rbc_marl.preset("open")
    assert env.spec.id == name


@pytest.mark.parametrize("agent", ["consumer_4", "firm_1", "government_0"])
def test_an_episode_is_the_agents_own_of_the_parallel_environment(agent):
    agent_type, number = agent.split("_")
    options = {**SMALL, "others": "random"}
    env = SingleAgentEconomy(agent_type, agent=int(number), **options)
    par = parallel_env(**options, train_types=[agent])
    expected = [result[agent] for result in par.reset(seed=5)]
    assert data_equivalence(list(env.reset(seed=5)), expected)
    for period in range(4):
        action = random_actions(par, period)[agent]
        expected = [result[agent] for result in par.step({agent: action})]
        assert data_equivalence(list(env.step(action)), expected)
    assert expected[2:4] == [False, True] and expected[4] != {}
    with pytest.raises(ConfigError, match="the episode is over"):
        env.step(action)


def test_the_horizon_can_terminate_instead():
    env = SingleAgentEconomy("firm", **SMALL, terminate_at_horizon=True)
    env.reset()
    assert [env.step(0)[2:4] for _ in range(4)] == [(False, False)] * 3 + [(True, False)]


def test_rendering_works():
    env = gym.make("rbc_marl/Firm-v0", **SMALL, render_mode="ansi")
    env.reset()
    assert env.render().startswith("Open economy, 5 consumers, 2 firms")


def test_several_run_side_by_side_in_gymnasium():
    envs = gym.make_vec("rbc_marl/Government-v0", num_envs=3, vectorization_mode="sync", **SMALL)
    observations, _ = envs.reset(seed=1)
    assert observations.shape[0] == 3
    for _ in range(5):
        *_, truncated, _ = envs.step(np.array([0, 7, 14]))
    assert envs.action_space.shape == (3,) and truncated.shape == (3,)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"agent_type": "frim"}, "agent_type is 'frim'.*did you mean \"firm\""),
        ({"agent_type": "firm", "agent": 2}, "train_types holds 'firm_2'.*firm_0 to firm_1"),
        ({"agent_type": "firm", "num_firm": 2}, "num_firm is not a field"),
        ({"agent_type": "firm", "others": "nobody"}, "others is 'nobody'"),
    ],
)
def test_a_wrong_argument_is_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        SingleAgentEconomy(**{**SMALL, **kwargs})


@pytest.mark.parametrize("action", [30, -1, 1.5, np.array([1, 2]), None])
def test_an_action_outside_its_space_is_refused(action):
    env = SingleAgentEconomy("firm", **SMALL)
    env.reset()
    with pytest.raises(ConfigError, match="the action of firm_0"):
        env.step(action)


def wheel_files():
    """Files of the environments that the wheel holds a second time, outside the package, and their names there."""
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    return {name: target for name, target in included.items() if name.startswith("rbc_marl/envs/")}


def run(code, *options):
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("imports", ["import rbc_marl, gymnasium", "import gymnasium, rbc_marl"])
def test_the_names_are_known_whichever_is_imported_first(imports):
    code = f"""{imports}, sys
names = [name for name in gymnasium.registry if 'rbc_marl' in name]
print(*names, *({{'torch', 'ray', 'pettingzoo'}} & set(sys.modules)))"""
    assert run(code) == NAMES  # and making them known imports nothing heavy


def test_gymnasium_can_import_the_package_by_itself():
    code = "import gymnasium\nprint(gymnasium.make('rbc_marl:rbc_marl/Consumer-v0').unwrapped.agent)"
    assert run(code) == ["consumer_0"]


def test_an_installed_package_is_known_to_gymnasium_before_it_is_imported(tmp_path):
    folder, files = Path(rbc_marl.__file__).parent / "envs", wheel_files()
    for name, target in files.items():
        shutil.copy(folder / Path(name).name, tmp_path / target)
    code = f"""import site, sys
site.addsitedir({str(tmp_path)!r})  # as Python does at its start
print('gymnasium' in sys.modules)
import gymnasium
print('rbc_marl' in sys.modules, any(type(finder).__name__ == 'RegisterOnImport' for finder in sys.meta_path))
print(gymnasium.make('rbc_marl/Firm-v0').unwrapped.agent)
import rbc_marl"""
    assert run(code, "-W", "error") == ["False", "False", "False", "firm_0"]


def test_registering_again_changes_nothing():
    before = dict(gym.registry)
    register()
    assert dict(gym.registry) == before
