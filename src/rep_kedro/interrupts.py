"""Ctrl-C and SIGTERM: one line and exit code 130 or 143, from the first instant of the process to its last.

Before a command runs there is nothing to clean up, and the process ends at once. While one runs, the signal
is raised as an exception, so that temporary files and workers are cleaned up. This module imports little:
during its own import Python's default handler applies, which prints a traceback.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

WORKER_VARIABLE = "REP_KEDRO_WORKER"
"""Environment variable of a worker process, with the options of its part of the run."""

COMMANDS = frozenset(
    {
        "dvc-sync",
        "export-results",
        "import-grid",
        "layers",
        "measures",
        "new-study",
        "plan",
        "prune",
        "run",
        "tables",
        "verify",
    }
)
"""The project's own commands. Others, such as IPython, have their own signal handlers."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST_MOMENT_S = (
    3.0  # for a worker to clean up once its parent is gone; files take their place at once or not
)
_received: int | None = None


def answer_early() -> None:
    """While a command of the project is still being imported, exit with one line at the first signal."""
    if not COMMANDS.isdisjoint(sys.argv[1:2]):
        _answer_with(_end)


@contextmanager
def answered_in_order() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at the first signal and ignore later ones, so that cleanup completes."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    _answer_with(_raise)
    try:
        yield
    finally:
        if _received is None:
            for number, handler in before.items():
                signal.signal(number, handler)


def received() -> int | None:
    """Return the number of the signal that this process received, or None."""
    return _received


def exit_code() -> int:
    """Return the exit code after a signal by the convention of shells; without one, that of Ctrl-C."""
    return 128 + (_received or signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """Delay signals to the end of the block; a process started in it never receives Ctrl-C.

    A signal therefore never arrives between the start of a process and its registration, and never interrupts
    a worker during its imports: this process ends the worker.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watch_parent() -> None:
    """End a worker when its parent process ends and so closes the pipe to its standard input."""
    if WORKER_VARIABLE not in os.environ:
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # `held` when this process was started
    from threading import Thread

    Thread(target=_wait_for_end_of_parent, daemon=True, name="watch-parent").start()


def _wait_for_end_of_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    import time

    time.sleep(_LAST_MOMENT_S)
    os._exit(128 + signal.SIGTERM)


def _answer_with(handler: Callable[[int, FrameType | None], None]) -> None:
    if _received is not None:
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background
            with suppress(ValueError):  # not the main thread, so not a command
                signal.signal(number, handler)


def _raise(number: int, _: FrameType | None) -> None:
    _note(number)
    raise KeyboardInterrupt


def _end(number: int, _: FrameType | None) -> None:
    _note(number)
    if WORKER_VARIABLE not in os.environ:  # its parent reports it
        os.write(2, b"\nerror: interrupted before anything began\n")
    os._exit(exit_code())


def _note(number: int) -> None:
    global _received  # noqa: PLW0603 - a signal handler cannot return it
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    _received = number
