"""Strategy profiles: found by path, told apart, and with the settings of their run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from rbc_marl import UserError
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.equilibrium.deviations import (
    deviation_config,
)
from rbc_marl.equilibrium.profile import (
    find_profiles,
    profile_of_checkpoint,
    profile_of_rules,
    with_distinct_titles,
)
from tests.equilibrium.economies import FLAT, MONOPOLY, QUICK, RULES, plant


def test_profiles_of_one_name_have_titles_that_no_other_has():
    profile = profile_of_rules(MONOPOLY, RULES, FLAT)
    named = [dataclasses.replace(profile, name=name) for name in ("rules", "rules", "rules-2", "rules", "rules-2")]
    titles = [one.title for one in with_distinct_titles(named)]
    assert titles == ["rules", "rules-3", "rules-2", "rules-4", "rules-2-2"]
    assert [one.name for one in with_distinct_titles(named)] == [one.name for one in named]


@pytest.mark.parametrize("spelling", ["lambda", "lambda_"])
def test_settings_of_a_run_are_known_however_they_are_written_and_wherever_it_is_looked_at(
    tmp_path, monkeypatch, spelling
):
    plant(tmp_path / "run" / "checkpoint_000003")
    keys = f"{spelling}: 0.9, num_env_runners: 2, num_envs_per_env_runner: 64, minibatch_size: 192"
    text = f"tiny: {{run: EconomyPPO, env: rbc_closed, config: {{{keys}}}}}"
    (tmp_path / "run" / "config.yaml").write_text(text, encoding="utf-8")
    profile = profile_of_checkpoint(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run" / "checkpoint_000003")
    (tmp_path / "best").symlink_to(tmp_path / "run" / "checkpoint_000003")
    assert profile_of_checkpoint(Path(".")) == profile_of_checkpoint(tmp_path / "best") == profile
    assert find_profiles(Path("."), "all") == find_profiles(Path("."), (3,)) == [profile]
    settings = QUICK.replace(economies=None)  # as many as the run had
    whole = deviation_config(profile, settings, Deviator("firm"), 0)
    assert (whole.lambda_, whole.num_envs_per_env_runner, whole.minibatch_size) == (0.9, 128, 192)
    alone = deviation_config(profile, settings, Deviator("firm", 1), 0)  # 32 economies of three periods
    alone.validate()
    assert (alone.num_envs_per_env_runner, alone.minibatch_size) == (32, None)


def test_policies_of_no_run_have_no_checkpoints_to_pick_from(tmp_path):
    plant(tmp_path / "exported")
    assert [one.name for one in find_profiles(tmp_path / "exported")] == ["exported"]
    with pytest.raises(UserError, match="exported is no checkpoint of a run"):
        find_profiles(tmp_path / "exported", "all")


def test_several_checkpoints_of_a_run_are_found_by_their_iterations(tmp_path):
    for number in (2, 10, 4):
        plant(tmp_path / f"checkpoint_{number:06}")
    assert [one.name for one in find_profiles(tmp_path)] == ["checkpoint_000010"]
    assert [one.name for one in find_profiles(tmp_path, (4, 2))] == ["checkpoint_000004", "checkpoint_000002"]
    everything = ["checkpoint_000002", "checkpoint_000004", "checkpoint_000010"]
    assert [one.name for one in find_profiles(tmp_path / "checkpoint_000004", "all")] == everything
    assert [one.name for one in find_profiles(tmp_path / "checkpoint_000004")] == ["checkpoint_000004"]
    with pytest.raises(UserError, match="has no checkpoint of iteration 3; it has kept 2, 4, 10"):
        find_profiles(tmp_path, (2, 3))


def test_other_weights_under_the_same_name_are_another_profile(tmp_path):
    plant(tmp_path / "one" / "checkpoint_000001")
    shutil.copytree(tmp_path / "one", tmp_path / "same")
    plant(tmp_path / "other" / "checkpoint_000001", tempted=2.0)
    digests = {name: profile_of_checkpoint(tmp_path / name).digest for name in ("one", "same", "other")}
    assert digests["one"] == digests["same"] != digests["other"]
