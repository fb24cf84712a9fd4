"""Published networks and images, read from the folder that the environment variable REP_DATA names."""

import gzip
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pydantic import TypeAdapter

from rep_kedro.models.layers import LayerReader
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.models.sources.specs import CheckpointModel, ModelEntry
from rep_kedro.models.sources.zoo import load_model
from rep_kedro.stimuli.decoding import decode_images

ROOT = Path(os.environ.get("REP_DATA", ""))
PROJECT = Path(__file__).parents[2]
BATCH = 250
needs_published = pytest.mark.skipif(
    not os.environ.get("REP_DATA"), reason="REP_DATA does not name a folder of published networks and images"
)
takes_minutes = pytest.mark.skipif(
    not os.environ.get("REP_DATA_FULL"), reason="REP_DATA_FULL is not set: takes minutes"
)


def list_entries() -> dict[str, dict[str, object]]:
    """Return the networks of conf/real as they stand there."""
    text = (PROJECT / "conf" / "real" / "parameters_features.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["features"]["models"]


def list_recorded() -> dict[str, dict[str, object]]:
    """Return what was recorded about each network beside its weights."""
    return {entry["name"]: entry for entry in json.loads((ROOT / "models.json").read_text())}


def read_entry(name: str) -> CheckpointModel:
    return TypeAdapter(ModelEntry).validate_python(list_entries()[name])


@cache
def load_published(name: str) -> LoadedModel:
    return load_model(read_entry(name))


@cache
def read_cifar10(*files: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels, uint8 (n, 3, 32, 32), and labels of Parquet files, the test set if none is named."""
    images, labels = [], []
    for file in files or ("core/cifar10/test.parquet",):
        table = pq.read_table(ROOT / file, columns=["image", "label"])
        images += [image["bytes"] for image in table["image"].to_pylist()]
        labels += table["label"].to_pylist()
    return torch.from_numpy(decode_images(images, size_px=32)), torch.tensor(labels)


@cache
def read_mnist() -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels, uint8 (10000, 1, 28, 28), and labels of the test set."""
    folder = ROOT / "core/mnist"
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(images, np.uint8).reshape(-1, 1, 28, 28)
    return torch.from_numpy(pixels.copy()), torch.tensor(list(labels))


def read_test_set(model: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the test set that a network's input has the shape of."""
    return read_mnist() if len(model.preprocessing.mean) == 1 else read_cifar10()


@torch.no_grad()
def run(model: LoadedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Return a network's outputs."""
    return torch.cat([model.module(model.preprocessing.scale(part)) for part in pixels.split(BATCH)])


def read_pooled(model: LoadedModel, layers: list[str], pixels: torch.Tensor) -> list[torch.Tensor]:
    """Return the features of layers, averaged over positions."""
    scaled = model.preprocessing.scale(pixels)
    reader = LayerReader(model.module, layers, example=scaled[:1])
    parts = [reader.read(part, "average") for part in scaled.split(BATCH)]
    return [torch.cat([part[layer] for part in parts]) for layer in layers]
