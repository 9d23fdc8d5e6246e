"""What made a result, to be kept beside it: versions of packages, the commit, the command.

What is shared with a result does not say whose machine it was and holds no secret: host, process and paths have a file
of their own (`machine`), and the values of keys, tokens and passwords are nowhere.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

PACKAGES = ("torch", "ray", "numpy", "gymnasium", "pettingzoo")
HIDDEN = "***"
"""Stands in records for the value of a key, a token or a password."""

# A name that ends in one of these words and what is given to it, alone or inside a mapping; and who logs in somewhere.
_NAME = r"(?<!\w)(?:[\w.-]*[._-])?(?:api_?key|access_?key|key|token|password|passwd|secret|credentials?)"
_ALONE = re.compile(rf"(?is)\A({_NAME}=).+")
_SECRET = re.compile(rf"""(?i)({_NAME}["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,}}\]]+)""")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
# An absolute path, of which the last name is shown.
_PATH = re.compile(r"""(?<![\w.:/\\~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s,:;=/\\{}"'\[\]]+[/\\])+(?=[^\s,:;=/\\{}"'\[\]])""")


def versions() -> dict[str, str]:
    """Versions of what decides a run: Python, the packages that are installed, and this one as it runs."""
    from rbc_marl import __version__

    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "rbc_marl": __version__}


def processor() -> str:
    """Its model, where the system says it."""
    return _processor_says().get("Model name") or platform.processor() or platform.machine()


def processor_in_full() -> str:
    """What decides the last digits of sums: libraries go by the kind of a processor and the size of its caches."""
    says = _processor_says()
    more = [f"{name} {value}" for name in ("CPU family", "Model", "Stepping") if (value := says.get(name))]
    return ", ".join([processor(), *more])


@cache
def _processor_says() -> dict[str, str]:
    parts = (line.partition(":") for line in said("lscpu"))
    return {name.strip(): value.strip() for name, _, value in parts}


def said(*command: str) -> list[str]:
    """Lines that a command prints; none where there is no such command."""
    try:
        plain = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=plain)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


@cache
def git_commit() -> str | None:
    """The commit of this package, with "+changes" where its files differ from it; None where it is unknown.

    It is that of the source tree that runs, whatever the working folder, or the one that pip installed from.
    """
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An environment may lie in another project's repository, which does not know the package.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return _installed_from()
    changes = git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{git('rev-parse', 'HEAD')}{'+changes' if changes else ''}"


def _installed_from() -> str | None:
    try:
        text = importlib.metadata.distribution("rbc_marl").read_text("direct_url.json")
        commit = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    return str(commit) if commit else None


def masked(text: str) -> str:
    """A text without the values of keys, tokens and passwords: ``api_key=***``."""
    for pattern in (_ALONE, _SECRET):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return _LOGIN.sub(HIDDEN, text)


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an experiment without the keys of its loggers, which they must get in another way to go on."""

    def kept(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {key: kept(inner) for key, inner in value.items() if masked(f"{key}=x") == f"{key}=x"}

    return {name: kept(value) if name == "loggers" else value for name, value in settings.items()}


def shown(command: Sequence[str]) -> list[str]:
    """A command as a record shows it to others: without secrets, and of absolute paths the last name."""
    return [_PATH.sub(".../", masked(word)) for word in command]


def shown_path(path: PurePath) -> str:
    """A file as a record shows it to others: relative to the working folder, or by its name alone."""
    try:
        return Path(path).resolve().relative_to(Path.cwd()).as_posix() if Path(path).is_absolute() else path.as_posix()
    except ValueError:
        return path.name


def machine(command: Sequence[str], source: PurePath | None = None) -> dict[str, Any]:
    """Where something was made, which is nobody else's business: host, process, paths, and the command with them."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "folder": str(Path.cwd()),
        "source": None if source is None else str(Path(source).resolve()),
        "command": [masked(word) for word in command],
    }
