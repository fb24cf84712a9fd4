"""What all commands of the project share: they run from its root and tell mistakes in one line."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from rep_kedro.checks.options import WORKER_VARIABLE

TRACEBACK_VARIABLE = "REP_KEDRO_TRACEBACK"
"""Environment variable; if set, every error comes with its traceback."""

_INTERRUPTED = 130  # what shells give for Ctrl-C


class ProjectCommand(click.Command):
    """A command that runs in the project's root folder and answers mistakes in one clear line."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Read the arguments, and the file of ``--config`` where one is given."""
        with _told():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end with 1 after a mistake, with 130 after Ctrl-C."""
        if WORKER_VARIABLE in os.environ:
            obey_parent()
        _enter_project()
        if _wants_traceback():
            logging.getLogger("rep_kedro").setLevel(logging.DEBUG)
        with _told():
            return super().invoke(ctx)


def obey_parent() -> None:
    """Take the request of the process that started this one to end as a Ctrl-C, which never comes itself."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; `_is_asked_to_end` reads it
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def _told() -> Iterator[None]:
    """Tell a mistake and end the process; let everything else through."""
    try:
        yield
    except (click.UsageError, click.Abort, click.exceptions.Exit):
        raise
    except click.ClickException as mistake:
        _tell(" ".join(mistake.message.split()))
        sys.exit(mistake.exit_code)
    except KeyboardInterrupt:
        if WORKER_VARIABLE in os.environ:
            sys.exit(_INTERRUPTED)  # the process that started this one tells it
        click.echo("", err=True)
        _tell("interrupted; what was made is kept, the same command goes on from there")
        sys.exit(_INTERRUPTED)
    except Exception as problem:
        if _is_asked_to_end():
            sys.exit(_INTERRUPTED)  # an import that is interrupted may end with an error of its own
        from rep_kedro.commands.explain import explain

        text = None if _wants_traceback() else explain(problem)
        if text is None:
            raise
        _tell(text)
        if getattr(problem, "__notes__", None) or "failed" in text.partition("\n")[0]:
            click.echo(f"({TRACEBACK_VARIABLE}=1 shows where in the code)", err=True)
        sys.exit(1)


def _is_asked_to_end() -> bool:
    """Tell whether this is a worker that its parent has asked to end."""
    return WORKER_VARIABLE in os.environ and signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


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
