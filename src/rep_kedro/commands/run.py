"""``kedro run`` that checks what it is asked before it starts, and that can work on a shard."""

import json
import logging
import os
import sys
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rep_kedro.checks.yaml_files import require_bounded
from rep_kedro.commands.command import ProjectCommand
from rep_kedro.errors import suggest
from rep_kedro.interrupts import WORKER_VARIABLE
from rep_kedro.pipelines import PIPELINES, SIMILARITY_PARTS

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

_RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")
_KEEPS_GOING = "rep_kedro.commands.keep_going.KeepGoingRunner"
_LISTS = ("node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "tags")
_HELP = """Run the pipelines, or those of --pipelines; what is there and unchanged is kept.

\b
Options of the run, given with --params (commas between them):
  shard=<i>/<n>      Work on part i of n of each collection whose inputs are there already, and on
                     nothing that needs whole collections; run again without it when all n are done.
  recompute=<names>  Compute collections, or <collection>/<key> with wildcards, even if unchanged;
                     + between names.
  compare_with=<rev> Show tables of a tag, branch or commit next to this run's in the report.
Any parameter of conf/ can be given too, such as similarity.layer=final.

\b
Exit codes: 0 all is complete; 1 an error; 2 wrong use; 3 --keep-going left something out, listed in the last
lines and in the report; 130 and 143 ended by Ctrl-C or SIGTERM.

An interrupted or failed run goes on where it stopped: call it again.
REP_KEDRO_TRACEBACK=1 shows the traceback of an error.
"""
_log = logging.getLogger(__name__)


def _run(**options: Any) -> Any:
    from kedro.framework.cli.project import run as kedro_run

    options["pipelines"], options["pipeline"] = _requested(options), None
    if WORKER_VARIABLE in os.environ:
        options["params"] = json.loads(os.environ[WORKER_VARIABLE])
    options["params"] = _with_texts(options["params"])
    _require_runner(options["runner"])
    if options["load_versions"]:
        raise click.UsageError(
            "nothing here is versioned by Kedro; earlier results are read as <entry>@<revision>"
        )
    selection = _select(options)
    dry_run, workers = options.pop("dry_run"), options.pop("workers")
    if options.pop("keep_going"):
        options["params"]["keep_going"] = True
    if options["params"].get("keep_going"):
        options["runner"] = _keep_going_runner(options["runner"])
    if options["params"].get("shard") is not None:
        if workers:
            raise click.UsageError(
                "give --workers or the parameter shard, not both: workers take a shard each"
            )
        selection = _keep_shardable(options, selection)
    if dry_run:
        _show_only(options, selection)
        return None
    if workers:
        from rep_kedro.commands.workers import run_workers

        run_workers(workers, options, selection)
    elif kedro_run.callback is None:  # pragma: no cover
        raise click.ClickException("this version of Kedro has no run command to build on")
    else:
        kedro_run.callback(**options)
    if options["params"].get("keep_going") and WORKER_VARIABLE not in os.environ:
        from rep_kedro.commands.keep_going import INCOMPLETE, list_incomplete

        if list_incomplete(options, selection):
            sys.exit(INCOMPLETE)
    return None


def _show_only(options: dict[str, Any], selection: "Pipeline") -> None:
    from rep_kedro.commands.dry_run import tell_dry_run
    from rep_kedro.commands.session import open_context, require_names

    lenient = {**options["params"], "keep_going": True}  # what is missing is counted, not refused
    context = open_context(options["env"], lenient, options["conf_source"])
    require_names(context, options["params"], selection, may_lack_files=True)
    for line in tell_dry_run(context, selection, options["params"].get("shard")):
        click.echo(line)


def _requested(options: dict[str, Any]) -> list[str]:
    """Return the chosen pipelines, whichever option named them.

    Raises:
        click.ClickException: If one is unknown; the message has close matches.
    """
    if options["pipeline"] and options["pipelines"]:
        raise click.UsageError("give --pipeline or --pipelines, not both")
    names = [options["pipeline"]] if options["pipeline"] else list(options["pipelines"] or [])
    names = [name.strip("[]' ") for name in names]  # a list in the file of --config comes as text
    for name in names:
        known = (*PIPELINES, *SIMILARITY_PARTS)
        if name not in (*known, "__default__"):
            raise click.ClickException(f"unknown pipeline {name!r}; {suggest(name, known)}")
    return [] if "__default__" in names else names


def _with_texts(params: dict[str, Any]) -> dict[str, Any]:
    """Keep ``shard=3/64``, ``recompute=features`` and ``compare_with=1.0`` as they came: text."""
    kept = {"shard", "recompute", "compare_with"}
    return {name: str(value) if name in kept else value for name, value in params.items()}


def _require_runner(runner: str | None) -> None:
    if runner and "." not in runner and runner not in _RUNNERS:
        raise click.ClickException(f"unknown runner {runner!r}; {suggest(runner, _RUNNERS)}")


def _keep_going_runner(runner: str | None) -> str:
    """Return the runner that goes on after a failing node.

    Raises:
        click.UsageError: If another one is wanted.
    """
    if runner not in (None, "SequentialRunner", _KEEPS_GOING):
        raise click.UsageError(
            f"--keep-going has a runner of its own: leave out --runner={runner}; --workers shares the work"
        )
    return _KEEPS_GOING


def _select(options: dict[str, Any]) -> "Pipeline":
    """Return the nodes that the options choose, as Kedro will.

    Raises:
        click.ClickException: If a node, tag or dataset is unknown in the chosen pipelines.
    """
    from kedro.framework.project import pipelines
    from kedro.pipeline import Pipeline

    chosen = sum((pipelines[name] for name in options["pipelines"] or ["__default__"]), Pipeline([]))
    nodes = {node.name for node in chosen.nodes}
    datasets = chosen.datasets()
    known: dict[str, Iterable[str]] = {
        "node": nodes,
        "dataset": {name for name in datasets if not name.startswith("params:")},
        "tag": {tag for node in chosen.nodes for tag in node.tags},
    }
    for option in _LISTS:
        kind = "tag" if option == "tags" else "node" if option.endswith(("nodes", "names")) else "dataset"
        for name in options[option] or ():
            if name not in known[kind] and not (kind == "dataset" and name in datasets):
                where = f"of {', '.join(options['pipelines'])}" if options["pipelines"] else "here"
                raise click.ClickException(f"unknown {kind} {name!r} {where}; {suggest(name, known[kind])}")
    filters = {option: list(options[option] or ()) or None for option in _LISTS}
    return chosen.filter(**filters, node_namespaces=list(options["namespaces"] or ()) or None)


def _keep_shardable(options: dict[str, Any], selection: "Pipeline") -> "Pipeline":
    """Leave, and return, only nodes that make a collection from what is there before the run.

    Raises:
        click.ClickException: If there is none.
    """
    from rep_kedro.commands.project import collection_names
    from rep_kedro.datasets import Shard

    shard = Shard.parse(options["params"]["shard"])
    collections = collection_names(options["env"], options["conf_source"])
    made = selection.all_outputs()
    kept = [
        node.name
        for node in selection.nodes
        if not set(node.inputs) & made and set(node.outputs) <= collections
    ]
    if not kept:
        raise click.ClickException(
            f"shard {shard.index}/{shard.count}: nothing chosen makes a collection from what is there before"
            " the run; give the pipeline of one, such as --pipelines=features"
        )
    n_left_out = len(selection.nodes) - len(kept)
    options.update({name: [] for name in _LISTS}, node_names=kept, namespaces=[])
    without = f"; what may need it whole is left out ({n_left_out} of the nodes chosen)" if n_left_out else ""
    after = f"; when all {shard.count} shards are done, run again without shard"
    _log.info("shard %d/%d of %s%s%s", shard.index, shard.count, ", ".join(kept), without, after)
    return selection.only_nodes(*kept)


def _bound_config(option: click.Parameter) -> click.Parameter:
    """Return one of Kedro's options; the file of ``--config`` is bounded like all other YAML."""
    read = option.callback
    if option.name != "config" or read is None:
        return option

    def read_bounded(context: click.Context, parameter: click.Parameter, path: str | None) -> Any:
        if path:
            require_bounded(Path(path))
        return read(context, parameter, path)

    bounded = copy(option)
    bounded.callback = read_bounded
    return bounded


def _build() -> click.Command:
    from kedro.framework.cli.project import run as kedro_run

    own = [
        click.Option(
            ["--keep-going"],
            is_flag=True,
            help="Complete what can be completed where networks or images fail; list what is missing.",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Show what would be computed and kept; do nothing."),
        click.Option(
            ["--workers"],
            metavar="N|auto|DEVICES",
            help="Share the work among processes, each with a shard: so many, one for each GPU (or core where"
            " none is used), or one for each of cuda:0,cuda:1 or cpu,cpu.",
        ),
    ]
    return ProjectCommand(
        name="run", params=[*map(_bound_config, kedro_run.params), *own], callback=_run, help=_HELP
    )


command = _build()
