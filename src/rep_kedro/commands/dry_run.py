"""``kedro run --dry-run``: what a run would compute, keep and need; nothing is computed or written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.checks.planning import as_saved, expect_configured, free_inputs, load_handles, plan_node
from rep_kedro.commands.explain import explain
from rep_kedro.commands.plan import NO_ESTIMATE, align_columns, look_ahead
from rep_kedro.datasets.partial import left_out_of, notes_of, own_reasons, partial_of
from rep_kedro.errors import MissingFileError, UserError

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from rep_kedro.datasets import Planned

_UNKNOWN = "-"
_MOST_NAMES = 6
_FEATURES = "features"
_NETWORKS = "networks"
_STITCHES = "stitches"
_READ_AT_ONCE = "dissimilarities"  # files of one matrix each; to make a member is to read one
_KEPT, _COMPUTED, _ALWAYS = "tables and pages to keep", "tables and pages to compute", "made by every run"
_FOLLOWS = "tables and pages that follow from what changes"
_STATES = (_COMPUTED, _FOLLOWS, _ALWAYS, _KEPT)


class _Outlook(NamedTuple):
    """What a run would do with one collection; numbers are None where they cannot be known yet.

    ``is_bound``: the numbers are the most that there may be. ``failures``: members that will fail, with
    reasons. ``notes``: what the planner says of memory and disk. ``refusal``: why a run would end there.
    """

    name: str
    n_pending: int | None = None
    n_kept: int | None = None
    seconds: float | None = None
    n_bytes: float | None = None
    remark: str = ""
    is_bound: bool = False
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


def tell_dry_run(context: Any, selection: "Pipeline", shard: str | None) -> Iterable[str]:
    """Yield, line by line, what a run of these nodes would do.

    Members that are there with an equal recipe are kept. Where something that a collection is planned from
    would change, the numbers are those of today's plan, all to be computed, as a bound.

    Args:
        context: The project's context.
        selection: The nodes.
        shard: Part of each collection that would be worked, as `3/64`; None for all.

    Raises:
        UserError: In the end, if a planner refuses what it is given, so that a run would end there.
    """
    catalog = context.catalog
    outlooks, files = _look(catalog, selection, shard)
    networks: list[str] = []
    if not shard:
        outlooks, networks = _detail_features(context, catalog, outlooks)
    if outlooks:
        yield from align_columns([("collection", "to compute", "kept", "disk", "time"), *map(_row, outlooks)])
        yield ""
    yield from (f"{outlook.name}: {outlook.remark}" for outlook in outlooks if outlook.remark)
    for state in _STATES:
        names = [name for name, found in files.items() if found == state]
        if names:
            yield f"{state}: {', '.join(names)}"
    yield from networks
    if not shard and any(each.name == _NETWORKS and each.n_pending for each in outlooks):
        yield from _detail_trainings(context, catalog)
    yield from (f"{outlook.name}: {note}" for outlook in outlooks for note in outlook.notes)
    yield from (f"will fail: {outlook.name} {each}" for outlook in outlooks for each in outlook.failures)
    yield ""
    yield "nothing was computed or written (--dry-run)"
    if refused := [f"{outlook.name}: {outlook.refusal}" for outlook in outlooks if outlook.refusal]:
        raise UserError("\n".join(refused))


def _detail_features(
    context: Any, catalog: Any, outlooks: list[_Outlook]
) -> tuple[list[_Outlook], list[str]]:
    """Return the outlooks, disk and time of features summed over networks, and lines about these."""
    if all(outlook.name != _FEATURES or outlook.n_pending == 0 for outlook in outlooks):
        return outlooks, []
    try:
        found = look_ahead(context, catalog)
        lines = ["", *found.describe()]
    except Exception as problem:
        return outlooks, ["", f"features: {_reason(problem)}"]
    if not found.estimates:
        return outlooks, lines
    known = [
        each._replace(seconds=found.seconds, n_bytes=found.n_bytes) if each.name == _FEATURES else each
        for each in outlooks
    ]
    return known, lines


def _detail_trainings(context: Any, catalog: Any) -> list[str]:
    from rep_kedro.commands.trainings import describe_trainings

    try:
        return list(describe_trainings(context, catalog))
    except Exception as problem:
        return ["", f"networks: {_reason(problem)}"]


def _look(catalog: Any, selection: "Pipeline", shard: str | None) -> tuple[list[_Outlook], dict[str, str]]:
    """Go through the nodes in the order of the run; each planner plans from what those before it plan.

    Returns:
        An outlook for each collection, and what would happen to each single file, by name.
    """
    from rep_kedro.datasets import CollectionDataset

    made = selection.all_outputs()
    outlooks: list[_Outlook] = []
    files: dict[str, str] = {}
    unsettled: set[str] = set()  # outputs whose content will be another than what is there now
    expect_configured(catalog, selection.inputs())
    load_handles(catalog, selection)
    for node in selection.nodes:
        collections = [name for name in node.outputs if isinstance(catalog.get(name), CollectionDataset)]
        own_files = [name for name in node.outputs if name not in collections]
        waits_for = sorted(unsettled & set(free_inputs(node)))
        files_change = any(name in files for name in waits_for)
        lacking = sorted(name for name in free_inputs(node) if name not in made and _lacks(catalog, name))
        if own_files:
            found_files = {name: _FOLLOWS for name in own_files}
            if not (waits_for or lacking):
                found_files = _look_at_files(catalog, node)
            files |= found_files
            unsettled |= {name for name, state in found_files.items() if state in (_FOLLOWS, _COMPUTED)}
            continue
        needs = f"needs {', '.join(lacking)}, which is not there" if lacking else ""
        follows = f"follows from {_shortened(waits_for)}" if waits_for else ""
        found = _look_at_node(catalog, node, shard, tables_change=files_change)
        for outlook in found:
            remark = needs or ("" if outlook.n_pending == 0 else follows) or outlook.remark
            refusal = "" if needs or follows else outlook.refusal
            outlooks.append(outlook._replace(remark="" if refusal else remark, refusal=refusal))
        unsettled |= {outlook.name for outlook in outlooks if outlook.n_pending != 0}
    return outlooks, files


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def _look_at_files(catalog: Any, node: "Node") -> dict[str, str]:
    """Compare what a node plans for single files with what is there."""
    from rep_kedro.datasets import RecipeNode

    if not isinstance(node, RecipeNode):
        return {name: _ALWAYS if catalog.exists(name) else _COMPUTED for name in node.outputs}
    plans = plan_node(catalog, node)
    is_pending = {name: catalog.get(name).pending(as_saved(catalog, name, plans[name])) for name in plans}
    return {name: _COMPUTED if pending else _KEPT for name, pending in is_pending.items()}


def _lacks(catalog: Any, name: str) -> bool:
    """Return whether something of an input is not there."""
    from kedro.io import DatasetError

    from rep_kedro.datasets import CollectionDataset

    dataset = catalog.get(name)
    if not isinstance(dataset, CollectionDataset):
        return not catalog.exists(name)
    try:
        handles = dataset.load_partial()
    except DatasetError:
        return True
    return bool(handles.missing or handles.partial)


def _look_at_node(catalog: Any, node: "Node", shard: str | None, *, tables_change: bool) -> list[_Outlook]:
    """Let a planner plan, and compare with what is there.

    Members that the planner leaves out because their inputs are still to be computed, or plans without some
    of those, count as to be computed; so do all of them where a table that the planner reads will change.
    """
    from rep_kedro.datasets import Shard

    try:
        plans = plan_node(catalog, node)
        outlooks = []
        for name in node.outputs:
            dataset, plan = catalog.get(name), plans[name]
            shown = set(Shard.parse(shard).select(plan) if shard else plan)
            uncertain = set(plan) if tables_change else set(partial_of(plan))
            pending = shown & ({*dataset.pending(plan)} | uncertain)
            left_out = left_out_of(plan)
            causes = own_reasons(left_out)
            dataset.expect(plan)
            n_left_out = _count_left_out(name, left_out)
            n_pending = len(pending) + (n_left_out or 0)
            found = _with_times(dataset, name, n_pending, len(shown) - len(pending))
            if n_left_out is None:
                found = found._replace(n_pending=None, seconds=None, n_bytes=None)
            remark = f"not all can be planned now: {causes[0]}" if causes else ""
            failures = _known_failures(name, plan, pending)
            found = found._replace(is_bound=bool(uncertain or left_out), remark=remark, failures=failures)
            outlooks.append(found._replace(notes=tuple(notes_of(plan)) if pending else ()))
    except Exception as problem:
        reason, depends_on_machine = _reason(problem), isinstance(problem, MissingFileError)
        refusal = reason if isinstance(problem, UserError) and not depends_on_machine else ""
        remark = f"cannot be planned now: {reason}"
        return [_Outlook(name, remark=remark, refusal=refusal) for name in node.outputs]
    return outlooks


def _count_left_out(name: str, left_out: Mapping[str, str]) -> int | None:
    """Return how many members a planner leaves out; None where it names networks that stitches lack.

    Example:
        >>> _count_left_out("stitches", {"digits/a-to-b/ps_inv": "no images"})
        1
        >>> _count_left_out("stitches", {"a": "networks/a is missing"}) is None
        True
    """
    is_known = name != _STITCHES or all("/" in key for key in left_out)
    return len(left_out) if is_known else None


def _known_failures(name: str, plan: Mapping[str, "Planned"], pending: Iterable[str]) -> tuple[str, ...]:
    """Return which members will fail, and why, as far as planning or a look into small files shows it."""
    left_out = left_out_of(plan)
    causes = own_reasons(left_out)
    found = {key: why for key, why in left_out.items() if why in causes}
    for key in sorted(pending) if name == _READ_AT_ONCE else ():
        try:
            plan[key].value()
        except UserError as problem:
            found[key] = str(problem)
    return tuple(f"{key}: {why}" for key, why in found.items())


def _with_times(dataset: Any, name: str, n_pending: int, n_kept: int) -> _Outlook:
    """Add time and disk: the means over members of earlier runs."""
    from rep_kedro.datasets.journal import read_journal

    lines = list(read_journal(dataset.folder).values())
    if not n_pending:
        return _Outlook(name, 0, n_kept, 0.0, 0.0)
    means = [_mean([line.get(field) for line in lines]) for field in ("seconds", "n_bytes")]
    seconds, n_bytes = (None if mean is None else n_pending * mean for mean in means)
    return _Outlook(name, n_pending, n_kept, seconds, n_bytes)


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def _row(outlook: _Outlook) -> tuple[str, ...]:
    from rep_kedro.datasets.work import format_bytes, format_seconds

    def bounded(value: Any, form: Any, otherwise: str = _UNKNOWN) -> str:
        return otherwise if value is None else f"{'<= ' if outlook.is_bound else ''}{form(value)}"

    return (
        outlook.name,
        bounded(outlook.n_pending, "{:,}".format),
        _UNKNOWN if outlook.is_bound else bounded(outlook.n_kept, "{:,}".format),
        bounded(outlook.n_bytes, format_bytes),
        bounded(outlook.seconds, format_seconds, _UNKNOWN if outlook.n_pending is None else NO_ESTIMATE),
    )


def _reason(problem: Exception) -> str:
    return (explain(problem) or f"{type(problem).__name__}: {problem}").splitlines()[0]
