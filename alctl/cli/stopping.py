"""Being told to stop, by Ctrl-C or by a machine that sends SIGTERM: one sentence, one exit code, nothing half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CTRL_C = 128 + signal.SIGINT
SIGTERM = 128 + signal.SIGTERM
FROM_LAST_EPOCH = "the same command goes on from the last epoch"
_ANYWHERE = (
    "what was finished is recorded whole, and nothing else; `alctl status` says how far the project is"
)


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as containers, clusters and spot machines send it some seconds before they kill."""


@contextmanager
def listening() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, once: what is then being saved is not interrupted by a second one."""
    if threading.current_thread() is not threading.main_thread() or _handler() is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        if _handler() is _stop:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _handler() -> object:
    return signal.getsignal(signal.SIGTERM)


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


@contextmanager
def going_on(how: str) -> Iterator[None]:
    """Say how to go on if what is done in the ``with`` is stopped, such as "the same command goes on from there"."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(how)
        raise


def sentence(stop: KeyboardInterrupt) -> str:
    """Return what a person is told."""
    return f"stopped; {next(iter(getattr(stop, '__notes__', ())), _ANYWHERE)}"


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code that shells give to what ended by this signal."""
    return SIGTERM if isinstance(stop, Terminated) else CTRL_C
