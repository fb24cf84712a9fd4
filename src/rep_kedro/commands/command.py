"""The base of all commands of the project: they run from its root and report user errors in one line."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from rep_kedro import interrupts
from rep_kedro.errors import UserError
from rep_kedro.interrupts import WORKER_VARIABLE

TRACEBACK_VARIABLE = "REP_KEDRO_TRACEBACK"
"""Environment variable; if set, every error comes with its traceback."""


class ProjectCommand(click.Command):
    """A command that runs in the project's root folder and reports user errors in one line."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Parse the arguments, and the ``--config`` file if given."""
        with _reported():
            try:
                return super().make_context(*arguments, **extra)
            except (click.ClickException, click.Abort, click.exceptions.Exit):
                raise
            except Exception as problem:  # Kedro reads the file of --config while it parses the options
                raise UserError(_why_no_options(problem)) from problem

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit with 1 after an error, with 130 after Ctrl-C, with 143 after SIGTERM."""
        _enter_project()
        if _wants_traceback():
            logging.getLogger("rep_kedro").setLevel(logging.DEBUG)
        with _reported():
            _require_expressible(Path.cwd())
            return super().invoke(ctx)


@contextmanager
def _reported() -> Iterator[None]:
    """Report a user error or a signal in one line and exit; let every other exception pass."""
    try:
        with interrupts.answered_in_order():
            yield
    except KeyboardInterrupt:
        _end_interrupted()
    except (click.UsageError, click.Abort, click.exceptions.Exit):
        raise
    except Exception as problem:
        if interrupts.received() is not None:
            _end_interrupted()  # an import that is interrupted may end with an error of its own
        if isinstance(problem, click.ClickException):
            _echo_error(" ".join(problem.message.split()))
            sys.exit(problem.exit_code)
        from rep_kedro.commands.explain import explain, own_error

        text = None if _wants_traceback() else explain(problem)
        if text is None:
            own = own_error(problem)
            if own is problem:
                raise
            raise own from own.__cause__
        _echo_error(text)
        if getattr(problem, "__notes__", None) or "failed" in text.partition("\n")[0]:
            click.echo(f"(set {TRACEBACK_VARIABLE}=1 to see the traceback)", err=True)
        sys.exit(1)


def _end_interrupted() -> NoReturn:
    """Report the signal, unless the parent process does, and exit."""
    if WORKER_VARIABLE not in os.environ:
        what = "terminated" if interrupts.received() == signal.SIGTERM else "interrupted"
        click.echo("", err=True)
        _echo_error(f"{what}; finished results are kept, and the same command continues from there")
    # Python ends by SIGINT if an interrupt came out of exec (dataclasses use it); another exec clears that.
    exec("")  # noqa: S102
    sys.exit(interrupts.exit_code())


def _why_no_options(problem: Exception) -> str:
    """Return what is wrong with the ``--config`` file."""
    mark = getattr(problem, "problem_mark", None)
    if mark is not None:
        why = f"{getattr(problem, 'problem', problem)}; this is not valid YAML"
        return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: {why}"
    why = f"it has no section {problem}" if isinstance(problem, KeyError) else " ".join(str(problem).split())
    return f"the --config file cannot be used: {why}"


def _wants_traceback() -> bool:
    return bool(os.environ.get(TRACEBACK_VARIABLE))


def _echo_error(text: str) -> None:
    first, *others = text.splitlines()
    click.secho(f"error: {first}", fg="red", err=True)
    for line in others:
        click.secho(line if line.startswith(" ") else f"       {line}", fg="red", err=True)


def _enter_project() -> None:
    """Change to the project's root, so that relative paths mean the same wherever the command is called."""
    from kedro.utils import find_kedro_project

    root = find_kedro_project(Path.cwd())
    if root is None:
        return
    conf = root / "conf"
    if conf.is_dir():
        (conf / "local").mkdir(exist_ok=True)  # a user's own; empty in the repository
    if root != Path.cwd():
        os.chdir(root)
        _configure_logging(conf / "logging.yml")


def _require_expressible(folder: Path) -> None:
    """Refuse a locale in which libraries could not open the project's files."""
    encoding = sys.getfilesystemencoding()
    try:
        str(folder).encode(encoding)
    except UnicodeEncodeError as problem:
        raise UserError(
            f"the path of the project has letters that this locale ({encoding}) lacks;"
            " set PYTHONUTF8=1, or LC_ALL to a UTF-8 locale such as C.UTF-8"
        ) from problem


def _configure_logging(path: Path) -> None:
    """Configure logging as Kedro does when it is called from the root folder."""
    if path.is_file() and "KEDRO_LOGGING_CONFIG" not in os.environ:
        import yaml
        from kedro.framework.project import configure_logging

        configure_logging(yaml.safe_load(path.read_text(encoding="utf-8")))
