"""Signatures of checkpoints: whether a folder is whole, and whether its files may be unpickled, which runs code.

Whoever saves a checkpoint writes ``signature.json`` beside its files: the hash of each, and a keyed hash (HMAC-SHA256)
of these. The key never leaves the user's own configuration folder, so that nobody else can sign. The hashes alone tell
a torn checkpoint from a whole one, whoever made it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from rbc_marl.errors import ConfigError, first_line
from rbc_marl.files import replace_file

FILE_NAME = "signature.json"
VARIABLE = "RBC_MARL_KEY"
"""Environment variable that holds the key where a user has no configuration folder, or several hosts share one key."""
# What Ray Tune adds to a checkpoint of EconomyPPO after it was saved; rbc-marl reads none of it.
_ADDED = (FILE_NAME, ".tune_metadata", ".metadata.json", ".is_checkpoint")

_given: str | None = None  # by the driver, to processes on other hosts


def key_file() -> Path:
    """The file of the user's key, readable for this user alone; made when something is signed first."""
    return Path(typer.get_app_dir("rbc_marl")) / "key"


def use_key(key: str | None) -> None:
    """Sign and check with the key of another process, as those on other hosts of a cluster do."""
    global _given
    _given = key


def user_key() -> str | None:
    """The key: of the driver, of the environment, or of the configuration folder; None where none can be kept."""
    if _given or os.environ.get(VARIABLE):
        return _given or os.environ[VARIABLE]
    path = key_file()
    with suppress(OSError):
        if not path.is_file():
            _make_key(path)
        path.chmod(0o600)
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="ascii").strip() or None
    return None


def _make_key(path: Path) -> None:
    """Write a new key, unless another process is faster: then its key holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".key-{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(32)}\n")
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def sign(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the signature of a folder; without a key it holds hashes alone, and nobody trusts it.

    Args:
        folder: Everything in it is final.
        names: Files to sign; None: all, also those of its folders.

    Raises:
        StorageError: It cannot be written.
    """
    files = {name: hash_of(folder / name) for name in (_files(folder) if names is None else sorted(names))}
    key = user_key()
    content = {"files": files, "hmac": None if key is None else _hmac(files, key)}
    replace_file(folder / FILE_NAME, json.dumps(content, indent=1) + "\n")


def torn(folder: Path) -> str:
    """What a folder lacks of what was saved; empty where it is whole, or where it was saved without a signature."""
    try:
        signed = _read(folder)
    except ValueError as error:
        return f"{FILE_NAME} cannot be read: {first_line(error)}"
    for name, digest in signed["files"].items() if signed else ():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if hash_of(path) != digest:
            return f"{name} is not what was saved"
    return ""


def stranger(folder: Path, *, whole: bool = True) -> str:
    """Why the files of a folder are not known to be the user's own; empty where they are.

    Args:
        folder: Whose files are about to be unpickled or run.
        whole: Whether nothing else may lie in it.
    """
    if problem := torn(folder):
        return problem
    signed, key = _read(folder), user_key()
    if signed is None:
        return f"it has no {FILE_NAME}, as folders of other programs and of older versions"
    if not isinstance(signed.get("hmac"), str):
        return "it was signed where no key could be kept"
    if key is None:
        return f"{key_file()}, the key that it would be checked with, can be neither read nor made"
    if not hmac.compare_digest(signed["hmac"].encode(), _hmac(signed["files"], key).encode()):
        return f"it was not signed with this user's key ({VARIABLE if os.environ.get(VARIABLE) else key_file()})"
    if whole and (added := set(_files(folder)) - signed["files"].keys()):
        return f"{min(added)} was added after it was saved"
    return ""


def check_trusted(folder: Path, trust: bool, where: str, *, whole: bool = True) -> None:
    """Refuse a folder whose files would run a stranger's code, unless the user trusts it.

    Args:
        folder: Whose files are about to be unpickled or run.
        trust: Whether the user said so.
        where: What asks for the folder, with which the message begins.
        whole: Whether nothing else may lie in it.

    Raises:
        ConfigError: It is not known to be the user's own.
    """
    if not trust and (reason := stranger(folder, whole=whole)):
        raise ConfigError(
            f"{where} is {folder}, whose files can run any code, and {reason}; "
            "give --trust if you know where it comes from"
        )


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hmac(files: dict[str, str], key: str) -> str:
    text = json.dumps(files, sort_keys=True)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _files(folder: Path) -> list[str]:
    """Names of all files of a folder, but for those that others add."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if str(path) not in _ADDED)


def _read(folder: Path) -> dict[str, Any] | None:
    """The signature; None where there is none.

    Raises:
        ValueError: It is damaged.
    """
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise ValueError("it names no files")
    return content
