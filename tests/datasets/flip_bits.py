"""Flips single bits of files of every format, and counts which flips `kedro verify` does not find.

    python -m tests.datasets.flip_bits --flips 1000

One artifact of each format is written as a run does; a bit at random is flipped, the artifact is examined as
`kedro verify` examines it, and the file is restored.
"""

import argparse
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
from kedro.io import DataCatalog
from matplotlib.figure import Figure

from rep_kedro.commands.verify import examine
from rep_kedro.datasets import (
    CollectionDataset,
    LabelledMatrix,
    Planned,
    TableDataset,
    Tensors,
    TextDataset,
)

RECIPE = {"of": "a", "labels": ["cat", "dog"]}


def draw_figure():
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2, 4], label="größe")
    return figure


def make_tensors():
    return Tensors(
        {"x": np.arange(60, dtype=np.float32), "y": np.ones((2, 3))}, {"class_names": ["cat", "dog"]}
    )


def make_arrow():
    rng = np.random.default_rng(0)
    table = pa.table({"label": ["cat", "dog"] * 40, "image": [rng.bytes(30) for _ in range(80)]})
    return table.replace_schema_metadata({b"meta": b'{"class_names":["cat","dog"]}'})


def make_matrix():
    return LabelledMatrix(np.eye(3), ("a", "b", "c"), {("a", "b"): "constant"}, {"measure": "cka"})


MEMBERS = {
    "tensors": ("TensorsDataset", ".safetensors", make_tensors),
    "arrow": ("ArrowDataset", ".parquet", make_arrow),
    "matrix": ("MatrixDataset", ".parquet", make_matrix),
    "drawing": ("DrawingDataset", ".svg", draw_figure),
    "document": ("DocumentDataset", ".pdf", lambda: [draw_figure()]),
}
FILES = {
    "table": (TableDataset, lambda: pd.DataFrame({"model": ["a", None], "x": [1.5, np.nan]})),
    "page": (TextDataset, lambda: "<!doctype html><title>größe</title>\n"),
}
FORMATS = [*MEMBERS, *FILES, "plan"]


def write_artifact(folder, kind):
    """Write one artifact; return its catalog, its configuration, and the file to flip bits of."""
    if kind in FILES:
        make, value = FILES[kind]
        dataset = make(filepath=str(folder / "artifact"))
        dataset.save(value())
        return DataCatalog({"artifact": dataset}), {}, folder / "artifact"
    name, suffix, value = MEMBERS["tensors" if kind == "plan" else kind]
    entry = {"filepath": str(folder / "artifact"), "member": f"rep_kedro.datasets.{name}"}
    collection = CollectionDataset(**entry)
    collection.save({"a": Planned(RECIPE, value), "b": Planned(RECIPE, value)})
    file = "plan.json" if kind == "plan" else f"a{suffix}"
    return DataCatalog({"artifact": collection}), entry, folder / "artifact" / file


def missed_flips(folder, kind, *, flips, seed=0):
    """Return the bits (byte, bit in it) whose flips were not found, and the size of the file in bytes."""
    catalog, entry, path = write_artifact(folder, kind)
    problems = examine(catalog, "artifact", entry)[1]
    if problems:
        raise AssertionError(f"{kind}: whole, and refused: {problems}")
    whole = path.read_bytes()
    n_bits = 8 * len(whole)
    missed = []
    for bit in random.Random(seed).sample(range(n_bits), min(flips, n_bits)):  # noqa: S311
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if not examine(catalog, "artifact", entry)[1]:
            missed.append(divmod(bit, 8))
    path.write_bytes(whole)
    return missed, len(whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    n_missed = 0
    for kind in FORMATS:
        with TemporaryDirectory() as folder:
            missed, size = missed_flips(Path(folder), kind, flips=arguments.flips, seed=arguments.seed)
        n_missed += len(missed)
        shown = f": {missed[:5]}" if missed else ""
        sys.stdout.write(f"{kind:8s} {size:6d} bytes, {len(missed)} flips not found{shown}\n")
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())
