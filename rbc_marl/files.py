"""Files that a crash, a full disk or a lost power supply leaves as they were or as they should be, never in between."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rbc_marl.errors import StorageError

# What to do about an error of the operating system; about any other: look whether the folder is still there.
_MENDS = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, errno.EFBIG),
        "make room there, or choose another folder",
    ),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable, or choose another folder"),
}
_GONE = "bring it back if it was moved or its disk was taken away, or choose another folder"
# File systems that cannot flush a folder say so; there is nothing else to do there.
_NO_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.EISDIR)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what cannot be written, why, and what to do.

    Args:
        path: Of what is written in this context.

    Raises:
        StorageError: The operating system refused something.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, _GONE)
        # pyarrow puts the name of the error into a longer text.
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        raise StorageError(f"{path} cannot be written ({reason}); {mend}") from error


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file whole: a reader sees the old content or the new one, also after a crash of the machine.

    Raises:
        StorageError: It cannot be written; the old content is still there.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place for what a library writes; it gets its name whole when this ends.

    Args:
        path: Its name from then on.

    Raises:
        StorageError: It cannot be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            yield temporary
            put(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def put(temporary: Path, path: Path) -> None:
    """Give a finished file or folder its name, once all of it is on the disk.

    Args:
        temporary: What was written, in the folder of ``path``.
        path: Its name from now on; a file of that name is replaced.
    """
    for folder, _, names in os.walk(temporary):
        for name in names:
            flush(Path(folder, name))
        flush(Path(folder))
    if temporary.is_file():
        flush(temporary)
    temporary.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Remove what a process that was killed had begun to write. Only whoever holds the folders' lock may do so."""
    for path in (path for folder in folders for path in folder.glob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename what is damaged, so that it is neither used nor lost.

    Returns:
        Its new place: ``<name>.torn``, with a number where there is one already.
    """
    names = (f"{path.name}.torn{number or ''}" for number in range(10**6))
    torn = next(place for name in names if not (place := path.with_name(name)).exists())
    path.replace(torn)
    return torn
