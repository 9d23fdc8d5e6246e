"""Sweeps that could give no rows, or mistakes of kind in their files: one line, before anything trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.study import load_study
from tests.equilibrium.bases import BASE

SWEEP = "s:\n  base: base.yaml\n  seeds: [1, 2]\n"
RATE = "variants: {lr: {loguniform: [1e-4, 1e-2]}}"


@pytest.fixture
def sweep(tmp_path):
    def load(text, base=BASE, sets=()):
        (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
        (tmp_path / "s.yaml").write_text(text if "base:" in text else f"{SWEEP}  {text}\n", encoding="utf-8")
        return load_study(tmp_path / "s.yaml", sets)

    return load


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run: EconomyPPO", "run: PPO", "base.yaml: tiny.run is PPO; a sweep plays the policies that EconomyPPO alone"),
        ("horizon: 3}", "horizon: 3}, scripted: {firm: monopoly}", "tiny.config.scripted has firm; a run with"),
        ("  stop: {training_iteration: 40}\n", "", "base.yaml: tiny.stop is missing; give a sweep's runs an end"),
    ],
)
def test_an_experiment_that_would_leave_no_row_is_refused(sweep, old, new, message):
    assert old in BASE
    with pytest.raises(ConfigError) as caught:
        sweep("arms: {a: {}}", BASE.replace(old, new))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["num_env_runners: 2", "num_learners: 1", "evaluation_num_env_runners: 1"])
def test_runs_with_processes_of_their_own_are_refused_for_each_has_one_core(sweep, setting):
    with pytest.raises(ConfigError, match=r"base.yaml: tiny has [23] processes, but each run of a sweep has one core"):
        sweep(f"arms: {{a: {{set: {{{setting}}}}}}}")


def test_fixed_taxes_that_their_runs_never_reach_are_refused(sweep):
    def text(end):
        curriculum = f"set: {{curriculum: {{taxes: {{begin: 10, end: {end}}}}}}}"
        return f"taxes: {{income: [0], corporate: [0, 0.8]}}\n  {curriculum}"

    with pytest.raises(ConfigError, match=r"fixed-0-0.8 ends at iteration 40, when its curriculum has opened"):
        sweep(text(60))
    assert len(sweep(text(39)).runs) == 8
    assert len(sweep(text(60), sets=["stop.training_iteration=2"]).runs) == 8  # to try it out


def test_fixed_taxes_may_be_living_by_any_welfare_that_is_compared_and_learned_ones_by_their_own(sweep):
    both = {run.arm: run.welfares for run in sweep("taxes: {income: [0], corporate: [1]}").runs}
    assert both == {"learned-total": (), "learned-consumers": (), "fixed-0-1": ("total", "consumers")}
    one = {run.arm: run.welfares for run in sweep("taxes: {income: [0], corporate: [1], welfare: [consumers]}").runs}
    assert one == {"learned-consumers": (), "fixed-0-1": ()}


@pytest.mark.parametrize("place", ["base", "set"])
def test_taxes_that_are_fixed_already_are_refused_where_a_policy_shall_learn_them(sweep, place):
    fixed = "curriculum: {taxes: {begin: 1, end: 2, fixed: {income: 0, corporate: 0.4}}}"
    text = "taxes: {income: [0], corporate: [0, 0.4], welfare: [total]}"
    base = BASE.replace("horizon: 3}", f"horizon: 3}}, {fixed}") if place == "base" else BASE
    with pytest.raises(ConfigError, match=r"taxes\.fixed: the government of learned-total would learn nothing"):
        sweep(f"{text}\n  set: {{{fixed}}}" if place == "set" else text, base)
    assert len(sweep(text).runs) == 6


@pytest.mark.parametrize("given", ["null", "{checkpoint_at_end: false, checkpoint_frequency: 30, num_to_keep: 2}"])
def test_runs_save_a_checkpoint_at_their_end_whatever_their_file_says(sweep, given):
    (run, _) = sweep("arms: {a: {}}", f"{BASE}  checkpoint_config: {given}\n").runs
    experiment = run.build(Path("results"))
    assert experiment.checkpoints.checkpoint_at_end
    assert experiment.resolved["checkpoint_config"]["checkpoint_at_end"] is True
    kept = (experiment.checkpoints.checkpoint_frequency, experiment.checkpoints.num_to_keep)
    assert kept == ((0, None) if given == "null" else (30, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: {../../x: {}}", "s.arms: '../../x' cannot name an arm; its results get a folder of that name"),
        ("arms: {.x: {}}", "s.arms: '.x' cannot name an arm"),
        ("arms: {'': {}}", "s.arms: '' cannot name an arm"),
        ("../s: {base: base.yaml, seeds: [1], arms: {a: {}}}", "'../s' cannot name a sweep; its results get a folder"),
        ("s: {run: EconomyPPO, base: base.yaml}", "s.yaml is an experiment; train it with rbc-marl train"),
        ("arms: {a: 0}", "s.arms.a is 0; it must be a mapping with"),
        ("s: {base: 3, seeds: [1], arms: {a: {}}}", "s.base is 3; it must be a text"),
        ("arms: {a: {base : [x]}}", "s.arms.a.base is ['x']; it must be a text"),
        ("experiment: 3\n  arms: {a: {}}", "s.experiment is 3; it must be a text"),
        ("arms: {a: {}}\n  gpus_per_trial: [1]", "s.gpus_per_trial is [1]; it must be a number"),
        ("arms: {a: {}}\n  scheduler: {asha: 0}", "s.scheduler.asha is 0; it must be a mapping"),
        ("arms: {a: {}}\n  scheduler: {asha: {grace: 40, every: 10}}", "s.scheduler.asha.grace is 40, but a ends at"),
        ("arms: {a: {}}\n  scheduler: {asha: {grace: 1}}", "s.scheduler.asha.every is 50, but a ends at iteration 40"),
        (
            "arms: {a: {}}\n  scheduler: {asha: {grace: 25, every: 20}}",
            "s.scheduler.asha.grace is 25, and every is 20, but a ends at iteration 40, before anything happens",
        ),
        ("arms: {a: {}}\n  scheduler: pbt", "s.scheduler is 'pbt'; it must be asha or null"),
        ("taxes: {income: [0], corporate: [0]}\n  arms: {a: {}}", "s.taxes has arms of its own; leave out arms and"),
        ("taxes: {income: [0], corporate: [0]}\n  scheduler: asha", "s.scheduler stops runs, but means of taxes count"),
        ("variants: []", "s.variants is []; it must be a mapping such as {env_config.export_price: [500, 1000]}"),
        ("arms: {a: {seeds: {from: 0, count: 10000000}}}", "s.arms.a.seeds is {'from': 0, 'count': 10000000}; give a"),
    ],
)
def test_what_a_file_cannot_mean_is_refused_with_its_place(sweep, text, message):
    with pytest.raises(ConfigError) as caught:
        sweep(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_command_line_may_cut_a_scheduled_sweep_short_to_try_it_out(sweep):
    text = f"{RATE}\n  scheduler: {{asha: {{every: 10, grace: 20}}}}"
    assert {run.iterations for run in sweep(text, sets=["stop.training_iteration=2"]).runs} == {2}
