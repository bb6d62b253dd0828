"""The system calls of a process that write, one at a time: count them, kill it before any of them, or let the disk be full.

The process asks the kernel to be stopped before each of them (seccomp, user notification, which needs no rights), and
whoever holds its listener answers. So a kill comes at an exact place, between two calls and never by chance, within
SQLite as much as within Python. Linux on x86-64 only.
"""

import ctypes
import fcntl
import os
import platform
import select
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

AVAILABLE = sys.platform == "linux" and platform.machine() == "x86_64"

WRITES = {
    1: "write", 18: "pwrite64", 20: "writev", 40: "sendfile", 74: "fsync", 75: "fdatasync", 76: "truncate",
    77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink", 88: "symlink",
    90: "chmod", 91: "fchmod", 231: "exit_group", 257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat",
    265: "linkat", 266: "symlinkat", 268: "fchmodat", 280: "utimensat", 285: "fallocate", 296: "pwritev",
    316: "renameat2", 326: "copy_file_range",
}  # fmt: skip
"""The calls that change what is on a disk, print, or end the process; `openat` only where it may write or make a file."""
NEEDS_ROOM = frozenset({
    "write", "pwrite64", "writev", "pwritev", "sendfile", "ftruncate", "fallocate", "copy_file_range", "mkdir", "mkdirat",
    "link", "linkat", "symlink", "symlinkat",
})  # fmt: skip
"""The calls that a full disk refuses."""

_OPENAT, _FOR_WRITING = 257, os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_X86_64, _ALLOW, _NOTIFY = 0xC000003E, 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # ioctl numbers
_CONTINUE = 1
_NO_NEW_PRIVILEGES, _SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER = 38, 317, 1, 8


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _instructions() -> bytes:
    """Return the filter, in the kernel's BPF: (code, jump if true, jump if false, value)."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    program = [(load, 0, 0, 4), (equal, 1, 0, _X86_64), (answer, 0, 0, _ALLOW), (load, 0, 0, 0)]
    for number in sorted(WRITES.keys() - {_OPENAT}):
        program += [(equal, 0, 1, number), (answer, 0, 0, _NOTIFY)]
    program += [(equal, 1, 0, _OPENAT), (answer, 0, 0, _ALLOW), (load, 0, 0, 32)]  # the flags
    program += [(any_bit, 0, 1, _FOR_WRITING), (answer, 0, 0, _NOTIFY), (answer, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in program)


def stop_before_writing() -> int:
    """Let the kernel stop this process, from now on, before each call in `WRITES`; return the listener that answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = _instructions()
    program = _Program(len(code) // 8, code)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(listener)


@dataclass(frozen=True)
class Call:
    """One call that a process is about to make."""

    name: str
    where: str
    """Name of the open file, or of the file or folder in question; empty where it has none."""

    def __str__(self) -> str:
        return f"{self.name} {self.where}".rstrip()


class Listener:
    """Answers the calls of one process."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._waiting: int | None = None

    def next(self) -> Call | None:
        """Let the call that waits go on, if there is one; wait for the next one; None when the process has ended."""
        if self._waiting is not None:
            self._answer(flags=_CONTINUE)
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        while True:
            events = poll.poll()[0][1]
            if not events & select.POLLIN:
                return None
            request = bytearray(80)
            with suppress(FileNotFoundError):  # a signal came first, or it was killed
                fcntl.ioctl(self._handle, _RECEIVE, request)
                self._waiting, process, _, number = struct.unpack_from("QIII", request)
                return Call(WRITES[number], _place(process, number, struct.unpack_from("6Q", request, 32)))

    def refuse(self, number: int) -> None:
        """Let the call that waits fail with this number of an error."""
        self._answer(error=-number)

    def _answer(self, error: int = 0, flags: int = 0) -> None:
        with suppress(FileNotFoundError):
            fcntl.ioctl(self._handle, _SEND, struct.pack("QqiI", self._waiting, 0, error, flags))
        self._waiting = None

    def close(self) -> None:
        """Let go of the process; the calls that it makes afterwards fail."""
        os.close(self._handle)


_PATHS = {82: 1, 83: 0, 84: 0, 85: 0, 86: 1, 87: 0, 88: 1, 90: 0, 76: 0, 257: 1, 258: 1, 263: 1, 264: 3, 265: 3,
          266: 2, 268: 1, 280: 1, 316: 3}  # fmt: skip
"""Which argument is the path in question; the other calls have the number of an open file."""


def _place(process: int, number: int, arguments: tuple[int, ...]) -> str:
    """Return the name of the file that a call is about, without its folder."""
    if number == 231:
        return ""
    with suppress(OSError):
        if number in _PATHS:
            with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
                memory.seek(arguments[_PATHS[number]])
                text = memory.read(4096)
            return Path(os.fsdecode(text[: text.index(b"\0")])).name
        handle = ctypes.c_int32(arguments[0]).value & 0xFFFFFFFF
        standard = {1: "standard output", 2: "standard error"}.get(handle)
        name = standard or Path(f"/proc/{process}/fd/{handle}").readlink().name
        return "a file without a name" if name.endswith("(deleted)") else name
    return ""
