"""``kedro run --workers``: several processes, each with a shard of every collection and, if there are, a GPU.

The nodes are run in stages. A collection that can be planned is shared out, a process for each shard; what
needs whole collections is run by one process in between. Each stage waits for the one before, and the run
ends at a stage in which a process fails: what was made is kept, and the same command goes on from there.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

import rep_kedro
from rep_kedro import interrupts
from rep_kedro.interrupts import WORKER_VARIABLE
from rep_kedro.machine import SHARE_VARIABLE, count_cores

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_PASSED_ON = ("env", "conf_source", "runner")
_END_S = 60  # what workers have to finish the file they are writing
_log = logging.getLogger(__name__)


class Stage(NamedTuple):
    """Nodes that can be run at the same time.

    Attributes:
        nodes: Their names.
        is_shared: Whether each makes only collections, so that workers can have a shard each.
    """

    nodes: tuple[str, ...]
    is_shared: bool


class _Task(NamedTuple):
    """One process to start."""

    title: str
    nodes: tuple[str, ...]
    params: dict[str, Any]
    device: str | None


def run_workers(workers: str, options: dict[str, Any], selection: "Pipeline") -> None:
    """Run nodes with several processes.

    Args:
        workers: A number, `auto`, or devices with commas between them.
        options: Of the run, as Kedro takes them.
        selection: The nodes.

    Raises:
        click.ClickException: If the workers make no sense here, or a process failed.
    """
    from rep_kedro.checks.stale import describe_stale
    from rep_kedro.commands.project import collection_names
    from rep_kedro.commands.session import open_context, require_names

    context = open_context(options["env"], options["params"], options["conf_source"])
    require_names(context, options["params"], selection)
    parameters = context.config_loader["parameters"]
    devices = choose_devices(workers, parameters, selection.inputs() | selection.all_outputs())
    collections = collection_names(options["env"], options["conf_source"])
    before = _journals(context.catalog, collections & selection.all_outputs())
    for stage in find_stages(selection, collections):
        params = _params_of(stage, selection, options["params"])
        n_workers = len(devices) if stage.is_shared else 1
        tasks = [
            _Task(
                title=f"{i + 1}/{n_workers}" if stage.is_shared else "whole",
                nodes=stage.nodes,
                params={**params, "shard": f"{i + 1}/{n_workers}"} if n_workers > 1 else params,
                device=devices[i],
            )
            for i in range(n_workers)
        ]
        _run_tasks(tasks, options, n_threads=_threads_each(parameters, n_workers))
    changed = {name for name, state in _journals(context.catalog, before).items() if state != before[name]}
    stale = describe_stale(changed, selection, context.catalog, env=options["env"]) if changed else ""
    if stale:
        _log.info("%s", stale)


def find_stages(selection: "Pipeline", collections: set[str]) -> list[Stage]:
    """Return the nodes in stages: each needs only what earlier stages made, or what is there before the run.

    Example:
        >>> from kedro.pipeline import Pipeline, node
        >>> def f(*x): ...
        >>> nodes = [node(f, None, "a", name="a"), node(f, "a", "t", name="t"), node(f, "t", "b", name="b")]
        >>> [stage.nodes for stage in find_stages(Pipeline(nodes), {"a", "b"})]
        [('a',), ('t',), ('b',)]
    """
    remaining, stages = list(selection.nodes), list[Stage]()
    while remaining:
        to_come = {name for node in remaining for name in node.outputs}
        chosen = [
            node for node in remaining if set(node.outputs) <= collections and not to_come & set(node.inputs)
        ]
        is_shared = bool(chosen)
        if not is_shared:
            to_come = {
                name for node in remaining if set(node.outputs) <= collections for name in node.outputs
            }
            for node in remaining:  # in the order of a run, so that what follows from a collection waits, too
                if to_come.isdisjoint([*node.inputs, *node.outputs]):
                    chosen.append(node)
                else:
                    to_come |= set(node.outputs)
        stages.append(Stage(tuple(node.name for node in chosen), is_shared))
        remaining = [node for node in remaining if node not in chosen]
    return stages


def choose_devices(workers: str, parameters: Mapping[str, Any], names: set[str]) -> list[str | None]:
    """Return the device of each worker, `cpu`, `cuda:<i>`, or None for whatever the parameters say.

    Args:
        workers: A number, `auto`, or devices with commas between them.
        parameters: Of the project; their `device` says whether GPUs are used.
        names: Datasets and parameters of the run.

    Raises:
        click.ClickException: If this cannot be read or a GPU is named that no parameter asks for.
    """
    groups = {name.removeprefix("params:").partition(".")[0] for name in names if name.startswith("params:")}
    asked = {
        group: parameters[group].get("device") for group in sorted(groups) if _is_group(parameters, group)
    }
    uses_gpu = any(str(device).startswith("cuda") for device in asked.values()) or (
        "auto" in asked.values() and _count_gpus() > 0
    )
    text = workers.strip()
    if text == "auto" or text.isdigit():
        n_gpus = _count_gpus() if uses_gpu else 0
        n_workers = int(text) if text.isdigit() else n_gpus or count_cores()
        if n_workers < 1:
            raise click.ClickException(f"--workers needs at least one worker, got {workers!r}")
        return [f"cuda:{i % n_gpus}" if n_gpus else None for i in range(n_workers)]
    devices = [part.strip() for part in text.split(",")]
    for device in devices:
        kind, _, index = device.partition(":")
        if device != "cpu" and (kind != "cuda" or not index.isdigit()):
            raise click.ClickException(
                "--workers takes a number, auto, or devices such as cuda:0,cuda:1 or cpu,cpu,"
                f" got {workers!r}"
            )
        if kind == "cuda" and not uses_gpu:
            found = ", ".join(f"{group}.device={value}" for group, value in asked.items() if value)
            raise click.ClickException(
                f"--workers names {device}, but nothing here would use it ({found or 'no parameter device'});"
                " add for instance --params features.device=cuda"
            )
    return list(devices)


def _journals(catalog: Any, collections: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    """Return time and size of each collection's journal, which has a line for whatever was computed."""
    from rep_kedro.datasets.journal import journal_path

    found: dict[str, tuple[int, int] | None] = {}
    for name in collections:
        path = journal_path(catalog.get(name).folder)
        found[name] = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None
    return found


def _run_tasks(tasks: Sequence[_Task], options: Mapping[str, Any], *, n_threads: int | None) -> None:
    """Start a process for each task and wait for all.

    Raises:
        click.ClickException: If one failed; the message names all that did.
        KeyboardInterrupt: After Ctrl-C, when all have ended.
    """
    names = ", ".join(tasks[0].nodes)
    _log.info("%d process%s: %s", len(tasks), "es" if len(tasks) > 1 else "", names)
    running, readers = [], []
    share = {SHARE_VARIABLE: str(max(1, count_cores() // len(tasks)))}
    try:
        for task in tasks:
            with interrupts.held():
                process = subprocess.Popen(  # noqa: S603 - this program with other options
                    _command(task, options),
                    env=_environment(task.device, n_threads)
                    | share
                    | {WORKER_VARIABLE: json.dumps(task.params)},
                    stdin=subprocess.PIPE,  # closed with this process: `interrupts.watch_parent`
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                running.append(process)
                readers.append(_tell_lines(process.stdout, f"[{task.title}] " if len(tasks) > 1 else ""))
        codes = [process.wait() for process in running]
    except BaseException:
        _end(running)
        raise
    finally:
        for reader in readers:
            reader.join()
        for process in running:
            if process.stdin is not None:
                process.stdin.close()
    failed = [f"{task.title} ended with {code}" for task, code in zip(tasks, codes, strict=True) if code]
    if failed:
        raise click.ClickException(
            f"{len(failed)} of {len(tasks)} processes failed while making {names} ({', '.join(failed)});"
            " their errors are shown above, what was made is kept, the same command goes on from there"
        )


def _command(task: _Task, options: Mapping[str, Any]) -> list[str]:
    """Return the command of a worker; its parameters are in its environment, so that no file is left."""
    command = [sys.executable, "-m", "rep_kedro", "run", f"--nodes={','.join(task.nodes)}"]
    command += [
        f"--{name.replace('_', '-')}={options[name]}" for name in _PASSED_ON if options.get(name) is not None
    ]
    if options["pipelines"]:
        command.append(f"--pipelines={','.join(options['pipelines'])}")
    return command


def _environment(device: str | None, n_threads: int | None) -> dict[str, str]:
    """Return the environment of a worker: it sees one GPU, or none, and leaves cores to the others."""
    own_source = str(Path(rep_kedro.__file__).parents[1])
    paths = [own_source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if n_threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(n_threads))
    if device == "cpu":
        environment[_VISIBLE] = ""
    elif device is not None:
        index = int(device.partition(":")[2])
        seen = [name for name in os.environ.get(_VISIBLE, "").split(",") if name]
        if seen and index >= len(seen):
            raise click.ClickException(f"--workers names {device}, but {_VISIBLE} is {','.join(seen)!r}")
        environment[_VISIBLE] = seen[index] if seen else str(index)
    return environment


def _tell_lines(stream: IO[str] | None, prefix: str) -> Thread:
    """Pass on the output of a process line by line, so that the lines of several do not mix."""

    def pass_on() -> None:
        if stream is not None:
            with stream:
                for line in stream:
                    click.echo(f"{prefix}{line}", nl=False, err=True)

    reader = Thread(target=pass_on, daemon=True)
    reader.start()
    return reader


def _end(running: Sequence["subprocess.Popen[str]"]) -> None:
    """Ask processes that still run to end, and wait for them: one that is still starting ends at once."""
    for process in running:
        with suppress(OSError):
            if process.poll() is None:
                process.terminate()
    for process in running:
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _params_of(stage: Stage, selection: "Pipeline", params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a stage: of what is to be recomputed, only what it makes."""
    given = dict(params)
    made = {name for node in selection.nodes if node.name in stage.nodes for name in node.outputs}
    wanted = str(given.pop("recompute", "")).replace("+", " ").split()
    own = [pattern for pattern in wanted if pattern.partition("/")[0] in made]
    return {**given, "recompute": "+".join(own)} if own else given


def _is_group(parameters: Mapping[str, Any], name: str) -> bool:
    return isinstance(parameters.get(name), Mapping)


def _threads_each(parameters: Mapping[str, Any], n_workers: int) -> int | None:
    """Return how many threads each may use where the parameters leave it to the machine."""
    return max(1, count_cores() // n_workers) if parameters.get("threads") is None else None


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()
