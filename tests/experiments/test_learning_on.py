"""Learning on under a shock or a reform, beside a control that differs by the treatment alone. With a real Ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from rbc_marl import ConfigError, UserError, cli, load
from rbc_marl.analysis.treatments import Impulse, Reform, impulse, reformed, shocked, transition
from rbc_marl.experiments.file import load_experiments, read_specs
from rbc_marl.experiments.learning_on import CONTROL, LEARNED, _experiment, learn_on
from rbc_marl.experiments.run import train
from rbc_marl.policies.imposed import Treatment, as_trained, law_of
from tests.experiments.test_run import FILE, quiet

pytestmark = [pytest.mark.usefixtures("ray_running"), pytest.mark.filterwarnings("ignore:.*Overriding environment")]

SHOCKS = "env_config.shocks={technology: {kind: ar1, persistence: 0.8, deviation: 0.1}}"
CURRICULUM = "curriculum={taxes: {end: 4}, entropy: {decay: 2, floor: 0.01}, learning_rate: {begin: 0, end: 4}}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two iterations, in the midst of its curriculum."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(FILE, encoding="utf-8")
    sets = (f"storage_path={folder}", "env_config.horizon=4", SHOCKS, CURRICULUM, "lr=[[0, 0.01], [1000, 0.001]]")
    (experiment,) = load_experiments(folder / "tiny.yaml", sets=(*sets, "stop={training_iteration: 2}"))
    return train(experiment, console=quiet()).folder


def learned(run, treatment, folder):
    ended = learn_on(run, treatment, 2, folder, seed=5, console=quiet())
    return load(ended[CONTROL]), load(ended[LEARNED])


def weights(policies):
    return {(t, name): x for t, network in policies.networks.items() for name, x in network.state_dict().items()}


def differ(one, two):
    one, two = weights(one), weights(two)
    return any(not torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_a_treatment_of_size_zero_teaches_exactly_nothing_and_another_something(run, tmp_path):
    economy, start = load(run).config, load(run)
    shocks = Impulse(number="technology", change=0.0, period=2)
    control, same = learned(run, shocked(economy, shocks), tmp_path / "nothing")
    assert differ(start, control) and not differ(control, same)
    found = impulse(control, shocks, episodes=4, learned=same)
    assert {(one.policies, one.difference) for one in found.paths} == {("kept", 0.0), ("learned", 0.0)}

    (tmp_path / "tiny.yaml").write_text(FILE, encoding="utf-8")
    begin = tmp_path / "nothing" / "start"
    sets = (f"storage_path={tmp_path}", "env_config.horizon=4", SHOCKS, f"restore={begin}", "lr=1e-30")
    (still,) = load_experiments(tmp_path / "tiny.yaml", sets=(*sets, "stop={training_iteration: 1}"))
    assert not differ(load(begin), load(train(still, console=quiet()).folder))

    reform = Reform(values={"minimum_wage": 33.0, "export_quota": 5.0}, period=3)
    again, other = learned(run, reformed(economy, reform), tmp_path / "something")
    assert not differ(control, again) and differ(again, other)  # one seed, one control
    found = transition(again, reform, episodes=4, learned=other)
    for policies in ("kept", "learned"):
        assert min(one.treated for one in found.of("wage", policies=policies)[2:]) >= 33.0
    assert found.of("output")[3] != found.of("output", policies="learned")[3]


@pytest.mark.slow
def test_what_a_run_was_trained_under_stays_in_force_for_those_who_learn_on(run, tmp_path, monkeypatch, capsys):
    """And the reform comes on top, once."""
    copied = tmp_path / "law"
    shutil.copytree(run, copied)
    for path in copied.glob("checkpoint_*/policies.json"):
        written = json.loads(path.read_text())
        written["info"]["imposed"] = {"choices": {"wage": 22.0}, "factors": {"consumer_grant": [2]}}
        path.write_text(json.dumps(written))
    monkeypatch.chdir(tmp_path)
    reforms = ["--reform", "income_tax=0.2@3", "--reform", "consumer_grant=1.2@3"]
    asked = [*reforms, "--learn", "1", "--episodes", "4", "--trust", "--out", "found.csv", "--folder", "on"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["transition", str(copied), *asked])
    control, other = (load(next((tmp_path / "on" / name).glob("*/checkpoint_*"))) for name in (CONTROL, LEARNED))
    first = {"choices": {"wage": 22.0}, "factors": {"consumer_grant": [2.0]}}
    assert control.info["imposed"]["first"] == other.info["imposed"]["first"] == first
    assert law_of(as_trained(control)).factors != law_of(as_trained(other)).factors
    found = pd.read_csv("found.csv")
    wages = found.query("quantity == 'wage' and period > 1")
    assert set(wages["policies"]) == {"kept", "learned"}
    assert (wages["treated"] == 22.0).all() and (wages["without"] == 22.0).all()

    before = Treatment.parse(first, "law")
    reform = Reform(values={"income_tax": 0.2, "consumer_grant": 1.2}, period=3)
    once = transition(before.on(control), reform, episodes=4, learned=before.on(other))
    twice = transition(before.on(control), reform, episodes=4, learned=as_trained(other))
    whole = found[found["group"].isna() & found["period"].notna()]
    shown = whole.query("quantity == 'consumption' and policies == 'learned'")["treated"].tolist()
    for one, is_shown in ((once, True), (twice, False)):
        assert ([x.treated for x in one.of("consumption", policies="learned")] == pytest.approx(shown)) is is_shown


def test_runs_that_learn_on_stand_where_their_run_ended(run, tmp_path):
    policies, path = load(run), next(run.glob("checkpoint_*"))
    experiment = _experiment(read_specs(run / "config.yaml")[0], policies, CONTROL, Treatment(), 3, path, 5)
    assert experiment.restore == path.resolve() and experiment.stop == {"training_iteration": 3}
    config, steps = experiment.config, policies.info["env_steps"]
    assert config.lr == pytest.approx(0.01 - 0.009 * steps / 1000)
    for iteration in (0, 1000):
        phase = config.curriculum.phase(iteration)
        assert (phase.highest_tax, phase.rate("firm")) == (0.5, 0.55)
        assert phase.entropy["firm"] == pytest.approx(0.3679, 1e-3)


def test_policies_alone_can_be_begun_with_by_name_and_must_fit(tmp_path):
    (tmp_path / "tiny.yaml").write_text(FILE, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tiny\.restore does not fit this economy: the network of the firm was made"):
        load_experiments(tmp_path / "tiny.yaml", sets=("restore=quickstart",))
    with pytest.raises(ConfigError, match=r"tiny\.restore is 'quickstrat'; it must be the folder of a checkpoint"):
        load_experiments(tmp_path / "tiny.yaml", sets=("restore=quickstrat",))
    (experiment,) = load_experiments("quickstart", sets=("restore=quickstart",))
    assert experiment.restore is not None and experiment.restore.parent.name == "quickstart"


@pytest.mark.parametrize(
    ("imposed", "message"),
    [
        ({"choices": {"wage": 12}}, "wage is 12.0; it must be"),
        ({"choices": {"hours": 0}}, "imposed has hours, which logit_response does not know"),
        ({"factors": {"technolgy": [1]}}, 'did you mean "technology"'),
        ({"choices": {"wage": 11}, "period": 1}, "wage is to be in force in period 1; give 2 to 10"),
    ],
)
def test_what_cannot_be_learned_under_is_refused(imposed, message):
    with pytest.raises(ConfigError, match=message):
        load_experiments("small", sets=(f"imposed={imposed}",))


def test_policies_of_no_run_are_refused(run, tmp_path, capsys):
    policies = next(run.glob("checkpoint_*"))
    (tmp_path / "policies.json").symlink_to(policies / "policies.json")
    (tmp_path / "policies").symlink_to(policies / "policies")
    with pytest.raises(UserError, match=r"config\.yaml does not exist, whose settings agents would learn with"):
        learn_on(tmp_path, Treatment(), 1, tmp_path / "out")
    assert not Path(tmp_path, "out").exists()
    with pytest.raises(ConfigError, match="imposed has hours, which logit_response does not know"):
        learn_on(Path("quickstart"), Treatment.parse({"choices": {"hours": 0}}, ""), 1, tmp_path / "out")
    assert not Path(tmp_path, "out").exists()  # nor what they were to begin with
    with pytest.raises(SystemExit):
        cli.main(["transition", "quickstart", "--reform", "income_tax=0.2@5", "--folder", "x"])
    assert "give --learn as well" in capsys.readouterr().err
