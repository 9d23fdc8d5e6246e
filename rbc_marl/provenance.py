"""What made a result, to be kept beside it: versions of packages, and the commit."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess

PACKAGES = ("torch", "ray", "numpy", "gymnasium", "pettingzoo", "rbc_marl")


def versions() -> dict[str, str]:
    """Versions of what decides a run: Python and the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
            if package == "rbc_marl":
                from rbc_marl import __version__

                found[package] = __version__
    return found


def git_commit() -> str | None:
    """The commit of the current folder, with "+changes" where files differ from it; None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
