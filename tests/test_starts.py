"""Warm starts: episodes begin at states of a file, drawn alike at every door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy, cli, join, parallel_env, starts
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.situations import situations
from rbc_marl.policies.scripted import UniformPolicies
from rbc_marl.starts import KEPT, save_starts

CONFIG = EconomyConfig(num_consumers=4, num_firms=2, horizon=5)


@pytest.fixture
def states():
    return situations(UniformPolicies(CONFIG), 3, seed=1, periods=4)[0]


@pytest.fixture
def warm(states, tmp_path):
    save_starts(tmp_path / "starts.safetensors", states)
    return CONFIG.replace(start=str(tmp_path / "starts.safetensors"), horizon=40)


def test_each_episode_begins_at_a_state_of_the_file(warm, states):
    env = VectorEconomy(warm, 300, seed=2)
    env.reset()
    rows = (env.state.consumer_budget[:, None] == states.consumer_budget).all(-1).long().argmax(1)
    for name in KEPT:
        assert torch.equal(getattr(env.state, name), getattr(states, name)[rows]), name
    assert rows.bincount().min() > 70  # of 100 expected: all alike likely
    cold = VectorEconomy(CONFIG, 300)
    cold.reset()
    for name in ("time", "labour_disutility", "labour_exponent"):
        assert torch.equal(getattr(env.state, name), getattr(cold.state, name)), name


def test_states_that_came_with_the_work_are_read_without_their_file(warm, tmp_path, monkeypatch):
    monkeypatch.setattr(starts, "_named", set())
    monkeypatch.setattr(starts, "_sent", {})
    here = starts.read_starts(warm)
    assert starts.named() == [warm.start] and starts.unseen([warm.start]) is None
    files = starts.to_send()
    monkeypatch.setattr(starts, "MOST_SENT", len(files[warm.start]) - 1)
    assert starts.to_send() == {}
    Path(warm.start).rename(tmp_path / "moved")
    assert starts.unseen([warm.start]) == warm.start
    with pytest.raises(ConfigError, match="which cannot be read"):
        starts.read_starts(warm)
    starts.receive(files)
    assert starts.unseen([warm.start]) is None
    assert all(torch.equal(values, here[name]) for name, values in starts.read_starts(warm).items())


def test_the_same_draws_at_every_door_and_for_every_seed_others(warm):
    env = VectorEconomy(warm, 1, seed=7)
    first = [env.reset() for _ in range(12)]
    pettingzoo = parallel_env(warm)
    for episode, seen in enumerate(first):
        observations, _ = pettingzoo.reset(seed=None if episode else 7)
        assert torch.equal(torch.tensor(observations["firm_1"]), join(seen, "firm")[0, 1])
        assert pettingzoo.observation_space("firm_1").contains(observations["firm_1"])
    assert len({tuple(seen["global"][0].tolist()) for seen in first}) == 3


def test_a_warm_economy_goes_on_where_the_file_left_it(warm, states):
    short = warm.replace(horizon=2)
    played = play(UniformPolicies(short), 30, seed=1, record=True)
    prices = {tuple(row) for row in states.price.tolist()}
    assert {tuple(row) for row in played.firms["price"][:, 0].tolist()} == prices
    assert torch.equal(played.firms["price"], play(UniformPolicies(short), 30, seed=1, record=True).firms["price"])


@pytest.mark.slow
def test_evaluate_saves_states_and_plays_on_from_them(tmp_path, capsys):
    file = tmp_path / "starts.safetensors"
    for words in (["--states", f"{file}@6"], ["--set", f"start={file}", "--set", "horizon=4"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["evaluate", "quickstart", "--episodes", "4", *words])
        assert not ended.value.code
    out = capsys.readouterr().out
    assert "states after period 6" in out and load_file(file)["price"].shape == (4, 10)


def broken(name, change):
    def write(file):
        content = load_file(file)
        content[name] = change(content[name])
        save_file(content, file)

    return write


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "which cannot be read .*; give a file that rbc-marl evaluate --states"),
        (lambda file: file.write_text("x"), "which is damaged"),
        (lambda file: (file.unlink(), file.mkdir()), "which is no file; give a file that"),
        (lambda file: save_file({"a": torch.ones(1)}, file), "which holds no states of an economy"),
        (broken("price", lambda x: x[:, :1].contiguous()), r"whose price has shape \[3, 1\]; 4 consumers and 2 firms"),
        (broken("price", lambda x: x + 1e6), "whose price leaves its range in this economy"),
        (broken("capital", lambda x: -x), "whose capital leaves its range"),
        (broken("consumer_budget", lambda x: x / 0), "whose consumer_budget leaves its range"),
        (broken("inventory", lambda x: x + 1e300), "whose inventory leaves its range"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_are_refused_in_one_line(warm, damage, message):
    damage(Path(warm.start))
    with pytest.raises(ConfigError, match=message) as caught:
        VectorEconomy(warm, 2).reset()
    assert "\n" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ConfigError, match=r"^start is .*, which cannot be read \(.*; give a file"):
        VectorEconomy(CONFIG.replace(start="a\0b"), 2).reset()


def test_other_states_in_the_same_file_are_read_anew(warm, states, tmp_path):
    env = VectorEconomy(warm, 2)
    env.reset()
    save_starts(tmp_path / "starts.safetensors", replace(states, capital=states.capital + 1.0))
    before = env.state.capital
    env.reset()
    assert not torch.isin(env.state.capital, before).any()


def test_more_periods_than_an_episode_has_are_refused():
    with pytest.raises(ConfigError, match="6 periods are to be played; an episode has 5"):
        situations(UniformPolicies(CONFIG), 2, periods=6)
