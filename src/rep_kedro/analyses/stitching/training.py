"""Maps that are trained through the end network: all that end in one layer of it together.

Activations of the fronts and the end, and what is to be predicted, are computed once, in evaluation mode,
from images as they are; a step runs the maps and what follows the layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from rep_kedro.analyses.stitching.evaluation import Joined, compare_joined, run_joined
from rep_kedro.analyses.stitching.fitting import FitMoments, Fitted, fit_map
from rep_kedro.analyses.stitching.gathering import Place, front_name, gather_layers
from rep_kedro.analyses.stitching.joining import (
    Stitch,
    Wanted,
    describe_stitches,
    pack_member,
    stream_moments,
    tensor_name,
)
from rep_kedro.analyses.stitching.joints import JoinedPair
from rep_kedro.analyses.stitching.layers import LayerPair
from rep_kedro.analyses.stitching.maps import TaskMap
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.analyses.stitching.reading import Group, end_of, front_of
from rep_kedro.analyses.stitching.splits import Split
from rep_kedro.datasets import Tensors
from rep_kedro.errors import NotFiniteError
from rep_kedro.kernels.stitching import training as kernel
from rep_kedro.kernels.stitching.maps import AffineMap, zero_small_weights
from rep_kedro.kernels.stitching.paths import interpolate_maps
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe

_PATH_COLUMNS = ("stitched_accuracy", "relative_accuracy", "agreement", "cross_entropy")


class Trained(NamedTuple):
    """Stitches of one group by where they are: what training gave of each, and their moments."""

    results: Mapping[Stitch, kernel.TrainedStitch]
    moments: Mapping[tuple[str, LayerPair], FitMoments]


def train_networks(
    wanted: Wanted, splits: Mapping[str, Split], params: StitchingParams
) -> Iterator[tuple[JoinedPair, str, Tensors | NotFiniteError]]:
    """Yield the maps and results of pairs of networks that go on with one network.

    Args:
        wanted: Pairs of one end network, each with the name of a trained map.
        splits: Images of what it was trained on, see `read_splits`.
        params: The maps.

    Yields:
        The pair and the name of the map; its tensors and rows of results, or why it failed. Further tensors
        of each stitch: ``start/...`` before the first step, ``mask``, ``loss`` of each step, ``history/...``.
    """
    group = Group(list({pair.name: pair for pair, _ in wanted}.values()), params)
    moments = stream_moments(group, splits["train"], [pair for pair, _ in wanted])
    trained = Trained(
        _train_all(group, with_partners(wanted, params), splits["train"], params, moments), moments
    )
    fitted = {
        stitch: Fitted(_finished(result.fitted, params.maps[stitch.map]), _facts(result))
        for stitch, result in trained.results.items()
        if result.fitted is not None
    }
    asked = {(pair.name, name) for pair, name in wanted}
    tested = {stitch: found for stitch, found in fitted.items() if (stitch.pair, stitch.map) in asked}
    rows = describe_stitches(group, wanted, splits, params, tested, moments) if tested else {}
    paths = _run_paths(group, wanted, splits["test"], params, trained, fitted)
    for pair, name in wanted:
        yield pair, name, _pack(pair, name, trained, tested, rows, paths)


def _pack(
    pair: JoinedPair,
    name: str,
    trained: Trained,
    fitted: Mapping[Stitch, Fitted],
    rows: Mapping[Stitch, Mapping[str, Any]],
    paths: Mapping[Stitch, Sequence[Mapping[str, Any]]],
) -> Tensors | NotFiniteError:
    own = {s: result for s, result in trained.results.items() if (s.pair, s.map) == (pair.name, name)}
    for stitch, result in own.items():
        if result.reason:
            where = f"{stitch.layers.name}, seed {stitch.seed}"
            return NotFiniteError(f"stitch {pair.name}/{name} at {where}: {result.reason}")
    further = {}
    for stitch, result in own.items():
        for part, tensor in _parts_of(result):
            further[tensor_name(stitch.layers, stitch.seed, part)] = tensor
    member = pack_member(fitted, rows, pair, name, further)
    member.meta["paths"] = [dict(point) for stitch in own for point in paths.get(stitch, ())]
    return member


def _parts_of(result: kernel.TrainedStitch) -> Iterator[tuple[str, Tensor]]:
    yield "loss", result.losses.float()
    if result.mask is not None:
        yield "mask", result.mask
    if result.start is not None:
        yield "start/weight", result.start.weight.float()
        yield "start/bias", result.start.bias.float()
    for step, found in result.history.items():
        yield f"history/{step}/weight", found.weight.float()
        yield f"history/{step}/bias", found.bias.float()


def _finished(fitted: AffineMap, given: Any) -> AffineMap:
    return zero_small_weights(fitted, given.sparse) if given.sparse else fitted


def _facts(result: kernel.TrainedStitch) -> dict[str, Any]:
    n_steps = len(result.losses)
    last = result.losses[-max(1, n_steps // 10) :]
    return {"n_steps": n_steps, "final_loss": float(last.mean())}


def with_partners(wanted: Wanted, params: StitchingParams) -> list[tuple[JoinedPair, str]]:
    """Return pairs and maps with the trained maps from which their paths begin."""
    found = {(pair.name, name): (pair, name) for pair, name in wanted}
    for pair, name in wanted:
        given = params.maps[name]
        partner = given.path_from if isinstance(given, TaskMap) else None
        if partner is not None and params.maps[partner].is_trained:
            found.setdefault((pair.name, partner), (pair, partner))
    return list(found.values())


def _train_all(
    group: Group,
    wanted: Sequence[tuple[JoinedPair, str]],
    split: Split,
    params: StitchingParams,
    moments: Mapping[tuple[str, LayerPair], FitMoments],
) -> dict[Stitch, kernel.TrainedStitch]:
    """Train layer by layer of the end; stitches into one layer share batches if their schedules are one."""
    places: dict[tuple[str, bool], list[Place]] = {}
    for pair, name in wanted:
        for layers in pair.places[name]:
            places.setdefault((layers.end, layers.flatten), []).append((pair, layers, name))
    found: dict[Stitch, kernel.TrainedStitch] = {}
    for chosen in places.values():
        found |= _train_into_layer(group, chosen, split, params, moments)
    return found


def _train_into_layer(
    group: Group,
    chosen: Sequence[Place],
    split: Split,
    params: StitchingParams,
    moments: Mapping[tuple[str, LayerPair], FitMoments],
) -> dict[Stitch, kernel.TrainedStitch]:
    with_original = any(recipe_of(params.maps[name], 0).needs_original for *_, name in chosen)
    fronts, end = gather_layers(group, chosen, split, params, moments, with_original=with_original)
    by_schedule: dict[Schedule, list[Stitch]] = {}
    for pair, layers, name in chosen:
        for seed in params.maps[name].wanted_seeds:
            schedule = _schedule_of(params.maps[name])
            by_schedule.setdefault(schedule, []).append(Stitch(pair.name, layers, name, seed))
    found: dict[Stitch, kernel.TrainedStitch] = {}
    for schedule, stitches in by_schedule.items():
        asked = [
            kernel.Stitch(front_name(s.pair, s.layers), recipe_of(params.maps[s.map], s.seed))
            for s in stitches
        ]
        trained = kernel.train_stitches(asked, fronts, end, schedule, device=params.device)
        found |= dict(zip(stitches, trained, strict=True))
    return found


def _schedule_of(given: Any) -> Schedule:
    steps = tuple(sorted({*given.history}))
    return Schedule(n_epochs=given.epochs, batch_size=given.batch_size, history_steps=steps)


def recipe_of(given: Any, seed: int) -> StitchRecipe:
    """Return what the kernel is asked for by an entry of a trained map."""
    same = (
        *("rank", "mask", "mask_percentile", "loss", "target", "temperature", "l1", "cka_penalty"),
        *("later_layers", "learning_rate", "weight_decay"),
    )
    values = {name: getattr(given, name) for name in same}
    return StitchRecipe(start=given.init, optimiser=given.optimizer, seed=seed, **values)


def _run_paths(
    group: Group,
    wanted: Wanted,
    split: Split,
    params: StitchingParams,
    trained: Trained,
    fitted: Mapping[Stitch, Fitted],
) -> dict[Stitch, list[dict[str, Any]]]:
    """Test the points of the paths that lead to maps."""
    pairs = {pair.name: pair for pair, _ in wanted}
    points: dict[tuple[Stitch, int], Joined] = {}
    begins: dict[Stitch, str] = {}
    for stitch, found in fitted.items():
        given = params.maps[stitch.map]
        if not isinstance(given, TaskMap) or given.path_from is None or stitch.pair not in pairs:
            continue
        first = _begin_of(stitch, given.path_from, params, trained, fitted)
        if first is None:
            continue
        begins[stitch] = given.path_from
        sides = front_of(pairs[stitch.pair], stitch.layers), end_of(pairs[stitch.pair], stitch.layers)
        for point, between in enumerate(interpolate_maps(first, found.map)):
            points[stitch, point] = Joined(*sides, stitch.layers.flatten, between)
    if not points:
        return {}
    compared = compare_joined(run_joined(group, split, points), points, split.labels, params)
    n_points = 1 + max(point for _, point in points)
    rows: dict[Stitch, list[dict[str, Any]]] = {}
    for (stitch, point), row in compared.items():
        place = {"front_layer": stitch.layers.front, "end_layer": stitch.layers.end}
        about = {"from_map": begins[stitch], "seed": stitch.seed, "flatten": stitch.layers.flatten, **place}
        values = {name: row[name] for name in _PATH_COLUMNS}
        rows.setdefault(stitch, []).append(
            {**about, "point": point, "position": point / (n_points - 1), **values}
        )
    return rows


def _begin_of(
    stitch: Stitch, name: str, params: StitchingParams, trained: Trained, fitted: Mapping[Stitch, Fitted]
) -> Any:
    """Return the map from which a path leads to a stitch; None where its training failed."""
    given = params.maps[name]
    seeds = given.wanted_seeds
    seed = stitch.seed if stitch.seed in seeds else seeds[0]
    if given.is_trained:
        found = fitted.get(stitch._replace(map=name, seed=seed))
        return None if found is None else found.map
    return fit_map(given, trained.moments[stitch.pair, stitch.layers], seed).map
