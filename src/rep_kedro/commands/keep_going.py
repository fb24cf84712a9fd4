"""``kedro run --keep-going``: make what can be made, list what is missing, and report it by the exit code."""

import logging
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError, MemoryDataset
from kedro.runner import SequentialRunner
from kedro.runner.task import Task

from rep_kedro import interrupts
from rep_kedro.checks.planning import expect_configured
from rep_kedro.commands.explain import own_error
from rep_kedro.commands.session import open_context
from rep_kedro.datasets import CollectionDataset
from rep_kedro.datasets.file import FileDataset
from rep_kedro.datasets.partial import WHOLE, nothing_because
from rep_kedro.datasets.work import describe_problem, is_unexpected, storage_trouble
from rep_kedro.errors import shorten
from rep_kedro.pipelines.reporting.pipeline import READ_WHAT_IS_THERE

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

INCOMPLETE = 3
"""Exit code of a run that continued although some results could not be made."""

_SHOWN = 3  # keys in one line; the report lists all
_log = logging.getLogger("rep_kedro")


class KeepGoingRunner(SequentialRunner):
    """Runs nodes one after another; the outputs of a failed node are missing for the nodes that follow.

    A node that needs a missing input does not run, and its outputs are missing too. The nodes of
    :data:`~rep_kedro.pipelines.reporting.pipeline.READ_WHAT_IS_THERE` run in any case.
    """

    _logger = logging.getLogger(SequentialRunner.__module__)  # its default message reports success

    def _run(
        self, pipeline: "Pipeline", catalog: Any, hook_manager: Any = None, run_id: str | None = None
    ) -> None:
        load_counts = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        reasons = {name: _why_missing(catalog, name) for name in pipeline.inputs()}
        lost = {name: why for name, why in reasons.items() if why}
        for node in pipeline.nodes:
            gone = [name for name in node.inputs if name in lost]
            if gone and node.name not in READ_WHAT_IS_THERE:
                failed: str | None = f"{', '.join(gone)} {'are' if len(gone) > 1 else 'is'} missing"
            else:
                for name in gone:
                    catalog[name] = MemoryDataset(nothing_because(lost[name]), copy_mode="assign")
                failed = _run_node(Task(node, catalog, self._is_async, hook_manager, run_id))
            if failed:
                _give_up(node, catalog, failed)
                lost |= dict.fromkeys(node.outputs, failed)
            self._release_datasets(node, catalog, load_counts, pipeline)


def _run_node(task: Task) -> str | None:
    """Run a node; return why it failed, or None.

    Raises:
        Exception: The node's exception if the disk is full or not writable, or after a signal: the run cannot
            continue then.
    """
    try:
        task.execute()
    except Exception as problem:
        if interrupts.received() is not None or storage_trouble(problem):
            raise
        problem = own_error(problem)
        why = describe_problem(problem)
        trace = problem if is_unexpected(problem) else None
        _log.error("%s failed: %s", task.node.name, why, exc_info=trace)
        return why
    return None


def _give_up(node: "Node", catalog: Any, why: str) -> None:
    for name in node.outputs:
        dataset = catalog.get(name)
        if isinstance(dataset, CollectionDataset | FileDataset):
            dataset.give_up(why)


def _why_missing(catalog: Any, name: str) -> str | None:
    """Return why an earlier run could not make a dataset, or None."""
    dataset = catalog.get(name)
    return dataset.why_missing() if isinstance(dataset, CollectionDataset | FileDataset) else None


def list_incomplete(options: Mapping[str, Any], selection: "Pipeline") -> int:
    """Log what is missing among all that the run read or made, with reasons.

    Returns:
        The number of results that are missing, or were made without some of their inputs.
    """
    catalog = open_context(options["env"], options["params"], options["conf_source"]).catalog
    expect_configured(catalog, selection.inputs())
    gaps: dict[tuple[str, str], list[str]] = {}
    names = [*selection.inputs(), *(name for node in selection.nodes for name in node.outputs)]
    for name in dict.fromkeys(names):
        for key, why in _gaps_of(catalog, name).items():
            gaps.setdefault((name, why), []).append(key)
    n_gaps = sum(map(len, gaps.values()))
    if gaps:
        _log.warning("incomplete: %d results are missing or were made without some of their inputs", n_gaps)
    for (name, why), keys in gaps.items():
        shown = "" if keys == [WHOLE] else f"{shorten(keys, _SHOWN)}: "
        _log.warning("  %s: %s%s", name, shown, why)
    return n_gaps


def _gaps_of(catalog: Any, name: str) -> dict[str, str]:
    """Return why parts of a dataset are missing, by key; :data:`WHOLE` is the key of the whole dataset."""
    dataset = catalog.get(name) if name in catalog else None
    if isinstance(dataset, CollectionDataset):
        try:
            handles = dataset.load_partial()
        except DatasetError as problem:
            return {WHOLE: str(problem)}
        return {**handles.missing, **handles.partial}
    why = dataset.why_missing() if isinstance(dataset, FileDataset) else None
    return {WHOLE: why} if why else {}
