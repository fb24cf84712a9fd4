"""Showing stimuli to a network and keeping what its layers say."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from rep_kedro.datasets import Tensors
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.pipelines.features.images import hash_stimulus_ids, make_pixels, select_stimuli

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle


def extract_features(
    model: LoadedModel,
    stimulus_set: "ArrowHandle",
    subset: "ArrowHandle",
    *,
    pooling: Pooling,
    batch_size: int,
    device: str,
) -> Tensors:
    """Return the features of every layer for the stimuli of a subset.

    Args:
        model: A network on `device`.
        stimulus_set: Holds the images.
        subset: Names the stimuli and their order.
        pooling: From activation to features.
        batch_size: Images at a time.
        device: Where the network is.

    Returns:
        One float32 tensor (n_stimuli, n_features) per layer; meta as in docs/architecture.md, section 3.

    Raises:
        ValueError: If the subset is empty or a stimulus missing.
        FloatingPointError: If features are not finite; names layer and count.
    """
    stimuli = select_stimuli(stimulus_set, subset)
    if len(stimuli) == 0:
        raise ValueError(f"subset {subset.key!r} is empty, there is nothing to show")
    reader: LayerReader | None = None
    parts: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(stimuli), batch_size):
        encoded = stimuli["image"].slice(start, batch_size)
        pixels = torch.from_numpy(make_pixels(encoded, model.preprocessing)).to(device)
        images = model.preprocessing.scale(pixels)
        if reader is None:
            reader = LayerReader(model.module, model.layers, example=images[:1], run=model.run)
        read = reader.read(images, pooling, layout=model.layout, n_prefix_tokens=model.n_prefix_tokens)
        for layer, features in read.items():
            parts.setdefault(layer, []).append(features.cpu())
    joined = {layer: torch.cat(batches) for layer, batches in parts.items()}
    _require_finite(joined)
    return Tensors(
        joined,
        {
            "layers": list(joined),
            "final_layer": list(joined)[-1],
            "pooling": pooling,
            "n_stimuli": len(stimuli),
            "stimulus_ids_sha256": hash_stimulus_ids(stimuli["stimulus_id"].to_pylist()),
        },
    )


@contextmanager
def steady(threads: int | None) -> Iterator[None]:
    """Compute in full float32, on the CPU with this many threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


def _require_finite(features: dict[str, torch.Tensor]) -> None:
    for layer, values in features.items():
        n_broken = int((~torch.isfinite(values)).sum())
        if n_broken:
            rows = (~torch.isfinite(values)).any(dim=1).nonzero().flatten()
            raise FloatingPointError(
                f"layer {layer!r} gave {n_broken} of {values.numel()} features that are not finite,"
                f" first for stimulus number {int(rows[0])}"
            )
