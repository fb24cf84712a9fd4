"""Collections of a handful of members on disk, for tests of pipelines."""

import hashlib
import io
import json
from collections import Counter

import numpy as np
import pyarrow as pa
from PIL import Image

from rep_kedro.datasets import CollectionDataset, Planned, Tensors

TENSORS, ARROW = "rep_kedro.datasets.TensorsDataset", "rep_kedro.datasets.ArrowDataset"


def run_plan(folder, plan, member=TENSORS):
    """Save a plan as a collection and return its handles."""
    collection = CollectionDataset(filepath=str(folder), member=member)
    collection.save(plan)
    return collection.load()


def store(folder, values, member=TENSORS):
    """Store finished values under their keys and return their handles."""
    plan = {key: Planned({"of": key}, lambda value=value: value) for key, value in values.items()}
    return run_plan(folder, plan, member)


def store_networks(folder, networks):
    """Store networks under their names, with recipes as of training; return their handles."""
    plan = {
        name: Planned(
            {field: network.meta[field] for field in ("architecture", "objective", "seed", "stimulus_set")},
            lambda network=network: network,
        )
        for name, network in networks.items()
    }
    return run_plan(folder, plan)


def make_subset(labels, splits):
    """Return the table of a stimulus subset."""
    ids = [f"stimulus-{i}" for i in range(len(labels))]
    return pa.table(
        {"stimulus_id": ids, "label": pa.array(labels, pa.int32()), "split": pa.array(splits, pa.string())}
    )


def make_stimuli(pixels, labels, splits, class_names=None):
    """Return the table of a stimulus set; pixels (n, size, size, 3) become PNG images."""
    encoded = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    table = make_subset(labels, splits).append_column("image", pa.array(encoded, pa.binary()))
    cells = Counter(zip(splits, labels, strict=True))
    meta = {
        "class_names": class_names,
        "image_size_px": pixels.shape[1],
        "counts": dict(Counter(splits)),
        "class_counts": {
            split: {name: cells[split, label] for label, name in enumerate(class_names or [])}
            for split in dict.fromkeys(splits)
        },
    }
    return table.replace_schema_metadata({b"meta": json.dumps(meta)})


def make_features(layers):
    """Return features of one network for the stimuli of `make_subset`; the last layer is the final one."""
    names = list(layers)
    n_stimuli = len(layers[names[0]])
    ids = "\n".join(f"stimulus-{i}" for i in range(n_stimuli))
    meta = {"layers": names, "n_stimuli": n_stimuli, "final_layer": names[-1], "pooling": "average"}
    meta["stimulus_ids_sha256"] = hashlib.sha256(ids.encode()).hexdigest()
    return Tensors({name: np.asarray(x, np.float32) for name, x in layers.items()}, meta)


def make_network(architecture, *, seed, n_classes, stimulus_set, objective="supervised"):
    """Return a network with drawn weights and batch-norm statistics, as the training pipeline stores it."""
    import torch

    from rep_kedro.models.building import build_network

    network = build_network(architecture, n_classes=n_classes, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        drawn = value
        if name.endswith(("running_mean", "bias")):
            drawn = torch.randn(value.shape, generator=generator) * 0.1
        elif name.endswith("running_var"):
            drawn = torch.rand(value.shape, generator=generator) + 0.5
        state[name] = drawn
    definition = network.architecture
    return Tensors(
        state,
        {
            "architecture": architecture,
            "definition": definition.as_json(),
            "objective": objective,
            "seed": seed,
            "stimulus_set": stimulus_set,
            "n_classes": n_classes,
            "input_px": definition.input.size_px,
            "history": [],
            "test_accuracy": None,
        },
    )
