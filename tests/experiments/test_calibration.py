"""Calibration: a sweep whose runs are held against targets, from its file to its table. With a real Ray."""

from __future__ import annotations

import pandas as pd
import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.study import load_study, run_study
from tests.experiments.test_sweep_kinds import BASE, TAXES

SWEEP = """
cycle:
  base: base.yaml
  seeds: [1]
  episodes: 8
  report: false
  set:
    env_config.horizon: 5
    env_config.shocks: {technology: {kind: ar1, persistence: 0.5, deviation: 0.1}}
    stop.training_iteration: 1
  variants:
    env_config.shocks.technology.deviation: [0.02, 0.6]
    env_config.initial_wage: {uniform: [11, 22]}
  samples: 2
  targets: {output.deviation: 120, hours.with_output: {value: 0.5, scale: 2}}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("ray_running")
@pytest.mark.filterwarnings("ignore:.*Overriding environment")
def test_a_sweep_says_which_of_its_draws_is_nearest_to_the_targets(files):
    text = run_study(load_study(files / "sweep.yaml"), files / "out", workers=1)
    rows = pd.read_csv(files / "out" / "table.csv")
    assert len(rows) == 4
    scaled = ((rows["output.deviation"] - 120) / 120) ** 2, ((rows["hours.with_output"] - 0.5) / 2) ** 2
    assert rows["distance"].to_numpy() == pytest.approx((sum(scaled) / 2).to_numpy(), abs=2e-4)
    first = text.split("Nearest to the targets:")[1].strip().splitlines()[3]
    assert first.split(" | ")[0].strip("| ") == rows.sort_values("distance")["arm"].iloc[0]


def test_other_targets_are_another_sweep_and_mistakes_are_named(files):
    def prints(text):
        (files / "sweep.yaml").write_text(text, encoding="utf-8")
        return load_study(files / "sweep.yaml").runs[0].fingerprint

    assert len({prints(SWEEP), prints(SWEEP.replace("120", "130")), prints(SWEEP + "  hp: 1600\n")}) == 3
    with pytest.raises(ConfigError, match=r"targets\.output\.std: the moment must be one of deviation"):
        prints(SWEEP.replace("output.deviation", "output.std"))
    with pytest.raises(ConfigError, match="targets are for arms and variants; leave them or taxes out"):
        prints(TAXES + "  targets: {output.deviation: 1}\n")
