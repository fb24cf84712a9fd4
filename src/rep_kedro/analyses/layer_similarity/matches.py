"""Plans of the best matches of layers, and the tables made from them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from math import factorial, isnan
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.layer_similarity.layers import (
    LayerOf,
    choose_layers,
    describe_layers,
    group_by_model,
    load_layers,
    read_layers,
    select_networks,
)
from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
from rep_kedro.analyses.similarity.selection import (
    NO_SUBSETS,
    Selection,
    choose_device,
    leave_out_sets,
)
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision
from rep_kedro.errors import UserError
from rep_kedro.measures import get_measure
from rep_kedro.schemas.layer_similarity import BEST_LAYER_MATCH, SHARED_REPRESENTATIONS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = TensorsHandle = Any  # so that Kedro can read the hints

OF_LAYERS, OF_NETWORKS = "layers", "networks"
RECIPE_PARAMS = {"n_permutations", "n_bootstrap", "confidence", "level", "max_stimuli", "seed"}
COPIES = 4  # of matrices over stimuli, and of drawn values, that are in memory at once
UNDEFINED = "no similarity of the layers is defined; the table layer_similarities says why"
NO_NULL = "no p-value: the measure has no permutation null"
NOT_PERMUTED = "no p-value: layer_similarity.n_permutations is 0"
NOT_RESAMPLED = "no interval: layer_similarity.n_bootstrap is 0"
NO_RESAMPLING = "no interval: the measure has no bootstrap"
TOO_FEW_DEFINED = "no interval: the similarity is undefined in more than a tenth of the resamples"


def plan_layer_matches(
    features: Mapping[str, TensorsHandle],
    params: LayerSimilarityParams,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
) -> Plan:
    """Plan the best matches between the layers of different networks, for each stimulus set and measure.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        params: Which networks, layers, stimulus sets, stimuli and measures; how sure matches are to be.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; ids are read where a subset is named.

    Returns:
        Plan by ``<stimulus set>/<measure>``; empty where layers of different networks are not compared. A
        member contains the fields of ``kernels.statistics.best_match.Matches``: ``layers/<field>`` (n_layers,
        n_networks) and ``networks/<field>`` (n_networks, n_networks).

    Raises:
        ValueError: As for the matrices over layers, or if the matches need more than
            ``layer_similarity.memory_bytes``.
    """
    plan = Plan()
    if params.models == [] or params.compare == "within":
        return plan
    leave_out_sets(plan, params.measures, features, params, stimulus_subsets)
    for selection in select_networks(features, params, stimulus_subsets):
        layers = choose_layers(selection, params)
        if len(selection.sources) < 2:
            continue
        _require_memory(selection, layers, params)
        batch, members = _match_batch(selection, layers, params), {}
        for measure in map(get_measure, params.measures):
            recipe = {
                "measure": measure.recipe(),
                "inference": measure.inference.recipe() if measure.inference else None,
                "features": selection.references,
                **describe_layers(layers),
                **params.model_dump(include=RECIPE_PARAMS),
                "code": code_revision(measure.module, "rep_kedro.analyses.layer_similarity.best_matches"),
            }
            members[measure.id] = Planned(recipe, batch)
        selection.enter(plan, members)
    return plan


def _require_memory(selection: Selection, layers: Sequence[LayerOf], params: LayerSimilarityParams) -> None:
    """Refuse matches whose matrices over stimuli do not fit into the memory that is allowed."""
    n_stimuli = min(int(next(iter(selection.sources.values())).meta["n_stimuli"]), params.max_stimuli)
    n_draws = params.n_permutations + params.n_bootstrap
    draws = COPIES * 8 * n_draws * len(layers) ** 2
    needed = COPIES * 8 * len(layers) * n_stimuli**2 + draws
    if needed > params.memory_bytes:
        most = int(max(0, (params.memory_bytes - draws) / (COPIES * 8 * len(layers))) ** 0.5)
        fewer = f"set max_stimuli to {most} or fewer, " if most >= 5 else "choose fewer layers or draws, "
        raise UserError(
            f"best matches of {len(layers)} layers on {n_stimuli} stimuli of {selection.stimulus_set} need "
            f"{needed:,} bytes, more than layer_similarity.memory_bytes ({params.memory_bytes:,}); {fewer}"
            f"or raise memory_bytes"
        )


def _match_batch(selection: Selection, layers: Sequence[LayerOf], params: LayerSimilarityParams) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        from rep_kedro.analyses.inference.nulls import draw_stimuli
        from rep_kedro.analyses.layer_similarity.best_matches import summarise_matches
        from rep_kedro.datasets import Tensors

        representations = load_layers(selection, layers)
        n_stimuli = len(next(iter(representations.values())))
        chosen = draw_stimuli(n_stimuli, params.max_stimuli, params.seed)
        device = choose_device(params.device)
        used = [x[chosen].to(device) for x in representations.values()]
        for key in keys:
            measure = get_measure(MemberKey.parse(key).name)
            found = summarise_matches(used, group_by_model(layers)[1], measure, params)
            tensors = {
                f"{kind}/{name}": tensor.contiguous()
                for kind, matches in zip((OF_LAYERS, OF_NETWORKS), found, strict=True)
                for name, tensor in vars(matches).items()
            }
            meta = {
                **describe_layers(layers),
                "n_stimuli": len(chosen),
                "n_permutations": params.n_permutations if measure.inference else 0,
                "n_bootstrap": params.n_bootstrap if measure.has_interval else 0,
            }
            yield key, Tensors(tensors, meta)

    return Batch(compute)


def tabulate_matches(
    layer_matches: Mapping[str, TensorsHandle], params: LayerSimilarityParams
) -> tuple[DataFrame, DataFrame]:
    """List the best match of every layer in every other network, and of every pair of networks.

    Args:
        layer_matches: Handles by ``<stimulus set>/<measure>``.
        params: For the reasons why a p-value or an interval is missing.

    Returns:
        ``best_layer_match`` and ``shared_representations``, columns as in docs/tables.md.
    """
    of_layers: list[dict[str, Any]] = []
    of_networks: list[dict[str, Any]] = []
    for key, handle in sorted(layer_matches.items()):
        of_layers += _rows_of_layers(MemberKey.parse(key), handle, params)
        of_networks += _rows_of_networks(MemberKey.parse(key), handle, params)
    return BEST_LAYER_MATCH.frame(of_layers), SHARED_REPRESENTATIONS.frame(of_networks)


def _rows_of_layers(
    key: MemberKey, handle: TensorsHandle, params: LayerSimilarityParams
) -> Iterator[dict[str, Any]]:
    layers = read_layers(handle.meta)
    models, _ = group_by_model(layers)
    found = _read_fields(handle, OF_LAYERS)
    places = [
        (i, g) for i, each in enumerate(layers) for g, model in enumerate(models) if each.model != model
    ]
    n_tests = _count_tests(found, places)
    deepest = {each.model: each.depth for each in layers}  # the last of each network stays
    for i, g in places:
        column = int(found["column"][i, g])
        yield {
            **dict(key_columns(key)),
            "model": layers[i].model,
            "layer": layers[i].layer,
            "depth": layers[i].depth,
            "other_model": models[g],
            "best_layer": layers[column].layer if column >= 0 else "",
            "best_depth": layers[column].depth if column >= 0 else None,
            "deepest": deepest[models[g]],
            **_chance_of(found, (i, g), handle.meta, key, params, n_tests=n_tests),
        }


def _rows_of_networks(
    key: MemberKey, handle: TensorsHandle, params: LayerSimilarityParams
) -> Iterator[dict[str, Any]]:
    layers = read_layers(handle.meta)
    models, _ = group_by_model(layers)
    found = _read_fields(handle, OF_NETWORKS)
    places = [
        (a, b) for a, b in permutations(range(len(models)), 2) if a < b or not get_measure(key.name).symmetric
    ]
    n_tests = _count_tests(found, places)
    for a, b in places:
        row, column = int(found["row"][a, b]), int(found["column"][a, b])
        is_found = row >= 0
        yield {
            **dict(key_columns(key)),
            "model_a": models[a],
            "model_b": models[b],
            "layer_a": layers[row].layer if is_found else "",
            "depth_a": layers[row].depth if is_found else None,
            "layer_b": layers[column].layer if is_found else "",
            "depth_b": layers[column].depth if is_found else None,
            **_chance_of(found, (a, b), handle.meta, key, params, n_tests=n_tests),
        }


def key_columns(key: MemberKey) -> Iterator[tuple[str, str]]:
    """Yield the columns that every row of a member shares."""
    yield "stimulus_set", key.stimulus_set
    yield "measure", key.name


def _read_fields(handle: TensorsHandle, kind: str) -> dict[str, Any]:
    prefix = f"{kind}/"
    return {
        name.removeprefix(prefix): handle.tensor(name) for name in handle.names if name.startswith(prefix)
    }


def _count_tests(found: Mapping[str, Any], places: Sequence[tuple[int, int]]) -> int:
    return sum(not isnan(found["p_adjusted"][place]) for place in places)


def _chance_of(
    found: Mapping[str, Any],
    place: tuple[int, int],
    meta: Mapping[str, Any],
    key: MemberKey,
    params: LayerSimilarityParams,
    *,
    n_tests: int,
) -> dict[str, Any]:
    """Return the columns that both tables share."""
    n_permutations = int(meta["n_permutations"])
    smallest = max(1 / (n_permutations + 1), 1 / factorial(int(meta["n_stimuli"])))
    values = {name: float(found[name][place]) for name in ("similarity", "p_value", "p_adjusted")}
    low = float(found["low"][place])
    return {
        **values,
        "similarity_low": low,
        "similarity_high": float(found["high"][place]),
        "support": float(found["support"][place]),
        "p_smallest": float("nan") if isnan(values["p_adjusted"]) else smallest,
        "n_tests": n_tests,
        "threshold": float(found["threshold"][place]),
        "calibrated": float(found["calibrated"][place]),
        "n_compared": int(found["n_compared"][place]),
        "n_stimuli": int(meta["n_stimuli"]),
        "n_permutations": n_permutations,
        "n_bootstrap": int(meta["n_bootstrap"]),
        "reason": _reason_of(values, low, key, params),
    }


def _reason_of(values: Mapping[str, float], low: float, key: MemberKey, params: LayerSimilarityParams) -> str:
    if isnan(values["similarity"]):
        return UNDEFINED
    measure, reasons = get_measure(key.name), []
    if isnan(values["p_value"]):
        reasons.append(NOT_PERMUTED if measure.inference else NO_NULL)
    if isnan(low) and not measure.has_interval:
        reasons.append(measure.inference.no_interval if measure.inference else NO_RESAMPLING)
    elif isnan(low):
        reasons.append(TOO_FEW_DEFINED if params.n_bootstrap else NOT_RESAMPLED)
    return "; ".join(reasons)
