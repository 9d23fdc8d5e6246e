"""What is kept beside a result: the package's own commit, and nothing of the machine or of anybody's keys."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import rbc_marl
from rbc_marl import provenance
from rbc_marl.provenance import machine, masked, shown, shown_path, without_secrets


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("loggers.wandb.api_key=abc123", "loggers.wandb.api_key=***"),
        ("loggers={wandb: {api_key: abc123, project: p}}", "loggers={wandb: {api_key: ***, project: p}}"),
        ('loggers={"wandb": {"api_key": "a b, c"}}', 'loggers={"wandb": {"api_key": ***}}'),
        ("MY_TOKEN=abc", "MY_TOKEN=***"),
        ("db.password=a b, c", "db.password=***"),
        ("{db: {password: 'a b'}}", "{db: {password: ***}}"),
        ("client_secret: abc", "client_secret: ***"),
        ("--out=s3://id:abc@bucket/x", "--out=s3://***@bucket/x"),
        # No secrets:
        ("env_config.num_consumers=20", "env_config.num_consumers=20"),
        ("action_mask_keys=[a]", "action_mask_keys=[a]"),
        ("monkey=3", "monkey=3"),
        ("stop={training_iteration: 3}", "stop={training_iteration: 3}"),
        ("s3://bucket/x@2", "s3://bucket/x@2"),
    ],
)
def test_values_of_keys_tokens_and_passwords_are_in_no_record(text, record):
    assert masked(text) == record


def test_a_command_is_shown_without_the_folders_of_its_machine():
    home = os.sep + "home"  # in two parts: no file names a folder of one machine
    command = ["rbc-marl", "train", f"{home}/ann/mine.yaml", "--set", f"storage_path={home}/ann/results", "lr=1e-3"]
    assert shown(command) == ["rbc-marl", "train", ".../mine.yaml", "--set", "storage_path=.../results", "lr=1e-3"]
    assert shown(["rllib_configs/a.yaml", "s3://bucket/a/b", "1/2", "~/a/b"]) == [
        *("rllib_configs/a.yaml", "s3://bucket/a/b", "1/2", ".../b")
    ]


def test_a_file_is_shown_by_its_place_in_the_working_folder_or_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "a" / "b.yaml") == "a/b.yaml" == shown_path(Path("a/b.yaml"))
    assert shown_path(tmp_path.parent / "b.yaml") == "b.yaml"


def test_what_says_where_something_was_made_has_a_record_of_its_own():
    record = machine(["x", "api_key=abc"], Path("a.yaml"))
    assert record.keys() == {"host", "pid", "folder", "source", "command"}
    assert record["pid"] == os.getpid() and "abc" not in json.dumps(record)


def test_the_keys_of_loggers_are_in_no_settings():
    settings = {"loggers": {"wandb": {"api_key": "abc", "project": "p"}}, "config": {"lr": 1}}
    assert without_secrets(settings) == {"loggers": {"wandb": {"project": "p"}}, "config": {"lr": 1}}


def test_the_version_and_the_commit_are_the_packages_own(tmp_path, monkeypatch):
    """Not those of the working folder's repository, nor of another installation."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    other = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    provenance.git_commit.cache_clear()
    here = provenance.git_commit()
    provenance.git_commit.cache_clear()
    monkeypatch.chdir(tmp_path)
    assert provenance.git_commit() == here
    assert other.stdout.strip() not in str(here)
    monkeypatch.setattr(rbc_marl, "__version__", "9.9")
    assert provenance.versions()["rbc_marl"] == "9.9"


def test_an_environment_inside_another_repository_has_not_its_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "site-packages" / "provenance.py"))
    monkeypatch.setattr(provenance, "_installed_from", lambda: "of pip's")
    provenance.git_commit.cache_clear()
    assert provenance.git_commit() == "of pip's"
    provenance.git_commit.cache_clear()
