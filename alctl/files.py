"""Write a file or a folder whole or not at all, and tell files apart by their content.

What is written has a temporary name beside its place until it is finished and forced onto the disk. A process that is
killed leaves what stood there before, or the new one, and at most hidden names that the next writer clears away.
"""

import errno
import glob
import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alctl.errors import AlctlError

if sys.platform != "win32":
    import fcntl

PARTIAL = ".partial"
"""How the hidden name of an unfinished folder ends."""
_REPLACED = ".replaced"
"""How the hidden name of a folder ends that another one takes the place of."""

READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""What the system says where nothing can be written."""


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Give a path beside ``file`` to write to, with its suffix, which takes the place of ``file`` at the end.

    After an error nothing of it is left. OSError where the disk or the folder refuses.
    """
    partial = file.with_name(f".{file.stem}.partial{file.suffix}")
    partial.unlink(missing_ok=True)  # of a process that was killed
    try:
        yield partial
        sync(partial)
        partial.replace(file)
        sync(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(file: Path, text: str) -> None:
    """Write a text file, UTF-8 with its line ends as they are, so that nobody ever sees half of it."""
    with whole_file(file) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


@contextmanager
def whole_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to build in, which takes its name at the end.

    ``folder`` must be empty or missing then (else OSError), unless it may be replaced.
    """
    clear_after_kill(folder)
    with room_beside(folder) as partial:
        partial.chmod(0o755)
        yield partial
        _sync_tree(partial)
        if replace:
            replace_folder(partial, folder)
        else:
            partial.rename(folder)
            sync(folder.parent)


@contextmanager
def room_beside(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path``, with a hidden name; what is left in it at the end is deleted.

    What killed processes left of this kind is deleted too; a folder of one that still lives is not.
    """
    _clear_abandoned(path)
    partial, lock = _new_room(path)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _new_room(path: Path) -> tuple[Path, int | None]:
    """Make a folder, and lock it; the lock lasts as long as the process at most."""
    while True:
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent))
        lock = _lock(partial, wait=True)
        if partial.exists():  # else another process took it for an abandoned one, just before the lock
            return partial, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder and return the handle, None where the file system locks none; BlockingIOError if another holds it."""
    if sys.platform == "win32":
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def replace_folder(made: Path, folder: Path) -> None:
    """Let the finished folder ``made`` take the place of ``folder``, which lies beside it and may be missing.

    The old one is renamed aside, the new one takes its name, and the old one is deleted last: at every moment one of
    them is there whole. The next `whole_folder` finishes what a kill in between has left.
    """
    aside = _aside(folder)
    if folder.exists():
        folder.rename(aside)
    try:
        made.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_REPLACED}")


def clear_after_kill(folder: Path) -> None:
    """Take away what killed processes left beside ``folder``; bring it back if only its old form is there."""
    aside = _aside(folder)
    if aside.exists() and not folder.exists():
        aside.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
    _clear_abandoned(folder)


def _clear_abandoned(path: Path) -> None:
    """Delete the folders of `room_beside` that no living process holds."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(stale, wait=False)
            try:
                shutil.rmtree(stale)
            finally:
                if lock is not None:
                    os.close(lock)


def sync(path: Path) -> None:
    """Return once the content of a file, or the names in a folder, would survive a power cut."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and writes their names at once
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Force all that was written below a folder onto the disk; hard and symbolic links were there before."""
    for path in folder.rglob("*"):
        if path.is_dir() or (not path.is_symlink() and path.stat().st_nlink == 1):
            sync(path)
    sync(folder)


def as_typed(path: Path) -> str:
    """Return a path as one types it in the working folder: relative to that if it lies below, and quoted for a shell."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    return str(sha256_of(file).hexdigest())


def sha256_of(file: Path) -> Any:
    """Return the SHA-256 of a file as an object of `hashlib`, which can be fed more."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def sentence_of(error: OSError) -> str:
    """Return what the system refused and where, as a person reads it."""
    named = f"{error.filename}: " if error.filename is not None else ""
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{named}{error.strerror or error}{advice and f'; {advice}'}"


_ROOM = "make room and give the same command again: what was finished is whole, and nothing else was changed"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "the file system or a limit of yours allows no larger file",
    errno.EROFS: "commands that only read work here, others need a place to write",
    errno.EIO: "the disk or its connection fails; see to it before anything else",
}


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn the system's errors about reading a file into an AlctlError."""
    try:
        yield
    except OSError as error:
        raise AlctlError(f"cannot read {file}: {error.strerror}") from error
