"""Where results are: a folder of this machine, or an address of remote storage (s3, gs, abfs).

Everything is written into a folder. That of an address is a mirror of it on this machine, whose name says the address;
`push` brings what is new there to the address, and `pull` brings it back. Both do nothing for any other folder, so that
nobody else has to ask which kind it is.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from rbc_marl.errors import ConfigError, UserError, first_line, nearest, require

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss")
# What a folder held when it was last brought to its address whole, so that half of a checkpoint counts for nothing.
INDEX = ".stored.json"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/(/?)")

# Size and time of files as they were when they were last brought to an address, or from there.
_stored: dict[Path, tuple[int, int]] = {}


def local_path(text: str | Path, where: str = "--out") -> Path:
    """The folder or file of this machine that stands for a place.

    Args:
        text: A path, which may begin with ``~`` and hold variables such as ``$HOME``; or an address, such as
            ``s3://bucket/results``.
        where: Its place in a file or on a command line, for messages.

    Raises:
        ConfigError: The kind of address is not known, or something in it is missing.
    """
    text = place_of(text, where)
    if "://" not in text:
        return Path(text)
    address = urlsplit(text)
    root = f"{address.scheme}://{address.netloc}" + (f"?{address.query}" if address.query else "")
    path = _mirrors() / quote(root, safe="") / address.path.strip("/")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def place_of(text: str | Path, where: str = "--out") -> str:
    """The same place as an address, or as a path without ``~`` and variables.

    Raises:
        ConfigError: As in `local_path`.
    """
    # A path keeps one of two slashes.
    text = re.sub(r"^(\w+):/(?!/)", r"\1://", text.as_posix()) if isinstance(text, Path) else text
    match = _SCHEME.match(text)
    if match is None or len(match[1]) == 1:  # a drive of Windows
        return _expanded(text, where)
    if match[1] not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConfigError(f"{where} is {text!r}; it must be a path, or begin with {known}{nearest(match[1], SCHEMES)}")
    if not match[2]:
        raise ConfigError(f"{where} is {text!r}; after the colon an address has two slashes: {match[1]}://")
    address = urlsplit(text)
    if match[1] == "file":
        if address.netloc not in ("", "localhost"):
            raise ConfigError(f"{where} is {text!r}; it must be a file of this machine: file:///folder")
        return _expanded(unquote(address.path), where)
    if address.password or (address.username and not match[1].startswith("abfs")):
        raise ConfigError(f"{where} holds a key, which results would keep; set it in the environment instead")
    if not address.netloc:
        raise ConfigError(f"{where} is {text!r}; it names no bucket: {match[1]}://bucket/folder")
    if ".." in address.path.split("/"):
        raise ConfigError(f"{where} is {text!r}; leave out the dots, and name the folder itself")
    return text


def _expanded(text: str, where: str) -> str:
    path = os.path.expandvars(os.path.expanduser(text))
    if re.match(r"~|.*\$(\w+|\{\w+\})", path) and not Path(path).exists():
        raise ConfigError(f"{where} is {text!r}; this machine does not know {path.split('/')[0]!r}")
    return str(Path(path))


def _mirrors() -> Path:
    """The folder of all mirrors, for this user alone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "rbc_marl" / "mirrors"


def _address(path: Path) -> tuple[str, str] | None:
    """The address of the mirror that a path is in, and the path inside; None for any other path."""
    for folder in (path, *path.parents):
        if folder.parent.name == "mirrors" and folder.parent.parent.name == "rbc_marl" and "%3A%2F%2F" in folder.name:
            return unquote(folder.name), path.relative_to(folder).as_posix()
    return None


def is_remote(path: Path) -> bool:
    """Whether a path is in a mirror."""
    return _address(path) is not None


def opened(path: str | Path) -> Path:
    """The folder to read of what somebody named; what is at an address is brought first.

    Raises:
        UserError: The address cannot be reached.
    """
    text = path.as_posix() if isinstance(path, Path) else path
    if not _SCHEME.match(text) or Path(path).exists():
        return Path(path)
    here = local_path(path, "the path")
    pull(here)
    return here


def named(path: Path) -> str:
    """What a message calls a path: the address of one in a mirror."""
    found = _address(path)
    if found is None:
        return str(path)
    address, _, query = found[0].partition("?")
    return f"{address}/{found[1]}".removesuffix("/.") + (f"?{query}" if query else "")


def push(path: Path, without: Sequence[str] = ()) -> None:
    """Bring what is new in a file or folder to its address. Files that are gone here go there as well.

    Args:
        path: In a mirror; nothing happens for any other.
        without: Names of folders directly in it that stay out.

    Raises:
        UserError: The address cannot be reached.
    """
    if (found := _remote(path)) is None:
        return
    files, target = found
    with _explained(path, "written"):
        if path.is_file():
            _upload(files, path, target)
            return
        here = {file.relative_to(path).as_posix(): file for file in _files_in(path, without)}
        before = _index(files, target) or {}
        for name, file in here.items():
            if _stored.get(file) != _stamp(file) or name not in before:
                _upload(files, file, posixpath.join(target, name))
        index = {name: file.stat().st_size for name, file in here.items()}
        with files.open_output_stream(posixpath.join(target, INDEX)) as stream:
            stream.write(json.dumps(index).encode())
        for name in before.keys() - here.keys():
            _delete(files, posixpath.join(target, name))


def pull(path: Path, without: Sequence[str] = ()) -> None:
    """Make a file or folder what it is at its address, where there is something.

    Args:
        path: In a mirror; nothing happens for any other.
        without: Names of folders directly in it that stay as they are.

    Raises:
        UserError: The address cannot be reached.
    """
    if (found := _remote(path)) is None:
        return
    files, source = found
    with _explained(path, "read"):
        if files.get_file_info(source).is_file:
            _download(files, source, path)
            return
        index = _index(files, source)
        names = list(index) if index is not None else _names_in(files, source)
        for name in names:
            file = path / name
            if not file.is_file() or index is None or _stored.get(file) != _stamp(file):
                _download(files, posixpath.join(source, name), file)
        if index is not None:  # what was written after it was whole is made again
            for file in _files_in(path, without):
                if file.relative_to(path).as_posix() not in index:
                    file.unlink()
                    with suppress(OSError):  # a folder that holds others
                        file.parent.rmdir()


def look(path: Path) -> tuple[str, float] | None:
    """What a file holds at its address, and the seconds since it was written, by the clock there.

    Args:
        path: In a mirror, which stays as it is.

    Returns:
        None where there is no such file.

    Raises:
        UserError: The address cannot be reached.
    """
    if (found := _remote(path)) is None:
        return None
    files, target = found
    with _explained(path, "read"):
        try:
            with files.open_input_stream(target) as stream:
                text = stream.read().decode()
        except FileNotFoundError:
            return None
        clock = f"{target}.{uuid.uuid4().hex}"  # others look as well, from containers that number processes alike
        with files.open_output_stream(clock) as stream:
            stream.write(b"")
        now, written = (info.mtime for info in files.get_file_info([clock, target]))
        files.delete_file(clock)
        return text, float((now - written).total_seconds()) if written is not None else 0.0  # it has gone meanwhile


def names(folder: Path, beginning: str) -> list[str]:
    """Names of the files in a folder at its address that begin with some letters.

    Raises:
        UserError: The address cannot be reached.
    """
    if (found := _remote(folder)) is None:
        return []
    files, source = found
    with _explained(folder, "read"):
        import pyarrow.fs

        here = files.get_file_info(pyarrow.fs.FileSelector(source, allow_not_found=True))
        return sorted(info.base_name for info in here if info.is_file and info.base_name.startswith(beginning))


def remove(path: Path) -> None:
    """Remove a file at its address.

    Args:
        path: In a mirror; nothing happens for any other.

    Raises:
        UserError: The address cannot be reached.
    """
    if (found := _remote(path)) is not None:
        with _explained(path, "written"):
            _delete(*found)


def pull_heads(home: Path, names: Sequence[str]) -> None:
    """Bring some files of each folder in a folder from their address.

    Raises:
        UserError: The address cannot be reached.
    """
    if (found := _remote(home)) is None:
        return
    files, source = found
    with _explained(home, "read"):
        import pyarrow.fs

        for info in files.get_file_info(pyarrow.fs.FileSelector(source, allow_not_found=True)):
            for name in names if info.type == pyarrow.fs.FileType.Directory else ():
                if files.get_file_info(f"{info.path}/{name}").is_file:
                    _download(files, f"{info.path}/{name}", home / info.base_name / name)


def _remote(path: Path) -> tuple[Any, str] | None:
    """The file system of pyarrow that a path in a mirror stands for, and the path there."""
    found = _address(path)
    if found is None:
        return None
    fs = require("pyarrow.fs", "analysis")
    with _explained(path, "reached"):
        files, root = fs.FileSystem.from_uri(found[0])
    return files, posixpath.normpath(posixpath.join(root, found[1]))


@contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    """Errors of pyarrow in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kept = f"; what there is lies in {path}" if path.exists() else ""
        raise UserError(f"{named(path)} cannot be {verb} ({first_line(error)}); check bucket and keys{kept}") from error


def _files_in(folder: Path, without: Sequence[str]) -> Iterator[Path]:
    """Files of a folder, but for locks and what is being written."""
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        is_own = any(part.startswith(".lock") or part.endswith(".tmp") for part in parts) or parts[-1] == INDEX
        if file.is_file() and parts[0] not in without and not is_own:
            yield file


def _index(files: Any, folder: str) -> dict[str, int] | None:  # noqa: ANN401 - pyarrow has no types
    path = posixpath.join(folder, INDEX)
    if not files.get_file_info(path).is_file:
        return None
    with files.open_input_stream(path) as stream:
        index: dict[str, int] = json.loads(stream.read())
    return index


def _names_in(files: Any, folder: str) -> list[str]:  # noqa: ANN401
    import pyarrow.fs

    selector = pyarrow.fs.FileSelector(folder, allow_not_found=True, recursive=True)
    there = [posixpath.relpath(info.path, folder) for info in files.get_file_info(selector) if info.is_file]
    return [name for name in there if "/.lock" not in f"/{name}"]  # who holds a folder is nothing of it


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _upload(files: Any, file: Path, target: str) -> None:  # noqa: ANN401
    stamp = _stamp(file)
    files.create_dir(posixpath.dirname(target))
    with file.open("rb") as source, files.open_output_stream(target) as stream:
        shutil.copyfileobj(source, stream, 1 << 24)
    _stored[file] = stamp


def _download(files: Any, source: str, file: Path) -> None:  # noqa: ANN401
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp")
    with files.open_input_stream(source) as stream, temporary.open("wb") as target:
        shutil.copyfileobj(stream, target, 1 << 24)
    temporary.replace(file)
    _stored[file] = _stamp(file)


def _delete(files: Any, target: str) -> None:  # noqa: ANN401
    if files.get_file_info(target).is_file:
        files.delete_file(target)
