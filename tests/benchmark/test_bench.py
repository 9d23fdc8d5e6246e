"""The benchmark measures what it says, on a tiny economy; how fast things are is no matter of tests."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbc_marl import ConfigError, preset
from rbc_marl.benchmark import bench, populations, sizes
from rbc_marl.rllib import compiled
from tests.rllib.conftest import ray_running as ray_running
from tests.rllib.small import recorded

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)
PACKAGE = Path(bench.__file__).parents[1]


@pytest.fixture(scope="module")
def stepping():
    return bench.run(["economy", "environments"], rounds=1, seconds=0.05, config=CONFIG)


@pytest.fixture(scope="module")
def everything(ray_running):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "FACTORS", ((10, 1), (10, 10)))
        patch.setattr(populations, "RUNS", (2,))
        patch.setattr(compiled, "_compiled", recorded)  # to compile takes half a minute, and is tested elsewhere
        return bench.run(rounds=1, seconds=0.05, config=CONFIG)


slow = pytest.mark.slow
plain_warnings = pytest.mark.filterwarnings(
    "ignore:.*already in registry",  # gymnasium on what RLlib registers each time
)


def test_parts_are_measured_alone_without_ray(stepping):
    assert list(stepping) == ["machine", "size", "economy", "environments"]
    assert stepping["size"] == {"consumers": 3, "firms": 2, "periods": 2}
    assert {"device", "threads", "python", "torch", "ray"} <= set(stepping["machine"])
    rates = stepping["economy"]["steps_per_second"]
    assert set(rates) == {"1", "128", "1024", "scalar"} and min(rates.values()) > 0
    for name, ratio in stepping["economy"]["ratio_to_scalar"].items():
        assert ratio == pytest.approx(rates[name] / rates["scalar"])


def test_the_table_shows_the_parts_that_were_measured(stepping):
    text = bench.table(stepping)
    for part in ("3 consumers, 2 firms, 2 periods", "1024 economies", "plain Python", "gymnasium, one firm"):
        assert part in text
    assert "sampling" not in text and "bare loop" not in text


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"the part to measure is 'samplin'.*did you mean \"sampling\""):
        bench.run(["samplin"])


@pytest.mark.long
def test_the_command_needs_neither_the_tests_nor_ray(tmp_path):
    """The package is copied to a folder that holds nothing else."""
    (tmp_path / "rbc_marl").symlink_to(PACKAGE, target_is_directory=True)
    code = """import sys
from rbc_marl.benchmark import bench, sizes
from rbc_marl import preset
result = bench.run(["economy"], rounds=1, seconds=0.01, config=preset("open", num_consumers=3, num_firms=2))
has_tests = any(name.split(".")[0] == "tests" for name in sys.modules)
print(result["economy"]["ratio_to_scalar"]["128"] > 0, "ray" in sys.modules, has_tests)"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr


@slow
@plain_warnings
def test_sampling_and_training_are_measured_against_their_references(everything):
    parts = ["economy", "environments", "sampling", "training", "populations", "sizes", "compiled"]
    assert list(everything) == ["machine", "size", *parts]
    rates = everything["sampling"]["agent_steps_per_second"]
    assert set(rates) == {"batched", "plain"}
    assert everything["sampling"]["ratio"] == pytest.approx(rates["batched"] / rates["plain"])
    assert set(everything["training"]) == {"16", "128", "quickstart"}
    for values in everything["training"].values():
        assert set(values) == {"EconomyPPO", "bare_loop", "ratio"} and math.isfinite(values["ratio"])
        assert values["ratio"] == pytest.approx(values["EconomyPPO"] / values["bare_loop"])


@slow
@plain_warnings
def test_a_run_of_a_population_is_held_against_a_run_alone(everything):
    measured = everything["populations"]
    assert list(measured) == ["alone", "2"] and measured["alone"]["ratio"] == 1.0
    assert measured["2"]["ratio"] == pytest.approx(measured["2"]["seconds"] / measured["alone"]["seconds"])


@slow
@plain_warnings
def test_sizes_are_told_apart(everything):
    assert list(everything["sizes"]) == ["30 x 2", "30 x 20"]
    for values in everything["sizes"].values():
        assert list(values) == ["step", "sample", "iteration", "memory"]
        assert min(values.values()) > 0.0


@slow
@plain_warnings
def test_compiled_rollouts_are_held_against_eager_ones(everything):
    measured = everything["compiled"]
    assert set(measured["seconds"]) == {"eager", "compiled"} and min(measured["seconds"].values()) > 0.0
    assert measured["economies"] == 7 and measured["compile_time"] > 0.0
    assert measured["ratio"] == pytest.approx(measured["seconds"]["compiled"] / measured["seconds"]["eager"])


@slow
@plain_warnings
def test_the_whole_result_is_plain_data_with_a_table(everything):
    assert json.loads(json.dumps(everything)) == everything
    text = bench.table(everything)
    assert f"ratio {everything['training']['16']['ratio']:.2f} (at most 1.50)" in text
    assert "sampling" in text and "bare loop" in text and "2 runs together" in text and "30 x 20" in text
    assert f"ratio {everything['compiled']['ratio']:.2f} (at most 0.65)" in text
