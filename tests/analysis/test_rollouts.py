"""Episodes as data and their evaluation: seeded, summed as defined, written whole or not at all."""

import io
import json
import math

import pytest
import torch
from rich.console import Console

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.evaluation_table import SUBJECTS, evaluation_table
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.analysis.rollouts import Evaluation, evaluate, play
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import PolicySet
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies

CONFIG = preset("open", num_consumers=6, num_firms=3, horizon=4)
UNIFORM = UniformPolicies(CONFIG)


def network_policies():
    torch.manual_seed(0)
    networks = {name: build_network(CONFIG, name, "symlog", {"kind": "flat", "hidden": [8]}) for name in AGENT_TYPES}
    return PolicySet(CONFIG, "symlog", networks)


@pytest.mark.parametrize("policies", [UNIFORM, ScriptedPolicies(CONFIG), network_policies()])
def test_one_seed_gives_the_same_episodes_and_another_does_not(policies):
    first, again, other = (play(policies, 20, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first.quantities[name], again.quantities[name]) for name in QUANTITIES)
    assert not torch.equal(first.quantities["output"], other.quantities["output"])


def test_playing_leaves_torchs_own_generator_alone():
    policies = network_policies()
    before = torch.get_rng_state()
    for each in (policies, UNIFORM, ScriptedPolicies(CONFIG)):
        play(each, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_whole_slabs_do_not_depend_on_how_many_follow():
    few, many = play(UNIFORM, 8, slab=4), play(UNIFORM, 11, slab=4)
    assert many.num_episodes == 11
    assert all(torch.equal(few.quantities[name], many.quantities[name][:8]) for name in QUANTITIES)


def test_slabs_draw_different_numbers():
    output = play(UNIFORM, 8, slab=4).quantities["output"]
    assert output.unique().numel() == 8


def test_the_size_of_a_slab_changes_no_deterministic_episode():
    rules = ScriptedPolicies(CONFIG)

    class Greedy:
        config, encoding, device = CONFIG, "symlog", torch.device("cpu")

        def act(self, observation, generator=None, greedy=False, *, state=None):
            return rules.act(observation, generator, True, state=state)

    narrow, wide = play(Greedy(), 5, slab=2), play(Greedy(), 5, slab=5)
    assert all(torch.allclose(narrow.quantities[name], wide.quantities[name]) for name in QUANTITIES)


def test_greedy_play_is_one_episode_whatever_the_seed():
    first, other = evaluate(network_policies(), 50, 0, greedy=True), evaluate(network_policies(), 7, 5, greedy=True)
    assert first.episodes == 1
    assert first.means == other.means
    assert set(first.standard_errors.values()) == {None}


def test_means_and_standard_errors_are_those_of_the_episodes():
    episodes = play(UNIFORM, 30)
    evaluation = Evaluation.of(episodes)
    for name in QUANTITIES:
        values = [float(x) for x in episodes.quantities[name]]
        mean = sum(values) / 30
        spread = math.sqrt(sum((x - mean) ** 2 for x in values) / 29)
        assert evaluation.means[name] == pytest.approx(mean, rel=1e-6)
        assert evaluation.standard_errors[name] == pytest.approx(spread / math.sqrt(30), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("rules", "is_dead"), [("idle", True), ("full_employment", False)])
def test_an_idle_economy_is_called_collapsed_and_a_busy_one_is_not(rules, is_dead):
    evaluation = Evaluation.of(play(ScriptedPolicies(CONFIG, rules), 2, record=True))
    assert evaluation.collapsed is is_dead
    console = Console(width=80, file=io.StringIO())
    console.print(evaluation.table())
    text = console.file.getvalue()
    assert ("collapsed" in text) is is_dead
    for subject, units in SUBJECTS.items():
        assert subject in text
        # What does not exist has no line: a planner where there are exports, a correlation where all post one price.
        named = [name for name in units if {**evaluation.means, **evaluation.indicators}[name] is not None]
        assert is_dead or set(units) - set(named) <= {"firms_money_share", "planner_share", "price_sales"}
        assert all(name.replace("_", " ") in text and units[name] in text for name in named)
    assert "…" not in text and "periods 2-3" in text and len(text.splitlines()) <= 26


def test_a_line_of_the_table_shows_all_periods_then_those_of_the_middle():
    console = Console(width=80, file=io.StringIO())
    values = {"price": 2340.4, "middle_price": 2500.0, "price_sales": -0.51234, "markup": None, "hours": 0.0}
    values |= {"firm_return": 6783.4, "consumer_return": 123.456}
    console.print(evaluation_table("title", 10, values, {"price": 1.234, "firm_return": 341.2}))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["title"] and lines[1][-3:-1] == ["periods", "2-9"]
    assert lines[2:] == [
        ["work", "hours", "0", "per", "consumer"],
        ["prices", "price", "2,340", "1.2", "2,500", "money", "per", "unit"],
        ["price", "sales", "-0.5123", "correlation"],
        ["welfare", "consumer", "return", "123.5", "utility", "per", "consumer"],
        ["firm", "return", "6,783", "341", "money", "per", "firm"],
    ]


def test_an_evaluation_is_json_with_every_reported_quantity():
    data = json.loads(json.dumps(evaluate(UNIFORM, 3, seed=4).to_dict(), allow_nan=False))
    promised = "hours consumption output exports price wage income_tax corporate_tax consumer_return firm_return"
    assert {*promised.split(), "welfare_consumers", "welfare_total", "collapsed"} <= data.keys()
    assert (data["episodes"], data["seed"], data["greedy"], data["collapsed"]) == (3, 4, False, False)
    assert data["standard_errors"]["hours"] > 0


def test_recording_changes_no_number():
    plain, recorded, whole = play(UNIFORM, 4), play(UNIFORM, 4, record=True), play(UNIFORM, 4, agents=True)
    for episodes in (recorded, whole):
        assert all(torch.equal(plain.quantities[name], episodes.quantities[name]) for name in QUANTITIES)


@pytest.mark.parametrize("arguments", [{"num_episodes": 0}, {"seed": -1}, {"slab": 0}])
def test_numbers_out_of_range_are_refused_by_name(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        play(UNIFORM, **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_greedy_rules_give_the_same_episode_on_a_gpu():
    on_cpu, on_gpu = (evaluate(ScriptedPolicies(CONFIG, device=device), greedy=True) for device in ("cpu", "cuda"))
    assert on_gpu.means == pytest.approx(on_cpu.means, rel=1e-4)
