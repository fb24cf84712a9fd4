"""Pipelines that depend on what a run changed but were not part of it."""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines import PIPELINES

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


def describe_stale(changed: Iterable[str], ran: "Pipeline", catalog: Any, *, env: str | None = None) -> str:
    """Return a line that names pipelines whose results are older than their inputs, or an empty string.

    Pipelines without any results are not named.
    """
    names = find_stale(changed, ran, catalog)
    if not names:
        return ""
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    command = f"kedro run{f' --env={env}' if env else ''} --pipelines={','.join(names)}"
    verb = "read" if len(names) > 1 else "reads"
    return f"{listed} {verb} what changed here; update {'them' if len(names) > 1 else 'it'} with: {command}"


def find_stale(changed: Iterable[str], ran: "Pipeline", catalog: Any) -> list[str]:
    """Return, in order, the pipelines that have results and depend directly or indirectly on what changed."""
    follows = set(changed)
    for node in ran.nodes:
        if follows.intersection(node.inputs):
            follows.update(node.outputs)
    done, stale = {node.name for node in ran.nodes}, []
    for name in PIPELINES:
        to_do = [node for node in make_pipeline(name).nodes if node.name not in done]
        readers = []
        for node in to_do:
            if follows.intersection(node.inputs):
                follows.update(node.outputs)
                readers.append(node)
        if any(catalog.exists(output) for node in readers for output in node.outputs):
            stale.append(name)
    return stale


def make_pipeline(name: str) -> "Pipeline":
    """Return a pipeline of the project, whichever pipelines this session requested."""
    made: Pipeline = import_module(f"rep_kedro.pipelines.{name}.pipeline").create_pipeline()
    return made
