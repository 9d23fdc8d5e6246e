"""One process a folder, also where several machines see it.

Two things hold a folder. The system's own lock on ``.lock`` goes with the process that has it; some file systems keep
it to one machine, or have none. So ``.lock.json`` says who holds the folder, in a way that no other process can be
taken for it, and is written anew every few seconds: one that stays as it is belongs to nobody.

At an address of remote storage there is neither a lock nor a file that only one of two can make. Whoever wants a folder
there says so in a file with a name of its own, then looks whether others have said so, and only then who holds the
folder. Of two that come together the later one sees the other's file, so that both never go on; the one whose name
comes first does. A process writes its record before it takes its file away: whoever no longer sees the file sees the
record.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rbc_marl import places
from rbc_marl.errors import UserError
from rbc_marl.files import replace_file

# Seconds between two signs of life, and seconds without one after which the folder of another machine's process is
# free: network file systems show a change late.
BEAT = 10.0
SILENCE = 60.0
# What the files begin with by which processes say that they want a folder at an address, and seconds between two looks
# at those of others.
CLAIM = ".lock.claim-"
LOOK = 0.2

Owner = dict[str, Any]


class TakenOverError(UserError):
    """A folder belongs to another process by now: nothing may be written there any more."""


class Hold:
    """A folder that this process has for itself."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path, self.owner = path, owner
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live, name="folder-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Look whether the folder is still this process's: another takes over from one that was halted for long.

        Raises:
            TakenOverError: It is not.
        """
        holder = _read(self.path)
        if holder is not None and not _is_same(holder, self.owner):
            raise TakenOverError(f"{self.path.parent} was taken over by {_described(holder)} while this process slept")

    def release(self) -> None:
        """Give the folder back."""
        self._end.set()
        self._thread.join()
        with suppress(OSError, UserError):  # an address that cannot be reached
            self._look_elsewhere()
        with suppress(OSError, UserError):  # what stays belongs to nobody after a while
            self.check()
            self.path.unlink(missing_ok=True)
            places.remove(self.path)

    def _live(self) -> None:
        while not self._end.wait(BEAT):
            with suppress(OSError, UserError):  # a disk that is full or gone: whoever writes there says so
                self._look_elsewhere()
                holder = _read(self.path)
                if holder is None or _is_same(holder, self.owner):
                    replace_file(self.path, _text(self.owner))
                    places.push(self.path)

    def _look_elsewhere(self) -> None:
        """Bring the record of another process that has the folder at its address by now, for `check` to find."""
        there = places.look(self.path)
        if there is not None and not _is_same(_parsed(there[0]), self.owner):
            replace_file(self.path, there[0])


@contextmanager
def folder_lock(path: Path, patience: float = 0.0) -> Iterator[Hold]:
    """Hold a folder for this process alone. A process that dies lets go of it.

    Args:
        path: The folder; made if there is none.
        patience: Seconds to wait for another process to let go of it.

    Raises:
        UserError: Another process holds it, or it cannot be locked; the message names who holds it.
    """
    deadline = time.monotonic() + patience
    owner = {**this_process(), "since": datetime.now().astimezone().isoformat(timespec="seconds")}
    with ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            while (holder := _take(path, owner, stack)) is not None:
                if time.monotonic() >= deadline:
                    raise UserError(f"{path} is in use by {_described(holder)}; wait for its end, or stop it")
                time.sleep(min(0.2, max(deadline - time.monotonic(), 0.0)))
            hold = Hold(path / ".lock.json", owner)
        except OSError as error:
            raise UserError(f"{path} cannot be locked ({error}); choose another folder") from None
        stack.callback(hold.release)
        yield hold


def _take(folder: Path, owner: Owner, stack: ExitStack) -> Owner | None:
    """Take a folder, or say who has it."""
    from filelock import FileLock, Timeout

    record, lock = folder / ".lock.json", FileLock(folder / ".lock", timeout=0)
    try:
        with suppress(NotImplementedError):  # the file system has no locks: the record says it all
            lock.acquire()
    except Timeout:
        return _read(record) or {}
    with ExitStack() as attempt:
        attempt.callback(lock.release)
        holder = _read(record)
        if holder is not None and _lives(holder, _silence(record)):
            return holder
        with _claimed(record, owner) as other:
            if other is not None:
                return other
            if holder is not None and not _set_aside(record, holder):
                return _read(record) or {}
            if not _put_first(record, owner):
                return _read(record) or {}
            places.push(record)
        stack.push(attempt.pop_all())
    return None


def _put_first(record: Path, owner: Owner) -> bool:
    """Write the record of a holder, unless there is one: of two that come at the same time one fails.

    It is there whole or not at all: half of one says nothing of a process that was killed meanwhile.
    """
    whole = record.with_name(f".lock.new.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        whole.write_text(_text(owner), encoding="utf-8")
        try:
            os.link(whole, record)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with record.open("x", encoding="utf-8") as file:
                file.write(_text(owner))
    except FileExistsError:
        return False
    finally:
        whole.unlink(missing_ok=True)
    return True


@contextmanager
def _claimed(record: Path, owner: Owner) -> Iterator[Owner | None]:
    """Say at a folder's address that it is wanted; nothing happens for a folder that is at none.

    Yields:
        Who holds it there, or comes first; None: nobody, and nobody can until this ends.
    """
    if not places.is_remote(record):
        yield None
        return
    if (holder := _holder_elsewhere(record)) is not None:
        yield holder
        return
    claim = record.with_name(f"{CLAIM}{uuid.uuid4().hex}")
    try:
        claim.write_text(_text(owner), encoding="utf-8")
        places.push(claim)
        yield _first_come(record, claim)
    finally:
        claim.unlink(missing_ok=True)
        with suppress(UserError):  # what stays counts for nothing after a while
            places.remove(claim)


def _first_come(record: Path, claim: Path) -> Owner | None:
    """Who has a folder at its address, or gets it before whoever has written a claim; None: nobody."""
    while True:
        names = places.names(record.parent, CLAIM)
        wanted = {name: _claimant(record, name) for name in names if name != claim.name}
        others = {name: other for name, other in wanted.items() if other is not None}
        if (holder := _holder_elsewhere(record)) is not None:
            return holder
        if claim.name not in names:  # this process slept, and others took it for gone
            return {}
        if first := min((name for name in others if name < claim.name), default=None):
            return others[first]
        if not others:
            return None
        time.sleep(LOOK)  # whoever comes later gives way, or had looked before and writes its record


def _claimant(record: Path, name: str) -> Owner | None:
    """Who has written a claim; None where it has gone, or its process has."""
    claim = record.with_name(name)
    if (there := places.look(claim)) is None:
        return None
    owner, seconds = _parsed(there[0]), there[1]
    if _lives(owner, seconds):
        return owner
    places.remove(claim)
    return None


def _holder_elsewhere(record: Path) -> Owner | None:
    """Who holds a folder at its address, where others see it."""
    if (there := places.look(record)) is None:
        return None
    holder, seconds = _parsed(there[0]), there[1]
    return holder if _lives(holder, seconds) else None


def _lives(holder: Owner, silence: float) -> bool:
    """Whether a holder is still there: looked up on this machine, by its signs of life on others.

    Args:
        holder: As the record says.
        silence: Seconds since its last sign of life.
    """
    here = this_process()
    if all(holder.get(key) == here[key] for key in ("host", "boot", "processes")):
        # Where the system does not tell, its own lock, which this process has by now, says that nobody is there.
        return bool(holder.get("start")) and process_start(holder["pid"]) == holder["start"]
    return silence < SILENCE


def _silence(record: Path) -> float:
    """Seconds since a record was written, by the clock of its disk."""
    now = record.with_name(f".lock.{os.getpid()}.tmp")
    now.write_bytes(b"")
    try:
        return now.stat().st_mtime - record.stat().st_mtime
    except FileNotFoundError:
        return SILENCE
    finally:
        now.unlink(missing_ok=True)


def _set_aside(record: Path, holder: Owner) -> bool:
    """Remove the record of a holder that is gone, and no other's that has just come in its place."""
    aside = record.with_name(f".lock.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        record.replace(aside)
    except FileNotFoundError:
        return True
    is_same = _read(aside) == holder
    if not is_same:
        with suppress(FileExistsError, OSError):
            os.link(aside, record)
    aside.unlink(missing_ok=True)
    return is_same


def this_process() -> Owner:
    """What tells this process from every other one, also from one that gets its number later."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "start": process_start(os.getpid()),
        "boot": _line("/proc/sys/kernel/random/boot_id"),
        "processes": _link("/proc/self/ns/pid"),  # containers of one machine number theirs apart
    }


def process_start(pid: int) -> str | None:
    """When a process began, in the system's own ticks; None if there is none, or where the system does not tell."""
    try:  # the name of a program may hold spaces and brackets
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_same(one: Owner, other: Owner) -> bool:
    return all(one.get(key) == other.get(key) for key in ("host", "pid", "start", "boot", "processes"))


def _read(record: Path) -> Owner | None:
    try:
        return _parsed(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return {}


def _parsed(text: str) -> Owner:
    """The owner that a record names; empty while it is being written, or where it is torn."""
    try:
        holder = json.loads(text)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _text(owner: Owner) -> str:
    return json.dumps(owner) + "\n"


def _line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _described(holder: Owner) -> str:
    """Who holds a folder."""
    if not {"pid", "host", "since"} <= holder.keys():  # it has only just taken it
        return "another process"
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
