"""Ctrl-C while a command is still starting: one line in place of a traceback."""

import sys
from types import TracebackType

_TOLD = "\nerror: interrupted before anything began\n"


def explain_early_interrupts() -> None:
    """Tell an interrupt that nobody has caught in one line; everything else is shown as before.

    Commands catch interrupts themselves once they run; this is for the time in which the project is imported.
    """
    shown_before = sys.excepthook
    if getattr(shown_before, "explains_interrupts", False):
        return

    def show(kind: type[BaseException], problem: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr.write(_TOLD)
        else:
            shown_before(kind, problem, traceback)

    show.explains_interrupts = True  # type: ignore[attr-defined]
    sys.excepthook = show
