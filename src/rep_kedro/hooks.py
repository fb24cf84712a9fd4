"""Hooks of every run: early checks, the name of a failed node, and a summary at the end."""

import logging
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rep_kedro.checks.options import RUN_OPTIONS
from rep_kedro.checks.planning import expect_configured, load_handles, open_tables
from rep_kedro.checks.stale import describe_stale, make_pipeline
from rep_kedro.errors import counted
from rep_kedro.interrupts import WORKER_VARIABLE
from rep_kedro.machine import keep_freed_memory

_BYTES_PER_MB = 1_000_000
_log = logging.getLogger("rep_kedro")


class ProjectHooks:
    """Checks that a run can succeed before it starts, and reports its results."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._run_began = 0.0
        self._loader: Any = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse an invalid configuration before anything is loaded.

        Raises:
            ValueError: If the environment does not exist, a parameter is unknown, of a wrong type or out of
                range, the report's measure is not compared, an anchor is not a network, there are fewer
                stimuli than clusters or than a probe draws, or an option of the run is invalid; a line for
                each.
        """
        from rep_kedro.checks.configuration import require_environment
        from rep_kedro.checks.options import (
            require_devices,
            require_options,
            require_temporary_folder,
            require_threads,
        )
        from rep_kedro.checks.parameters import require_known_parameters, require_valid_parameters
        from rep_kedro.checks.plain_values import require_plain_values
        from rep_kedro.checks.references import (
            drop_default_anchors,
            require_compared_measure,
            require_enough_stimuli,
            require_enough_to_draw,
            require_known_anchors,
        )
        from rep_kedro.models.architecture_files import look_in

        loader: Any = context.config_loader
        self._loader = loader
        look_in(Path(loader.conf_source))
        given = dict(getattr(context, "_runtime_params", None) or {})
        require_environment(loader)
        require_options(given, Path(context.project_path))
        given = {name: value for name, value in given.items() if name not in RUN_OPTIONS}
        loader["parameters"] = drop_default_anchors(loader["parameters"], given, loader)
        parameters = {k: v for k, v in loader["parameters"].items() if k not in RUN_OPTIONS}
        require_plain_values(parameters, loader)
        require_known_parameters(parameters, given, _requested(None), loader)
        require_threads(parameters.get("threads"))
        require_temporary_folder(os.environ.get("TMPDIR"))
        _limit_threads(parameters.get("threads"))
        keep_freed_memory()
        requested = _requested(context)
        require_valid_parameters(parameters, given, requested, loader)
        if "params:reporting" in requested.inputs():
            require_compared_measure(parameters, given, loader)
        if "params:consistency" in requested.inputs():
            require_known_anchors(parameters, given, loader)
        if "params:diagnostics" in requested.inputs():
            require_enough_stimuli(parameters, given, loader)
        if "params:probing" in requested.inputs():
            require_enough_to_draw(parameters, given, loader)
        require_devices(parameters)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Restore all parameters from the configuration; Kedro replaces those that this run reads by models.

        The report lists them, and must not depend on the pipelines and options of a run.
        """
        dataset = catalog.get("parameters")
        if dataset is not None and self._loader is not None:
            parameters = self._loader["parameters"]
            dataset.save({name: value for name, value in parameters.items() if name not in RUN_OPTIONS})

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Refuse a run with an unknown name or with missing inputs, and name the pipelines that make them.

        Raises:
            DatasetError: If a free input does not exist or is incomplete.
            ValueError: If a name is unknown, a network cannot be read with its entry, or this run does not
                make a collection to recompute.
        """
        self._run_began = time.perf_counter()
        options = run_params.get("runtime_params") or {}
        if self._loader is not None:
            from rep_kedro.checks.study_names import require_known_names

            require_known_names(self._loader["parameters"], options, pipeline, self._loader, catalog)
            if WORKER_VARIABLE not in os.environ:  # the parent of a worker has checked this
                from rep_kedro.checks.readable import require_readable_networks

                require_readable_networks(self._loader["parameters"], options, pipeline, self._loader)
        if options.get("recompute"):
            from rep_kedro.checks.options import require_recompute

            made = _collections(pipeline, catalog)
            require_recompute(str(options["recompute"]), made, _collections(_requested(None), catalog))
        expect_configured(catalog, pipeline.inputs())
        load_handles(catalog, pipeline)
        problems = {
            name: why
            for name in sorted(pipeline.inputs())
            if not name.startswith("params:")
            and name != "parameters"
            and (why := _why_missing(catalog, name, keep_going=bool(options.get("keep_going"))))
        }
        if problems:
            raise DatasetError(_missing_message(problems))

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> dict[str, Any] | None:
        """Record when a node began; pass tables instead of handles to a node without a recipe."""
        self._began[node.name] = time.perf_counter()
        return open_tables(node, inputs)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Add the name of the node to the error."""
        error.add_note(f"in node {node.name}")

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log the time of a node's function; its planned outputs are computed while they are saved."""
        seconds = time.perf_counter() - self._began.pop(node.name, time.perf_counter())
        _log.debug("%s took %.2f s", node.name, seconds)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Log what was computed and kept, the time, the path of the report, and what is now stale."""
        from rep_kedro.datasets.work import format_seconds

        made = _counted(pipeline, catalog)
        counts = _summarise_counts(made)
        if counts:
            _log.info("%s", counts)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        _log.info(
            "%s in %s, peak memory %.0f MB",
            counted(len(pipeline.nodes), "node"),
            format_seconds(time.perf_counter() - self._run_began),
            peak / _BYTES_PER_MB,
        )
        if "report" in pipeline.all_outputs() and catalog.exists("report"):
            _log.info("report: %s", _shown_path(catalog.get("report")))
        is_part = WORKER_VARIABLE in os.environ or (run_params.get("runtime_params") or {}).get("shard")
        changed = {name for name, dataset in made.items() if dataset.counts and dataset.counts[0]}
        if changed and not is_part:
            stale = describe_stale(changed, pipeline, catalog, env=run_params.get("env"))
            if stale:
                _log.info("%s", stale)


def _requested(context: KedroContext | None) -> Pipeline:
    """Return the pipelines that this session requested, or all if it requested none."""
    from kedro.framework.project import pipelines

    wanted = getattr(pipelines, "_requested_pipelines", None) if context is not None else None
    return sum((pipelines[name] for name in wanted or ["__default__"] if name in pipelines), Pipeline([]))


def _collections(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, Any]:
    """Return the collections among a pipeline's outputs, by name, in the order of the run."""
    from rep_kedro.datasets import CollectionDataset

    names = [name for node in pipeline.nodes for name in node.outputs]
    found = {name: catalog.get(name) for name in names}
    return {name: dataset for name, dataset in found.items() if isinstance(dataset, CollectionDataset)}


def _counted(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, Any]:
    """Return the collections and single files that a run kept or computed, in the order of the run."""
    names = [name for node in pipeline.nodes for name in node.outputs]
    found = {name: catalog.get(name) for name in names}
    return {name: dataset for name, dataset in found.items() if getattr(dataset, "counts", None)}


def _summarise_counts(made: Mapping[str, Any]) -> str:
    """Return how many members each collection computed and kept, and which single files, in one line."""
    from rep_kedro.datasets import CollectionDataset

    is_collection = {name: isinstance(dataset, CollectionDataset) for name, dataset in made.items()}
    counts = {name: dataset.counts for name, dataset in made.items() if is_collection[name]}
    files = {name: dataset.counts for name, dataset in made.items() if not is_collection[name]}
    n_files = sum(kept for _, kept in files.values())
    kept_files = counted(n_files, "single file")
    if not any(computed for computed, _ in [*counts.values(), *files.values()]):
        n_members = sum(kept for _, kept in counts.values())
        kept = [counted(n_members, "member")] * bool(counts)
        kept += [kept_files] * bool(files)
        return f"nothing computed: {' and '.join(kept)} kept" if kept else ""
    parts = []
    for name, (n_computed, n_kept) in counts.items():
        shown = [f"{n_computed} computed"] * bool(n_computed) + [f"{n_kept} kept"] * bool(n_kept)
        parts.append(f"{name} {' and '.join(shown) or '0'}")
    computed = [name for name, (n_computed, _) in files.items() if n_computed]
    parts += [f"computed {', '.join(computed)}"] * bool(computed)
    parts += [f"{kept_files} kept"] * bool(n_files)
    return "; ".join(parts)


def _limit_threads(n_threads: int | None) -> None:
    """Use that many threads for one tensor operation, unless the environment sets another number."""
    if n_threads is None or "OMP_NUM_THREADS" in os.environ:
        return
    os.environ.update({name: str(n_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)


def _why_missing(catalog: DataCatalog, name: str, *, keep_going: bool) -> str:
    """Return why an input cannot be read, or an empty string; `keep_going` accepts missing files."""
    from rep_kedro.datasets import CollectionDataset
    from rep_kedro.datasets.file import FileDataset

    dataset = catalog.get(name)
    if isinstance(dataset, FileDataset) and (why := dataset.why_missing()):
        return "" if keep_going else why
    if not isinstance(dataset, CollectionDataset):
        return "" if catalog.exists(name) else "has not been made yet"
    if not dataset.folder.exists():
        return "has not been made yet"
    try:
        dataset.load()
    except DatasetError as problem:
        return str(problem).partition("; run the pipeline")[0]
    return ""


def _missing_message(problems: Mapping[str, str]) -> str:
    from rep_kedro.pipelines import PIPELINES

    by_pipeline = {name: make_pipeline(name) for name in PIPELINES}
    makers = {name: maker for maker, made in by_pipeline.items() for name in made.all_outputs()}
    wanted = [maker for maker in PIPELINES if maker in {makers.get(name) for name in problems}]
    how = f"kedro run --pipelines={','.join(wanted)}" if wanted else "see the README"
    absent = [name for name, why in problems.items() if why == "has not been made yet"]
    lines = [why if why.startswith(name) else f"{name}: {why}" for name, why in problems.items()]
    if absent == list(problems):
        lines = [f"not made yet: {', '.join(absent)}"]
    return "\n".join([*lines, f"make them first: {how} (or fetch them: dvc pull)"])


def _shown_path(dataset: Any) -> str:
    path = Path(dataset.path_to_read())
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
