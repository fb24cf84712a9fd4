"""How joined networks do on test images: their outputs, and activations at the joint."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.analyses.stitching.reading import Group, Side
from rep_kedro.analyses.stitching.rooms import ActivationRoom
from rep_kedro.analyses.stitching.splits import Split, first_of
from rep_kedro.kernels.probes.quality import measure_average_precision
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts, summarise_replicates
from rep_kedro.kernels.stitching.compaction import compact_features
from rep_kedro.kernels.stitching.comparison import compare_outputs, find_hits, resample_outputs
from rep_kedro.kernels.stitching.maps import AffineMap, apply_affine_map
from rep_kedro.measures.registry import compare_models

REGISTRY = {"cka": "cka_linear_biased", "svcca": "svcca_0.99", "pwcca": "pwcca", "procrustes": "procrustes"}
"""Measures of the registry by the names of columns."""
_WORKING_BYTES = 200_000_000  # of the registry; another number would change last digits
_BLOCK_BYTES = 50_000_000


class Joined(NamedTuple):
    """One network joined from two.

    Attributes:
        front: Where it begins.
        end: Where it goes on.
        flatten: Whether every value is a channel.
        map: From one to the other.
    """

    front: Side
    end: Side
    flatten: bool
    map: AffineMap


class Outputs(NamedTuple):
    """Logits over a split, (n_stimuli, n_classes): of networks by key, of joined networks by theirs."""

    networks: Mapping[str, Tensor]
    joined: Mapping[Hashable, Tensor]


def run_joined(group: Group, split: Split, joined: Mapping[Any, Joined]) -> Outputs:
    """Return the outputs of each network of a group and of each joined network."""
    networks: dict[str, list[Tensor]] = {key: [] for key in group.networks}
    parts: dict[Hashable, list[Tensor]] = {key: [] for key in joined}
    with torch.no_grad():
        for batch in group.read(split):
            for key, logits in batch.logits.items():
                networks[key].append(logits().cpu())
            for key, one in joined.items():
                shape = batch.activation(one.end).shape
                mapped = map_activation(one, batch.matched(one.front, one.end, flatten=one.flatten), shape)
                parts[key].append(group.networks[one.end.network].tail(one.end.layer)(mapped).cpu())
    return Outputs(
        {key: torch.cat(logits) for key, logits in networks.items()},
        {key: torch.cat(logits) for key, logits in parts.items()},
    )


def map_activation(one: Joined, activation: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what the end network receives: the front's activations behind the map, in the end's shape."""
    if not one.flatten:
        return apply_affine_map(one.map, activation)
    return apply_affine_map(one.map, activation.flatten(1)).reshape(shape)


def compare_joined(
    outputs: Outputs, joined: Mapping[Any, Joined], labels: Tensor, params: StitchingParams
) -> dict[Any, dict[str, Any]]:
    """Return fields of a row of results for each joined network, from outputs alone."""
    counts = None
    if params.n_bootstrap:
        counts = draw_bootstrap_counts(
            torch.zeros(len(labels)), params.n_bootstrap, generator=torch.Generator().manual_seed(params.seed)
        )
    found: dict[Any, dict[str, Any]] = {}
    for end in dict.fromkeys(one.end.network for one in joined.values()):
        keys = [key for key, one in joined.items() if one.end.network == end]
        alone = outputs.networks[end]
        stitched = [outputs.joined[key] for key in keys]
        intervals = _intervals(stitched, alone, labels, counts, params)
        fronts = [joined[key].front for key in keys]
        before = [None if side.is_noise else outputs.networks[side.network] for side in fronts]
        similar = _cka_to(alone, [*stitched, *(alone if front is None else front for front in before)])
        for i, key in enumerate(keys):
            cka = {"logit_cka": similar[i]}
            if before[i] is not None:
                cka["logit_cka_before"] = similar[len(keys) + i]
            found[key] = _row(stitched[i], before[i], alone, labels) | intervals[i] | cka
    return found


def _row(stitched: Tensor, front: Tensor | None, end: Tensor, labels: Tensor) -> dict[str, Any]:
    row = {name: number(value) for name, value in compare_outputs(stitched, end, labels)._asdict().items()}
    row["stitched_accuracy"] = row.pop("accuracy")
    row["front_accuracy"] = None
    if front is not None:
        row["front_accuracy"] = int(find_hits(front, labels).sum()) / len(labels)
        row["logit_l2_before"] = _mean_square(front, end)
    row["logit_l2"] = _mean_square(stitched, end)
    row["n_test"] = len(labels)
    return row | _precisions(stitched, end, labels)


def _precisions(stitched: Tensor, end: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return mean average precisions; none of one label of a stimulus, or where no stimulus has a label."""
    if labels.ndim == 1 or not bool(labels.any()):
        return {}
    own, alone = (measure_average_precision(logits, labels).mean for logits in (stitched, end))
    return {
        "mean_average_precision": own,
        "end_mean_average_precision": alone,
        "relative_mean_average_precision": own / alone,
    }


def _intervals(
    stitched: Sequence[Tensor], end: Tensor, labels: Tensor, counts: Tensor | None, params: StitchingParams
) -> list[dict[str, Any]]:
    if counts is None:
        return [{"low": None, "high": None} for _ in stitched]
    replicates = resample_outputs(torch.stack(list(stitched)), end, labels, counts)["relative_accuracy"]
    replicates[replicates.isinf()] = torch.nan  # resamples in which the end network gets nothing right
    found = summarise_replicates(replicates, replicates[0], confidence=params.confidence)  # percentiles
    return [
        {"low": number(low), "high": number(high)}
        for low, high in zip(found.low.tolist(), found.high.tolist(), strict=True)
    ]


def _cka_to(end: Tensor, others: Sequence[Tensor]) -> list[float | None]:
    """Return linear CKA of outputs with those of the end network."""
    different = list({id(each): each for each in others}.values())
    values = {}
    for each in different:  # one at a time, so that no value depends on the others, not even by rounding
        [(_, compared)] = compare_models([end, each], [REGISTRY["cka"]], memory_bytes=_WORKING_BYTES)
        values[id(each)] = number(float(compared.values[0, 1]))
    return [values[id(each)] for each in others]


def _mean_square(one: Tensor, other: Tensor) -> float:
    return float((one.to(torch.float64) - other).square().mean())


def compare_activations(
    group: Group, split: Split, joined: Mapping[Any, Joined], params: StitchingParams
) -> dict[Any, dict[str, Any]]:
    """Return what the registry's measures say of activations at the joint, before and after the map."""
    names = [name for name in params.measures if name in REGISTRY]
    found: dict[Any, dict[str, Any]] = {key: {} for key in joined}
    if not names:
        return found
    shown = first_of(split, params.n_compare)
    for end in dict.fromkeys(one.end for one in joined.values()):
        chosen = {key: one for key, one in joined.items() if one.end == end}
        for key, values in _compare_into(group, shown, end, chosen, names, params).items():
            found[key] = values
    return found


def _compare_into(
    group: Group, split: Split, end: Side, joined: Mapping[Any, Joined], names: Sequence[str], params: Any
) -> dict[Any, dict[str, Any]]:
    room, n = ActivationRoom(params.memory_bytes), len(split.labels)
    kept: dict[Any, Tensor] = {}

    def keep(key: Any, rows: slice, activation: Tensor) -> None:
        if key not in kept:
            kept[key] = room.give((n, activation[0].numel()))
        kept[key][rows] = activation.flatten(1).cpu()

    with torch.no_grad():
        for batch in group.read(split):
            rows = slice(batch.start, batch.start + batch.n_stimuli)
            keep(end, rows, batch.activation(end))
            for key, one in joined.items():
                matched = batch.matched(one.front, end, flatten=one.flatten)
                keep((one.front, one.flatten), rows, matched)
                keep((key,), rows, map_activation(one, matched, batch.activation(end).shape))
    fronts = ((one.front, one.flatten) for one in joined.values())
    shared = {key: _compacted(kept[key]) for key in dict.fromkeys((end, *fronts))}
    return {
        key: _measured(shared[end], shared[one.front, one.flatten], _compacted(kept[key,]), names)
        for key, one in joined.items()
    }


def _compacted(activations: Tensor) -> Tensor:
    """Return activations in at most as many columns as there are stimuli."""
    n_stimuli, n_values = activations.shape
    if n_values <= n_stimuli:
        return activations.double()
    return compact_features(activations, memory_bytes=_BLOCK_BYTES)


def _measured(end: Tensor, before: Tensor, after: Tensor, names: Sequence[str]) -> dict[str, Any]:
    ids = {REGISTRY[name]: name for name in names}
    found: dict[str, Any] = {}
    for measure, compared in compare_models([end, before, after], list(ids), memory_bytes=_WORKING_BYTES):
        column = ids[measure]
        found[f"{column}_before"] = number(float(compared.values[0, 1]))
        found[column] = number(float(compared.values[0, 2]))
    return found


def number(value: float) -> float | None:
    """Return a number, or None where it is undefined, as the file's header wants it."""
    return None if math.isnan(value) else value
