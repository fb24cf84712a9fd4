"""Joins networks of one kind: streams the moments of all pairs, fits their maps, runs the layers behind them.

Each network sees each image once per split for some pairs at a time; only the part behind a joint runs again.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rep_kedro.analyses.stitching.params import PAIRS_AT_A_TIME, StitchingParams
from rep_kedro.analyses.stitching.splits import Split
from rep_kedro.datasets import Tensors
from rep_kedro.kernels.layers.stitching import (
    AffineMap,
    PairedMoments,
    apply_affine_map,
    compare_outputs,
    fit_affine_map,
    fit_orthogonal_map,
    fit_reduced_rank_map,
    measure_map_r2,
)
from rep_kedro.kernels.layers.streaming import flatten_positions
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.network import LayeredNetwork
from rep_kedro.models.sources.trained import preprocessing_of, restore_layered_network

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle


class Joint(NamedTuple):
    """Where a front network goes over into an end network."""

    front: str
    end: str
    layer: str


def join_networks(
    handles: Mapping[str, "TensorsHandle"],
    splits: Mapping[str, Split],
    pairs: Sequence[tuple[str, str]],
    params: StitchingParams,
) -> Iterator[tuple[tuple[str, str], Tensors]]:
    """Yield the maps and results of each pair of networks.

    Pairs are done some at a time, so that results come early and few networks are held at once; both
    directions of a pair are done together.

    Args:
        handles: Networks of one definition with a head, by name.
        splits: Images of what they were trained on, see `read_splits`.
        pairs: Front and end networks.
        params: Layers and maps.

    Yields:
        The pair; for each layer ``<layer>/weight`` and ``<layer>/bias`` (float64) and a row of results.
    """
    ordered = sorted(pairs, key=lambda pair: (sorted(pair), pair))
    for start in range(0, len(ordered), PAIRS_AT_A_TIME):
        chosen = ordered[start : start + PAIRS_AT_A_TIME]
        needed = {name: handles[name] for name in sorted({name for pair in chosen for name in pair})}
        yield from _join_some(_Group(needed, params), splits, chosen, params)


def _join_some(
    group: "_Group", splits: Mapping[str, Split], pairs: Sequence[tuple[str, str]], params: StitchingParams
) -> Iterator[tuple[tuple[str, str], Tensors]]:
    joints = [Joint(*pair, layer) for pair in pairs for layer in group.depths]
    maps = {joint: fit_map(moments, params) for joint, moments in group.stream(splits["train"], joints)}
    outputs = group.run_joints(splits["test"], maps)
    test_moments = dict(group.stream(splits["test"], joints))
    for pair in pairs:
        tensors: dict[str, Any] = {}
        rows = []
        for layer, depth in group.depths.items():
            joint = Joint(*pair, layer)
            tensors[f"{layer}/weight"], tensors[f"{layer}/bias"] = maps[joint].weight, maps[joint].bias
            row = _compare(outputs, joint, splits["test"].labels)
            r2 = measure_map_r2(maps[joint], test_moments[joint])
            row |= {"map_r2": _number(r2), "map_rank": maps[joint].rank}
            rows.append({"layer": layer, "depth": depth, **row, "n_fit": len(splits["train"].labels)})
        yield pair, Tensors(tensors, {"layers": rows})


def fit_map(moments: PairedMoments, params: StitchingParams) -> AffineMap:
    """Return the map of the family that the parameters name."""
    if params.map_family == "orthogonal":
        return fit_orthogonal_map(moments)
    if params.map_rank is not None:
        return fit_reduced_rank_map(moments, rank=params.map_rank)
    return fit_affine_map(moments, relative_cutoff=params.relative_cutoff)


class _Group:
    """Loaded networks of one definition.

    Attributes:
        depths: Depth of each layer where networks can be joined, counted from 0 among the layers that were
            asked for; layers that a connection jumps over are no place to cut and are left out.
    """

    def __init__(self, handles: Mapping[str, "TensorsHandle"], params: StitchingParams) -> None:
        self.networks: dict[str, LayeredNetwork] = {
            name: restore_layered_network(handle).to(params.device) for name, handle in handles.items()
        }
        self.params = params
        self.preprocessing = preprocessing_of(next(iter(handles.values())))
        one = next(iter(self.networks.values()))
        asked = one.kept_layers if params.layers == "kept" else one.layer_names
        self.depths = {name: depth for depth, name in enumerate(asked) if name in one.cut_points}
        self._readers: dict[str, LayerReader] = {}

    def stream(self, split: Split, joints: Sequence[Joint]) -> Iterator[tuple[Joint, PairedMoments]]:
        """Yield the moments of each joint over a split; both directions of a pair share one state."""
        states: dict[Joint, PairedMoments] = {}
        for activations in self._read(split):
            samples = {
                (name, layer): flatten_positions(activation).cpu()
                for name, layers in activations.items()
                for layer, activation in layers.items()
            }
            for joint in {_sorted(joint) for joint in joints}:
                front, end = samples[joint.front, joint.layer], samples[joint.end, joint.layer]
                state = states.setdefault(joint, PairedMoments(front.shape[1], end.shape[1]))
                state.update(front, end)
        for joint in joints:
            state = states[_sorted(joint)]
            yield joint, state if joint == _sorted(joint) else state.swapped()

    def run_joints(self, split: Split, maps: Mapping[Joint, AffineMap]) -> dict[str | Joint, Tensor]:
        """Return the logits of each network and of each joined network over a split."""
        parts: dict[str | Joint, list[Tensor]] = {}
        last = list(self.depths)[-1]
        for activations in self._read(split):
            with torch.no_grad():
                for name, network in self.networks.items():
                    logits = network.run(activations[name][last], start_after=last)
                    parts.setdefault(name, []).append(logits.cpu())
                for joint, fitted in maps.items():
                    mapped = apply_affine_map(fitted, activations[joint.front][joint.layer])
                    logits = self.networks[joint.end].run(mapped, start_after=joint.layer)
                    parts.setdefault(joint, []).append(logits.cpu())
        return {key: torch.cat(batches) for key, batches in parts.items()}

    def _read(self, split: Split) -> Iterator[dict[str, dict[str, Tensor]]]:
        """Yield the activations of all networks, batch by batch."""
        from rep_kedro.stimuli.decoding import decode_images

        form: dict[str, Any] = {
            "size_px": self.preprocessing.size_px,
            "channels": len(self.preprocessing.mean),
        }
        for start in range(0, len(split.labels), self.params.batch_size):
            encoded = split.images.slice(start, self.params.batch_size)
            names = split.names[start : start + len(encoded)]
            pixels = torch.from_numpy(decode_images(encoded, **form, names=names, limits=split.limits))
            images = self.preprocessing.scale(pixels.to(self.params.device))
            for name, network in self.networks.items():
                if name not in self._readers:
                    self._readers[name] = LayerReader(network, list(self.depths), example=images[:1])
            yield {name: self._readers[name].read(images) for name in self.networks}


def _sorted(joint: Joint) -> Joint:
    """Return the joint whose moments are streamed for both directions."""
    first, second = sorted((joint.front, joint.end))
    return Joint(first, second, joint.layer)


def _compare(outputs: Mapping[str | Joint, Tensor], joint: Joint, labels: Tensor) -> dict[str, Any]:
    """Return one row of results."""
    compared = compare_outputs(outputs[joint], outputs[joint.end], labels)
    front_right = int((outputs[joint.front].argmax(dim=1) == labels).sum())
    row: dict[str, Any] = {name: _number(value) for name, value in compared._asdict().items()}
    row["stitched_accuracy"] = row.pop("accuracy")
    row["front_accuracy"] = front_right / len(labels)
    row["n_test"] = len(labels)
    if row["relative_accuracy"] is None:
        row["reason"] = "the end network gets no stimulus right"
    return row


def _number(value: float) -> float | None:
    """Return a number, or None where it is undefined, as the file's header wants it."""
    return None if math.isnan(value) else value
