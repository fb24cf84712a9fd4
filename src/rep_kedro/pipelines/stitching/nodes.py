"""Nodes of the stitching pipeline: which networks are joined; the collection decides what is to do."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Batch, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError
from rep_kedro.pipelines.stitching.params import StitchingParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

COLUMNS = (
    *("stimulus_set", "front_model", "end_model", "layer", "depth", "front_accuracy", "end_accuracy"),
    *("stitched_accuracy", "relative_accuracy", "agreement", "map_r2", "n_fit", "n_test"),
)
SEPARATOR = "-to-"
_RECIPE_PARAMS = ("layers", "map_family", "map_rank", "relative_cutoff")
_log = logging.getLogger(__name__)


def plan_stitches(
    stimulus_sets: Mapping[str, ArrowHandle], networks: Mapping[str, TensorsHandle], params: StitchingParams
) -> Plan:
    """Plan one member for each ordered pair of networks that differ in nothing but their seed.

    Pairs of one kind of network share a batch: each network runs once.

    Args:
        stimulus_sets: Handles by name; nothing is read while planning.
        networks: Handles by name; those without a head are left out.
        params: Which networks to join, where, and how.

    Returns:
        Plan by ``<stimulus set>/<front>-to-<end>``; empty, with a warning, if no network has a partner. The
        pairs of a network that is missing are left out under its name.

    Raises:
        ValueError: If a chosen stimulus set or network is not there.
    """
    plan = Plan()
    plan.left_out = _find_absent(stimulus_sets, networks, params)
    networks = {name: handle for name, handle in networks.items() if name not in plan.left_out}
    files = _open_checkpoints(networks, params)
    networks = {**networks, **files}
    groups = _group_networks(stimulus_sets, networks, params, plan.left_out) | _group_checkpoints(
        stimulus_sets, files, params
    )
    for (stimulus_set, _), names in sorted(groups.items()):
        handles = {name: networks[name] for name in names}
        pairs = [pair for pair in product(names, names) if pair[0] != pair[1] or params.include_self]
        batch = Batch(partial(_join, handles, stimulus_sets[stimulus_set], params))
        for front, end in pairs:
            recipe = {
                "front": networks[front].reference,
                "end": networks[end].reference,
                "stimulus_set": stimulus_sets[stimulus_set].reference,
                **params.model_dump(mode="json", include=set(_RECIPE_PARAMS)),
                "code": code_revision("rep_kedro.pipelines.stitching.joining", "rep_kedro.stimuli.decoding"),
            }
            plan[f"{stimulus_set}/{front}{SEPARATOR}{end}"] = Planned(recipe, batch)
    if not plan:
        _log.warning("nothing to stitch: no two networks with a head differ in their seed alone")
    return plan


def tabulate_stitching_results(stitches: Mapping[str, TensorsHandle]) -> DataFrame:
    """List how well each joined network does.

    Args:
        stitches: Handles by ``<stimulus set>/<front>-to-<end>``.

    Returns:
        Columns as in docs/architecture.md, section 3; ``map_r2`` is that of the test split.
    """
    import pandas as pd

    rows = []
    for key in sorted(stitches):
        stimulus_set, _, pair = key.partition("/")
        front, _, end = pair.partition(SEPARATOR)
        about = {"stimulus_set": stimulus_set, "front_model": front, "end_model": end}
        rows += [{**about, **row} for row in stitches[key].meta["layers"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"relative_accuracy": "float64", "map_r2": "float64"})


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


def _group_networks(
    stimulus_sets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    params: StitchingParams,
    absent: Mapping[str, str],
) -> dict[tuple[str, str], list[str]]:
    """Return networks with a head that differ in their seed alone, by training set and name without seed."""
    models = [name for name in sorted(networks) if name not in params.checkpoints]
    if not isinstance(params.models, str):
        known = {**networks, **absent}
        models = [name for name in params.models if _require_name("network", name, known) not in absent]
    if not isinstance(params.stimulus_sets, str):
        for name in params.stimulus_sets:
            _require_name("stimulus set", name, {**stimulus_sets, **missing_of(stimulus_sets)})
    groups: dict[tuple[str, str], list[str]] = {}
    for name in models:
        meta = networks[name].meta
        wanted = isinstance(params.stimulus_sets, str) or meta["stimulus_set"] in params.stimulus_sets
        if meta["n_classes"] is None or not wanted:
            continue
        trained_on = _require_name("stimulus set", meta["stimulus_set"], stimulus_sets)
        groups.setdefault((trained_on, name.removesuffix(f"_s{meta['seed']}")), []).append(name)
    return {key: names for key, names in groups.items() if len(names) > 1 or params.include_self}


def _open_checkpoints(networks: Mapping[str, TensorsHandle], params: StitchingParams) -> dict[str, Any]:
    """Return the files of weights in the guise of networks trained here.

    Raises:
        ValueError: If a file is missing, has no head, or has the name of a network.
    """
    if not params.checkpoints:
        return {}
    from rep_kedro.models.sources.checkpoint import CheckpointHandle

    files = {}
    for name, spec in params.checkpoints.items():
        if name in networks:
            raise UserError(f"stitching.checkpoints.{name} has the name of a network trained here")
        if spec.n_classes is None:
            raise UserError(f"stitching.checkpoints.{name} has no head: give n_classes, or leave it out")
        files[name] = CheckpointHandle(name, spec)
    return files


def _group_checkpoints(
    stimulus_sets: Mapping[str, ArrowHandle], files: Mapping[str, Any], params: StitchingParams
) -> dict[tuple[str, str], list[str]]:
    """Return files that differ in their weights alone, by training set and form."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in sorted(files):
        trained_on = _require_name("stimulus set", str(params.checkpoints[name].trained_on), stimulus_sets)
        form = json.dumps(files[name].meta, sort_keys=True)
        groups.setdefault((trained_on, form), []).append(name)
    return {key: names for key, names in groups.items() if len(names) > 1 or params.include_self}


def _require_name(kind: str, name: str, known: Any) -> str:
    if name in known:
        return name
    close = get_close_matches(name, known)
    hint = f", did you mean {close[0]!r}" if close else ""
    raise UserError(f"no {kind} {name!r}{hint}; there are: {', '.join(sorted(known))}")


def _join(
    handles: Mapping[str, TensorsHandle],
    stimulus_set: ArrowHandle,
    params: StitchingParams,
    keys: Sequence[str],
) -> Iterator[tuple[str, object]]:
    from rep_kedro.pipelines.stitching.joining import join_networks

    by_pair = {}
    for key in keys:
        front, _, end = key.partition("/")[2].partition(SEPARATOR)
        by_pair[front, end] = key
    needed = {name: handles[name] for name in handles if any(name in pair for pair in by_pair)}
    for pair, joined in join_networks(needed, stimulus_set, list(by_pair), params):
        yield by_pair[pair], joined
