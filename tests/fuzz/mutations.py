"""What the fuzz campaign shares: values that somebody might write, mutations of plain data, what may come of them."""

from __future__ import annotations

import copy
import math
import signal
import threading
from contextlib import contextmanager
from datetime import date

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rbc_marl.errors import UserError

USUAL = 25  # examples of the profile "default", for which the campaign's sizes are given
LONGEST = 5  # seconds

NASTY = [
    None, True, False, "", "a\nb", "\x00", "ä" * 300, "unset", "nan", "1e3", "1", "best", "../x", "s3://bucket/x", "~",
    -1, 0, 1, 2, 0.5, 1.5, -0.0, 1e-320, 1e38, 1e308, -1e308, math.inf, -math.inf, math.nan,
    2**31, 2**32, 2**53, 2**63, 2**64, 10**9, 10**18, 10**300,
    [], [[]], {}, [1], ["a"], [None], [[1, [2, [3]]]], {"a": 1}, {1: 2}, {None: 1}, {"": {}}, [0, 1, 1],
    date(2020, 1, 1), b"bytes", {1, 2}, "os.abort", "http.server.test", "builtins.dict", "signal.pause", "sys",
    {"grid_search": []}, {"grid_search": [1, "a", None]}, {"uniform": [2, 1]}, {"loguniform": [0, 1]},
    {"choice": [1, 2]}, {"randint": [0, 10**30]}, {"randn": [0, 1e308]}, {"grid_search": list(range(300))},
    {"from": 0, "count": 10**9}, {"file": "x.yaml"}, "quickstart.yaml", "consumer", "firm", "flat", "equivariant",
]  # fmt: skip
WORDS = [
    "seed", "lr", "config", "env_config", "num_consumers", "", "a.b", "run", "env", "base", "stop", "policies",
    "curriculum", "networks", "<<", "1", "\n", "x" * 300, "__class__", "model", "set", "arms", "kind", "economy",
]  # fmt: skip

PIECES = [
    "[", "{", "{a: ", "- ", ": ", "\t", "\x00", "&a ", "*a", "!!int ", "!!python/name:os.abort ", "|\n", "? ", "%", "'",
    '"', "\n", "  ", "#", "<<: ", "9", "é", "---\n", "!!set ", "=", ".",
]  # fmt: skip

values = st.one_of(
    st.sampled_from(NASTY), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=5)
)


def sized(count):
    """So many in CI; ten times as many with `make fuzz`."""
    return count * settings.default.max_examples // USUAL


def cases(count):
    """So many examples in CI, the same each time; `make fuzz` tries ten times as many."""
    too_slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=sized(count), suppress_health_check=too_slow, database=None)


def _places(tree, path=()):
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from _places(value, (*path, key))


@st.composite
def mutated(draw, trees, most=3):
    """One of some trees of plain data, with a few things replaced, taken out, added or renamed."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, most))):
        places = [path for path in _places(tree) if path]
        if not places:
            return tree
        *parents, key = draw(st.sampled_from(places))
        owner = tree
        for part in parents:
            owner = owner[part]
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "rename"])):
            case "replace":
                owner[key] = copy.deepcopy(draw(values))
            case "remove":
                del owner[key]
            case "add" if isinstance(owner, dict):
                owner[draw(st.sampled_from(WORDS) | st.text(max_size=9))] = copy.deepcopy(draw(values))
            case "rename" if isinstance(owner, dict):
                owner[draw(st.sampled_from(WORDS) | st.text(max_size=9))] = owner.pop(key)
            case _:
                owner[key] = [owner[key], owner[key]]
    return tree


@st.composite
def mutated_text(draw, texts):
    """One of some texts with a few cuts, insertions, repetitions, and deep nesting."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(text) - 1, 0)))
        stop = min(len(text), start + draw(st.integers(0, 40)))
        times = draw(st.sampled_from([1, 2, 60, 500, 5000]))
        inserted = draw(
            st.sampled_from(PIECES)
            | st.text(max_size=3)
        )
        action = draw(st.sampled_from(["insert", "cut", "repeat"]))
        middle = {"insert": inserted * times, "cut": "", "repeat": text[start:stop] * min(times, 60)}[action]
        text = text[:start] + middle + text[start if action == "insert" else stop :]
    return text


@contextmanager
def refused_or_accepted():
    """What may come of any input: nothing, or a refusal in one line, soon; any other error goes through.

    The alarm is a guard against hangs alone: nothing here is near it.
    """

    def ring(*_):
        pytest.fail(f"it took {6 * LONGEST} seconds of the processor")

    can_ring = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGPROF, ring) if can_ring else None
    if can_ring:
        # Of the process's own time: other processes may keep it waiting.
        signal.setitimer(signal.ITIMER_PROF, 6 * LONGEST)
    try:
        yield
    except UserError as error:
        message = str(error)
        assert message.strip() and len(message.splitlines()) == 1, repr(message)
        assert len(message) < 2000, message[:300]
        assert "Traceback" not in message, message
    finally:
        if can_ring:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
