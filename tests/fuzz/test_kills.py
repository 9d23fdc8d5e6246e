"""Commands that are killed at any moments, several times in a row, end as if nobody had killed them."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tree
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.equilibrium.economies import plant
from tests.experiments.test_cluster import machines, stop  # noqa: F401
from tests.fuzz.kills import Campaign, assert_nothing_is_left_over, contents, read, without
from tests.fuzz.mutations import sized

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.name != "posix", reason="groups of processes, and /proc, are needed"),
]

# With `make fuzz` there are ten times as many.
KILLS = 2
BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 24}
  checkpoint_config: {checkpoint_frequency: 2, num_to_keep: 2}
  config:
    env_config: {num_consumers: 3, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    minibatch_size: 3
    networks: {consumer: &flat {kind: flat, hidden: [8]}, firm: *flat, government: *flat}
    seed: 5
"""
SWEEP = """
twins:
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  arms: {plain: {}}
"""


def is_of_the_clock(name):
    """Whether a number that a run reports differs from run to run, as times do, or says what was lost or begun anew."""
    others = ("date", "env_runners/sample", "iterations_since_restore")
    first = ("time_", "timers/", "perf/", "fault_tolerance/", "env_runner_group/")
    return name in others or name.startswith(first) or "throughput" in name


@pytest.mark.parametrize("runners", [0, 2])
def test_a_run_that_is_killed_again_and_again_ends_bit_for_bit_as_one_that_is_not(tmp_path, runners):
    begin = ["train", "tiny.yaml", "--set", f"num_env_runners={runners}"]
    kills = sized(KILLS) // 2
    with Campaign(tmp_path, seed=runners) as campaign:
        for number in itertools.count():
            folder = tmp_path / (f"life{number}" if number else "whole")
            folder.mkdir()
            (folder / "tiny.yaml").write_text(BASE, encoding="utf-8")
            if not number:
                campaign.undisturbed(folder, *begin)
                whole = only_run(folder)
                continue
            while not is_finished(folder):
                words = ["train", "tiny.yaml", "--resume"] if runs(folder) else begin
                if not kills:
                    campaign.until_its_end(folder, *words)
                    break
                kills -= campaign.killed(folder, *words)
            assert_same_run(folder, whole, campaign)
            if not kills:
                break


def runs(folder):
    return [path for path in folder.glob("results/tiny/[!.]*") if path.is_dir()]


def only_run(folder):
    (run,) = runs(folder)
    return run


def is_finished(folder):
    return [read(run / "run.json")["status"] for run in runs(folder)] == ["finished"]


def assert_same_run(folder, whole, campaign):
    run = only_run(folder)
    names = [path.name for path in sorted(run.glob("checkpoint_*"))]
    assert names == [path.name for path in sorted(whole.glob("checkpoint_*"))]
    for name in names:
        assert contents(run / name / "policies") == contents(whole / name / "policies")
        assert learner(run / name) == learner(whole / name)
    assert differing(reported(run), reported(whole)) == []
    assert [int(row["training_iteration"]) for row in reported(run)] == [*range(1, 25), *range(1, 25)]
    assert shown(run) == set(range(1, 25))
    # A kill may have come between the end of training and that of its page.
    campaign.until_its_end(folder, "report", str(run))
    assert_nothing_is_left_over(folder)


def learner(checkpoint):
    """What RLlib keeps of its learner beside the networks, as of optimizers; its metrics hold times."""
    state = pickle.loads((checkpoint / "learner_group" / "learner" / "state.pkl").read_bytes())
    leaves = tree.flatten_with_path({name: x for name, x in state.items() if name != "metrics_logger"})
    assert any(isinstance(x, np.ndarray) for _, x in leaves)
    return [(path, x.tobytes() if isinstance(x, np.ndarray) else x) for path, x in leaves]


def shown(run, tag="env_runners/hours"):
    """Iterations that TensorBoard shows of a run; each part of it has a file, which may hold nothing yet."""
    files = [EventAccumulator(str(file)).Reload() for file in run.glob("events.*")]
    return {event.step for file in files if tag in file.Tags()["scalars"] for event in file.Scalars(tag)}


def reported(run):
    """What a run's tables say, but for times."""
    with (run / "progress.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (run / "result.json").read_text(encoding="utf-8").splitlines()]
    return [{key: x for key, x in row.items() if not is_of_the_clock(key)} for row in [*table, *lines]]


def differing(rows, others):
    """Where two tables differ, in numbers of rows, keys and values."""
    pairs = enumerate(itertools.zip_longest(rows, others, fillvalue={}))
    return [(n, key, a.get(key), b.get(key)) for n, (a, b) in pairs for key in a | b if a.get(key) != b.get(key)]


@dataclass(frozen=True)
class Kind:
    """A command that goes on by itself when it is given again.

    Attributes:
        words: What is typed.
        prepare: Makes a folder to work in.
        check: Holds what came of it in one folder against another.
    """

    words: Sequence[str]
    prepare: Callable[[Path], None]
    check: Callable[[Path, Path], None]


def two_runs(folder):
    folder.mkdir()
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")


def policies(folder):
    plant(folder / "run" / "checkpoint_000006")


def assert_same_sweep(folder, whole):
    results, same = folder / "results" / "twins", whole / "results" / "twins"
    for name in ("plain-1", "plain-2"):
        assert without(read(results / "rows" / f"{name}.json"), "seconds") == without(
            read(same / "rows" / f"{name}.json"), "seconds"
        )
        (run,) = (path for path in results.glob(f"runs/{name}/tiny/*") if path.is_dir())
        (twin,) = same.glob(f"runs/{name}/tiny/*")
        assert differing(reported(run), reported(twin)) == []
        assert contents(run / "checkpoint_000024" / "policies") == contents(twin / "checkpoint_000024" / "policies")
    assert sorted(path.name for path in (results / "rows").iterdir()) == ["plain-1.json", "plain-2.json"]
    assert table(results) == table(same)
    pictures = {path.name for path in results.glob("*.png")}
    assert pictures == {path.name for path in same.glob("*.png")}
    assert (results / "report" / "report.html").is_file()


def table(results):
    with (results / "table.csv").open(newline="", encoding="utf-8") as file:
        return [without(row, "seconds") for row in csv.DictReader(file)]


def assert_same_best_responses(folder, whole):
    results, same = folder / "run" / "best_response", whole / "run" / "best_response"
    changing = ("seconds", "line", "time", "started", "command", "path")
    for name in ("report.json", "certificate.json"):
        assert without(read(results / name), *changing) == without(read(same / name), *changing)
    rows = [path.name for path in sorted((results / "rows").iterdir())]
    assert rows == [path.name for path in sorted((same / "rows").iterdir())]
    for name in rows:
        assert without(read(results / "rows" / name), *changing) == without(read(same / "rows" / name), *changing)
    assert contents(results, "*.safetensors") == contents(same, "*.safetensors")
    assert (results / "report" / "report.html").is_file()


SWEEPS = Kind(["sweep", "sweep.yaml"], two_runs, assert_same_sweep)
SEARCH = ["best-response", "run", "--agent", "firm:1", "--seeds", "1", "--episodes", "40", "--iterations", "8"]
SEARCHES = Kind(SEARCH, policies, assert_same_best_responses)


def undisturbed(campaign, kind):
    """The folder of a command that nobody kills."""
    whole = campaign.folder / "whole"
    kind.prepare(whole)
    campaign.undisturbed(whole, *kind.words, "--workers", "2")
    return whole


@pytest.mark.parametrize("kind", [SWEEPS, SEARCHES], ids=["sweep", "best-response"])
def test_what_is_killed_again_and_again_goes_on_when_it_is_given_again(tmp_path, kind):
    kills = sized(KILLS)
    with Campaign(tmp_path, seed=kills) as campaign:
        whole, words = undisturbed(campaign, kind), [*kind.words, "--workers", "2"]
        for number in itertools.count(1):
            folder = tmp_path / f"life{number}"
            kind.prepare(folder)
            while kills and campaign.killed(folder, *words):
                kills -= 1
            campaign.until_its_end(folder, *words)  # after its end there is nothing left to do
            kind.check(folder, whole)
            assert_nothing_is_left_over(folder)
            if not kills:
                break


@pytest.mark.parametrize("kind", [SWEEPS, SEARCHES], ids=["sweep", "best-response"])
def test_a_cluster_that_loses_its_machines_and_its_command_ends_as_one_machine_does(machines, tmp_path, kind):  # noqa: F811
    address, start = machines
    kills, nodes = sized(KILLS), [start(), start()]
    with Campaign(tmp_path, seed=kills) as campaign:
        whole, words = undisturbed(campaign, kind), [*kind.words, "--ray-address", address]
        for number in itertools.count(1):
            folder = tmp_path / f"life{number}"
            kind.prepare(folder)
            kills = disturbed(campaign, folder, lambda _: words, nodes, start, kills)
            kind.check(folder, whole)
            assert_nothing_is_left_over(folder)
            if not kills:
                break
    for node in nodes:
        stop(node)


def test_a_run_that_loses_its_machines_and_its_command_ends_bit_for_bit_as_one_that_does_not(machines, tmp_path):  # noqa: F811
    address, start = machines
    kills, nodes = sized(KILLS), [start(), start()]

    def going_on(folder):
        """The words with which training goes on; where all is trained it is the report that does."""
        if is_finished(folder):
            return ["report", str(only_run(folder)), "--force"]
        begin = ["train", "tiny.yaml", "--ray-address", address]
        return [*begin, "--resume"] if runs(folder) else [*begin, "--set", "num_env_runners=2"]

    with Campaign(tmp_path, seed=kills) as campaign:
        for number in itertools.count():
            folder = tmp_path / (f"life{number}" if number else "whole")
            folder.mkdir()
            (folder / "tiny.yaml").write_text(BASE, encoding="utf-8")
            if not number:
                campaign.undisturbed(folder, *going_on(folder))
                whole = only_run(folder)
                continue
            kills = disturbed(campaign, folder, going_on, nodes, start, kills)
            assert_same_run(folder, whole, campaign)
            if not kills:
                break
    for node in nodes:
        stop(node)


def disturbed(campaign, folder, words, nodes, start, kills):
    """Kill a command and lose its machines in turn until it ends well; returns how many kills are left."""
    process = campaign.start(folder, *words(folder))
    while kills and campaign.lives_until_its_kill(process, folder):
        if kills % 2:
            campaign.kill(process)
            process = campaign.start(folder, *words(folder))  # the same command goes on
        else:
            lost = campaign.draw.randrange(len(nodes))
            stop(nodes[lost])  # the command goes on by itself
            nodes[lost] = start()
        kills -= 1
    campaign.ends_well(process)
    return kills
