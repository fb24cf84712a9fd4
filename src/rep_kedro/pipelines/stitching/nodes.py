"""Nodes of the stitching pipeline: they choose the pairs; the collection decides what to compute."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.stitching.joints import JoinedPair, find_joined_pairs, group_connected
from rep_kedro.analyses.stitching.maps import TaskMap
from rep_kedro.analyses.stitching.params import PAIRS_AT_A_TIME, StitchingParams
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.datasets.plan import Json
from rep_kedro.errors import UserError, require_known
from rep_kedro.models.study import FeaturesParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_RECIPE_PARAMS = ("n_fit", "n_test", "seed", "measures", "n_compare", "n_bootstrap", "confidence")
_FITTING = ("rep_kedro.analyses.stitching.joining", "rep_kedro.stimuli.decoding")
_TRAINING = ("rep_kedro.analyses.stitching.training", "rep_kedro.stimuli.decoding")
_log = logging.getLogger(__name__)

Wanted = dict[str, tuple[JoinedPair, str]]


def plan_stitches(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    features: FeaturesParams,
    params: StitchingParams,
) -> Plan:
    """Plan one member for each ordered pair of networks and each map, see `StitchingParams`.

    Maps without training of pairs that share networks share a batch; trained maps into one network do.

    Args:
        stimulus_sets: Handles by name; nothing is read while planning.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; nothing is read while planning.
        networks: Handles by name; those without a head are left out.
        features: Names the networks from elsewhere.
        params: Which networks to join, where, and how.

    Returns:
        Plan by ``<stimulus set>/<front>-to-<end>/<map>``; empty, with a warning, if no network has a partner.
        Pairs whose images are missing are left out; those of a network that is missing, under its name.

    Raises:
        UserError: If a network, stimulus set, subset or layer is not there, or networks cannot be joined.
    """
    plan = Plan()
    plan.left_out = _find_absent(networks, params)
    networks = {name: handle for name, handle in networks.items() if name not in plan.left_out}
    pairs = find_joined_pairs(stimulus_sets, networks, features, params, absent=plan.left_out)
    for connected in group_connected(pairs):
        stimulus_set = connected[0].end.stimulus_set
        wanted = {_key_of(pair, name): (pair, name) for pair in connected for name in pair.places}
        if why := _why_no_images(stimulus_set, stimulus_sets, stimulus_subsets, params):
            plan.left_out |= dict.fromkeys(wanted, why)
            plan.foreseen |= {key: {"layers": _layers_of(*each)} for key, each in wanted.items()}
            continue
        images = _choose_images(stimulus_set, stimulus_sets, stimulus_subsets, params)
        if params.measures:
            params.require_room_to_compare(min(handle.n_rows() for handle in images.values()))
        plan |= _plan_connected(wanted, images, params)
    if not (plan or plan.left_out):
        _log_nothing(params)
    return plan


def _plan_connected(
    wanted: Wanted, images: Mapping[str, ArrowHandle], params: StitchingParams
) -> dict[str, Planned]:
    """Plan pairs of networks that are connected by further pairs."""
    fitted = {key: each for key, each in wanted.items() if not params.maps[each[1]].is_trained}
    batches = {"": Batch(partial(_fit, fitted, images, params), n_together=PAIRS_AT_A_TIME)}
    for end in dict.fromkeys(pair.end.name for pair, _ in wanted.values()):
        trained = {
            key: each
            for key, each in wanted.items()
            if params.maps[each[1]].is_trained and each[0].end.name == end
        }
        batches[end] = Batch(partial(_train, trained, images, params), n_together=max(1, len(trained)))
    plan = {}
    for key, (pair, name) in wanted.items():
        batch = batches[pair.end.name if params.maps[name].is_trained else ""]
        plan[key] = Planned(_recipe(pair, name, images, params), batch)
    return plan


def _recipe(
    pair: JoinedPair, name: str, images: Mapping[str, ArrowHandle], params: StitchingParams
) -> dict[str, Json]:
    given = params.maps[name]
    modules = (*(_TRAINING if given.is_trained else _FITTING), *pair.front.modules, *pair.end.modules)
    recipe: dict[str, Json] = {
        "front": pair.front.reference,
        "end": pair.end.reference,
        "control": pair.control,
        "layers": _layers_of(pair, name),
        "map": {"name": name, **given.model_dump(mode="json")},
        **{image: handle.reference for image, handle in images.items()},
        **params.model_dump(mode="json", include=set(_RECIPE_PARAMS)),
        "code": code_revision(*dict.fromkeys(modules)),
    }
    if isinstance(given, TaskMap) and given.path_from is not None:
        recipe["path_from"] = params.maps[given.path_from].model_dump(mode="json")
    return recipe


def _layers_of(pair: JoinedPair, name: str) -> list[Json]:
    return [list(layers) for layers in pair.places[name]]


def _key_of(pair: JoinedPair, name: str) -> str:
    return f"{MemberKey(pair.end.stimulus_set, pair.name)}/{name}"


def _log_nothing(params: StitchingParams) -> None:
    _log.info(
        "nothing to stitch: no two networks with a head are of one kind (%s)",
        "one architecture, input, number of classes and stimulus set, and both trained here or both files"
        if params.across_objectives
        else "trained here and different only in their seed, or files of one architecture and objective;"
        " stitching.across_objectives: true joins others",
    )


def _find_absent(networks: Mapping[str, TensorsHandle], params: StitchingParams) -> dict[str, str]:
    """Return why networks that are chosen, or that a joint names, cannot be joined: they are missing."""
    absent = {name: f"networks/{name} is missing" for name in missing_of(networks)}
    sides = [side for joint in params.joints for side in (joint.fronts, joint.ends) if isinstance(side, list)]
    wanted = absent if isinstance(params.models, str) else {*params.models, *chain.from_iterable(sides)}
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


def _fit(
    wanted: Wanted, images: Mapping[str, ArrowHandle], params: StitchingParams, keys: Sequence[str]
) -> Iterator[tuple[str, object]]:
    from rep_kedro.analyses.stitching.joining import join_networks
    from rep_kedro.analyses.stitching.splits import read_splits

    splits = read_splits(
        images["stimulus_set"], images.get("stimulus_subset"), params, labels=wanted[keys[0]][0].end.labels
    )
    for pair, name, joined in join_networks([wanted[key] for key in keys], splits, params):
        yield _key_of(pair, name), joined


def _train(
    wanted: Wanted, images: Mapping[str, ArrowHandle], params: StitchingParams, keys: Sequence[str]
) -> Iterator[tuple[str, object]]:
    from rep_kedro.analyses.stitching.splits import read_splits
    from rep_kedro.analyses.stitching.training import train_networks

    splits = read_splits(
        images["stimulus_set"], images.get("stimulus_subset"), params, labels=wanted[keys[0]][0].end.labels
    )
    for pair, name, joined in train_networks([wanted[key] for key in keys], splits, params):
        yield _key_of(pair, name), _named_failure(joined, _key_of(pair, name))


def _named_failure(value: object, key: str) -> object:
    return UserError(f"stitch {key}: {value}") if isinstance(value, UserError) else value


def tabulate_stitches(stitches: Mapping[str, TensorsHandle]) -> tuple[DataFrame, DataFrame, DataFrame]:
    """List how well each joined network does.

    Args:
        stitches: Handles by ``<stimulus set>/<front>-to-<end>/<map>``.

    Returns:
        Results, their summary, and paths between maps; columns as in docs/tables.md.
    """
    from rep_kedro.analyses.stitching.tables import list_paths, list_results, summarise_results

    results = list_results(stitches)
    return results, summarise_results(results), list_paths(stitches)


def plan_stitch_reports(
    stitches: Mapping[str, TensorsHandle], networks: Mapping[str, TensorsHandle], params: StitchingParams
) -> Plan:
    """Plan the report of each stitch of the maps that ``reports`` names; see `analyses.stitching.reports`."""
    from rep_kedro.analyses.stitching.reports import plan_reports

    return plan_reports(stitches, networks, params)
