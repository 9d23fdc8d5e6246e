"""The config files that the package ships: each trains, and the small one learns to live."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from rbc_marl.analysis.outcomes import outcome
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.cli.package import schema_of
from rbc_marl.experiments.file import load_experiments, read_specs
from rbc_marl.experiments.run import train
from rbc_marl.policies.saved import load_policies
from rbc_marl.presets import describe_presets
from rbc_marl.settings import load_yaml_file

pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
FOLDER = Path(__file__).parents[2] / "rllib_configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
# They start processes of their own.
MARKS = {"plain_appo": pytest.mark.long}
LIKE_THE_QUICKSTART = [path for path in CONFIGS if path.stem not in ("quickstart", "plain_ppo", "plain_appo")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid(path):
    assert load_experiments(path)


@pytest.mark.parametrize("path", LIKE_THE_QUICKSTART, ids=lambda path: path.stem)
def test_a_preset_like_the_quickstart_says_only_what_differs(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 25
    (spec,) = read_specs(path)
    (quickstart,) = read_specs("quickstart")
    assert spec.data["run"] == quickstart.data["run"]
    assert spec.files[-1] == FOLDER / "quickstart.yaml"
    assert spec.build().resolved != quickstart.build().resolved


# The files to learn from; others, such as the paper's own settings, may lean on them.
@pytest.mark.parametrize("name", ["quickstart", "open_rbc", "closed_rbc", "plain_ppo", "plain_appo"])
def test_every_option_of_a_file_to_learn_from_is_explained(name):
    path = FOLDER / f"{name}.yaml"
    explained = False
    for line in path.read_text(encoding="utf-8").splitlines():
        stripped = line.strip()
        explained = explained or "#" in stripped
        if not stripped:
            explained = False  # a comment speaks for the lines up to the next empty one
        assert explained or not line.startswith(" "), f"{path.name}: nothing explains {stripped!r}"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(("experiment", path) for path in CONFIGS),
        *((kind, path) for kind in ("sweep", "scenario") for path in sorted(FOLDER.glob(f"{kind}s/*.yaml"))),
    ],
    ids=lambda value: getattr(value, "stem", value),
)
def test_an_editor_finds_nothing_wrong_with_a_shipped_file(kind, path):
    jsonschema.validate(load_yaml_file(path), json.loads((FOLDER / "schema" / f"{kind}.json").read_text("utf-8")))


def check_as_an_editor(config):
    schema = json.loads((FOLDER / "schema" / "experiment.json").read_text("utf-8"))
    jsonschema.validate({"mine": {"run": "EconomyPPO", "config": config}}, schema)


@pytest.mark.parametrize(
    "entropy",
    [
        {"floor": 0.2},  # the rest stands in the base
        {"decay": 5, "floor": {"uniform": [0.1, 0.2]}},
        {"begin": 4, "end": 9},
        [{"decay": 5}, {"begin": 4, "end": 9, "types": ["firm"]}],
    ],
)
def test_an_editor_finds_nothing_wrong_with_decays_of_any_kind(entropy):
    check_as_an_editor({"curriculum": {"entropy": entropy}})


@pytest.mark.parametrize(
    "config",
    [
        {"lrr": 1},
        {"training": {"lrr": 1}},
        {"reward_scale": {"firm": "much"}},
        {"curriculum": {"entropy": [{"decay": -5}]}},
        {"curriculum": {"entropy": {"begin": 4, "ende": 9}}},
    ],
)
def test_an_editor_sees_a_mistake(config):
    with pytest.raises(jsonschema.ValidationError):
        check_as_an_editor(config)


@pytest.mark.parametrize("kind", ["experiment", "sweep", "best_response"])
def test_the_schemas_that_files_name_are_those_of_the_code(kind):
    """After a change: rbc-marl schema KIND > rllib_configs/schema/KIND.json."""
    saved = FOLDER / "schema" / f"{kind}.json"
    assert json.loads(saved.read_text(encoding="utf-8")) == json.loads(json.dumps(schema_of(kind)))
    files = {"experiment": CONFIGS, "sweep": sorted((FOLDER / "sweeps").glob("*.yaml"))}.get(kind, [])
    for path in files:
        named = path.read_text(encoding="utf-8").partition("# yaml-language-server: $schema=")[2].partition("\n")[0]
        assert (path.parent / named).resolve() == saved, path


def test_the_schema_of_experiments_knows_keys_types_spaces_and_words_that_take_out_a_key():
    definitions = schema_of("experiment")["$defs"]
    keys = definitions["config"]["properties"]
    assert {"lr", "lambda", "networks", "env_config", "curriculum", "training"} <= keys.keys()
    assert definitions["config"]["additionalProperties"] is False
    assert {"$ref": "#/$defs/change"} in keys["gamma"]["anyOf"]
    assert "num_consumers" in definitions["economy"]["properties"]
    assert definitions["change"]["anyOf"][1] == {"const": "unset"}


def test_a_preset_is_described_by_its_first_sentence():
    described = {name: what for kind, name, what in describe_presets() if kind == "experiment"}
    assert described.keys() == {path.stem for path in CONFIGS}
    assert (
        described["closed_rbc"]
        == "The closed economy: nothing is exported, and consumers start with the paper's money."
    )


def trained(path, folder, *sets):
    (experiment,) = load_experiments(path, sets=[*sets, f"storage_path={folder}"])
    return train(experiment, console=Console(file=io.StringIO()))


@pytest.mark.usefixtures("ray_running")
@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=MARKS.get(path.stem, pytest.mark.slow)) for path in CONFIGS]
)
def test_every_shipped_config_trains_two_iterations(path, tmp_path):
    outcome = trained(path, tmp_path, "stop.training_iteration=2")
    assert outcome.status == "finished" and outcome.checkpoint.is_dir()
    losses = {k: v for k, v in outcome.results.items() if k.startswith("learners/") and k.endswith("total_loss")}
    assert len(losses) >= 1 and all(math.isfinite(loss) for loss in losses.values())


@pytest.mark.long
@pytest.mark.usefixtures("ray_running")
def test_the_small_economy_learns_to_live(tmp_path):
    path = next(path for path in CONFIGS if path.stem == "small")
    run = trained(path, tmp_path)
    assert run.status == "finished"  # and not stopped by a signal on the way
    policies = load_policies(run.checkpoint)
    means = evaluate(policies, 128).means
    assert outcome(policies.config, means) == "living", means  # untrained networks are "impaired"
