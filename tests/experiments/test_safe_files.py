"""What is damaged, poisoned or full: a run goes on from what is whole, and no stranger's code runs. With a real Ray."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import pytest

from rbc_marl import UserError, load
from rbc_marl.errors import ConfigError, StorageError
from rbc_marl.experiments.earlier import trained_before
from rbc_marl.experiments.file import load_experiments
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.run import train, unfinished_run
from rbc_marl.signatures import FILE_NAME, hash_of, sign
from tests.experiments.test_run import FILE, assert_equal_weights, info, iterations, quiet

pytestmark = [
    pytest.mark.usefixtures("ray_running"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*Overriding environment"),
]

SETS = ("checkpoint_config.checkpoint_frequency=1", "env_config.horizon=2")


def interrupt_at(iteration):
    def after(results):
        if results["training_iteration"] == iteration:
            os.kill(os.getpid(), signal.SIGINT)

    return after


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with a run of four iterations that was interrupted after three, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "tiny.yaml").write_text(FILE, encoding="utf-8")
    (experiment,) = load_experiments(folder / "tiny.yaml", sets=(*SETS, f"storage_path={folder / 'results'}"))
    assert train(experiment, console=quiet(), after_iteration=interrupt_at(3)).status == "interrupted"
    return folder


@pytest.fixture
def run(begun, tmp_path, monkeypatch):
    """A copy of that run, in a working folder of the test's own."""
    shutil.copytree(begun, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    (folder,) = Path("results/tiny").iterdir()
    assert [path.name for path in RunFolder(folder).checkpoints()] == [f"checkpoint_00000{n}" for n in (1, 2, 3)]
    return folder


def tiny(*sets, trust=False):
    (experiment,) = load_experiments("tiny.yaml", sets=(*SETS, *sets), trust=trust)
    return experiment


def resumed(trust=False):
    return train(*unfinished_run(tiny(trust=trust)), console=quiet())


class Poison:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("poisoned").absolute(),)


def poison(checkpoint, *, forged=True):
    """Replace every pickle, as a stranger would who knows the format, but not the key."""
    content = json.loads((checkpoint / FILE_NAME).read_text(encoding="utf-8"))
    for path in checkpoint.rglob("*.pkl"):
        path.write_bytes(pickle.dumps(Poison()))
        content["files"][path.relative_to(checkpoint).as_posix()] = hash_of(path)
    if forged:
        (checkpoint / FILE_NAME).write_text(json.dumps(content), encoding="utf-8")
    return checkpoint


def test_a_poisoned_checkpoint_runs_nothing_unless_it_is_trusted(run):
    newest = poison(run / "checkpoint_000003").resolve()
    reason = r"whose files can run any code, and it was not signed with this user's key .*; give --trust if you know"
    with pytest.raises(ConfigError, match=f"checkpoint to go on from with tiny is .*checkpoint_000003, {reason}"):
        resumed()
    with pytest.raises(ConfigError, match=rf"tiny\.restore is {newest}, {reason}"):  # also what `check` says
        tiny(f"restore={newest}")
    load(newest)  # evaluate, best-response: plain data alone
    assert not Path("poisoned").exists()
    with pytest.raises(UserError, match="checkpoint_000003 cannot be loaded"):
        resumed(trust=True)
    assert Path("poisoned").exists()  # the poison works


def test_pickles_that_were_replaced_are_torn_and_run_nothing(run):
    poison(run / "checkpoint_000003", forged=False)
    assert resumed().status == "finished"
    assert not Path("poisoned").exists()
    assert (run / "checkpoint_000003.torn").is_dir()


def test_a_torn_checkpoint_is_named_and_the_run_goes_on_from_the_one_before_to_the_same_end(run, capsys):
    state = run / "checkpoint_000003" / "algorithm_state.pkl"
    state.write_bytes(state.read_bytes()[:-9])
    (run / ".checkpoint_000004.tmp").mkdir()  # of a process that was killed
    outcome = resumed()
    said = capsys.readouterr().out
    assert f"{state.parent} is torn (algorithm_state.pkl is not what was saved); it is set aside" in said
    names = sorted(path.name for path in run.iterdir() if "checkpoint" in path.name)
    assert names == [*(f"checkpoint_00000{n}" for n in (1, 2, 3)), "checkpoint_000003.torn", "checkpoint_000004"]
    assert iterations(run) == [1, 2, 3, 4] and info(run)["status"] == "finished"
    assert_equal_weights(train(tiny("storage_path=others"), console=quiet()).checkpoint, outcome.checkpoint)


def test_policies_that_are_torn_are_named_and_the_newest_whole_ones_are_played(run, capsys):
    weights = run / "checkpoint_000003" / "policies" / "firm.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1  # a number that still is one
    weights.write_bytes(changed)
    assert load(run).info["training_iteration"] == 2
    reason = "policies/firm.safetensors is missing or not what was saved"
    assert f"is torn ({reason}); the newest one that is whole is taken" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"firm\.safetensors is not what policies\.json was saved with"):
        load(run / "checkpoint_000003")
    for checkpoint in run.glob("checkpoint_*"):
        (checkpoint / "policies.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="holds no checkpoint that is whole"):
        load(run)


def test_the_settings_of_a_strangers_run_are_not_run(run):
    """They may name any class, and those of a Python file are code."""
    with (run / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("    callbacks: no_such_module.Mine\n")
    sign_of = json.loads((run / FILE_NAME).read_text(encoding="utf-8"))
    sign_of["files"]["config.yaml"] = hash_of(run / "config.yaml")
    (run / FILE_NAME).write_text(json.dumps(sign_of), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the run to resume is .*, whose files can run any code, and it was not s"):
        resumed()
    with pytest.raises(ConfigError, match="no_such_module"):
        resumed(trust=True)


def test_a_sweep_takes_a_finished_run_only_with_its_checkpoint_whole(run):
    folder = RunFolder(run)
    folder.update_info(status="finished")
    assert trained_before(folder).iterations == 3
    (run / "checkpoint_000003" / "algorithm_state.pkl").write_bytes(b"")
    assert trained_before(folder) is None


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(run):
    lines = run / "result.json"
    lines.rename(run / "kept")
    lines.symlink_to("/dev/full")  # where nothing fits
    experiment, folder = unfinished_run(tiny())
    folder.rewind = lambda iteration: {}
    with pytest.raises(StorageError) as caught:
        train(experiment, folder, console=quiet())
    assert str(caught.value) == (
        f"{run} cannot be written (No space left on device); make room there, or choose another folder; "
        f"the last checkpoint is {run / 'checkpoint_000003'}, from which --resume goes on"
    )
    assert info(run)["status"] == "failed"
    lines.unlink()
    (run / "kept").rename(lines)
    assert resumed().status == "finished"
    assert iterations(run) == [1, 2, 3, 4]


def test_a_checkpoint_saved_from_python_is_ones_own(run):
    newest = run / "checkpoint_000003"
    (newest / FILE_NAME).unlink()
    with pytest.raises(ConfigError, match=r"and it has no signature\.json"):
        tiny(f"restore={newest}")
    sign(newest)
    assert tiny(f"restore={newest}").restore == newest.resolve()
