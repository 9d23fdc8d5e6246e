"""Files are the old ones or the new ones, on the disk before they get their names, and errors say what to do."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from rbc_marl import files
from rbc_marl.errors import StorageError, UserError
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.rows import RowStore


def refuse(number):
    """A function that fails as the operating system does."""

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def calls(monkeypatch):
    """What is flushed and renamed, in order."""
    made, fsync, replace = [], os.fsync, Path.replace

    def flush(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        made.append("folder" if is_folder else f"file of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def rename(path, target):
        made.append(f"{path.name} is {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    return made


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_name_is_when_that_returns(calls, tmp_path):
    files.replace_file(tmp_path / "a.json", "12345")
    assert calls == ["file of 5", ".a.json.tmp is a.json", "folder"]


def test_a_checkpoint_is_on_the_disk_with_all_that_was_reported_before_it_gets_its_name(calls, tmp_path):
    folder = RunFolder(tmp_path)
    folder.log(1, {"training_iteration": 1})
    calls.clear()

    def write(path):
        (path / "learner").mkdir()
        (path / "learner" / "state.pkl").write_bytes(b"1234567")

    folder.save_checkpoint(1, write, keep=None)
    folder.close()
    named = calls.index(".checkpoint_000001.tmp is checkpoint_000001")
    assert calls[named + 1 :] == ["folder"]
    logs = [f"file of {(tmp_path / name).stat().st_size}" for name in ("progress.csv", "result.json")]
    assert calls[:2] == logs
    assert "file of 7" in calls[2:named] and calls[2:named].count("folder") >= 2


@pytest.mark.parametrize(
    "write", [lambda path: RowStore(path).write("a", {"b": 1}), lambda path: RunFolder(path).update_info(a=1)]
)
def test_rows_and_records_go_the_same_way(calls, tmp_path, write):
    write(tmp_path)
    assert calls[0].startswith("file of") and " is " in calls[1] and calls[2] == "folder"


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "No space left on device); make room there, or choose another folder"),
        (errno.EROFS, "Read-only file system); make it writable, or choose another folder"),
        (errno.EACCES, "Permission denied); make it writable, or choose another folder"),
        (errno.EIO, "Input/output error); bring it back if it was moved or its disk was taken away"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_the_old_content_stays(tmp_path, monkeypatch, number, mend):
    files.replace_file(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(StorageError) as caught:
        files.replace_file(tmp_path / "a.json", "new")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'} cannot be written ({mend}")
    assert isinstance(caught.value, UserError) and isinstance(caught.value, OSError)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "old"


def test_a_folder_that_is_gone_is_told_of(tmp_path):
    with pytest.raises(StorageError, match=r"a/b\.json cannot be written \(No such file .*\); bring it back if it was"):
        files.replace_file(tmp_path / "a" / "b.json", "")


def test_a_file_system_that_flushes_no_folders_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def flush(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    files.replace_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "new"


def test_run_json_takes_its_status_on_a_full_disk(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.update_info(status="running", host="a")
    monkeypatch.setattr(Path, "write_bytes", refuse(errno.ENOSPC))  # nothing new fits: the old file has its room
    folder.update_info(status="failed")
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"status": "failed", "host": "a"}


def test_a_checkpoint_that_does_not_fit_leaves_nothing_and_those_before(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save_checkpoint(1, lambda path: (path / "a").write_text("1"), keep=1)
    with pytest.raises(StorageError, match=r"/checkpoint_000002 cannot be written \(No space left"):
        folder.save_checkpoint(2, refuse(errno.ENOSPC), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_000001"]


def test_a_log_that_does_not_fit_says_so(tmp_path):
    (tmp_path / "result.json").symlink_to("/dev/full")  # where nothing fits
    with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\); make room there"):
        RunFolder(tmp_path).log(1, {"training_iteration": 1})


def test_leftovers_go_at_the_next_start_and_nothing_else_does(tmp_path):
    for name in (".checkpoint_000003.tmp/learner", "checkpoint_000002", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".progress.csv.tmp", "progress.csv", "notes.tmp"):
        (tmp_path / name).write_text("a", encoding="utf-8")
    RunFolder(tmp_path).tidy()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [".hidden", "checkpoint_000002", "notes.tmp", "progress.csv"]


def test_what_is_set_aside_twice_is_kept_twice(tmp_path):
    for text in ("one", "two"):
        (tmp_path / "a").write_text(text, encoding="utf-8")
        files.set_aside(tmp_path / "a")
    contents = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert contents == {"a.torn": "one", "a.torn1": "two"}
