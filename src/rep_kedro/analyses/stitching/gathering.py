"""What training into one layer of an end network reads: activations and outputs of all networks, once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rep_kedro.analyses.stitching.fitting import FitMoments
from rep_kedro.analyses.stitching.joints import JoinedPair
from rep_kedro.analyses.stitching.layers import LayerPair
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.analyses.stitching.reading import Group, Side, end_of, front_of
from rep_kedro.analyses.stitching.rooms import ActivationRoom
from rep_kedro.analyses.stitching.splits import Split
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer

Place = tuple[JoinedPair, LayerPair, str]
"""Networks, layers and the name of a map."""


def gather_layers(
    group: Group,
    chosen: Sequence[Place],
    split: Split,
    params: StitchingParams,
    moments: Mapping[tuple[str, LayerPair], FitMoments],
    *,
    with_original: bool,
) -> tuple[dict[str, FrontLayer], EndLayer]:
    """Return fronts, by `front_name`, and the end of stitches into one layer, for all images of a split.

    Args:
        group: The networks.
        chosen: Stitches that end in one layer of one network.
        split: The images.
        params: The maps, and how much memory activations may take.
        moments: Of each pair and its layers.
        with_original: Whether a step compares activations with those of the end network itself.
    """
    pair, layers, _ = chosen[0]
    end, given = end_of(pair, layers), [params.maps[name] for *_, name in chosen]
    sides = {front_name(p.name, at): front_of(p, at) for p, at, _ in chosen}
    if with_original:
        sides[""] = end
    with_outputs = any(each.needs_front_outputs for each in given)
    keys = {end.network, *(side.network for side in sides.values() if with_outputs and not side.is_noise)}
    samples, outputs, shape = _read_all(group, split, sides, end, keys, flatten=layers.flatten)
    fronts = {
        front_name(p.name, at): FrontLayer(
            samples[front_name(p.name, at)],
            moments[p.name, at].all,
            None if front_of(p, at).is_noise else outputs.get(front_of(p, at).network),
        )
        for p, at, _ in chosen
    }
    tails = _tails(group, end.network, end.layer, given)
    own = samples.get("")
    return fronts, EndLayer(shape, *tails, own, outputs[end.network], split.labels, layers.flatten)


def front_name(pair: str, layers: LayerPair) -> str:
    """Return what the kernel calls the front of a joint."""
    return f"{pair}/{layers.name}"


def _read_all(
    group: Group, split: Split, sides: Mapping[str, Side], end: Side, keys: set[str], *, flatten: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[int, ...]]:
    """Return samples by the names of sides, logits by network, and the shape of the end's activation."""
    room, n = ActivationRoom(group.params.memory_bytes), len(split.labels)
    kept: dict[str, Tensor] = {}
    logits: dict[str, list[Tensor]] = {key: [] for key in keys}
    shape: tuple[int, ...] = ()
    with torch.no_grad():
        for batch in group.read(split):
            rows = slice(batch.start, batch.start + batch.n_stimuli)
            shape = tuple(batch.activation(end).shape[1:])
            for key in keys:
                logits[key].append(batch.logits[key]().cpu())
            for name, side in sides.items():
                samples = batch.positions(side, end, flatten=flatten)
                if name not in kept:
                    kept[name] = room.give((n, *samples.shape[1:]))
                kept[name][rows] = samples.cpu()
    return kept, {key: torch.cat(parts) for key, parts in logits.items()}, shape


def _tails(group: Group, network: str, layer: str, given: Sequence[Any]) -> tuple[Any, Any]:
    loaded = group.networks[network]
    tail = loaded.adapted(layer, loaded.cut.tail(layer, is_folded=True))
    if not any(getattr(each, "later_layers", 0) for each in given):
        return tail, None
    points = loaded.cut.cut_points
    later = points[points.index(layer) + 1 :]
    if not later:
        return tail, lambda activation: (tail(activation), [])
    return tail, loaded.adapted(layer, loaded.cut.tail(layer, also=later, is_folded=True))
