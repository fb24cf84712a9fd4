"""The training work: decode the images, train one network after another, and return members."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import torch

from rep_kedro.datasets import Tensors
from rep_kedro.datasets.platform import PLATFORM, describe_platform
from rep_kedro.errors import UserError
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.stimuli.decoding import decode_images
from rep_kedro.stimuli.limits import limits_of
from rep_kedro.training.loop import (
    LabelledImages,
    TrainedNetwork,
    TrainingStimuli,
    train_network,
)
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.params import NetworkSpec

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

Networks = Mapping[str, tuple[NetworkSpec, DefinedNetwork]]
"""What to train, by name."""


def train_networks(
    names: Sequence[str],
    networks: Networks,
    handle: "ArrowHandle",
    *,
    device: str = "cpu",
    portable: bool = False,
) -> Iterator[tuple[str, Tensors | Exception]]:
    """Train the named networks one after the other; one that fails does not stop the others.

    Args:
        names: Which networks.
        networks: All that are planned.
        handle: The stimulus set.
        device: Where to compute.
        portable: Whether this process computes the same bytes on every machine; recorded with the members.

    Yields:
        Name, and the member or the error that took its place.
    """
    stimuli: dict[tuple[int, int], TrainingStimuli] = {}
    for name in names:
        spec, architecture = networks[name]
        try:
            form = (architecture.input.size_px, architecture.input.channels)
            if form not in stimuli:
                stimuli[form] = _decode_splits(handle, *form)
            trained = train_network(
                name,
                architecture,
                make_objective(spec.objective, spec.options),
                seed=spec.seed,
                schedule=spec.schedule,
                stimuli=stimuli[form],
                device=device,
            )
        except Exception as error:
            yield name, error
        else:
            member = _to_member(trained, spec, handle.key)
            member.meta[PLATFORM] = describe_platform(device, portable=portable)
            yield name, member


def _to_member(trained: TrainedNetwork, spec: NetworkSpec, stimulus_set: str) -> Tensors:
    network = trained.network
    history = [{**metrics, "epoch": int(metrics["epoch"])} for metrics in trained.history]
    # Batch counters are left out: nothing reads them, and a scalar is no array to every reader of the format.
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    return Tensors(
        state,
        {
            "architecture": spec.architecture,
            "definition": network.architecture.as_json(),
            "objective": spec.objective,
            "seed": spec.seed,
            "stimulus_set": stimulus_set,
            "n_classes": network.n_classes,
            "input_px": network.architecture.input.size_px,
            "history": history,
            "test_accuracy": history[-1].get("test_accuracy"),
        },
    )


def _decode_splits(handle: "ArrowHandle", size_px: int, channels: int) -> TrainingStimuli:
    """Return the training and the test images of a stimulus set."""
    table = handle.table(["stimulus_id", "image", "label", "split"])
    limits = limits_of(handle.meta)
    found = {}
    for split in ("train", "test"):
        rows = table.filter(pc.equal(table["split"], split))
        if split == "train" and len(rows) == 0:
            raise UserError(f"stimulus set {handle.key!r} has no split 'train' to train on")
        labels = rows["label"]
        names = [f"{handle.key}: {stimulus_id}" for stimulus_id in rows["stimulus_id"].to_pylist()]
        pixels = decode_images(rows["image"], size_px=size_px, channels=channels, names=names, limits=limits)
        found[split] = LabelledImages(
            torch.from_numpy(pixels),
            None if labels.null_count else torch.tensor(labels.to_pylist(), dtype=torch.int64),
        )
    n_classes = len(handle.meta["class_names"]) if handle.meta.get("class_names") else None
    return TrainingStimuli(found["train"], found["test"], n_classes)
