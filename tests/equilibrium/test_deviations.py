"""The pieces of work behind best responses: what is learnt, picked, measured, and with what certainty."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from rbc_marl import UserError
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.rollouts import play
from rbc_marl.equilibrium import deviations
from rbc_marl.equilibrium.best_response import BestResponseSettings
from rbc_marl.equilibrium.deviations import (
    ConstantsJob,
    GainsJob,
    LearningJob,
    deviation_config,
    episode_seed,
    learn,
)
from rbc_marl.equilibrium.profile import (
    profile_of_checkpoint,
)
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.saved import load_policies, save_policies
from rbc_marl.policies.trembles import Trembles
from tests.equilibrium.economies import NETWORK, QUICK, SHOPS, plant, weights


@pytest.fixture(scope="module", autouse=True)
def ray(ray_running):
    pass


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "checkpoint_000007"
    plant(folder)
    return folder


def test_the_same_network_as_a_deviation_gains_exactly_nothing(planted, tmp_path):
    from safetensors.torch import save_file

    profile = profile_of_checkpoint(planted)
    for deviator in (Deviator("firm"), Deviator("firm", 1), Deviator("consumer", 2), Deviator("government")):
        name = f"{deviator.name}.safetensors"
        save_file(profile.policies().networks[deviator.agent_type].state_dict(), tmp_path / name)
        job = GainsJob(profile, QUICK, deviator, learned={"weights": name, "is_greedy": False})
        assert job.run(tmp_path)["learned"] == {"gain": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize("deviator", [Deviator("firm"), Deviator("consumer", 3)], ids=lambda t: t.kind)
def test_everybody_else_keeps_every_weight_bit_for_bit(planted, deviator, monkeypatch):
    from rbc_marl.rllib.algorithm import EconomyPPO

    seen = []
    networks = EconomyPPO.networks

    def watched(self):
        seen.append({name: weights(network) for name, network in networks(self).items()})
        return networks(self)

    monkeypatch.setattr(EconomyPPO, "networks", watched)
    profile = profile_of_checkpoint(planted)
    before = profile.policies().networks
    learned = learn(profile, QUICK.replace(iterations=3), deviator, 0, before[deviator.agent_type])
    assert list(learned) == [1, 2, 3]
    module_id = "deviator" if deviator.agent is not None else deviator.agent_type
    for agent_type, network in before.items():
        same = all(torch.equal(x, seen[-1][agent_type][name]) for name, x in network.state_dict().items())
        assert same is (agent_type != module_id)
    own = before[deviator.agent_type].state_dict()
    assert not all(torch.equal(x, own[name]) for name, x in learned[3].state_dict().items())


def test_a_search_that_overshoots_takes_the_best_that_it_passed_by(planted, tmp_path, monkeypatch):
    profile, deviator = profile_of_checkpoint(planted), Deviator("firm", 1)
    good, worse = (copy.deepcopy(profile.policies().networks["firm"]) for _ in range(2))
    good.action_head.bias[2] += 60.0  # posts the highest price,
    worse.action_head.bias[0] += 60.0  # the lowest
    paths = {False: {2: good, 60: worse}, True: {2: worse, 60: worse}}
    for is_control, picked in ((False, 2), (True, 0)):  # a control may find nothing better than where it starts
        monkeypatch.setattr(deviations, "learn", lambda *_, path=paths[is_control]: path)
        row = LearningJob(profile, QUICK, deviator, seed=0, is_control=is_control).run(tmp_path)
        assert (row["iteration"], row["is_greedy"]) == (picked, False)
        assert row["selection_gain"] > 0.0


def test_deviations_are_learnt_without_what_the_run_masked_or_scheduled(tmp_path):
    run = tmp_path / "run"
    networks = plant(run / "checkpoint_000003")
    networks["firm"].set_mask(torch.tensor([True, True, False]))
    save_policies(run / "checkpoint_000003", SHOPS, "symlog", networks, dict.fromkeys(networks, NETWORK), {"seed": 5})
    (run / "config.yaml").write_text(
        """
tiny:
  run: EconomyPPO
  env: rbc_closed
  config:
    curriculum: {taxes: {begin: 2, end: 4}}
    callbacks: no.such.module.Class
    trembles: {price: 0.1}
    num_envs_per_env_runner: 5
    gamma: 0.5
    lr: 2e-3
    entropy_coeff: 0.5
    algorithm_config_overrides_per_module: {firm: {lr: 1e-5, entropy_coeff: 0.3}}
""",
        encoding="utf-8",
    )
    profile = profile_of_checkpoint(run)
    assert profile.notes == ("masks that still held for firm were lifted",)
    assert not profile.policies().networks["firm"].log_mask.any()
    settings = BestResponseSettings(iterations=10)
    config = deviation_config(profile, settings, Deviator("firm"), 4)
    assert (config.curriculum, config.trembles, config.gamma, config.seed) == (None, Trembles(), 0.5, 4)
    assert config.lr == [[0, 1e-4], [15, 1e-3], [75, 1e-3], [150, 1e-4]]  # 5 economies, 3 periods, 10 iterations
    assert config.get_config_for_module("firm").entropy_coeff == 0.02
    assert config.policies_to_train == ["firm"] and config.num_envs_per_env_runner == 5
    alone = deviation_config(profile, settings, Deviator("consumer", 1), 4)
    assert (alone.deviator.type, alone.deviator.agent) == ("consumer", 1) and alone.policies_to_train == ["deviator"]
    assert alone.num_envs_per_env_runner == 32 and alone.lr[1] == [96, 2e-3]


def test_deviations_are_picked_and_measured_on_different_episodes(planted):
    picking, measuring, scanning = (episode_seed(QUICK, stream) for stream in range(3))
    assert len({picking, measuring, scanning}) == 3
    policies, deviator = load_policies(planted), Deviator("firm")
    row = ConstantsJob(profile_of_checkpoint(planted), QUICK, deviator).run(planted)
    chosen = DeviatingPolicies(policies, Deviation("firm", choice=torch.tensor(row["choice"])))

    def mean(who, seed, count):
        return float(deviator.returns(play(who, count, seed)).mean())

    picked = mean(chosen, picking, 32) - mean(policies, picking, 32)
    level = mean(policies, measuring, 64)
    assert row["selection_gain"] == pytest.approx(picked)
    final = GainsJob(profile_of_checkpoint(planted), QUICK, deviator, constant=row).run(planted)
    assert final["baseline"] == pytest.approx(level) != pytest.approx(mean(policies, picking, 32))
    assert final["constant"]["gain"] == pytest.approx(mean(chosen, measuring, 64) - level)


def test_intervals_of_two_deviations_hold_at_once_as_often_as_one_alone(planted):
    profile, deviator = profile_of_checkpoint(planted), Deviator("firm")
    final = GainsJob(profile, QUICK, deviator, constant={"choice": [1]}).run(planted)
    policies, seed = load_policies(planted), episode_seed(QUICK, 1)
    chosen = DeviatingPolicies(policies, Deviation("firm", choice=torch.tensor([1])))
    differences = deviator.returns(play(chosen, 64, seed)) - deviator.returns(play(policies, 64, seed))
    error = 2.241403 * float(differences.std()) / 8  # each misses in 2.5% of cases
    gain = final["constant"]
    assert (gain["low"], gain["high"]) == pytest.approx((gain["gain"] - error, gain["gain"] + error))


def test_a_return_that_is_not_finite_is_an_error_and_no_gain_of_zero(planted, tmp_path, monkeypatch):
    from rbc_marl.analysis import constants, gains

    played = play(load_policies(planted), 8, 0)
    returns = {name: x.clone() for name, x in played.returns.items()}
    returns["firm"][3, 1] = float("nan")
    returns["firm"][5, 1] = float("inf")
    broken = dataclasses.replace(played, returns=returns)
    assert Deviator("firm", 0).returns(broken).isfinite().all()
    message = "the return of firm 1 is not finite in 2 of 8 episodes, so there is no baseline return and no gain"
    with pytest.raises(UserError, match=message):
        Deviator("firm", 1).returns(broken)
    with pytest.raises(UserError, match="the return of firm is not finite in 2 of 8"):
        Deviator("firm").returns(broken)
    # No piece of work leaves a result: neither a baseline, nor a scan, nor a measured gain.
    monkeypatch.setattr(deviations, "_PLAYED", {})
    monkeypatch.setattr(deviations, "play", lambda *_, **__: broken)
    for module in (constants, gains):
        monkeypatch.setattr(module, "play", lambda *_, **__: broken)
    monkeypatch.setattr(constants, "constant_choices", lambda *_: torch.tensor([[0]]))
    profile = profile_of_checkpoint(planted)
    measured = GainsJob(profile, QUICK, Deviator("firm", 1), constant={"choice": [1]})
    for job in (measured, ConstantsJob(profile, QUICK, Deviator("firm", 1))):
        with pytest.raises(UserError, match="is not finite in 2 of 8 episodes"):
            job.run(tmp_path)
    assert not list(tmp_path.iterdir())
