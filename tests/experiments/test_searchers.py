"""Optuna in sweeps: draws learn from rows, in whatever order runs end, and go on after a kill. With a real Optuna."""

from __future__ import annotations

import signal
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from rbc_marl import ConfigError, UserError
from rbc_marl.equilibrium.study import load_study, run_study
from rbc_marl.errors import MissingExtraError
from rbc_marl.experiments.searchers import Optuna, Search
from rbc_marl.experiments.spaces import parse_variants
from rbc_marl.experiments.sweep import describe
from tests.experiments.test_sweep_kinds import BASE, files_at_a_kill, start, swept

# Nobody chooses a price here, so that the mean of three periods rises by a third of what they begin with: the best
# price to begin with is the highest.
SWEEP = """
search:
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  report: false
  set: {env_config.price_choices: [1000], stop.training_iteration: 1}
  variants:
    env_config.initial_price: {uniform: [0, 3000]}
    env_config.consumer_grant: {loguniform: [0.01, 1]}
  samples: 8
  searcher: {optuna: {metric: price, first: 4, batch: 2}}
"""
SPACES = {
    "crra": {"uniform": [0, 1]},
    "kind": {"choice": ["flat", ["a", 1], {"b": None}]},
    "lr": {"loguniform": [1e-4, 1e-1]},
    "epochs": {"randint": [1, 4]},
    "quota": {"quniform": [0, 10, 2.5]},
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def search(samples=40, seed=0, spaces=SPACES, **settings):
    def make(drawn, first):
        columns = [dict(zip(drawn, values, strict=True)) for values in zip(*drawn.values(), strict=True)]
        return tuple(SimpleNamespace(arm=f"draw={first + i}", drawn=each) for i, each in enumerate(columns))

    given = Optuna(**{"metric": "welfare_total", "mode": "min", **settings})
    return Search.of(given, parse_variants(spaces, "s.variants"), samples, seed, None, "s", make)


def row(run):
    """What a run came to, if the best crra is 0.3, the best kind the list, and quotas should be high."""
    loss = (run.drawn["crra"] - 0.3) ** 2 + (run.drawn["kind"] != ["a", 1]) + (10 - run.drawn["quota"]) / 10
    return {"arm": run.arm, "welfare_total": loss}


def searched(search, rows=row):
    """All draws, and their rows."""
    runs, found = [], []
    while not search.is_over:
        search, more = search.more(found)
        runs, found = [*runs, *more], [*found, *map(rows, more)]
    return runs, found


def test_later_draws_are_nearer_to_what_is_best_and_have_values_of_the_file():
    runs, rows = searched(search())
    assert [run.arm for run in runs] == [f"draw={number}" for number in range(40)]
    losses = [row["welfare_total"] for row in rows]
    assert min(losses[10:]) < min(losses[:10]) / 2
    assert sum(losses[-10:]) < sum(losses[:10]) / 2
    drawn = pd.DataFrame([run.drawn for run in runs])
    assert {str(kind) for kind in drawn.kind} == {"flat", "['a', 1]", "{'b': None}"}
    assert drawn.crra.between(0, 1).all() and drawn.lr.between(1e-4, 1e-1).all()
    assert set(drawn.epochs) == {1, 2, 3} and set(drawn.quota) <= {0, 2.5, 5, 7.5, 10}
    assert {type(value) for run in runs for value in run.drawn.values()} == {float, int, str, list, dict}


def test_more_may_be_better():
    runs, _ = searched(search(mode="max"))
    assert sum(run.drawn["quota"] for run in runs[-10:]) < sum(run.drawn["quota"] for run in runs[:10])


def test_draws_follow_from_seed_and_rows_alone_and_a_shorter_search_has_the_same_first_ones():
    runs, _ = searched(search())
    again, _ = searched(search(samples=38))  # whose last batch is cut short
    assert [run.drawn for run in again] == [run.drawn for run in runs[:38]]
    other, _ = searched(search(seed=1))
    assert other[0].drawn != runs[0].drawn
    worse, _ = searched(search(), lambda run: {**row(run), "welfare_total": -row(run)["welfare_total"]})
    assert [run.drawn for run in worse[:10]] == [run.drawn for run in runs[:10]]
    assert all(one.drawn != another.drawn for one, another in zip(worse[10:], runs[10:], strict=True))


def test_draws_have_their_means_over_seeds_and_the_order_of_rows_is_no_matter():
    begun, runs = search().more([])
    rows = [
        {"arm": run.arm, "welfare_total": row(run)["welfare_total"] + (-1) ** number * sign * number}
        for number, run in enumerate(runs)
        for sign in (-1, 1)  # of two seeds
    ]
    (_, by_two), (_, by_one) = begun.more(rows[::-1]), begun.more([row(run) for run in runs])
    assert [run.drawn for run in by_two] == [run.drawn for run in by_one]


def test_draws_that_failed_teach_nothing_and_all_that_did_end_the_sweep():
    begun, runs = search().more([])
    rows = [{**row(run), "welfare_total": None} if i % 2 else row(run) for i, run in enumerate(runs)]
    rows.append({"arm": "draw=0", "error": "not finite"})  # another seed of it
    _, more = begun.more(rows)
    assert len(more) == 5
    listed = begun.summary(rows).splitlines()[2:]
    assert sorted(line.split(" | ")[0] for line in listed) == ["| draw=2", "| draw=4", "| draw=6", "| draw=8"]
    with pytest.raises(UserError, match="optuna has nothing to go by: no draw has welfare_total"):
        begun.more([{"arm": run.arm, "outcome": "failed"} for run in runs])


def test_optuna_says_nothing_and_changes_nothing_of_its_own_logging(capfd):
    from optuna import logging

    logging.set_verbosity(logging.DEBUG)
    try:
        searched(search(samples=12))
        assert logging.get_verbosity() == logging.DEBUG
    finally:
        logging.set_verbosity(logging.INFO)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{optuna: {metric: price,", "{optuna: {metric: prize,", '\'prize\'; it must be one of hours,'),
        ("metric: price, ", "", "searcher.optuna.metric is missing; give a column of the rows, or give the sweep"),
        ("metric: price", "metric: distance", "metric is 'distance'; the distance needs targets"),
        ("{optuna:", "{optima:", "{'optima': {'metric': 'price', 'first': 4, 'batch': 2}}; it must be optuna"),
        ("batch: 2", "batch: 0", "search.searcher.optuna.batch is 0; it must be at least 1"),
        ("batch: 2", "bach: 2", 'search.searcher.optuna.bach is not a setting of optuna; did you mean "batch"'),
        ("samples: 8", "samples: 4", "optuna.first is 4, but search.samples is 4: no draw would learn from another"),
        ("{uniform: [0, 3000]}", "[0, 9]", "search.variants.env_config.initial_price is a list, but search.searcher"),
        ("{uniform: [0, 3000]}", "{randn: [9, 1]}", "initial_price is randn, which Optuna does not have"),
        ("{uniform: [0, 3000]}", "{uniform: [-1, 9]}", "initial_price is -1.0; it must be at least 0"),
        ("{uniform: [0, 3000]}", "{choice: [1, 2, -1]}", "initial_price is -1; it must be at least 0"),
        ("  episodes: 8", "  arms: {a: {}}", "searcher makes draws of variants alone"),
        ("  episodes: 8", "  scheduler: {asha: {every: 1, grace: 1}}", "leave it or searcher out"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_trains(files, old, new, message):
    assert SWEEP.count(old) == 1
    (files / "sweep.yaml").write_text(SWEEP.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_study(files / "sweep.yaml")
    assert message in str(caught.value)


def test_a_missing_optuna_is_named_with_its_extra(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"optuna is not installed; .*pip install 'rbc_marl\[optuna\]'"):
        load_study(files / "sweep.yaml")


def test_targets_give_the_metric_and_a_dry_run_says_how_is_searched(files):
    targets = "  targets: {output.deviation: 50}\n"
    text = SWEEP.replace("{optuna: {metric: price, first: 4, batch: 2}}", "optuna").replace("samples: 8", "samples: 12")
    (files / "sweep.yaml").write_text(text + targets, encoding="utf-8")
    study = load_study(files / "sweep.yaml")
    lines = describe(study, files / "out").splitlines()
    assert lines[0] == "search: 24 runs, 0 of them done" and len(study.arms) == 10
    assert lines[-2].strip().startswith("optuna: metric distance, mode min, first 10, batch 5; 12 draws")
    with pytest.raises(ConfigError, match="has a searcher, which goes by the rows of all draws; leave out --arm"):
        study.only(["draw=0"])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_running")
@pytest.mark.filterwarnings("ignore:.*Overriding environment")
def test_a_sweep_comes_nearer_to_a_known_best_than_its_first_draws(files):
    text = run_study(load_study(files / "sweep.yaml"), files / "out", workers=2)
    rows = pd.read_csv(files / "out" / "table.csv")
    assert rows.groupby("arm").seed.apply(sorted).tolist() == [[1, 2]] * 8
    assert rows.price.to_numpy() == pytest.approx((rows.initial_price + 2 * 1000).to_numpy() / 3, abs=1e-3)
    price = rows[rows.seed == 1].set_index("arm").initial_price
    first, later = price[[f"draw={i}" for i in range(4)]], price[[f"draw={i}" for i in range(4, 8)]]
    assert first.max() < later.max() <= 3000 and first.mean() < later.mean()
    best = text.split("Best draws by price:")[1].strip().splitlines()[2]
    assert best.startswith(f"| {price.idxmax()} | ")
    assert "8 of 8" not in text and (files / "out" / "sweep.json").read_text(encoding="utf-8").count('"seed"') == 16


@pytest.mark.long
def test_a_search_that_is_killed_goes_on_and_ends_as_one_of_one_worker_that_was_not(files):
    killed = start(files, SWEEP)  # two workers
    results = files / "results" / "search"
    ended = files_at_a_kill(killed, results / "rows", "*.json", 9)  # the first four draws and one run more
    assert len(ended) < 16 and killed.returncode == -signal.SIGKILL
    output = swept(files, SWEEP)
    assert f"{len(ended)} of " in output
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in ended.items())  # nothing ran again
    resumed = pd.read_csv(results / "table.csv").drop(columns="seconds")
    results.rename(files / "first")
    swept(files, SWEEP, "--workers", "1")
    pd.testing.assert_frame_equal(pd.read_csv(results / "table.csv").drop(columns="seconds"), resumed)
