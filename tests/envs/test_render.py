import sys
from itertools import pairwise

import numpy as np
import pytest
from pettingzoo.test import render_test

from rbc_marl import ConfigError, MissingExtraError, parallel_env, rbc_v0
from rbc_marl.envs.render import MAX_FIRM_ROWS, number
from tests.envs.playing import episode, random_actions

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4}


def frames(env, seed=0):
    """What is rendered after the reset and after each period."""
    return [env.render() for _ in episode(env, seed)]


def table_row(text, label):
    """Cells of the row of a table that starts with a label, without thousands separators."""
    line = next(line for line in text.splitlines() if line.startswith(label))
    return line.removeprefix(label).replace(",", "").split()


def test_every_render_mode_passes_pettingzoos_test(capsys):
    render_test(lambda render_mode: rbc_v0.env(num_consumers=1, num_firms=1, horizon=2, render_mode=render_mode))
    assert capsys.readouterr().out.count("Open economy, 1 consumer, 1 firm") > 0


def test_the_table_shows_what_the_infos_say():
    env = parallel_env(**SMALL, render_mode="ansi", initial_inventory=12.0, initial_wage=11.0)
    env.reset()
    for period in range(2):
        infos = env.step(random_actions(env, period))[4]
    text = env.render()
    assert text.startswith("Open economy, 5 consumers, 2 firms, after period 2 of 4\n")
    flows = ("sales", "exports", "labour", "output", "profit", "corporate_tax_paid")
    keys = ("price", "wage", *flows, "inventory", "capital", "budget")
    for i in range(2):
        row = table_row(text, f"firm_{i}")
        assert row[: len(keys)] == [number(infos[f"firm_{i}"][key]).replace(",", "") for key in keys]
    consumers = [infos[f"consumer_{i}"] for i in range(5)]
    for key in ("hours", "spending", "wage_income", "budget"):
        values = [consumer[key] for consumer in consumers]
        expected = [number(value).replace(",", "") for value in (min(values), sum(values) / 5, max(values))]
        assert table_row(text, key.replace("_", " ")) == expected
    government = infos["government_0"]
    total, consumers = number(government["welfare_total"]), number(government["welfare_consumers"])
    assert f"welfare {consumers} (consumers), {total} (with firms)" in text
    assert f"taxes {number(government['tax_pool'])}, of which {number(government['transfer'])} to each" in text
    assert table_row(text, "income tax")[0] == f"{government['income_tax']:.0%}"


def test_transfers_that_differ_are_shown_as_their_mean():
    env = parallel_env(**SMALL, render_mode="ansi", transfers="poorest")
    env.reset()
    env.step(random_actions(env, 0))
    assert "to a consumer on average" in env.render()


def test_prices_posted_now_are_shown_as_the_next_ones():
    env = parallel_env(**SMALL, render_mode="ansi")
    env.reset()
    env.step({**random_actions(env, 0), "firm_1": 5 * 5 + 4, "government_0": 6 * 1 + 2})
    text = env.render()
    row = table_row(text, "firm_1")
    assert (row[0], row[1], row[-2], row[-1]) == ("1000", "0", "2500", "44")
    assert table_row(text, "income tax") == ["0%", "20%"] and table_row(text, "corporate tax") == ["0%", "40%"]


def test_at_the_start_flows_have_no_values_yet():
    env = parallel_env("closed", **SMALL, render_mode="ansi")
    env.reset()
    text = env.render()
    assert text.startswith("Closed economy, 5 consumers, 2 firms, at the start")
    assert table_row(text, "hours") == ["-", "-", "-"] and table_row(text, "budget") == ["2000", "2000", "2000"]


def test_a_table_of_many_firms_ends_with_their_mean():
    env = parallel_env(num_consumers=2, num_firms=70, render_mode="ansi")
    env.reset()
    rows = [line for line in env.render().splitlines() if line.startswith("firm_")]
    assert len(rows) == MAX_FIRM_ROWS
    assert table_row(env.render(), "mean of 70")[-4:] == ["7500", "44000", "1000", "0"]


def test_human_mode_prints_a_table_at_the_start_and_after_every_period(capsys):
    list(episode(parallel_env(**SMALL, render_mode="human")))
    out = capsys.readouterr().out
    assert out.count("Open economy") == 5 and "after period 4 of 4" in out


@pytest.mark.parametrize("size", [{"num_consumers": 1, "num_firms": 1}, {"num_consumers": 300, "num_firms": 40}, {}])
def test_the_picture_is_an_image_that_changes_as_the_economy_moves(size):
    pictures = frames(parallel_env(**{**SMALL, "horizon": 2, **size}, render_mode="rgb_array"))
    for pixels in pictures:
        assert pixels.shape == (720, 1280, 3) and pixels.dtype == np.uint8
        assert 0.02 < (pixels < 250).any(axis=-1).mean() < 0.6  # something is drawn, on white
    for before, after in pairwise(pictures):
        changed = (before != after).any(axis=-1)
        for part in (changed[100:600, :620], changed[90:260, 680:], changed[500:, 680:]):  # work, goods, the episode
            assert part.any()


def test_an_episode_has_the_same_picture_again_and_in_another_environment():
    env, other = (parallel_env(**{**SMALL, "horizon": 1}, render_mode="rgb_array") for _ in range(2))
    pictures = []
    for player, seed in ((env, 1), (env, 1), (other, 1), (other, 2)):
        list(episode(player, seed))
        pictures.append(player.render())
    first, again, same, different = pictures
    assert np.array_equal(first, again) and np.array_equal(first, same)
    assert not np.array_equal(first, different)


def test_pictures_without_matplotlib_name_the_extra_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"matplotlib is not installed; .*rbc_marl\[analysis\]"):
        parallel_env(**SMALL, render_mode="rgb_array")
    env = parallel_env(**SMALL, render_mode="ansi")
    env.reset()
    assert "Open economy" in env.render()


@pytest.mark.parametrize("mode", ["ansi", "rgb_array", "human"])
def test_rendering_before_the_first_reset_is_refused(mode):
    with pytest.raises(ConfigError, match=r"has not been reset; call reset\(\) before render\(\)"):
        parallel_env(**SMALL, render_mode=mode).render()


def test_rendering_without_a_mode_is_refused():
    env = parallel_env(**SMALL)
    env.reset()
    with pytest.raises(ConfigError, match='has no render_mode; make it with render_mode="ansi"'):
        env.render()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.001, "0"), (1.5, "1.50"), (1234.0, "1,234"), (-1234.567, "-1,234.57"), (2.2e6, "2,200,000"),
     (123456.78, "123,457"), (1.5e12, "1.5e+12"), (float("nan"), "-")],
)  # fmt: skip
def test_numbers_are_written_for_reading(value, text):
    assert number(value) == text
