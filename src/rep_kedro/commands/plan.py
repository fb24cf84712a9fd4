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


class FeaturesOutlook(NamedTuple):
    """What a run of the features pipeline would compute and take, by network."""

    estimates: "list[NetworkEstimate]"
    outlook: _Outlook

    @property
    def n_bytes(self) -> float:
        """Disk that is needed."""
        return sum(each.n_bytes for each in self.estimates)

    @property
    def seconds(self) -> float | None:
        """Time of the networks that earlier runs allow to estimate; None if there are none."""
        known = [each.seconds for each in self.estimates if each.seconds is not None]
        return sum(known) if known else None

    def describe(self) -> Iterable[str]:
        """Yield a table of networks, and sums."""
        from rep_kedro.datasets.work import format_bytes, format_seconds

        n_members, estimates = self.outlook.n_members, self.estimates
        rows = [("network", "to compute", "images", "disk", "time")]
        for each in estimates:
            rows.append(
                (
                    each.model,
                    f"{each.n_pending} of {n_members[each.model]}",
                    f"{each.n_stimuli:,}",
                    format_bytes(each.n_bytes),
                    NO_ESTIMATE if each.seconds is None else format_seconds(each.seconds),
                )
            )
        if estimates:
            yield from align_columns(rows)
            yield ""
        n_planned, n_pending = sum(n_members.values()), sum(each.n_pending for each in estimates)
        yield (
            f"features: {n_planned:,} members of {len(n_members)} networks and {len(self.outlook.n_stimuli)}"
            f" stimulus sets; {n_pending:,} to compute, {n_planned - n_pending:,} kept"
        )
        if estimates:
            yield f"disk: {format_bytes(self.n_bytes)}; time: {self._time()}"
        yield from self.outlook.remarks

    def _time(self) -> str:
        from rep_kedro.datasets.work import format_seconds

        if self.seconds is None:
            return NO_ESTIMATE
        n_unknown = sum(each.seconds is None for each in self.estimates)
        rest = f" (without {n_unknown} networks that have {NO_ESTIMATE})" if n_unknown else ""
        return f"about {format_seconds(self.seconds)}, as earlier runs took{rest}"

    def describe_sets(self) -> Iterable[str]:
        """Yield a table of stimulus sets."""
        rows = [("stimulus set", "images", "networks to compute")]
        for name, n_stimuli in self.outlook.n_stimuli.items():
            n_networks = sum(name in pending for pending in self.outlook.pending.values())
            rows.append((name, f"{n_stimuli:,}", str(n_networks)))
        yield ""
        yield from align_columns(rows)


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
    from rep_kedro.checks.planning import expect_configured
    from rep_kedro.commands.session import open_context

    context = open_context(env, params)
    catalog = context.catalog  # made at each access
    expect_configured(catalog, ["stimulus_sets", "stimulus_subsets", "networks"])
    outlook = look_ahead(context, catalog)
    click.echo("\n".join([*outlook.describe(), *(outlook.describe_sets() if by_set else ())]))


def look_ahead(context: Any, catalog: Any) -> "FeaturesOutlook":
    """Return what a run of the features pipeline would compute and take.

    Raises:
        UserError: If nothing is known of a stimulus set that is wanted.
    """
    from rep_kedro.datasets.journal import read_journal
    from rep_kedro.features.params import FeaturesParams

    params = FeaturesParams.model_validate(context.config_loader["parameters"]["features"])
    features = catalog.get("features")
    outlook = _look(catalog, features, params)
    return FeaturesOutlook(_estimate(outlook, catalog, params, read_journal(features.folder)), outlook)


def _look(catalog: Any, features: Any, params: "FeaturesParams") -> _Outlook:
    """Compare the plan with what is there; fall back on what is known of sets that are not."""
    from rep_kedro.datasets.partial import left_out_of
    from rep_kedro.pipelines.features.nodes import plan_features

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
            f"no disk and time yet: {why}; and {_FACTS} states no sizes of"
            f" {', '.join(unknown) or 'stimulus sets'}: run the ingest pipeline first"
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


def align_columns(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield the rows as text, the first column left-aligned and all others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
