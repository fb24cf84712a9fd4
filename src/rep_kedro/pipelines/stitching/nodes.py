"""Nodes of the stitching pipeline: they choose the pairs; the collection decides what to compute."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.stitching.kinds import Kind, group_networks
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.models.study import FeaturesParams
from rep_kedro.schemas.stitching import STITCHING_RESULTS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_RECIPE_PARAMS = ("layers", "map_family", "map_rank", "relative_cutoff")
_log = logging.getLogger(__name__)

Pair = tuple[str, str]


def plan_stitches(
    stimulus_sets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    features: FeaturesParams,
    params: StitchingParams,
) -> Plan:
    """Plan one member for each ordered pair of networks that differ in nothing but their seed or weights.

    Pairs of one kind of network share a batch.

    Args:
        stimulus_sets: Handles by name; nothing is read while planning.
        networks: Handles by name; those without a head are left out.
        features: Names the networks from elsewhere; those of source `checkpoint` are joined too.
        params: Which networks to join, where, and how.

    Returns:
        Plan by ``<stimulus set>/<front>-to-<end>``; empty, with a warning, if no network has a partner. The
        pairs of a network that is missing are left out under its name.

    Raises:
        ValueError: If a chosen stimulus set or network is not there, or cannot be cut.
    """
    plan = Plan()
    plan.left_out = _find_absent(stimulus_sets, networks, params)
    networks = {name: handle for name, handle in networks.items() if name not in plan.left_out}
    n_all = 0
    kinds = group_networks(stimulus_sets, networks, features, params, absent=plan.left_out)
    for kind in kinds:
        pairs = choose_pairs(kind.names, params)
        n_all += len(kind.names) * (len(kind.names) - 1)
        named = {str(MemberKey(kind.stimulus_set, f"{front}-to-{end}")): (front, end) for front, end in pairs}
        stimulus_set = stimulus_sets[kind.stimulus_set]
        batch = Batch(partial(_join, kind, named, stimulus_set, params))
        for key, (front, end) in named.items():
            recipe = {
                "front": kind.handles[front].reference,
                "end": kind.handles[end].reference,
                "stimulus_set": stimulus_set.reference,
                **params.model_dump(mode="json", include=set(_RECIPE_PARAMS)),
                "code": code_revision("rep_kedro.analyses.stitching.joining", "rep_kedro.stimuli.decoding"),
            }
            plan[key] = Planned(recipe, batch)
    _tell_plan(plan, n_all, params)
    return plan


def choose_pairs(names: Sequence[str], params: StitchingParams) -> list[Pair]:
    """Return the ordered pairs of a kind of network that are joined, each pair in both directions.

    Networks are joined with those next to them in the ring of their sorted names, so that all have equally
    many partners, and a further network changes the partners of its neighbours alone.

    Args:
        names: Of the networks.
        params: Number of partners, and whether each is joined with itself.

    Example:
        >>> few = StitchingParams(max_partners_per_network=2)
        >>> choose_pairs(["a", "b", "c", "d", "e"], few)[:3]
        [('a', 'b'), ('a', 'e'), ('b', 'a')]
    """
    ring, most = sorted(names), params.max_partners_per_network
    n = len(ring)
    if most is None or most >= n - 1:
        steps = set(range(1, n))
    else:
        steps = {step % n for reach in range(1, most // 2 + 1) for step in (reach, -reach)}
        steps |= {n // 2} if most % 2 and n % 2 == 0 else set()
    steps |= {0} if params.include_self else set()
    return [(ring[i], ring[j]) for i in range(n) for j in sorted((i + step) % n for step in steps)]


def _tell_plan(plan: Mapping[str, Planned], n_all: int, params: StitchingParams) -> None:
    if not plan:
        _log.warning("nothing to stitch: no two networks with a head differ only in their seed")
    n_left = n_all - sum(planned.recipe["front"] != planned.recipe["end"] for planned in plan.values())
    if n_left:
        _log.info(
            "stitching leaves out %s of %s pairs: each network is stitched to at most %d of its kind"
            " (stitching.max_partners_per_network; null for all)",
            f"{n_left:,}",
            f"{n_all:,}",
            params.max_partners_per_network,
        )


def tabulate_stitching_results(stitches: Mapping[str, TensorsHandle]) -> DataFrame:
    """List how well each joined network does.

    Args:
        stitches: Handles by ``<stimulus set>/<front>-to-<end>``.

    Returns:
        Columns as in docs/tables.md; ``map_r2`` is that of the test split.
    """
    rows = []
    for key in sorted(stitches):
        recipe = stitches[key].recipe
        about = {
            "stimulus_set": recipe["stimulus_set"]["key"],
            "front_model": recipe["front"]["key"],
            "end_model": recipe["end"]["key"],
        }
        rows += [STITCHING_RESULTS.pick({**about, **row}) for row in stitches[key].meta["layers"]]
    return STITCHING_RESULTS.frame(rows)


def _find_absent(
    stimulus_sets: Mapping[str, ArrowHandle], networks: Mapping[str, TensorsHandle], params: StitchingParams
) -> dict[str, str]:
    """Return why chosen networks cannot be joined: they, or the images they were trained on, are missing."""
    absent = {name: f"networks/{name} is missing" for name in missing_of(networks)}
    for name, handle in networks.items():
        trained_on = handle.meta["stimulus_set"]
        if trained_on in missing_of(stimulus_sets):
            absent[name] = f"stimulus_sets/{trained_on} is missing"
    wanted = absent if isinstance(params.models, str) else params.models
    return {name: why for name, why in absent.items() if name in wanted}


def _join(
    kind: Kind,
    named: Mapping[str, Pair],
    stimulus_set: ArrowHandle,
    params: StitchingParams,
    keys: Sequence[str],
) -> Iterator[tuple[str, object]]:
    from rep_kedro.analyses.stitching.joining import join_networks

    by_pair = {named[key]: key for key in keys}
    for pair, joined in join_networks(kind.handles, stimulus_set, list(by_pair), params):
        yield by_pair[pair], joined
