"""Loggers of other projects. The real ones run where they are installed: `.ci/libraries loggers` does that."""

import importlib.util
import sys
from types import ModuleType

import pytest
from ray.tune.logger import LoggerCallback

from rbc_marl.errors import MissingExtraError, UserError
from rbc_marl.experiments import loggers
from rbc_marl.experiments import run as run_module
from rbc_marl.experiments.file import load_experiments
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.loggers import LoggedRun, Loggers, parse_loggers

INSTALLED = [name for name in ("wandb", "mlflow") if importlib.util.find_spec(name)]


class Recorder(LoggerCallback):
    """Writes down what it hears; fails when it is asked to."""

    heard: list

    def __init__(self, project=None, fails_at=None):
        self.project, self.fails_at, self.heard = project, fails_at, []

    def setup(self, *args, **kwargs):
        self.heard.append("setup")

    def log_trial_start(self, trial):
        self.heard.append(("start", str(trial), trial.config))

    def log_trial_result(self, iteration, trial, result):
        if iteration == self.fails_at:
            raise OSError("the server is gone\nand more")
        self.heard.append(("result", iteration, result))

    def log_trial_end(self, trial, failed=False):
        self.heard.append(("end", failed))

    def on_experiment_end(self, trials, **info):
        self.heard.append("sent")


@pytest.fixture
def recorders(monkeypatch):
    """A logger "recorder", whose library is always there, and the recorders made so far."""
    made = []

    class Kept(Recorder):
        def __init__(self, project=None, fails_at=None):
            super().__init__(project, fails_at)
            made.append(self)

    module = ModuleType("recorder")
    module.Kept = Kept
    monkeypatch.setitem(sys.modules, "recorder", module)
    monkeypatch.setattr(loggers, "LOGGERS", {"recorder": "recorder.Kept"})
    monkeypatch.setattr(loggers, "_defaults", lambda *_: {"project": "default"})
    return made


def open_loggers(chosen, tmp_path, notices=None):
    run = LoggedRun("taxes/seed0", tmp_path, {"lr": 1e-3})
    return Loggers(chosen, run, tmp_path, (lambda text: None) if notices is None else notices.append)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wand", 'names \'wand\', which is not a logger; did you mean "wandb"?'),
        ([1], "names 1, which is not a logger; there are wandb, mlflow, aim"),
        (3, "is 3; give names"),
        ({"aim": "here"}, "gives aim 'here'; it must be a mapping"),
    ],
)
def test_what_is_no_logger_is_refused(given, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        parse_loggers(given)


def test_a_misspelt_argument_is_refused(recorders):
    with pytest.raises(UserError, match=r"gives recorder 'projet', which .* does not take; did you mean .project."):
        parse_loggers({"recorder": {"projet": "x"}})
    assert parse_loggers(["recorder"]) == {"recorder": {}}
    assert parse_loggers({"recorder": None}) == {"recorder": {}}


@pytest.mark.parametrize("name", [name for name in loggers.LOGGERS if importlib.util.find_spec(name) is None])
def test_a_missing_library_is_named_before_anything_runs(name):
    with pytest.raises(MissingExtraError, match=rf"pip install 'rbc_marl\[{name}\]'"):
        load_experiments("small", sets=[f"loggers=[{name}]"])


def test_an_experiment_without_loggers_is_as_before():
    experiment = load_experiments("small")[0]
    assert experiment.loggers == {} and "loggers" not in experiment.resolved


def test_a_logger_hears_everything_in_order(recorders, tmp_path):
    chosen = open_loggers({"recorder": {}}, tmp_path)
    chosen.log(1, {"env_runners/hours": 5.0})
    chosen.close(has_failed=False)
    chosen.close(has_failed=True)  # once only
    (recorder,) = recorders
    start, result = ("start", "taxes/seed0", {"lr": 1e-3}), ("result", 1, {"env_runners/hours": 5.0})
    assert recorder.heard == ["setup", start, result, ("end", False), "sent"]
    assert recorder.project == "default"


def test_an_argument_of_the_file_goes_before_the_default(recorders, tmp_path):
    open_loggers({"recorder": {"project": "taxes"}}, tmp_path)
    assert recorders[0].project == "taxes"


def test_a_logger_that_fails_is_left_out_and_training_goes_on(recorders, tmp_path):
    notices = []
    chosen = open_loggers({"recorder": {"fails_at": 2}}, tmp_path, notices)
    for iteration in (1, 2, 3):
        chosen.log(iteration, {})
    assert notices == ["recorder takes no more results (the server is gone); training goes on without it"]
    assert [entry for entry in recorders[0].heard if entry[0] == "result"] == [("result", 1, {})]


def test_a_logger_that_cannot_start_is_an_error_of_one_line(recorders, monkeypatch, tmp_path):
    def refuse(self, *args, **kwargs):
        raise ValueError("No key found.\nLog in first.")

    monkeypatch.setattr(sys.modules["recorder"].Kept, "setup", refuse)
    with pytest.raises(UserError, match=r"^recorder cannot log this run: No key found\.$"):
        open_loggers({"recorder": {}}, tmp_path)


def test_arguments_of_loggers_which_may_hold_keys_are_in_no_record(recorders, tmp_path):
    experiment = load_experiments("small", sets=["loggers={recorder: {project: secret}}"])[0]
    with run_module._loggers(experiment, RunFolder(tmp_path / "small" / "run"), print):
        pass
    (recorder,) = recorders
    assert recorder.project == "secret" and "secret" not in str(recorder.heard)
    assert recorder.heard[1][2]["config"]["env_config"]["num_consumers"] == 20


def test_a_resumed_run_has_the_same_name_at_its_logger_and_another_run_has_not(tmp_path):
    first, again, other = (LoggedRun("x", tmp_path / name) for name in ("a", "a", "b"))
    assert first.trial_id == again.trial_id != other.trial_id


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of theirs and of what they use
@pytest.mark.skipif(not INSTALLED, reason="neither wandb nor mlflow is installed")
def test_real_loggers_record_every_iteration(tmp_path, monkeypatch, ray_running):
    from rbc_marl.experiments.run import train

    monkeypatch.setenv("WANDB_MODE", "offline")
    sets = [f"loggers={INSTALLED}", f"storage_path={tmp_path}", "stop.training_iteration=3"]
    outcome = train(load_experiments("small", sets=sets)[0])
    if "wandb" in INSTALLED:
        assert list(outcome.folder.glob("wandb/offline-run-*/run-*.wandb"))
    if "mlflow" in INSTALLED:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        (experiment,) = client.search_experiments(filter_string="name = 'small'")
        (run,) = client.search_runs([experiment.experiment_id])
        hours = client.get_metric_history(run.info.run_id, "env_runners/hours")
        assert [one.step for one in hours] == [1, 2, 3]
        assert run.info.status == "FINISHED" and hours[-1].value == outcome.results["env_runners/hours"]
