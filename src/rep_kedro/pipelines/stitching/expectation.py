"""What joining networks will take, from what earlier joints took, or from one pass of one network."""

import math
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from rep_kedro.datasets import Expectation, MemberKey
from rep_kedro.models.sources.trained import rebuild_trained_network
from rep_kedro.pipelines.stitching.joining import PAIRS_AT_A_TIME
from rep_kedro.pipelines.stitching.params import StitchingParams

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

_BYTES = 8  # maps are float64
_PASSES, _PASSES_OF_LAYER = 1.5, 0.25  # of all images, for each joint and for each layer that is joined
_N_TIMED = 3


def expect_joints(
    network: Any,
    stimulus_set: "ArrowHandle",
    params: StitchingParams,
    keys: Sequence[str],
    journal: Mapping[tuple[str, str], Mapping[str, Any]],
) -> Expectation:
    """Return what the joints of one kind of network will take.

    Args:
        network: Handle of one of them.
        stimulus_set: On which they are joined.
        params: Where, and how many images at a time.
        keys: Joints to do.
        journal: Of the stitches; its times count where it has any of the stimulus set.
    """
    built = rebuild_trained_network(network).to(params.device)
    layers = built.kept_layers if params.layers == "kept" else built.layer_names
    cut = [name for name in layers if name in built.cut_points]
    widths = [math.prod(built.shapes[name][:1]) for name in cut]
    known = [
        float(line["seconds"])
        for (key, _), line in journal.items()
        if MemberKey.parse(key).stimulus_set == stimulus_set.key
        and isinstance(line.get("seconds"), int | float)
    ]
    seconds = median(known) if known else _estimate_seconds(built, stimulus_set, params, len(cut))
    activations = sum(math.prod(built.shapes[name]) for name in cut) * params.batch_size
    return Expectation(
        seconds * len(keys),
        len(keys) * sum(width * (width + 1) for width in widths) * _BYTES,
        PAIRS_AT_A_TIME * 2 * activations * _BYTES,
    )


def _estimate_seconds(
    network: Any, stimulus_set: "ArrowHandle", params: StitchingParams, n_layers: int
) -> float:
    """Return the seconds of one joint of all layers, from one timed pass of some images."""
    side, channels = network.architecture.input.size_px, network.architecture.input.channels
    images = torch.zeros(params.batch_size, channels, side, side, device=params.device)
    seconds = []
    with torch.no_grad():
        for _ in range(1 + _N_TIMED):  # the first is slower
            began = time.perf_counter()
            network(images)
            seconds.append(time.perf_counter() - began)
    n_batches = math.ceil(stimulus_set.n_rows() / params.batch_size)
    return min(seconds) * n_batches * (_PASSES + n_layers * _PASSES_OF_LAYER)
