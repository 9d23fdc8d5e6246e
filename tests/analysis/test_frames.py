"""Episodes as tables: they add up to the evaluation, say their units, and are written whole or not at all."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from rbc_marl import ConfigError, UserError, preset
from rbc_marl.analysis.frames import CONSUMER_UNITS, FIRM_UNITS, UNITS, save_frame, to_frame
from rbc_marl.analysis.rollouts import FIRM_FLOWS, FIRM_STOCKS, Evaluation, play
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies

CONFIG = preset("open", num_consumers=6, num_firms=3, horizon=4, dividend_share=0.5, interest_rate=0.01)
UNIFORM = UniformPolicies(CONFIG)


@pytest.fixture(scope="module")
def episodes():
    return play(UNIFORM, 5, seed=1, agents=True)


def test_a_table_of_periods_adds_up_to_the_evaluation(episodes):
    frame = to_frame(episodes)
    assert list(frame.columns) == ["episode", "period", *UNITS] and len(frame) == 5 * 4
    assert frame["episode"].tolist() == [e for e in range(5) for _ in range(4)]
    assert frame["period"].tolist() == [0, 1, 2, 3] * 5
    for name in ("hours", "price", "exports"):
        assert frame[name].mean() == pytest.approx(Evaluation.of(episodes).means[name], rel=1e-5)
        inside = frame[frame["period"].isin([1, 2])][name].mean()
        assert inside == pytest.approx(Evaluation.of(episodes).means[f"middle_{name}"], rel=1e-5)
    returns = frame.groupby("episode")["welfare_total"].sum()
    assert returns.tolist() == pytest.approx(episodes.quantities["welfare_total"].tolist(), rel=1e-4)


def test_rows_of_agents_add_up_to_those_of_periods(episodes):
    periods, firms, consumers = (to_frame(episodes, by) for by in ("period", "firm", "consumer"))
    assert list(firms.columns) == ["episode", "period", "firm", *FIRM_UNITS] and len(firms) == 5 * 4 * 3
    assert list(consumers.columns) == ["episode", "period", "consumer", *CONSUMER_UNITS] and len(consumers) == 5 * 4 * 6
    assert set(FIRM_UNITS) == {*FIRM_STOCKS, *FIRM_FLOWS}
    place = ["episode", "period"]

    def total(frame, name, where=place):
        return frame.groupby(where)[name].sum().to_numpy()

    close = {"rel": 1e-4, "abs": 1e-3}
    assert total(firms, "sales") == pytest.approx(total(consumers, "consumption"), **close)
    assert total(firms, "exports") == pytest.approx(6 * periods["exports"].to_numpy(), **close)
    assert total(firms, "wage_bill") == pytest.approx(total(consumers, "wage_income"), **close)
    assert total(firms, "dividends") == pytest.approx(total(consumers, "dividend"), **close)
    assert total(consumers, "hours") == pytest.approx(6 * periods["hours"].to_numpy(), **close)
    assert total(consumers, "utility") == pytest.approx(6 * periods["consumer_reward"].to_numpy(), **close)
    # Who works for whom: hours by employer are the firm's labour, at the wage that it posted.
    by_firm = consumers.groupby([*place, "employer"])["hours"].sum()
    for (episode, period, firm), hours in by_firm.items():
        (row,) = firms.query(f"episode == {episode} and period == {period} and firm == {firm}").to_dict("records")
        assert hours == pytest.approx(row["labour"], **close)
    paid = (consumers["wage"] * consumers["hours"]).to_numpy()
    assert paid == pytest.approx(consumers["wage_income"].to_numpy(), **close)


def test_a_consumers_budget_moves_by_what_its_row_says(episodes):
    frame = to_frame(episodes, "consumer")
    gained = frame["wage_income"] - frame["income_tax_paid"] + frame["transfer"] + frame["dividend"] + frame["interest"]
    end = frame["budget"] + gained - frame["spending"] + CONFIG.consumer_grant
    following = frame.groupby(["episode", "consumer"])["budget"].shift(-1)
    there = following.notna()
    assert end[there].to_numpy() == pytest.approx(following[there].to_numpy(), rel=1e-4, abs=0.01)


def test_a_period_shows_the_prices_in_force_in_it():
    frame = to_frame(play(ScriptedPolicies(CONFIG), 1, record=True), "firm")
    assert frame[frame["firm"] == 1]["price"].tolist() == [1000.0, 2500.0, 2500.0, 2500.0]
    assert frame["inventory"].iloc[0] == 0.0


def test_what_was_not_kept_is_refused_by_name():
    with pytest.raises(ConfigError, match="record=True"):
        to_frame(play(UNIFORM, 1))
    with pytest.raises(ConfigError, match="agents=True"):
        to_frame(play(UNIFORM, 1, record=True), "consumer")
    with pytest.raises(ConfigError, match=r"by is 'firms'; .*did you mean \"firm\""):
        to_frame(play(UNIFORM, 1, record=True), "firms")


@pytest.mark.parametrize("by", ["period", "firm", "consumer"])
@pytest.mark.parametrize("name", ["played.parquet", "played.csv"])
def test_a_file_holds_the_table_with_its_units_and_how_it_was_played(episodes, tmp_path, by, name):
    save_frame(episodes, tmp_path / name, by, {"fix": {"wage": 11.0}})
    expected = to_frame(episodes, by)
    expected.attrs["fix"] = {"wage": 11.0}
    if name.endswith(".csv"):
        found = pd.read_csv(tmp_path / name)
        found.attrs = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-5)
        assert len(list(tmp_path.iterdir())) == 2
    else:
        found = pd.read_parquet(tmp_path / name)
        pd.testing.assert_frame_equal(found, expected)
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert set(found.attrs["units"]) == set(found.columns)
    assert found.attrs["fix"] == {"wage": 11.0}
    assert found.attrs["economy"]["num_firms"] == 3 and found.attrs["seed"] == 1 and found.attrs["episodes"] == 5


def test_a_place_that_cannot_hold_a_file_is_refused_and_nothing_is_written(tmp_path):
    episodes = play(UNIFORM, 1, record=True)
    with pytest.raises(UserError, match="is not a folder"):
        save_frame(episodes, tmp_path / "nowhere" / "periods.parquet")
    with pytest.raises(UserError, match=r"cannot be written to|is not a folder"):  # there is no /proc on macOS
        save_frame(episodes, "/proc/periods.parquet")
    with pytest.raises(UserError, match="is a folder"):
        save_frame(episodes, tmp_path)
    with pytest.raises(UserError, match=r"does not end in .parquet or .csv; call it .*periods.parquet"):
        save_frame(episodes, tmp_path / "periods.xlsx")
    with pytest.raises(ConfigError, match="record=True"):
        save_frame(play(UNIFORM, 1), tmp_path / "periods.parquet")
    assert list(tmp_path.iterdir()) == []
