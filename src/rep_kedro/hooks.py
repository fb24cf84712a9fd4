"""What happens around every run: early checks, one line per node, and what a shard may do."""

import logging
import os
import resource
import sys
import time
from difflib import get_close_matches
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

RUN_OPTIONS = ("shard", "recompute", "compare_with")
_BYTES_PER_MB = 1_000_000
_log = logging.getLogger("rep_kedro")


class ProjectHooks:
    """Checks that a run can succeed before it starts, and tells how it goes."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._run_began = 0.0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse parameters given on the command line that nothing reads.

        Raises:
            ValueError: If one is unknown; the message has close matches.
        """
        _limit_threads(context.config_loader["parameters"].get("threads"))
        given = getattr(context, "_runtime_params", None) or {}
        if not given:
            return
        known = [*context.config_loader["parameters"], *RUN_OPTIONS]
        defined = set(_configured_parameters(context)) | set(RUN_OPTIONS)
        for name in given:
            if name not in defined:
                close = get_close_matches(name, known, n=3)
                hint = (
                    f"did you mean {' or '.join(close)}" if close else f"known: {', '.join(sorted(defined))}"
                )
                raise ValueError(f"unknown parameter {name!r} in --params; {hint}")

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Refuse a run whose inputs are missing, naming the pipelines that make them.

        Raises:
            DatasetError: If a free input does not exist or is incomplete.
        """
        self._run_began = time.perf_counter()
        missing = [
            name
            for name in sorted(pipeline.inputs())
            if not name.startswith("params:") and name != "parameters" and not catalog.exists(name)
        ]
        if missing:
            raise DatasetError(_missing_message(missing))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note when a node began."""
        self._began[node.name] = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Tell in one line that a node's function is done; what it planned is made while it is saved."""
        seconds = time.perf_counter() - self._began.pop(node.name, time.perf_counter())
        _log.debug("%s took %.2f s", node.name, seconds)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Tell how long the run took and how much memory it needed."""
        from rep_kedro.datasets.work import format_seconds

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        _log.info(
            "%d nodes in %s, peak memory %.0f MB",
            len(pipeline.nodes),
            format_seconds(time.perf_counter() - self._run_began),
            peak / _BYTES_PER_MB,
        )


def _limit_threads(n_threads: int | None) -> None:
    """Use that many threads for one tensor operation, unless the environment says otherwise.

    Raises:
        ValueError: If it is not a positive whole number.
    """
    if n_threads is None or "OMP_NUM_THREADS" in os.environ:
        return
    if not isinstance(n_threads, int) or n_threads < 1:
        raise ValueError(f"parameter threads must be a positive whole number or null, got {n_threads!r}")
    os.environ.update({name: str(n_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)


def _configured_parameters(context: KedroContext) -> dict[str, Any]:
    """Return the parameters as configured, without those of the command line."""
    loader = context.config_loader
    runtime, loader.runtime_params = loader.runtime_params, {}
    try:
        return dict(loader["parameters"])
    finally:
        loader.runtime_params = runtime


def _missing_message(missing: list[str]) -> str:
    from kedro.framework.project import pipelines

    from rep_kedro.pipelines import PIPELINES

    pipelines.set_requested(None)
    makers = {name: maker for maker in PIPELINES for name in pipelines[maker].all_outputs()}
    wanted = [maker for maker in PIPELINES if maker in {makers.get(name) for name in missing}]
    how = f"kedro run --pipelines={','.join(wanted)}" if wanted else "see the README"
    names = ", ".join(missing)
    return f"not made yet or incomplete: {names}; make with: {how} (or fetch with: dvc pull)"
