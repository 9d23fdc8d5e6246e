"""Variants of an experiment: grids, draws, their names and columns."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError
from rbc_marl.experiments.spaces import expand, parse_variants

GRID = {"env_config.export_price": [500, 1000], "env_config.welfare": ["total", "consumers"]}


def variants(given, samples=1, draw_seed=0):
    return expand(parse_variants(given, "spectrum.variants"), samples, draw_seed, "spectrum.variants")


def test_lists_give_every_combination():
    found = variants(GRID)
    assert [variant.name for variant in found] == [
        "export_price=500,welfare=total",
        "export_price=500,welfare=consumers",
        "export_price=1000,welfare=total",
        "export_price=1000,welfare=consumers",
    ]
    assert found[1].values == (("env_config.export_price", 500), ("env_config.welfare", "consumers"))
    assert dict(found[1].columns) == {"export_price": 500, "welfare": "consumers"}


def test_without_variants_there_is_one_that_changes_nothing():
    (variant,) = variants({})
    assert (variant.name, variant.values, variant.columns) == ("", (), ())


def test_distributions_are_drawn_from_and_the_draws_are_the_same_for_every_combination():
    given = {**GRID, "lr": {"loguniform": [1e-4, 1e-2]}, "num_epochs": {"randint": [1, 5]}}
    found = variants(given, samples=50)
    assert len(found) == 4 * 50
    rates = [dict(variant.values)["lr"] for variant in found]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates) and len(set(rates)) == 50
    assert rates[:4] == [rates[0]] * 4
    assert sum(rate < 1e-3 for rate in rates[::4]) in range(15, 36)  # half of a logarithmic range
    assert {type(dict(variant.values)["num_epochs"]) for variant in found} == {int}
    assert {dict(variant.values)["num_epochs"] for variant in found} == {1, 2, 3, 4}
    assert found[5].name == "export_price=500,welfare=consumers,draw=1"


def test_the_same_seed_draws_the_same_whatever_else_is_drawn():
    rate = {"lr": {"loguniform": [1e-4, 1e-2]}}
    alone = [dict(v.values)["lr"] for v in variants(rate, 5)]
    beside = [dict(v.values)["lr"] for v in variants({"gamma": {"uniform": [0.9, 1.0]}, **rate}, 5)]
    assert alone == beside
    assert alone != [dict(v.values)["lr"] for v in variants(rate, 5, draw_seed=1)]


def test_two_settings_with_one_distribution_are_drawn_independently():
    (variant,) = variants({"lr": {"uniform": [0, 1]}, "firm.lr": {"uniform": [0, 1]}})
    assert dict(variant.values)["lr"] != dict(variant.values)["firm.lr"]


def test_columns_take_as_many_words_as_tell_them_apart_from_each_other_and_from_results():
    given = {"lr": [1.0, 2.0], "overrides.firm.lr": [1.0, 2.0], "curriculum.prices": [None, 1], "a.hours": [1, 2]}
    (first, *_) = variants(given)
    assert [column for column, _ in first.columns] == ["lr", "firm.lr", "prices", "a.hours"]


def test_names_are_fit_for_folders():
    (first, second) = variants({"networks.consumer": [{"kind": "flat", "hidden": [64, 64]}, "equivariant"]})
    assert first.name == "consumer=kind_flat_hidden_64_64" and second.name == "consumer=equivariant"
    assert dict(first.columns) == {"consumer": '{"kind": "flat", "hidden": [64, 64]}'}
    (long, other) = variants({"networks.consumer": ["x" * 300, "x" * 301]})
    assert len(long.name) <= 100 and long.name != other.name


@pytest.mark.parametrize(
    ("given", "samples", "message"),
    [
        ({"lr": 1e-3}, 1, "spectrum.variants.lr is 0.001; give a list of values or a distribution"),
        ({"lr": []}, 1, "spectrum.variants.lr is []"),
        ({"lr": {"logunifrm": [1, 2]}}, 1, 'logunifrm is not a distribution; did you mean "loguniform"?'),
        ({"lr": {"grid_search": [1, 2]}}, 1, "spectrum.variants.lr.grid_search is not a distribution; a list tries"),
        ({"lr": {"uniform": [2, 1]}}, 1, "spectrum.variants.lr.uniform is [2, 1]; the first number must be below"),
        ({"lr": {"uniform": [0, 1], "randint": [0, 1]}}, 1, "spectrum.variants.lr.uniform is not a distribution"),
        ({name: list(range(100)) for name in "abcd"}, 1, "spectrum.variants makes 100,000,000 variants; at"),
        ({"lr": [1, 2]}, 3, "has no distribution to draw 3 samples from; leave out samples"),
    ],
)
def test_what_cannot_vary_is_refused_with_its_place(given, samples, message):
    with pytest.raises(ConfigError) as caught:
        variants(given, samples)
    assert message in str(caught.value) and "\n" not in str(caught.value)
