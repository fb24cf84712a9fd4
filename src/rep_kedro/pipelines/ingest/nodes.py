"""Nodes of the ingest pipeline: they plan stimulus sets and subsets; collections compute them."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError, suggest
from rep_kedro.stimuli.params import IngestParams

if TYPE_CHECKING:
    import pyarrow as pa

    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.stimuli.base import SourceSpec
else:
    ArrowHandle = SourceSpec = Any  # so that Kedro can read the hints

_log = logging.getLogger(__name__)


def plan_stimulus_sets(params: IngestParams) -> Plan:
    """Plan one stimulus set for each source.

    Files are read while planning, for their fingerprint; those that did not change since are only looked at.

    Returns:
        Plan by set name. A set is the table of ``rep_kedro.stimuli.assembly``; its recipe contains the
        source's parameters without paths, and the fingerprints of its files and of its table of labels. A set
        whose files are missing or unreadable, or whose labels do not match, is left out.
    """
    from rep_kedro.stimuli.fingerprint import digest_labels, fingerprint_source
    from rep_kedro.stimuli.opening import open_source, reader_module
    from rep_kedro.stimuli.readers.derived import require_derivable
    from rep_kedro.stimuli.record import DamageLog

    plan = Plan()
    for name, spec in params.stimulus_sets.items():
        try:
            source, fingerprint = spec.recipe(), fingerprint_source(spec)
            labels = digest_labels(spec)
            if labels is not None:
                open_source(spec.origin(), DamageLog())  # matches rows and images, and reads no image
            if spec.origin() is not spec:
                require_derivable(spec)
        except (OSError, UserError) as problem:
            plan.left_out[name] = f"stimulus set {name!r}: {problem}"
            continue
        recipe = {
            "source": source,
            "files_sha256": fingerprint,
            "code": code_revision(
                "rep_kedro.stimuli.assembly", *{reader_module(spec), reader_module(spec.origin())}
            ),
        }
        if labels is not None:
            recipe["labels_sha256"] = labels
        plan[name] = Planned(recipe, partial(_make_stimulus_set, name, spec, params.threads))
    return plan


def plan_stimulus_subsets(stimulus_sets: "Mapping[str, ArrowHandle]", params: IngestParams) -> Plan:
    """Plan one subset for each rule of each set.

    Args:
        stimulus_sets: Handles by set name; only their headers are read while planning.
        params: Which subsets there are.

    Returns:
        Plan by ``<set>/<subset>``. A subset is a table with the columns stimulus_id, label and split, rows in
        the order of use. Those of a set that is missing, or was stored before and does not hold what is
        expected now, are left out.

    Raises:
        UserError: If there is no such set.
    """
    unfit = _find_unfit(stimulus_sets, params)
    plan = Plan()
    for set_name, rules in params.rules().items():
        for subset_name, rule in rules.items():
            why = [unfit[name] for name in (set_name, *getattr(rule, "after", [])) if name in unfit]
            if why:
                plan.left_out[str(MemberKey(set_name, subset_name))] = why[0]
                continue
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
            plan[str(MemberKey(set_name, subset_name))] = Planned(recipe, compute)
    return plan


def _find_unfit(stimulus_sets: "Mapping[str, ArrowHandle]", params: IngestParams) -> dict[str, str]:
    """Return why no subset of a set can be drawn, by set."""
    from rep_kedro.stimuli.expectation import require_expected

    unfit = {name: f"stimulus_sets/{name} is missing" for name in missing_of(stimulus_sets)}
    for name, spec in params.stimulus_sets.items():
        if spec.expected and name not in unfit:
            try:
                require_expected(name, _handle_of(stimulus_sets, name).meta, spec.expected)
            except UserError as problem:
                unfit[name] = str(problem)
    return unfit


def _handle_of(stimulus_sets: "Mapping[str, ArrowHandle]", name: str) -> "ArrowHandle":
    if name not in stimulus_sets:
        raise UserError(f"no stimulus set {name!r}; {suggest(name, stimulus_sets)}")
    return stimulus_sets[name]


def _make_stimulus_set(name: str, spec: "SourceSpec", threads: int) -> "pa.Table":
    from rep_kedro.stimuli.assembly import assemble_stimulus_set, meta_of
    from rep_kedro.stimuli.expectation import describe_doubts, describe_left_out, require_expected
    from rep_kedro.stimuli.findings import remarks_on_images
    from rep_kedro.stimuli.opening import open_source
    from rep_kedro.stimuli.record import DamageLog

    log = DamageLog()
    table = assemble_stimulus_set(open_source(spec, log), spec, log, threads=threads)
    meta = meta_of(table)
    require_expected(name, meta, spec.expected)
    for note in (*meta["notes"], *describe_doubts(meta)):
        _log.warning("stimulus set %r: %s", name, note)
    left_out = describe_left_out(meta)
    if left_out:
        is_harmless = not (meta["damaged"] or meta["left_out"])
        level = logging.INFO if is_harmless else logging.WARNING
        _log.log(level, "stimulus set %r has %d stimuli; left out: %s", name, meta["n_stimuli"], left_out)
    for remark in remarks_on_images(meta):
        _log.warning("stimulus set %r: %s", name, remark)
    return table


def _make_subset(handle: "ArrowHandle", rule: Any, **given: Any) -> "pa.Table":
    from rep_kedro.stimuli.assembly import meta_of
    from rep_kedro.stimuli.drawing import draw_subset

    table = draw_subset(handle, rule, **given)
    n_across = meta_of(table)["n_copies_across_splits"]
    if n_across:
        _log.warning(
            "subset %s/%s: %d stimuli of other splits are exact copies of training stimuli",
            given["set_name"],
            given["subset_name"],
            n_across,
        )
    return table
