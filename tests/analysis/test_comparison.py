"""Economies compared: differences are paired, groups are by utility in the first, and files can be read."""

from __future__ import annotations

import csv
import io
import json

import pytest

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.comparison import COMPARED, GROUPS, compare, groups_by_utility, half_width, shown
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures.reforms import reform
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.tables import tex_text
from rbc_marl.policies.imposed import Imposed
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies

CONFIG = preset("open", num_consumers=25, num_firms=3, horizon=4)
UNIFORM = UniformPolicies(CONFIG)


@pytest.fixture(scope="module")
def taxed():
    return compare({"as_is": UNIFORM, "taxed": Imposed(income_tax=0.8).on(UNIFORM)}, episodes=16, seed=2)


def test_differences_are_those_of_pairs_of_episodes(taxed):
    before, after = play(UNIFORM, 16, 2), play(Imposed(income_tax=0.8).on(UNIFORM), 16, 2)
    found = {(one.economy, one.quantity): one for one in taxed.changes}
    assert set(found) == {(economy, name) for economy in ("as_is", "taxed") for name in COMPARED}
    for name in COMPARED:
        pairs = after.quantities[name].double() - before.quantities[name].double()
        one, same = found["taxed", name], found["as_is", name]
        assert one.difference == pytest.approx(float(pairs.mean())), name
        assert one.high - one.low == pytest.approx(2 * 1.959964 * float(pairs.std()) / 4), name
        assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert found["taxed", "income_tax"].mean == pytest.approx(0.8 * 3 / 4)


def test_groups_by_utility_are_of_nearly_one_size_and_in_the_order_of_utility(taxed):
    assert [one.group for one in taxed.gains] == list(range(1, GROUPS + 1))
    utilities = [one.utility for one in taxed.gains]
    assert utilities == sorted(utilities) and utilities[0] < utilities[-1]
    groups = groups_by_utility(play(UNIFORM, 2).returns["consumer"].mean(dim=0))
    assert {len(group) for group in groups} == {2, 3}
    assert sorted(number for group in groups for number in group) == list(range(25))
    few = play(UNIFORM, 2).returns["consumer"].mean(dim=0)[:3]
    assert [len(group) for group in groups_by_utility(few)] == [1, 1, 1]
    # Every consumer is in one group: the mean of the gains, by size, is the gain of the mean consumer.
    mean = sum(one.gain * len(group) for one, group in zip(taxed.gains, groups, strict=True)) / 25
    (change,) = (one for one in taxed.changes if one.economy == "taxed" and one.quantity == "consumer_return")
    assert mean == pytest.approx(change.difference, rel=0.2)


def test_economies_with_other_consumers_have_no_groups_by_utility_and_some_cannot_be_compared():
    smaller = UniformPolicies(CONFIG.replace(num_consumers=10))
    assert compare({"a": UNIFORM, "b": smaller}, episodes=2).gains == ()
    with pytest.raises(ConfigError, match="one economy cannot be compared"):
        compare({"a": UNIFORM})
    with pytest.raises(ConfigError, match="an interval takes at least 2"):
        compare({"a": UNIFORM, "b": smaller}, episodes=1)
    curved = ScriptedPolicies(CONFIG.replace(crra=0.5))
    with pytest.raises(ConfigError, match="crra"):
        compare({"a": UNIFORM, "b": curved}, episodes=2)


def test_files_hold_what_the_tables_show(taxed, tmp_path):
    rows = list(csv.DictReader(io.StringIO(taxed.to_csv())))
    assert [row["quantity"] for row in rows[: len(COMPARED)]] == list(COMPARED)
    assert len(rows) == 2 * len(COMPARED) + 2 * GROUPS
    plain = json.loads(taxed.to_json())
    assert plain["economies"] == ["as_is", "taxed"] and plain["seed"] == 2 and "torch" in plain["versions"]
    tex = taxed.to_tex()
    assert r"as\_is & taxed" in tex and tex.count(r"\\") == 1 + 2 * len(COMPARED)
    assert tex_text("50% of a_b & {c}") == r"50\% of a\_b \& \{c\}"
    changes, gains = taxed.tables()
    assert changes.row_count == len(COMPARED) and gains.row_count == GROUPS
    for suffix in (".png", ".pdf", ".svg"):
        assert save(reform(taxed), tmp_path / f"reform{suffix}").stat().st_size > 5000


def test_nothing_has_no_sign_of_a_loss():
    assert half_width(-0.0001, -0.0011) == "+0.000 ± 0.001" and shown(-0.0001) == "0.000"
