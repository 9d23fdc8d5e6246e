"""Nothing in the package needs what macOS or Windows lacks, unless it asks first. Only Linux runs the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rbc_marl"
MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "winreg", "msvcrt", "posix"}
FUNCTIONS = {
    "os": {"fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "uname", "mkfifo", "nice"}
    | {"sched_getaffinity", "sched_setaffinity", "statvfs", "getloadavg", "process_cpu_count", "posix_fadvise"},
    "signal": {"SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGQUIT", "alarm", "pause", "sigwait"},
    "errno": {"EDQUOT"},
}
# A path that only one kind of system has.
PLACE = re.compile(r"^/(?:dev|proc|sys|etc|var|tmp)\b")


def needs(source):
    """What a source file takes for granted that not every system has."""
    tree = ast.parse(source)
    asked = set(re.findall(r"""(?:hasattr|getattr)\((?:os|signal|errno), ["'](\w+)["']""", source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            yield from (name for name in names if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in FUNCTIONS.get(node.value.id, ()) and node.attr not in asked:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and PLACE.match(node.value):
            yield node.value


def test_the_package_takes_nothing_for_granted_that_only_some_systems_have():
    found = {path.name: needed for path in PACKAGE.rglob("*.py") if (needed := [*needs(path.read_text("utf-8"))])}
    # What Linux tells of a process is read where it is there. Elsewhere a lock goes by host and number.
    assert [place for place in found.pop("lock.py") if not place.startswith("/proc/")] == []
    assert found.pop("sizes.py") == ["resource"]  # where there is none, the most memory is not said
    assert found == {}


def test_text_is_read_and_written_as_utf_8_whatever_the_system_prefers():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("read_text", "write_text"):
                is_named = any(keyword.arg == "encoding" for keyword in node.keywords) or "utf-8" in ast.dump(node)
                is_metadata = "attr='distribution'" in ast.dump(node.func.value)  # importlib's, which knows
                assert is_named or is_metadata, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl", ["fcntl"]),
        ("import os\nos.fork()", ["os.fork"]),
        ("import signal\nsignal.signal(signal.SIGHUP, f)", ["signal.SIGHUP"]),
        ('import os\nif hasattr(os, "getuid"): os.getuid()', []),
        ('open("/dev/null")', ["/dev/null"]),
        ("import os\nos.getpid()", []),
    ],
)
def test_the_rule_sees_what_it_is_about(source, found):
    assert [*needs(source)] == found
