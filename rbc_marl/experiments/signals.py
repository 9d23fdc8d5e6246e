"""Signals that end work in order: Ctrl-C, SIGTERM, and that of a terminal that is closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Self


class StopRequest:
    """Catches Ctrl-C, SIGTERM and a closed terminal, so that a run ends between two iterations.

    A second signal ends it at once. A closed terminal is ignored where the run was told to (``nohup``).

    Args:
        notice: Told once, in a thread of its own, that the run is about to stop.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self.signal: int | None = None
        self.notice = notice
        self._previous: dict[int, Any] = {}
        self._teller: threading.Thread | None = None
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        """Install the handlers (only the main thread can)."""
        if threading.current_thread() is threading.main_thread():
            self._terminals = [number for number in (1, 2) if os.isatty(number)]
            self._previous = {n: signal.signal(n, self._handle) for n in ending_signals()}
        return self

    def __exit__(self, *_: object) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._teller is not None:
            self._teller.join()

    def reinstall(self) -> None:
        """Take the signals again after Ray has installed handlers of its own."""
        for number in self._previous:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        if number == getattr(signal, "SIGHUP", None):  # what is printed from here on has no place to go to
            leave_terminal(self._terminals)
        # The signal may have come in the middle of a print, or of an import of what prints: another thread waits for
        # the end of it.
        words = "stopping: this iteration ends, then a checkpoint is saved (again: at once, without one)"
        self._teller = threading.Thread(target=self.notice, args=(words,), name="stop-notice", daemon=True)
        self._teller.start()


def ending_signals() -> list[int]:
    """Signals that end a run in order; not those that this process was told to ignore, as ``nohup`` does."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    return [number for number in numbers if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]


def leave_terminal(streams: Sequence[int]) -> None:
    """Send what goes to file descriptors of a terminal that is gone nowhere: writing to it would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in streams:
        os.dup2(nowhere, number)
    os.close(nowhere)
