"""Joins pairs of networks by maps that are found from moments, some pairs at a time.

Each network sees each image once per split for some pairs at a time; only the part behind a joint runs again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rep_kedro.analyses.stitching.evaluation import (
    Joined,
    compare_activations,
    compare_joined,
    number,
    run_joined,
)
from rep_kedro.analyses.stitching.fitting import HELD_OUT_EVERY, FitMoments, Fitted, chooses_ridge, fit_map
from rep_kedro.analyses.stitching.joints import JoinedPair
from rep_kedro.analyses.stitching.layers import LayerPair
from rep_kedro.analyses.stitching.params import PAIRS_AT_A_TIME, StitchingParams
from rep_kedro.analyses.stitching.reading import Batch, Group, Side, end_of, front_of
from rep_kedro.analyses.stitching.splits import Split
from rep_kedro.datasets import Tensors
from rep_kedro.kernels.stitching.maps import (
    AffineMap,
    describe_weight,
    measure_mahalanobis,
    measure_map_error,
    measure_map_r2,
)
from rep_kedro.kernels.stitching.moments import PairedMoments

Wanted = Sequence[tuple[JoinedPair, str]]
"""Pairs, each with the name of a map."""


class Stitch(NamedTuple):
    """One stitch: where, by which map, from which seed."""

    pair: str
    layers: LayerPair
    map: str
    seed: int


def join_networks(
    wanted: Wanted, splits: Mapping[str, Split], params: StitchingParams
) -> Iterator[tuple[JoinedPair, str, Tensors]]:
    """Yield the maps and results of pairs of networks.

    Pairs are done some at a time, so that results come early and few networks are held at once; both
    directions of a pair are done together.

    Args:
        wanted: Pairs, each with the name of a map that is not trained.
        splits: Images of what the ends were trained on, see `read_splits`.
        params: The maps.

    Yields:
        The pair and the name of the map; its tensors and rows of results, see `pack_member`.
    """
    pairs = {pair.name: pair for pair, _ in wanted}
    ordered = sorted(pairs, key=lambda name: (sorted((pairs[name].front.name, pairs[name].end.name)), name))
    for start in range(0, len(ordered), PAIRS_AT_A_TIME):
        names = ordered[start : start + PAIRS_AT_A_TIME]
        chosen = [(pair, name) for pair, name in wanted if pair.name in names]
        yield from _join_some(chosen, splits, params)


def _join_some(
    wanted: Wanted, splits: Mapping[str, Split], params: StitchingParams
) -> Iterator[tuple[JoinedPair, str, Tensors]]:
    group = Group(list({pair.name: pair for pair, _ in wanted}.values()), params)
    with_held_out = any(chooses_ridge(params.maps[name]) for _, name in wanted)
    moments = stream_moments(
        group, splits["train"], [pair for pair, _ in wanted], with_held_out=with_held_out
    )
    fitted = {
        Stitch(pair.name, layers, name, seed): fit_map(params.maps[name], moments[pair.name, layers], seed)
        for pair, name in wanted
        for layers in pair.places[name]
        for seed in params.maps[name].wanted_seeds
    }
    rows = describe_stitches(group, wanted, splits, params, fitted, moments)
    for pair, name in wanted:
        yield pair, name, pack_member(fitted, rows, pair, name)


def describe_stitches(
    group: Group,
    wanted: Wanted,
    splits: Mapping[str, Split],
    params: StitchingParams,
    fitted: Mapping[Stitch, Fitted],
    moments: "Mapping[tuple[str, LayerPair], FitMoments]",
) -> dict[Stitch, dict[str, Any]]:
    """Return a row of results for each stitch, tested on the split ``test``."""
    pairs = {pair.name: pair for pair, _ in wanted}
    joined = {
        stitch: Joined(
            front_of(pairs[stitch.pair], stitch.layers),
            end_of(pairs[stitch.pair], stitch.layers),
            stitch.layers.flatten,
            found.map,
        )
        for stitch, found in fitted.items()
    }
    test = splits["test"]
    by_outputs = compare_joined(run_joined(group, test, joined), joined, test.labels, params)
    of_test = stream_moments(group, test, list(pairs.values()))
    by_activations = compare_activations(group, test, joined, params)
    rows = {}
    for stitch, found in fitted.items():
        place = stitch.pair, stitch.layers
        row = _place_of(stitch) | by_outputs[stitch] | by_activations[stitch] | dict(found.facts)
        row |= _describe_map(found.map, of_test[place].all, moments[place].all)
        row["n_fit"] = len(splits["train"].labels)
        rows[stitch] = row | _reason(row)
    return rows


def _place_of(stitch: Stitch) -> dict[str, Any]:
    layers = stitch.layers
    return {
        "front_layer": layers.front,
        "end_layer": layers.end,
        "front_depth": layers.front_depth,
        "depth": layers.depth,
        "flatten": layers.flatten,
        "seed": stitch.seed,
    }


def _describe_map(fitted: AffineMap, test: PairedMoments, train: PairedMoments) -> dict[str, Any]:
    row: dict[str, Any] = {"map_r2": number(measure_map_r2(fitted, test)), "map_rank": fitted.rank}
    row |= describe_weight(fitted)
    row["joint_l2"] = number(measure_map_error(fitted, test))
    row["mahalanobis"] = number(measure_mahalanobis(fitted, test, train))
    if test.n_front == test.n_end:
        same = AffineMap(torch.eye(test.n_end).double(), torch.zeros(test.n_end).double(), test.n_end)
        row["joint_l2_before"] = number(measure_map_error(same, test))
    return row


def _reason(row: Mapping[str, Any]) -> dict[str, str]:
    if row["relative_accuracy"] is None:
        return {"reason": "the end network gets no stimulus right"}
    return {}


def tensor_name(layers: LayerPair, seed: int, part: str) -> str:
    """Return what a tensor of a stitch is called in its member."""
    return f"{layers.name}/s{seed}/{part}"


def pack_member(
    fitted: Mapping[Stitch, Fitted],
    rows: Mapping[Stitch, Mapping[str, Any]],
    pair: JoinedPair,
    name: str,
    further: "Mapping[str, Any] | None" = None,
) -> Tensors:
    """Return a member of the collection: for each stitch ``<layers>/s<seed>/weight`` and ``.../bias``.

    Args:
        fitted: Maps by stitch.
        rows: Rows of results by stitch.
        pair: Networks of the member.
        name: Map of the member.
        further: More tensors, by name.
    """
    tensors: dict[str, Any] = dict(further or {})
    chosen = [stitch for stitch in fitted if (stitch.pair, stitch.map) == (pair.name, name)]
    for stitch in chosen:
        found = fitted[stitch].map
        tensors[tensor_name(stitch.layers, stitch.seed, "weight")] = found.weight
        tensors[tensor_name(stitch.layers, stitch.seed, "bias")] = found.bias
    return Tensors(tensors, {"stitches": [dict(rows[stitch]) for stitch in chosen]})


def stream_moments(
    group: Group, split: Split, pairs: Sequence[JoinedPair], *, with_held_out: bool = False
) -> dict[tuple[str, LayerPair], FitMoments]:
    """Return the moments of each joint over a split; both directions of a pair share one state."""
    joints = {(pair.name, layers): (pair, layers) for pair in pairs for layers in pair.layers}
    shared = {key: _shared_sides(*joint) for key, joint in joints.items()}
    states: dict[tuple[Side, Side, bool], list[PairedMoments]] = {}
    for batch in group.read(split):
        for sides in {(one, other, flatten) for one, other, flatten, _ in shared.values()}:
            _update(states, sides, batch, with_held_out=with_held_out)
    found = {}
    for key, (one, other, flatten, is_swapped) in shared.items():
        given = states[one, other, flatten]
        found[key] = FitMoments(*(state.swapped() if is_swapped else state for state in given))
    return found


def _update(
    states: dict[tuple[Side, Side, bool], list[PairedMoments]],
    sides: tuple[Side, Side, bool],
    batch: Batch,
    *,
    with_held_out: bool,
) -> None:
    one, other, flatten = sides
    front = batch.positions(one, other, flatten=flatten).cpu()
    end = batch.positions(other, other, flatten=flatten).cpu()
    if sides not in states:
        n = 3 if with_held_out else 1
        states[sides] = [PairedMoments(front.shape[2], end.shape[2]) for _ in range(n)]
    states[sides][0].update(front.flatten(0, 1), end.flatten(0, 1))
    if with_held_out:
        is_held_out = (torch.arange(batch.start, batch.start + batch.n_stimuli) + 1) % HELD_OUT_EVERY == 0
        for state, rows in zip(states[sides][1:], (~is_held_out, is_held_out), strict=True):
            if rows.any():
                state.update(front[rows].flatten(0, 1), end[rows].flatten(0, 1))


def _shared_sides(pair: JoinedPair, layers: LayerPair) -> tuple[Side, Side, bool, bool]:
    """Return the sides whose moments are streamed, and whether they are exchanged.

    Layers with the same positions share one state for both directions.
    """
    front, end = front_of(pair, layers), end_of(pair, layers)
    one, other = pair.front.shape(layers.front), pair.end.shape(layers.end)
    is_shared = layers.flatten or _positions(one) == _positions(other)
    is_swapped = is_shared and not front.is_noise and end < front
    return (end, front, layers.flatten, True) if is_swapped else (front, end, layers.flatten, False)


def _positions(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) == 3 else shape[:-1]
