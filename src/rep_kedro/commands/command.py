"""What all commands of the project share: they run from its root and tell mistakes in one line."""

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
    """A command that runs in the project's root folder and answers mistakes in one clear line."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Read the arguments, and the file of ``--config`` where one is given."""
        with _told():
            try:
                return super().make_context(*arguments, **extra)
            except (click.ClickException, click.Abort, click.exceptions.Exit):
                raise
            except Exception as problem:  # Kedro reads the file of --config while it parses the options
                raise UserError(_why_no_options(problem)) from problem

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end with 1 after a mistake, with 130 after Ctrl-C, with 143 after SIGTERM."""
        _enter_project()
        if _wants_traceback():
            logging.getLogger("rep_kedro").setLevel(logging.DEBUG)
        with _told():
            return super().invoke(ctx)


@contextmanager
def _told() -> Iterator[None]:
    """Tell a mistake or a signal in one line and end the process; let everything else through."""
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
            _tell(" ".join(problem.message.split()))
            sys.exit(problem.exit_code)
        from rep_kedro.commands.explain import explain

        text = None if _wants_traceback() else explain(problem)
        if text is None:
            raise
        _tell(text)
        if getattr(problem, "__notes__", None) or "failed" in text.partition("\n")[0]:
            click.echo(f"({TRACEBACK_VARIABLE}=1 shows where in the code)", err=True)
        sys.exit(1)


def _end_interrupted() -> NoReturn:
    """Say that a signal came, unless the process that started this one says it, and end."""
    if WORKER_VARIABLE not in os.environ:
        what = "asked to end" if interrupts.received() == signal.SIGTERM else "interrupted"
        click.echo("", err=True)
        _tell(f"{what}; what was made is kept, the same command goes on from there")
    sys.exit(interrupts.exit_code())


def _why_no_options(problem: Exception) -> str:
    """Say what is wrong with the file of ``--config``."""
    mark = getattr(problem, "problem_mark", None)
    if mark is not None:
        why = f"{getattr(problem, 'problem', problem)}; this is not valid YAML"
        return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: {why}"
    why = f"it has no section {problem}" if isinstance(problem, KeyError) else " ".join(str(problem).split())
    return f"the file of --config cannot be used: {why}"


def _wants_traceback() -> bool:
    return bool(os.environ.get(TRACEBACK_VARIABLE))


def _tell(text: str) -> None:
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


def _configure_logging(path: Path) -> None:
    """Configure logging as Kedro does when it is called from the root folder."""
    if path.is_file() and "KEDRO_LOGGING_CONFIG" not in os.environ:
        import yaml
        from kedro.framework.project import configure_logging

        configure_logging(yaml.safe_load(path.read_text(encoding="utf-8")))
