"""Nodes of the stitching pipeline: they choose the pairs; the collection decides what to compute."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.stitching.kinds import Kind, group_networks
from rep_kedro.analyses.stitching.params import PAIRS_AT_A_TIME, StitchingParams
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import require_known
from rep_kedro.models.study import FeaturesParams
from rep_kedro.schemas.stitching import STITCHING_RESULTS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_RECIPE_PARAMS = ("layers", "map_family", "map_rank", "relative_cutoff", "n_fit", "n_test", "seed")
_log = logging.getLogger(__name__)

Pair = tuple[str, str]


def plan_stitches(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    features: FeaturesParams,
    params: StitchingParams,
) -> Plan:
    """Plan one member for each ordered pair of networks of one kind, see `StitchingParams`.

    Pairs of one kind share a batch.

    Args:
        stimulus_sets: Handles by name; nothing is read while planning.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; nothing is read while planning.
        networks: Handles by name; those without a head are left out.
        features: Names the networks from elsewhere; those of source `checkpoint` are joined too.
        params: Which networks to join, where, and how.

    Returns:
        Plan by ``<stimulus set>/<front>-to-<end>``; empty, with a warning, if no network has a partner. Pairs
        whose images are missing are left out; those of a network that is missing, under its name.

    Raises:
        ValueError: If a chosen stimulus set, subset or network is not there, or cannot be cut.
    """
    plan = Plan()
    plan.left_out = _find_absent(networks, params)
    networks = {name: handle for name, handle in networks.items() if name not in plan.left_out}
    n_all = n_chosen = 0
    for kind in group_networks(stimulus_sets, networks, features, params, absent=plan.left_out):
        pairs = choose_pairs(kind.names, params)
        n_all += len(kind.names) * (len(kind.names) - 1)
        n_chosen += sum(front != end for front, end in pairs)
        named = {str(MemberKey(kind.stimulus_set, f"{front}-to-{end}")): (front, end) for front, end in pairs}
        if why := _why_no_images(kind.stimulus_set, stimulus_sets, stimulus_subsets, params):
            plan.left_out |= dict.fromkeys(named, why)
            continue
        images = _choose_images(kind.stimulus_set, stimulus_sets, stimulus_subsets, params)
        batch = Batch(partial(_join, kind, named, images, params), n_together=PAIRS_AT_A_TIME)
        for key, (front, end) in named.items():
            recipe = {
                "front": kind.handles[front].reference,
                "end": kind.handles[end].reference,
                **{name: handle.reference for name, handle in images.items()},
                **params.model_dump(mode="json", include=set(_RECIPE_PARAMS)),
                "code": code_revision("rep_kedro.analyses.stitching.joining", "rep_kedro.stimuli.decoding"),
            }
            plan[key] = Planned(recipe, batch)
    _log_plan(plan, n_all, n_all - n_chosen, params)
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


def _log_plan(plan: Plan, n_all: int, n_left: int, params: StitchingParams) -> None:
    if not (plan or plan.left_out):
        _log.warning(
            "nothing to stitch: no two networks with a head are of one kind (%s)",
            "one architecture, input, number of classes and stimulus set, and both trained here or both files"
            if params.across_objectives
            else "trained here and different only in their seed, or files of one architecture and objective;"
            " stitching.across_objectives: true joins others",
        )
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


def _find_absent(networks: Mapping[str, TensorsHandle], params: StitchingParams) -> dict[str, str]:
    """Return why chosen networks cannot be joined: they are missing."""
    absent = {name: f"networks/{name} is missing" for name in missing_of(networks)}
    wanted = absent if isinstance(params.models, str) else params.models
    return {name: why for name, why in absent.items() if name in wanted}


def _why_no_images(
    stimulus_set: str,
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: StitchingParams,
) -> str:
    if stimulus_set in missing_of(stimulus_sets):
        return f"stimulus_sets/{stimulus_set} is missing"
    subset = f"{stimulus_set}/{params.subset}"
    return f"stimulus_subsets/{subset} is missing" if subset in missing_of(stimulus_subsets) else ""


def _choose_images(
    stimulus_set: str,
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: StitchingParams,
) -> dict[str, ArrowHandle]:
    """Return the stimulus set and, where one is chosen, its subset."""
    images = {"stimulus_set": stimulus_sets[stimulus_set]}
    if params.subset is not None:
        key = str(MemberKey(stimulus_set, params.subset))
        require_known("stimulus subset", key, stimulus_subsets)
        images["stimulus_subset"] = stimulus_subsets[key]
    return images


def _join(
    kind: Kind,
    named: Mapping[str, Pair],
    images: Mapping[str, ArrowHandle],
    params: StitchingParams,
    keys: Sequence[str],
) -> Iterator[tuple[str, object]]:
    from rep_kedro.analyses.stitching.joining import join_networks
    from rep_kedro.analyses.stitching.splits import read_splits

    by_pair = {named[key]: key for key in keys}
    splits = read_splits(images["stimulus_set"], images.get("stimulus_subset"), params)
    for pair, joined in join_networks(kind.handles, splits, list(by_pair), params):
        yield by_pair[pair], joined
