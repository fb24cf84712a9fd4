"""``kedro run`` that answers a user's mistakes in one clear line."""

import os
import sys
from difflib import get_close_matches
from typing import Any

import click

from rep_kedro.commands.explain import explain
from rep_kedro.pipelines import PIPELINES

_TRACEBACK_VARIABLE = "REP_KEDRO_TRACEBACK"


def _run(**options: Any) -> Any:
    from kedro.framework.cli.project import run as kedro_run

    options["pipelines"], options["pipeline"] = _requested(options), None
    options["params"] = _with_lists(options["params"])
    if kedro_run.callback is None:  # pragma: no cover
        raise click.ClickException("this version of Kedro has no run command to build on")
    try:
        return kedro_run.callback(**options)
    except Exception as problem:
        line = explain(problem)
        if line is None or os.environ.get(_TRACEBACK_VARIABLE):
            raise
        click.secho(f"error: {line}", fg="red", err=True)
        click.echo(f"(set {_TRACEBACK_VARIABLE}=1 to see where in the code)", err=True)
        sys.exit(1)


def _requested(options: dict[str, Any]) -> list[str]:
    """Return the chosen pipelines, whichever option named them.

    Raises:
        click.ClickException: If one is unknown; the message has close matches.
    """
    if options["pipeline"] and options["pipelines"]:
        raise click.UsageError("give --pipeline or --pipelines, not both")
    names = [options["pipeline"]] if options["pipeline"] else list(options["pipelines"] or [])
    known = [*PIPELINES, "__default__"]
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}" if close else f"known: {', '.join(PIPELINES)}"
            raise click.ClickException(f"unknown pipeline {name!r}; {hint}")
    return [] if names == ["__default__"] else names


def _with_lists(params: dict[str, Any]) -> dict[str, Any]:
    """Keep ``shard=3/64`` and ``recompute=features`` as they came: text."""
    return {name: str(value) if name in {"shard", "recompute"} else value for name, value in params.items()}


def _build() -> click.Command:
    from kedro.framework.cli.project import run as kedro_run

    return click.Command(name="run", params=kedro_run.params, callback=_run, help=kedro_run.help)


command = _build()
