"""``kedro plan``: show what a run of the features pipeline would compute, without computing or writing."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from kedro.framework.cli.utils import _split_params

from rep_kedro.commands.command import ProjectCommand
from rep_kedro.commands.explain import explain
from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.features.estimate import NetworkEstimate
    from rep_kedro.features.params import FeaturesParams

_FACTS = "features.stimulus_facts"
NO_ESTIMATE = "no estimate yet"
"""Shown instead of a time where the journal has no earlier run."""


class _Outlook(NamedTuple):
    """The plan, as far as it is known now."""

    pending: dict[str, dict[str, int]]  # by network and stimulus set: how many images
    n_members: dict[str, int]  # by network, pending or not
    n_stimuli: dict[str, int]  # by stimulus set
    remarks: list[str]


@click.command(name="plan", cls=ProjectCommand)
@click.option("--env", "-e", default=None, help="Configuration environment.")
@click.option(
    "--params", default="", callback=_split_params, help="Extra parameters, as for kedro run: key=value,..."
)
@click.option("--by-set", is_flag=True, help="Add one line for each stimulus set.")
def command(env: str | None, params: dict[str, Any], by_set: bool) -> None:
    """Show what a run of the features pipeline would compute, and how long by the times of earlier runs.

    Stored members with an equal recipe are kept. The sizes of stimulus sets that are not stored yet come from
    the parameter `stimulus_facts`.
    """
    from rep_kedro.commands.session import open_context

    click.echo("\n".join(tell_plan(open_context(env, params), by_set=by_set)))


def tell_plan(context: Any, *, by_set: bool = False) -> Iterable[str]:
    """Yield lines about what a run of the features pipeline would compute, its disk space and time.

    Args:
        context: The project's context.
        by_set: Add a line for each stimulus set.

    Raises:
        ValueError: If nothing is known about a requested stimulus set.
    """
    from rep_kedro.datasets.journal import read_journal
    from rep_kedro.features.params import FeaturesParams

    params = FeaturesParams.model_validate(context.config_loader["parameters"]["features"])
    catalog = context.catalog
    features = catalog.get("features")
    outlook = _look(catalog, features, params)
    estimates = _estimate(outlook, catalog, params, read_journal(features.folder))
    yield from _report(estimates, outlook)
    if by_set:
        yield from _report_sets(outlook)


def _look(catalog: Any, features: Any, params: "FeaturesParams") -> _Outlook:
    """Compare the plan with what is stored; use `stimulus_facts` for stimulus sets that are not."""
    from rep_kedro.checks.planning import expect_configured
    from rep_kedro.datasets.partial import left_out_of
    from rep_kedro.pipelines.features.nodes import plan_features

    expect_configured(catalog, ["stimulus_sets", "stimulus_subsets", "networks"])
    try:
        sets, subsets, networks = (
            catalog.load(name) for name in ("stimulus_sets", "stimulus_subsets", "networks")
        )
        plan = plan_features(sets, subsets, networks, params)
    except Exception as problem:
        why = explain(problem)
        if why is None:
            raise
        return _look_without_stimuli(catalog, params, why.splitlines()[0])
    names = sorted({MemberKey.parse(key).stimulus_set for key in plan})
    n_stimuli = {
        name: len(subsets[str(MemberKey(name, params.subset))].table(["stimulus_id"])) for name in names
    }
    pending: dict[str, dict[str, int]] = {MemberKey.parse(key).name: {} for key in plan}
    n_members = dict.fromkeys(pending, 0)
    to_do = set(features.pending(plan))
    for key in plan:
        name, model = MemberKey.parse(key)
        n_members[model] += 1
        if key in to_do:
            pending[model][name] = n_stimuli[name]
    remarks = [f"left out: {why}" for why in dict.fromkeys(left_out_of(plan).values())]
    return _Outlook(pending, n_members, n_stimuli, remarks)


def _look_without_stimuli(catalog: Any, params: "FeaturesParams", why: str) -> _Outlook:
    facts = params.stimulus_facts
    wanted = list(facts) if isinstance(params.stimulus_sets, str) else params.stimulus_sets
    unknown = [name for name in wanted if name not in facts]
    if unknown or not wanted:
        raise UserError(
            f"{why}; {_FACTS} has no entry for {', '.join(unknown) or 'any stimulus set'} either, so nothing"
            " can be planned: run the ingest pipeline first"
        )
    n_stimuli = {name: facts[name].n_analysis for name in wanted}
    models = [*_trained_networks(catalog, params), *params.entries()]
    return _Outlook(
        pending={model: dict(n_stimuli) for model in models},
        n_members=dict.fromkeys(models, len(n_stimuli)),
        n_stimuli=n_stimuli,
        remarks=[f"sizes of the stimulus sets come from {_FACTS}, because {why}"],
    )


def _trained_networks(catalog: Any, params: "FeaturesParams") -> list[str]:
    if not isinstance(params.networks, str):
        return params.networks
    return sorted(catalog.load("networks")) if catalog.exists("networks") else []


def _estimate(
    outlook: _Outlook, catalog: Any, params: "FeaturesParams", journal: Mapping[Any, Any]
) -> list["NetworkEstimate"]:
    from rep_kedro.features.estimate import estimate_networks, flops_of, mean_seconds, width_of

    study: dict[str, Any] = {
        "networks": catalog.load("networks") if catalog.exists("networks") else {},
        "params": params,
    }
    return estimate_networks(
        outlook.pending,
        mean_seconds(journal, outlook.n_stimuli),
        width_of=partial(width_of, **study),
        flops_of=partial(flops_of, **study),
    )


def _report(estimates: list["NetworkEstimate"], outlook: _Outlook) -> Iterable[str]:
    from rep_kedro.datasets.work import format_bytes, format_seconds

    rows = [("network", "to compute", "images", "disk", "time")]
    for each in estimates:
        rows.append(
            (
                each.model,
                f"{each.n_pending} of {outlook.n_members[each.model]}",
                f"{each.n_stimuli:,}",
                format_bytes(each.n_bytes),
                NO_ESTIMATE if each.seconds is None else format_seconds(each.seconds),
            )
        )
    if estimates:
        yield from align_columns(rows)
        yield ""
    n_planned, n_pending = sum(outlook.n_members.values()), sum(each.n_pending for each in estimates)
    yield (
        f"features: {n_planned:,} members of {len(outlook.n_members)} networks and {len(outlook.n_stimuli)}"
        f" stimulus sets; {n_pending:,} to compute, {n_planned - n_pending:,} kept"
    )
    if estimates:
        known = [each.seconds for each in estimates if each.seconds is not None]
        n_unknown = len(estimates) - len(known)
        time = f"about {format_seconds(sum(known))}, from earlier runs" if known else NO_ESTIMATE
        rest = f" (without {n_unknown} networks that have {NO_ESTIMATE})" if known and n_unknown else ""
        yield f"disk: {format_bytes(sum(each.n_bytes for each in estimates))}; time: {time}{rest}"
    yield from outlook.remarks


def _report_sets(outlook: _Outlook) -> Iterable[str]:
    rows = [("stimulus set", "images", "networks to compute")]
    for name, n_stimuli in outlook.n_stimuli.items():
        n_networks = sum(name in pending for pending in outlook.pending.values())
        rows.append((name, f"{n_stimuli:,}", str(n_networks)))
    yield ""
    yield from align_columns(rows)


def align_columns(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield the rows as text, the first column left-aligned and all others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
