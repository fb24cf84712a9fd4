"""``kedro run --dry-run``: what a run would compute, keep and take; nothing is computed or written."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.commands.explain import explain
from rep_kedro.commands.plan import align_columns, tell_plan
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

_UNKNOWN = "-"
_FEATURES = "features"


class _Outlook(NamedTuple):
    """What a run would do with one collection; numbers are None where they cannot be known yet.

    ``is_bound``: the numbers are the most that there may be.
    """

    name: str
    n_pending: int | None = None
    n_kept: int | None = None
    seconds: float | None = None
    n_bytes: float | None = None
    remark: str = ""
    is_bound: bool = False


def tell_dry_run(context: Any, selection: "Pipeline", shard: str | None) -> Iterable[str]:
    """Yield, line by line, what a run of these nodes would do.

    Members that are there with an equal recipe are kept. Where something that a collection is planned from
    would change, the numbers are those of today's plan, all to be computed, as a bound.

    Args:
        context: The project's context.
        selection: The nodes.
        shard: Part of each collection that would be worked, as `3/64`; None for all.
    """
    outlooks, tables = _look(context.catalog, selection, shard)
    if outlooks:
        yield from align_columns([("collection", "to compute", "kept", "time", "disk"), *map(_row, outlooks)])
        yield ""
    yield from (f"{outlook.name}: {outlook.remark}" for outlook in outlooks if outlook.remark)
    if tables:
        yield f"made anew by every run: {', '.join(tables)}"
    if any(outlook.name == _FEATURES and outlook.n_pending != 0 for outlook in outlooks):
        yield ""
        try:
            yield from tell_plan(context)
        except Exception as problem:
            yield f"features: {_reason(problem)}"
    yield ""
    yield "nothing was computed or written (--dry-run)"


def _look(catalog: Any, selection: "Pipeline", shard: str | None) -> tuple[list[_Outlook], list[str]]:
    """Go through the nodes in the order of the run."""
    from rep_kedro.datasets import CollectionDataset

    made = selection.all_outputs()
    outlooks: list[_Outlook] = []
    tables: list[str] = []
    unsettled: set[str] = set()  # outputs whose content will be another than what is there now
    for node in selection.nodes:
        waits_for = sorted(unsettled & set(node.inputs))
        missing = sorted(name for name in _free_inputs(node) if name not in made and not catalog.exists(name))
        collections = [name for name in node.outputs if isinstance(catalog.get(name), CollectionDataset)]
        tables += [name for name in node.outputs if name not in collections]
        if waits_for or missing:
            remark = (
                f"needs {', '.join(missing)}, which is not there"
                if missing
                else f"follows from {', '.join(waits_for)}"
            )
            outlooks += [_bound(catalog, node, name, shard, remark) for name in collections]
            unsettled |= set(node.outputs)
            continue
        found = _look_at_node(catalog, node, collections, shard) if collections else []
        outlooks += found
        unsettled |= {outlook.name for outlook in found if outlook.n_pending != 0}
        unsettled |= {name for name in node.outputs if name not in collections and not catalog.exists(name)}
    return outlooks, tables


def _look_at_node(catalog: Any, node: "Node", collections: list[str], shard: str | None) -> list[_Outlook]:
    """Let a planner plan, and compare with what is there."""
    from rep_kedro.datasets import Planned, Shard

    try:
        inputs = {name: _load_input(catalog, node, name) for name in node.inputs}
        plans = node.run(inputs)
        outlooks = []
        for name in collections:
            dataset, plan = catalog.get(name), plans[name]
            if not all(isinstance(value, Planned) for value in plan.values()):
                raise UserError(f"{name} has no plan")  # pragma: no cover - saving it would be refused
            shown = set(Shard.parse(shard).select(plan) if shard else plan)
            pending = [key for key in dataset.pending(plan) if key in shown]
            outlooks.append(_with_times(dataset, name, len(pending), len(shown) - len(pending)))
    except Exception as problem:
        return [_Outlook(name, remark=f"cannot be planned now: {_reason(problem)}") for name in collections]
    return outlooks


def _bound(catalog: Any, node: "Node", name: str, shard: str | None, remark: str) -> _Outlook:
    """Return what the collection would take if all that is planned today had to be computed."""
    outlook = _Outlook(name, remark=remark)
    if all(catalog.exists(source) for source in _free_inputs(node)):
        (today,) = _look_at_node(catalog, node, [name], shard)
        if today.n_pending is not None and today.n_kept is not None:
            n_planned = today.n_pending + today.n_kept
            outlook = _with_times(catalog.get(name), name, n_planned, 0)
    return outlook._replace(remark=remark, is_bound=True)


def _with_times(dataset: Any, name: str, n_pending: int, n_kept: int) -> _Outlook:
    """Add what the members of earlier runs took on average."""
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


def _load_input(catalog: Any, node: "Node", name: str) -> Any:
    """Load an input as the node gets it in a run: parameters as the model that its signature names."""
    value = catalog.load(name)
    if not name.startswith("params:") or not isinstance(value, Mapping):
        return value
    from inspect import signature
    from typing import get_type_hints

    from pydantic import BaseModel

    function = getattr(node.func, "func", node.func)
    bound = signature(function).bind_partial(*node.inputs).arguments
    kind = next((get_type_hints(function).get(key) for key, source in bound.items() if source == name), None)
    return kind.model_validate(value) if isinstance(kind, type) and issubclass(kind, BaseModel) else value


def _free_inputs(node: "Node") -> list[str]:
    return [name for name in node.inputs if name != "parameters" and not name.startswith("params:")]


def _row(outlook: _Outlook) -> tuple[str, ...]:
    from rep_kedro.datasets.work import format_bytes, format_seconds

    def told(value: Any, form: Any) -> str:
        return _UNKNOWN if value is None else f"{'<= ' if outlook.is_bound else ''}{form(value)}"

    return (
        outlook.name,
        told(outlook.n_pending, "{:,}".format),
        _UNKNOWN if outlook.is_bound else told(outlook.n_kept, "{:,}".format),
        told(outlook.seconds, format_seconds),
        told(outlook.n_bytes, format_bytes),
    )


def _reason(problem: Exception) -> str:
    return (explain(problem) or f"{type(problem).__name__}: {problem}").splitlines()[0]
