"""The policies that travel with the package: found by name, made by their presets as these stand, described truly."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

import rbc_marl
from rbc_marl import cli
from rbc_marl.analysis import certificates
from rbc_marl.analysis.charts import Line, Span
from rbc_marl.analysis.figures.training import learning_curves, read_progress
from rbc_marl.analysis.outcomes import outcome, reference_welfare
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.errors import UserError
from rbc_marl.policies.saved import find_checkpoint
from rbc_marl.presets import find_file, preset_files, zoo

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if line.startswith("| `")]
ROWS = {line.split("`")[1]: [cell.strip() for cell in line.split("|")[2:-1]] for line in LINES}
NAMES = sorted(zoo())
CERTIFIED = [name for name in NAMES if (zoo()[name] / "best_response").is_dir()]


def number(cell):
    return float(cell.replace(",", "").rstrip("%"))


def test_every_entry_is_a_preset_with_a_row_in_the_docs_and_make_zoo_makes_it():
    made = re.search(r"^ZOO +\?= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    assert NAMES == sorted(made) == sorted(ROWS)
    assert set(NAMES) <= set(preset_files("experiment"))


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_was_trained_with_its_preset_as_it_stands(name):
    pytest.importorskip("ray.rllib")
    from rbc_marl.experiments.build import to_yaml
    from rbc_marl.experiments.file import load_experiments

    (experiment,) = load_experiments(find_file(name), sets=["seed=100"])
    expected, kept = (yaml.safe_load(text) for text in (to_yaml(experiment), (zoo()[name] / "config.yaml").read_text()))
    for plain in (expected, kept):
        (one,) = plain.values()
        one.pop("storage_path", None)
    assert kept == expected
    iteration = rbc_marl.load(name).info["training_iteration"]
    assert iteration == experiment.stop["training_iteration"]


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_does_what_the_docs_say(name):
    policies = rbc_marl.load(name)
    means = evaluate(policies, num_episodes=64, seed=3).means
    shown = ROWS[name]
    config, rules = policies.config, policies.info["rules"]
    line = 0.8 * reference_welfare(config, rules) if config.open_economy else 0.0
    if abs(means[f"welfare_{config.welfare}"] - line) > 0.05 * line:  # else other episodes may be on the other side
        assert outcome(config, means, rules) == shown[0]
    for cell, quantity in zip(shown[1:], ("hours", "price", "wage", "consumer_return", "welfare_total"), strict=False):
        assert means[quantity] == pytest.approx(number(cell), rel=0.1, abs=1.0), quantity


def test_the_docs_say_which_entries_have_a_certificate():
    assert "open_rbc" in CERTIFIED
    assert [name for name in NAMES if ROWS[name][-1] != "-"] == CERTIFIED


@pytest.mark.parametrize("name", CERTIFIED)
def test_a_certificate_is_about_the_policies_it_travels_with(name):
    folder = zoo()[name] / "best_response"
    (claim,) = json.loads((folder / certificates.FILE_NAME).read_text(encoding="utf-8"))["checkpoints"]
    checkpoint = find_checkpoint(name)
    assert (folder / claim["path"]).resolve() == checkpoint.resolve()
    assert certificates.hashes_of(checkpoint) == claim["policies"]
    assert claim["episodes"] >= 1000
    named = {file for agent in claim["agents"] for one in agent["deviations"].values() for file in one["files"]}
    assert {path.name for path in (folder / certificates.DEVIATIONS_FOLDER).iterdir()} == named
    gains = {
        " ".join(str(x) for x in (agent["agent_type"], agent["agent"]) if x is not None): agent["lower"]["gain"]
        / abs(agent["baseline"]["mean"])
        for agent in claim["agents"]
    }
    most = max(gains, key=lambda who: gains[who])
    shown, who = re.fullmatch(r"([\d,.]+)% \((.*)\)", ROWS[name][-1]).groups()
    assert who == most and number(shown) == pytest.approx(100.0 * gains[most], rel=0.002)


def test_others_are_played_by_name():
    env = rbc_marl.parallel_env("open", train_types=["firm_0"], others="open_rbc")
    env.reset(seed=0)
    env.step({"firm_0": 26})
    _, rewards, _, _, infos = env.step({"firm_0": 26})
    assert infos["firm_0"]["labour"] > 0.0 and set(rewards) == {"firm_0"}  # trained consumers come to work


def test_names_work_on_the_command_line_and_nothing_is_written_into_the_package(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in zoo()["open_rbc"].rglob("*"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "open_rbc", "--episodes", "4", "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["outcome"] == "living"
    with pytest.raises(UserError, match=r"trained policies: .*; did you mean \"open_rbc\"\?"):
        rbc_marl.load("open_rcb")
    pytest.importorskip("ray.rllib")
    from rbc_marl.equilibrium.profile import result_folders

    assert result_folders(Path("open_rbc"))[0] == Path("results/open_rbc/best_response")
    assert sorted(path for path in zoo()["open_rbc"].rglob("*")) == before


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_keeps_how_it_was_trained_with_its_stages(name):
    progress = read_progress(zoo()[name])
    assert int(progress["training_iteration"].iloc[-1]) == rbc_marl.load(name).info["training_iteration"]
    charts = {chart.name: chart for chart in learning_curves(progress)}
    (hours,) = (layer for layer in charts["learning-hours"].layers if isinstance(layer, Line))
    assert len(hours.x) == len(progress) >= 50
    assert sum(isinstance(layer, Span) for layer in charts["learning-hours"].layers) >= 3


def test_the_zoo_is_small():
    files = [path for folder in zoo().values() for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8e6


@pytest.mark.long
@pytest.mark.parametrize("name", CERTIFIED)
def test_the_numbers_of_a_certificate_are_computed_again(tmp_path, name):
    """Of the government alone: all agents take many minutes."""
    folder = zoo()[name] / "best_response"
    content = json.loads((folder / certificates.FILE_NAME).read_text(encoding="utf-8"))
    (claim,) = content["checkpoints"]
    claim["agents"] = [agent for agent in claim["agents"] if agent["agent_type"] == "government"]
    content["sha256"] = certificates._digest({name: x for name, x in content.items() if name != "sha256"})
    shutil.copytree(folder / certificates.DEVIATIONS_FOLDER, tmp_path / certificates.DEVIATIONS_FOLDER)
    (tmp_path / certificates.FILE_NAME).write_text(json.dumps(content), encoding="utf-8")
    lines = certificates.verify(tmp_path, find_checkpoint(name), log=lambda text: None)
    assert lines[0].startswith("government gains at least") and lines[-1].startswith("verified: every number of ")
