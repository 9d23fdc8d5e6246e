"""The benchmark measures what it says, on a tiny economy; how fast things are is no matter of tests."""

from __future__ import annotations

import math

import pytest

from rbc_marl import benchmark, preset

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*already in registry"),  # gymnasium on what RLlib registers each time
]


@pytest.fixture(scope="module")
def result():
    return benchmark.run(rounds=1, seconds=0.05, config=CONFIG)


def test_everything_is_measured(result):
    assert set(result) == {"machine", "size", "economy", "sampling", "training"}
    assert result["size"] == {"consumers": 3, "firms": 2, "periods": 2}
    assert {"device", "threads", "python", "torch", "ray"} <= set(result["machine"])
    rates = result["economy"]["steps_per_second"]
    assert set(rates) == {"1", "128", "1024", "scalar"} and min(rates.values()) > 0
    assert set(result["sampling"]["agent_steps_per_second"]) == {"batched", "plain"}
    assert set(result["training"]) == {"16", "128", "quickstart"}


def test_ratios_are_those_of_what_they_compare(result):
    rates = result["economy"]["steps_per_second"]
    for name, ratio in result["economy"]["ratio_to_scalar"].items():
        assert ratio == pytest.approx(rates[name] / rates["scalar"])
    rates = result["sampling"]["agent_steps_per_second"]
    assert result["sampling"]["ratio"] == pytest.approx(rates["batched"] / rates["plain"])
    for values in result["training"].values():
        assert set(values) == {"EconomyPPO", "bare_loop", "ratio"} and math.isfinite(values["ratio"])
        assert values["ratio"] == pytest.approx(values["EconomyPPO"] / values["bare_loop"])


def test_the_result_is_plain_data(result):
    import json

    assert json.loads(json.dumps(result)) == result


def test_the_table_shows_every_figure(result):
    text = benchmark.table(result)
    for part in (
        "3 consumers, 2 firms, 2 periods",
        "1024 economies",
        "scalar implementation",
        "sampling",
        "bare loop",
        "(at most 1.15)",
    ):
        assert part in text
    assert f"ratio {result['training']['16']['ratio']:.2f}" in text
    print(text)


def test_the_table_does_without_the_scalar_implementation(result):
    economy = {"steps_per_second": {"1": 10.0, "128": 20.0, "1024": 30.0}, "ratio_to_scalar": None}
    text = benchmark.table({**result, "economy": economy})
    assert "no ratio here" in text and "x scalar" not in text
