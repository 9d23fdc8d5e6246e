"""The benchmark measures what it says, on a tiny economy; how fast things are is no matter of tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbc_marl import ConfigError, cli, preset
from rbc_marl.benchmark import autocast, bench, living, populations, sizes, tables, threads
from rbc_marl.benchmark.training import measure_sampling, measure_training
from rbc_marl.rllib import compiled
from tests.rllib.conftest import ray_running as ray_running
from tests.rllib.small import recorded

bench_limit = bench.Limit
CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)
HEAD = ("machine", "size", "notes", "skipped", "failed")
PACKAGE = Path(bench.__file__).parents[1]


@pytest.fixture(scope="module")
def stepping():
    return bench.run(["economy", "environments"], rounds=1, seconds=0.05, config=CONFIG)


TINY = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 5}
  config: {env_config: {num_consumers: 3, num_firms: 2, horizon: 2}, num_envs_per_env_runner: 2}
"""


SEARCH = {**living.SEARCH, "iterations": 1, "episodes": 2, "selection_episodes": 2, "searches": []}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def everything(ray_running, tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(living, "PRESET", tiny)
        patch.setattr(living, "EVERY", 1)
        patch.setattr(living, "SEARCH", SEARCH)
        patch.setattr(threads, "thread_counts", lambda most: [1])
        patch.setattr(sizes, "FACTORS", ((10, 1), (10, 10)))
        patch.setattr(populations, "RUNS", (2,))
        patch.setattr(autocast, "TRAINING_SIZES", (2,))
        patch.setattr(autocast, "LARGE", 10)
        patch.setattr(compiled, "_compiled", recorded)  # to compile takes half a minute, and is tested elsewhere
        return bench.run(rounds=1, seconds=0.05, config=CONFIG)


slow = pytest.mark.slow
plain_warnings = pytest.mark.filterwarnings(
    "ignore:.*already in registry",  # gymnasium on what RLlib registers each time
)


def test_parts_are_measured_alone_without_ray(stepping):
    assert list(stepping) == [*HEAD, "economy", "environments"]
    assert stepping["skipped"] == stepping["failed"] == []
    assert stepping["size"] == {"consumers": 3, "firms": 2, "periods": 2}
    said = {"device", "processor", "cores", "memory", "threads", "time", "python", "torch", "ray", "commit"}
    assert said <= set(stepping["machine"])
    rates = stepping["economy"]["steps_per_second"]
    assert set(rates) == {"1", "16", "128", "1024", "scalar"} and min(rates.values()) > 0
    for name, ratio in stepping["economy"]["ratio_to_scalar"].items():
        assert ratio == pytest.approx(rates[name] / rates["scalar"])
    floor = stepping["economy"]["floor"]
    assert floor["ratio"] == pytest.approx(1024 / rates["1024"] / floor["seconds"])


def test_the_table_shows_the_parts_that_were_measured(stepping):
    text = tables.text(stepping)
    parts = ("3 consumers, 2 firms, 2 periods", "1,024 economies", "x the floor", "plain Python", "gymnasium, one firm")
    for part in parts:
        assert part in text
    assert "sampling" not in text and "bare loop" not in text


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"the part to measure is 'samplin'.*did you mean \"sampling\""):
        bench.run(["samplin"])


def test_what_an_accelerator_does_is_held_against_its_cpu(monkeypatch):
    """With parts that say where they were measured: there is no accelerator here."""
    places, saved = [], []

    def part(config, device, rounds, seconds, limit):
        places.append(device)
        limit.skipped.append("a part of it: no time left")
        return {"steps_per_second": {"128": 8.0 if device == "cuda" else 2.0}, "ratio_to_scalar": {"128": 1.0}}

    def failing(*arguments):
        raise RuntimeError("out of order\nand more")

    monkeypatch.setattr(bench, "PARTS", {"economy": part, "sampling": failing})
    monkeypatch.setattr(bench, "resolve", lambda device: device)
    monkeypatch.setattr(bench, "machine", lambda device: {"device": device})
    result = bench.run(["economy", "sampling"], "cuda", notes=["busy"], save=lambda r: saved.append(json.dumps(r)))
    assert places == ["cuda", "cpu"] and len(saved) == 4
    assert result["economy"]["steps_per_second"] == {"128": 8.0}
    assert result["cpu"]["economy"]["steps_per_second"] == {"128": 2.0}
    assert result["skipped"] == ["a part of it: no time left (cuda)", "a part of it: no time left (cpu)"]
    assert [(one["part"], one["device"]) for one in result["failed"]] == [("sampling", "cuda"), ("sampling", "cpu")]
    assert "raise RuntimeError" in result["failed"][0]["traceback"]
    for words in (tables.text(result), tables.markdown(result)):
        assert "busy" in words and "left out: a part of it: no time left (cpu)" in words
        assert "failed: sampling on cuda: RuntimeError: out of order and more" in words
    assert "| economy | 128 economies | 8 steps/s | 2 steps/s | 4 | 1 x plain Python |" in tables.markdown(result)
    assert "4 x the CPU" in tables.text(result)


def test_what_only_the_cpu_was_asked_for_stands_in_the_table_too(monkeypatch):
    result = {"machine": {}, "size": {"consumers": 1, "firms": 1, "periods": 1}}
    result["cpu"] = {"threads": {"1": {"step": 2.0}, "2": {"step": 0.5}}}
    assert "| threads | 2, step |  | 500 ms |  | 4 x as fast as one |" in tables.markdown(result)


def test_a_limit_is_shared_by_the_parts_that_are_left(monkeypatch):
    shares = []
    monkeypatch.setattr(bench, "Limit", lambda seconds: shares.append(seconds) or bench_limit(seconds))
    monkeypatch.setattr(bench, "PARTS", dict.fromkeys(("economy", "sampling", "training"), lambda *_: {}))
    result = bench.run(limit=3e6)
    assert [round(share / 1e6, 1) for share in shares] == [1.0, 1.5, 3.0]
    assert not {"economy", "sampling", "training"} & set(result)  # what measured nothing is no part of it


def test_without_ray_the_bare_loop_is_measured(monkeypatch):
    monkeypatch.setattr("rbc_marl.benchmark.training.has_ray", lambda: False)
    sampling = measure_sampling(CONFIG, "cpu", 1)
    assert set(sampling) == {"by_size"} and min(sampling["by_size"].values()) > 0
    training = measure_training(CONFIG, "cpu", 1)
    assert list(training) == ["16", "128", "quickstart"]
    assert all(set(values) == {"bare_loop", "sampling", "update"} for values in training.values())
    size = {"consumers": 3, "firms": 2, "periods": 2}
    words = tables.text({"machine": {}, "size": size, "sampling": sampling, "training": training})
    assert "quickstart, bare loop" in words and "EconomyPPO" not in words


def test_parts_that_need_ray_are_left_out_unless_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(bench, "has_ray", lambda: False)
    monkeypatch.setattr(bench, "PARTS", dict.fromkeys(bench.PARTS, lambda *_: {"measured": True}))
    result = bench.run()
    missing = ("populations", "compiled", "autocast", "living")
    assert result["skipped"] == [f"{part}: Ray is not installed" for part in missing]
    assert "economy" in result and "living" not in result


def test_sizes_that_find_no_time_or_memory_are_named(monkeypatch):
    def measure(config, *arguments, **options):
        if config.num_firms > 2:
            raise ConfigError("it would need about 9 TB of memory; make it smaller")
        return {"step": 1e9, "sample": 0.0, "iteration": 0.0, "memory": 1.0}

    monkeypatch.setattr(sizes, "_measure", measure)
    limit = sizes.Limit(1e6)
    measured = sizes.measure_sizes(CONFIG, "cpu", 5, limit=limit)
    assert list(measured) == ["30 x 2"]
    larger = ("300 x 2", "3,000 x 2", "30 x 20", "30 x 200", "30,000 x 2")  # a tenth of the first took 1e9 s
    assert limit.skipped == [f"sizes, {size}: no time left" for size in larger]
    monkeypatch.setattr(sizes, "FACTORS", ((1, 10),))
    sizes.measure_sizes(CONFIG, "cpu", 5, limit=limit)
    assert limit.skipped[-1] == "sizes, 3 x 20: it would need about 9 TB of memory; make it smaller"


def test_threads_are_doubled_up_to_all_there_are():
    assert threads.thread_counts(1) == [1]
    assert threads.thread_counts(6) == [1, 2, 4, 6]
    assert threads.measure_threads(CONFIG, "cuda", 1) == {}  # they say nothing of an accelerator


def test_the_command_saves_what_it_measured(tmp_path, capsys):
    files = {ending: tmp_path / f"bench.{ending}" for ending in ("json", "md", "png")}
    words = ["bench", "--only", "economy", "--limit", "0", "--note", "a busy machine"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(words + [word for file in files.values() for word in ("--out", str(file))])
    assert not stopped.value.code
    record = json.loads(files["json"].read_text(encoding="utf-8"))
    assert record["notes"] == ["a busy machine"] and record["economy"]["ratio_to_scalar"]
    assert any("4 of 5 turns" in what for what in record["skipped"])  # one turn of the economy is measured in any case
    assert files["md"].read_text(encoding="utf-8") == tables.markdown(record)
    assert files["png"].stat().st_size > 0
    assert "saved: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cuda:99"], "device is cuda:99, and this machine has"),
        (["--only", "economi"], 'did you mean "economy"'),
        (["--out", "bench.txt"], "bench.txt does not end in .json, .md, .png, .pdf or .svg"),
    ],
)
def test_the_command_refuses_in_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", *words])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


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
    parts = ["economy", "environments", "sampling", "training", "populations", "sizes"]
    assert list(everything) == [*HEAD, *parts, "compiled", "autocast", "living", "threads"]
    assert everything["failed"] == everything["skipped"] == []
    rates = everything["sampling"]["agent_steps_per_second"]
    assert set(rates) == {"batched", "plain"}
    assert rates["batched"] == everything["sampling"]["by_size"]["16"]
    assert everything["sampling"]["ratio"] == pytest.approx(rates["batched"] / rates["plain"])
    assert set(everything["training"]) == {"16", "128", "quickstart"}
    for values in everything["training"].values():
        assert set(values) == {"EconomyPPO", "bare_loop", "ratio", "sampling", "update"}
        assert values["ratio"] == pytest.approx(values["EconomyPPO"] / values["bare_loop"])
        assert values["update"] == values["EconomyPPO"] - values["sampling"]


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
def test_products_in_bfloat16_are_held_against_float32(everything):
    assert list(everything["autocast"]) == ["2", "30 x 2"]
    for values in everything["autocast"].values():
        assert min(values["seconds"].values()) > 0.0
        assert values["ratio"] == pytest.approx(values["seconds"]["bfloat16"] / values["seconds"]["float32"])


@slow
@plain_warnings
def test_an_economy_lives_where_two_looks_in_a_row_find_it_living(ray_running, tiny, monkeypatch):
    outcomes = iter(["living", "impaired", "living", "living", "living"])
    monkeypatch.setattr(living, "PRESET", tiny)
    monkeypatch.setattr(living, "SEARCH", SEARCH)
    monkeypatch.setattr(living, "EVERY", 1)
    monkeypatch.setattr(living, "_outcome_of", lambda algorithm: next(outcomes))
    measured = living.measure_living(CONFIG, "cpu", 1)
    assert (measured["outcome"], measured["iterations"]) == ("living", 3) and measured["seconds"] > 0
    assert next(outcomes) == "living"  # nothing was trained beyond the second look
    certificate = measured["certificate"]
    assert certificate["seconds"] > 0.0 and "equilibrium" in certificate["verdict"]
    size = {"consumers": 3, "firms": 2, "periods": 2}
    words = tables.text({"machine": {}, "size": size, "living": measured})
    assert f"its certificate: {certificate['verdict']}" in words


@slow
@plain_warnings
def test_an_economy_that_never_lives_is_trained_to_its_end(ray_running, tiny, monkeypatch):
    outcomes = iter(["living", "impaired"] * 3)
    monkeypatch.setattr(living, "PRESET", tiny)
    monkeypatch.setattr(living, "EVERY", 2)
    monkeypatch.setattr(living, "_outcome_of", lambda algorithm: next(outcomes))
    measured = living.measure_living(CONFIG, "cpu", 1)
    assert (measured["outcome"], measured["iterations"]) == ("living", 5) and "certificate" not in measured
    assert list(outcomes) == ["impaired", "living", "impaired"]  # it was looked at after 2, 4 and 5 iterations


@slow
@plain_warnings
def test_the_whole_result_is_plain_data_with_a_table(everything):
    assert json.loads(json.dumps(everything)) == everything
    text = tables.text(everything)
    assert f"{everything['training']['16']['ratio']:.3g} x the bare loop (at most 1.50)" in text
    for words in ("agent steps/s", "quickstart, bare loop", "2 runs together", "30 x 20, step", "1, iteration"):
        assert words in text
    assert "7 economies, compiled" in text and "x eager (at most 0.65)" in text
    assert "30 x 2, bfloat16" in text and "x float32" in text
    assert len(tables.rows(everything)) == tables.markdown(everything).count("\n| ") - 1
