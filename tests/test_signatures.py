"""Whoever saved a checkpoint is known by a key, and a torn one by its hashes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch

from rbc_marl import signatures
from rbc_marl.errors import ConfigError, UserError
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.rllib import population


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A configuration folder of the test's own."""
    monkeypatch.delenv(signatures.VARIABLE)
    monkeypatch.setattr(signatures.typer, "get_app_dir", lambda name: str(tmp_path / "home" / name))
    return tmp_path / "home" / "rbc_marl"


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint_000001"
    (path / "learner").mkdir(parents=True)
    (path / "state.pkl").write_bytes(b"pickled")
    (path / "learner" / "state.pkl").write_bytes(b"pickled, too")
    signatures.sign(path)
    return path


def test_the_key_is_made_once_and_for_the_user_alone(checkpoint, home):
    assert stat.S_IMODE((home / "key").stat().st_mode) == 0o600
    key = (home / "key").read_text(encoding="ascii").strip()
    assert len(key) == 64 and signatures.user_key() == key
    assert [path.name for path in home.iterdir()] == ["key"]
    assert key not in (checkpoint / "signature.json").read_text(encoding="utf-8")
    (home / "key").chmod(0o644)
    assert signatures.user_key() == key
    assert stat.S_IMODE((home / "key").stat().st_mode) == 0o600


def test_processes_that_need_the_key_at_once_agree_on_it(home):
    signatures._make_key(home / "key")
    key = signatures.user_key()
    signatures._make_key(home / "key")  # another one saw no key yet, and comes too late
    assert signatures.user_key() == key
    assert [path.name for path in home.iterdir()] == ["key"]


def test_ones_own_checkpoint_is_taken(checkpoint):
    assert signatures.torn(checkpoint) == signatures.stranger(checkpoint) == ""
    signatures.check_trusted(checkpoint, False, "restore")


def forged(folder):
    """What somebody without the key can do: files of their own, with the right hashes."""
    content = json.loads((folder / "signature.json").read_text(encoding="utf-8"))
    (folder / "state.pkl").write_bytes(b"poison")
    content["files"]["state.pkl"] = signatures.hash_of(folder / "state.pkl")
    (folder / "signature.json").write_text(json.dumps(content), encoding="utf-8")


def sign_as(folder, mac):
    content = json.loads((folder / "signature.json").read_text(encoding="utf-8"))
    (folder / "signature.json").write_text(json.dumps({**content, "hmac": mac}), encoding="utf-8")


CASES = {
    "odd": (lambda path: sign_as(path, "\xe9"), "it was not signed with this user's key"),
    "no signature": (lambda path: (path / "signature.json").unlink(), "it has no signature.json"),
    "forged": (forged, "it was not signed with this user's key"),
    "added": (lambda path: (path / "new.pkl").write_bytes(b""), "new.pkl was added after it was saved"),
    "changed": (lambda path: (path / "state.pkl").write_bytes(b"poison"), "state.pkl is not what was saved"),
    "torn": (lambda path: (path / "learner" / "state.pkl").write_bytes(b"pick"), "learner/state.pkl is not what was"),
    "lost": (lambda path: (path / "state.pkl").unlink(), "state.pkl is missing"),
    "no list": (lambda path: (path / "signature.json").write_text("[]"), "signature.json cannot be read"),
    "cut": (lambda path: (path / "signature.json").write_text('{"fi'), "signature.json cannot be read"),
}


@pytest.mark.parametrize("case", CASES)
def test_any_other_asks_for_trust_and_says_why(checkpoint, case):
    change, reason = CASES[case]
    change(checkpoint)
    with pytest.raises(ConfigError) as caught:
        signatures.check_trusted(checkpoint, False, "small.restore")
    message = str(caught.value)
    assert message.startswith(f"small.restore is {checkpoint}, whose files can run any code, and {reason}")
    assert message.endswith("; give --trust if you know where it comes from") and "\n" not in message
    signatures.check_trusted(checkpoint, True, "small.restore")


def test_another_users_checkpoint_is_a_strangers(checkpoint, home):
    (home / "key").unlink()
    assert "not signed with this user's key" in signatures.stranger(checkpoint)
    assert signatures.torn(checkpoint) == ""


def test_where_no_key_can_be_kept_checkpoints_are_saved_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(signatures.typer, "get_app_dir", lambda name: str(tmp_path / "file" / name))
    (tmp_path / "checkpoint").mkdir()
    signatures.sign(tmp_path / "checkpoint")
    assert "signed where no key could be kept" in signatures.stranger(tmp_path / "checkpoint")


def test_hosts_share_a_key_by_the_environment_or_the_driver(checkpoint, home, monkeypatch):
    key = (home / "key").read_text(encoding="ascii").strip()
    (home / "key").write_text("of another host", encoding="ascii")
    assert signatures.stranger(checkpoint)
    monkeypatch.setenv(signatures.VARIABLE, key)
    assert not signatures.stranger(checkpoint)
    monkeypatch.setenv(signatures.VARIABLE, "another")
    monkeypatch.setattr(signatures, "_given", None)
    assert signatures.stranger(checkpoint)
    signatures.use_key(key)
    assert not signatures.stranger(checkpoint)


def test_of_a_folder_with_results_named_files_alone_are_signed(tmp_path):
    (tmp_path / "config.py").write_text("a = 1", encoding="utf-8")
    signatures.sign(tmp_path, ["config.py"])
    (tmp_path / "progress.csv").write_text("", encoding="utf-8")
    assert signatures.stranger(tmp_path, whole=False) == ""
    (tmp_path / "config.py").write_text("a = 2", encoding="utf-8")
    assert signatures.stranger(tmp_path, whole=False) == "config.py is not what was saved"


def test_a_run_of_a_population_is_read_as_plain_data(tmp_path):
    path = tmp_path / population.STATE_NAME
    torch.save({"seed": 3, "learner": torch.ones(2)}, path)
    assert population._read_state(path)["seed"] == 3
    torch.save({"seed": Path("a")}, path)  # a class of somebody's, of which nothing is made
    with pytest.raises(UserError, match=r"cannot be loaded \(UnpicklingError\); rename its folder, to go on from"):
        population._read_state(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be loaded"):
        population._read_state(path)


def save(folder, iteration):
    return folder.save_checkpoint(iteration, lambda path: (path / "a.pkl").write_text(str(iteration)), keep=None)


def test_torn_checkpoints_are_named_and_set_aside_down_to_a_whole_one(tmp_path):
    folder, said = RunFolder(tmp_path / "run"), []
    folder.path.mkdir()
    saved = [save(folder, iteration) for iteration in (1, 2, 3)]
    for path in saved[1:]:
        (path / "a.pkl").write_text("", encoding="utf-8")
    folder.tidy(said.append)
    assert folder.checkpoints() == saved[:1]
    assert said == [
        f"{saved[number]} is torn (a.pkl is not what was saved); it is set aside as {saved[number].name}.torn, "
        f"and the one before is {saved[number - 1].name}"
        for number in (2, 1)
    ]
    assert Path(f"{saved[2]}.torn", "a.pkl").is_file()
    assert save(folder, 3) == saved[2]
