"""One process a folder, whoever has it: of this machine or another, alive, gone, or with a number used again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time

import filelock
import pytest

from rbc_marl import UserError
from rbc_marl.experiments import lock
from rbc_marl.experiments.lock import TakenOverError, folder_lock, this_process

SINCE = {"since": "2026-01-02T03:04:05+00:00"}


def held_by(folder, age=0.0, **changes):
    """Leave a folder as another process holds it, with its last sign of life so many seconds ago."""
    record = folder / ".lock.json"
    record.write_text(json.dumps({**this_process(), **SINCE, **changes}), encoding="utf-8")
    os.utime(record, (time.time() - age,) * 2)


def is_free(folder):
    with contextlib.suppress(UserError), folder_lock(folder):
        return True
    return False


def test_a_folder_is_for_one_process_and_is_given_back(tmp_path):
    with folder_lock(tmp_path / "run"):
        assert not is_free(tmp_path / "run")
        assert json.loads((tmp_path / "run" / ".lock.json").read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert is_free(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_process_number_that_was_used_again_fools_nobody(tmp_path):
    held_by(tmp_path, pid=1, start="1")  # process 1 runs, but it began at another time
    assert is_free(tmp_path)
    held_by(tmp_path, pid=2**22 + 1)  # no process has this number
    assert is_free(tmp_path)
    held_by(tmp_path, boot="another start of this machine", age=2 * lock.SILENCE)
    assert is_free(tmp_path)


@pytest.mark.parametrize("other", [{"host": "node7"}, {"boot": "another"}, {"processes": "pid:[container]"}])
def test_a_process_of_another_machine_holds_a_folder_while_it_gives_signs_of_life(tmp_path, other):
    held_by(tmp_path, lock.SILENCE / 2, **other)
    host = other.get("host", socket.gethostname())
    said = f"{tmp_path} is in use by process {os.getpid()} on {host} since 2026-01-02T03:04:05+00:00; wait for its end"
    with pytest.raises(UserError, match=said.replace("+", r"\+")), folder_lock(tmp_path):
        pass
    assert (tmp_path / ".lock.json").is_file()
    held_by(tmp_path, lock.SILENCE + 1, **other)
    assert is_free(tmp_path)


def test_a_torn_record_holds_a_folder_no_longer_than_any_other(tmp_path):
    (tmp_path / ".lock.json").write_text("{", encoding="utf-8")
    assert not is_free(tmp_path)
    os.utime(tmp_path / ".lock.json", (time.time() - lock.SILENCE - 1,) * 2)
    assert is_free(tmp_path)


def test_without_locks_of_the_file_system_the_record_says_it_all(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with folder_lock(tmp_path):
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_signs_of_life_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    record = tmp_path / ".lock.json"
    with folder_lock(tmp_path) as hold:
        os.utime(record, (1, 1))
        while record.stat().st_mtime == 1:
            hold._thread.join(0.01)
        hold.check()


def test_whoever_slept_for_long_writes_nothing_into_a_folder_that_another_took_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 3600)
    with folder_lock(tmp_path) as hold:
        held_by(tmp_path, host="node7")
        with pytest.raises(TakenOverError, match=f"taken over by process {os.getpid()} on node7 since"):
            hold.check()
    assert (tmp_path / ".lock.json").is_file()  # the other's


def test_of_two_that_find_a_holder_gone_one_has_the_folder(tmp_path):
    held_by(tmp_path, lock.SILENCE + 1, host="node7")
    gone = json.loads((tmp_path / ".lock.json").read_text(encoding="utf-8"))
    held_by(tmp_path, host="node8")  # the first of the two has come since
    assert not lock._set_aside(tmp_path / ".lock.json", gone)
    assert json.loads((tmp_path / ".lock.json").read_text(encoding="utf-8"))["host"] == "node8"


def test_a_folder_that_cannot_be_locked_is_said(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be locked .*; choose another folder"), folder_lock(tmp_path / "file"):
        pass


class KilledError(BaseException):
    """What nobody catches, as little as a kill."""


def test_a_process_that_is_killed_while_it_takes_a_folder_keeps_nobody_out(tmp_path, monkeypatch):
    def kill(owner):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(lock, "_text", kill)
        with pytest.raises(KilledError), folder_lock(tmp_path):
            pass
    assert is_free(tmp_path)


def test_a_file_system_without_hard_links_has_locks_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with folder_lock(tmp_path):
        assert not is_free(tmp_path)
        assert not lock._put_first(tmp_path / ".lock.json", this_process())
    assert is_free(tmp_path) and [path.name for path in tmp_path.iterdir()] == [".lock"]
