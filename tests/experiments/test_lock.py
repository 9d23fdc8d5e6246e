"""One process a folder, whoever has it: of this machine or another, alive, gone, or with a number used again."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import socket
import threading
import time
from types import SimpleNamespace

import filelock
import pytest

from rbc_marl import UserError, places
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


def test_a_folder_is_given_back_here_also_where_its_address_is_lost(tmp_path, monkeypatch):
    def fail(path):
        raise UserError("s3://bucket cannot be reached")

    with folder_lock(tmp_path):
        for name in ("look", "remove"):
            monkeypatch.setattr(places, name, fail)
    monkeypatch.undo()
    assert is_free(tmp_path) and not (tmp_path / ".lock.json").exists()


class Address:
    """An address as places show it, and machines that come for one folder there, in turns of one request each."""

    def __init__(self, root, monkeypatch, choices, gone=False):
        self.root, self.choices, self.alternatives = root, choices, []
        self.files = {".lock.json": (json.dumps({"host": "gone", **SINCE}), 2 * lock.SILENCE)} if gone else {}
        self.turns, self.done = [threading.Lock(), threading.Lock()], threading.Lock()
        for handed in (*self.turns, self.done):  # to the other by a release
            handed.acquire()
        self.asleep, self.ended = set(), set()
        self.holders, self.most = set(), 0
        for name in ("look", "names", "push", "remove"):
            monkeypatch.setattr(places, name, getattr(self, name))
        monkeypatch.setattr(places, "is_remote", lambda path: True)
        monkeypatch.setattr(lock, "this_process", lambda: self.process(self.number()))
        monkeypatch.setattr(lock.uuid, "uuid4", lambda: SimpleNamespace(hex=str(self.number())))
        monkeypatch.setattr(lock.time, "sleep", lambda seconds: self.turn(asleep=True))

    def number(self):
        return int(threading.current_thread().name)

    def process(self, number):
        return {"host": f"node{number}", "pid": 1, "start": "1", "boot": str(number), "processes": ""}

    def turn(self, asleep=False):
        """Wait until it is this machine's turn."""
        number = self.number()
        if asleep:
            self.asleep.add(number)
        self.done.release()
        self.turns[number].acquire()

    def look(self, path):
        self.turn()
        return self.files.get(path.name)

    def names(self, folder, beginning):
        self.turn()
        return sorted(name for name in self.files if name.startswith(beginning))

    def push(self, path):
        self.turn()
        self.files[path.name] = (path.read_text(encoding="utf-8"), 0.0)

    def remove(self, path):
        self.turn()
        self.files.pop(path.name, None)

    def take(self, gives_back):
        """What a machine does: it takes the folder, or is told who has it."""
        number = self.number()
        self.turns[number].acquire()
        with contextlib.ExitStack() as stack:
            folder = self.root / str(number)
            if lock._take(folder, {**self.process(number), **SINCE}, stack) is None:
                self.holders.add(number)
                self.most = max(self.most, len(self.holders))
                if gives_back:
                    self.remove(folder / ".lock.json")
                    self.holders.remove(number)
        self.ended.add(number)
        self.done.release()

    def run(self, gives_back=False):
        """Both at once, in the order of the choices, and then with the first who can go on."""
        machines = [threading.Thread(target=self.take, args=(gives_back,), name=str(n), daemon=True) for n in (0, 1)]
        for number, machine in enumerate(machines):
            (self.root / str(number)).mkdir(exist_ok=True)
            (self.root / str(number) / ".lock.json").unlink(missing_ok=True)
            machine.start()
        for step in itertools.count():
            able = [number for number in (0, 1) if number not in self.ended]
            if not able:
                return
            if len(able) == 2:
                able = [number for number in able if number not in self.asleep]
            assert able and step < 100, "they wait for each other"
            choice = self.choices[step] if step < len(self.choices) else 0
            self.alternatives.append((choice, len(able)))
            self.asleep.clear()  # whoever waits looks again after a step of the other
            self.turns[able[choice]].release()
            self.done.acquire()


def every_order(root, monkeypatch, gone=False, gives_back=False):
    """What comes of two machines that want one folder, in every order of their requests."""
    choices = []
    while True:
        address = Address(root, monkeypatch, choices, gone)
        address.run(gives_back)
        yield address
        taken = address.alternatives
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        choices = [choice for choice, _ in taken[:-1]] + [taken[-1][0] + 1]


@pytest.mark.slow
@pytest.mark.parametrize("gone", [False, True])
def test_of_two_machines_one_has_a_folder_at_an_address_in_every_order_of_their_requests(tmp_path, monkeypatch, gone):
    orders = 0
    for address in every_order(tmp_path, monkeypatch, gone):
        orders += 1
        assert len(address.holders) == 1, [choice for choice, _ in address.alternatives]
        assert [*address.files] == [".lock.json"]
        assert json.loads(address.files[".lock.json"][0])["host"] == f"node{address.holders.pop()}"
    assert orders > 100


@pytest.mark.slow
def test_a_folder_at_an_address_that_is_given_back_goes_to_one_machine_at_a_time(tmp_path, monkeypatch):
    assert {address.most for address in every_order(tmp_path, monkeypatch, gives_back=True)} == {1}


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
