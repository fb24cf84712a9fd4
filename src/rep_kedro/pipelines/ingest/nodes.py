"""Nodes of the ingest pipeline: they say which sets and subsets there are; collections do the rest."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Planned, code_revision
from rep_kedro.errors import UserError
from rep_kedro.pipelines.ingest.params import IngestParams
from rep_kedro.stimuli.strict import suggest

if TYPE_CHECKING:
    import pyarrow as pa

    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.stimuli.base import SourceSpec
else:
    ArrowHandle = SourceSpec = Any  # so that Kedro can read the hints

_log = logging.getLogger(__name__)


def plan_stimulus_sets(params: IngestParams) -> dict[str, Planned]:
    """Plan one stimulus set for each source.

    Files are read while planning, for their fingerprint; those that did not change since are only looked at.

    Args:
        params: Which sets there are.

    Returns:
        Plan by set name. A set is the table of ``rep_kedro.stimuli.assembly``; its recipe holds the source's
        parameters without places, and the fingerprint of its files.

    Raises:
        ValueError: If a source's files are missing or unreadable; names the set.
    """
    from rep_kedro.stimuli.fingerprint import fingerprint_source
    from rep_kedro.stimuli.sources import reader_module

    plan = {}
    for name, spec in params.stimulus_sets.items():
        try:
            source, fingerprint = spec.recipe(), fingerprint_source(spec)
        except (OSError, UserError) as problem:
            raise UserError(f"stimulus set {name!r}: {problem}") from problem
        recipe = {
            "source": source,
            "files_sha256": fingerprint,
            "code": code_revision("rep_kedro.stimuli.assembly", reader_module(spec)),
        }
        plan[name] = Planned(recipe, partial(_make_stimulus_set, name, spec, params.threads))
    return plan


def plan_stimulus_subsets(
    stimulus_sets: "Mapping[str, ArrowHandle]", params: IngestParams
) -> dict[str, Planned]:
    """Plan one subset for each rule of each set.

    Args:
        stimulus_sets: Handles by set name; only their headers are read while planning.
        params: Which subsets there are.

    Returns:
        Plan by ``<set>/<subset>``. A subset is a table with the columns stimulus_id, label and split, rows in
        the order of use.

    Raises:
        UserError: If a set is missing, or one that was stored before does not hold what is expected now.
    """
    from rep_kedro.stimuli.expectation import require_expected

    for name, spec in params.stimulus_sets.items():
        if spec.expected:
            require_expected(name, _handle_of(stimulus_sets, name).meta, spec.expected)
    plan = {}
    for set_name, rules in params.rules().items():
        for subset_name, rule in rules.items():
            earlier = [_handle_of(stimulus_sets, name) for name in getattr(rule, "after", [])]
            handle = _handle_of(stimulus_sets, set_name)
            recipe = {
                "rule": rule.recipe(),
                "subset": subset_name,
                "stimulus_set": handle.reference,
                "earlier_sets": [each.reference for each in earlier],
                "code": code_revision("rep_kedro.stimuli.drawing"),
            }
            names = {"set_name": set_name, "subset_name": subset_name}
            compute = partial(_make_subset, handle, rule, **names, earlier=earlier)
            plan[f"{set_name}/{subset_name}"] = Planned(recipe, compute)
    return plan


def _handle_of(stimulus_sets: "Mapping[str, ArrowHandle]", name: str) -> "ArrowHandle":
    if name not in stimulus_sets:
        raise UserError(f"no stimulus set {name!r}; {suggest(name, stimulus_sets)}")
    return stimulus_sets[name]


def _make_stimulus_set(name: str, spec: "SourceSpec", threads: int) -> "pa.Table":
    from rep_kedro.stimuli.assembly import assemble_stimulus_set, meta_of
    from rep_kedro.stimuli.expectation import require_expected, tell_left_out
    from rep_kedro.stimuli.record import DamageLog
    from rep_kedro.stimuli.sources import open_source

    log = DamageLog()
    table = assemble_stimulus_set(open_source(spec, log), spec, log, threads=threads)
    meta = meta_of(table)
    require_expected(name, meta, spec.expected)
    left_out = tell_left_out(meta)
    if left_out:
        _log.warning("stimulus set %r holds %d stimuli, without %s", name, meta["n_stimuli"], left_out)
    return table


def _make_subset(handle: "ArrowHandle", rule: Any, **given: Any) -> "pa.Table":
    from rep_kedro.stimuli.drawing import draw_subset

    return draw_subset(handle, rule, **given)
